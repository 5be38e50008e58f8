//! The proxy on a service's connections to an HTTP server (the API server), which stops the service at a given request.
//!
//! Guarantees: a held request never reaches the server unless released; a held answer never reaches the client unless released. Must not:
//! be used with TLS, HTTP/2 or chunked requests; kube's client over plain HTTP sends none of these.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Ear, Proxy, Verdict};
use crate::process::lock;
use crate::{Error, wait};

/// What is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The request itself.
    Request,
    /// Its answer.
    Answer,
}

/// A request to be stopped at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTrap {
    /// The method.
    pub method: &'static str,
    /// What the path without its query ends with.
    pub path_end: String,
    /// Whether dry runs are meant (then they alone are) or not.
    pub dry_run: bool,
    /// What is held back.
    pub part: Part,
}

impl HttpTrap {
    fn is(&self, request_line: &str) -> bool {
        let mut words = request_line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        method == self.method && path.ends_with(&self.path_end) && query.contains("dryRun") == self.dry_run
    }
}

/// A proxy to an HTTP server.
#[derive(Debug)]
pub struct HttpProxy {
    proxy: Proxy,
    armed: Arc<Mutex<Option<HttpTrap>>>,
}

impl HttpProxy {
    /// Between a service and `http://<address>`.
    pub async fn start(url: &str) -> Result<Self, Error> {
        let address: SocketAddr = url
            .trim_start_matches("http://")
            .parse()
            .map_err(|_| Error::Refused(format!("`{url}` is not the address of an HTTP server")))?;
        let armed: Arc<Mutex<Option<HttpTrap>>> = Arc::default();
        let shared = Arc::clone(&armed);
        let proxy = Proxy::start(address, move || HttpEar { armed: Arc::clone(&shared), body: 0, answer: false }).await?;
        Ok(Self { proxy, armed })
    }

    /// What the service has to be told.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// Sets the trap, in place of one that is set.
    pub fn arm(&self, trap: HttpTrap) {
        *lock(&self.armed) = Some(trap);
    }

    /// Takes the trap away.
    pub fn disarm(&self) {
        *lock(&self.armed) = None;
    }

    /// Waits until the trap has sprung: then that connection is held.
    pub async fn sprung(&self, deadline: Duration) -> Result<(), wait::TimedOut> {
        let what = lock(&self.armed).as_ref().map(|trap| format!("{trap:?}")).unwrap_or_default();
        self.proxy.wait_hold(0, &what, deadline).await
    }

    /// The mechanics: release, cut, stall.
    #[must_use]
    pub const fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

struct HttpEar {
    armed: Arc<Mutex<Option<HttpTrap>>>,
    /// What is still to come of the current request's body.
    body: usize,
    /// Whether the next answer is to be held.
    answer: bool,
}

impl Ear for HttpEar {
    fn hear_client(&mut self, bytes: &[u8]) -> Verdict {
        let mut done = 0;
        loop {
            let of_body = self.body.min(bytes.len() - done);
            self.body -= of_body;
            done += of_body;
            let rest = &bytes[done..];
            let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n").filter(|_| self.body == 0) else {
                return Verdict::Pass(done);
            };
            let head = String::from_utf8_lossy(&rest[..end]);
            let mut slot = lock(&self.armed);
            if let Some(trap) = slot.take_if(|trap| trap.is(head.lines().next().unwrap_or_default())) {
                if trap.part == Part::Request {
                    return Verdict::Hold(done);
                }
                self.answer = true;
            }
            self.body = content_length(&head);
            done += end + 4;
        }
    }

    fn hear_server(&mut self, bytes: &[u8]) -> Verdict {
        if self.answer && !bytes.is_empty() {
            self.answer = false;
            return Verdict::Hold(0);
        }
        Verdict::Pass(bytes.len())
    }
}

fn content_length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: &[u8] =
        b"PUT /apis/apps/v1/namespaces/n/deployments/web?fieldManager=lastgood HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
    const DRY: &[u8] = b"PUT /apis/apps/v1/namespaces/n/deployments/web?dryRun=All HTTP/1.1\r\ncontent-length: 4\r\n\r\nPUT ";
    const GET: &[u8] = b"GET /apis/apps/v1/namespaces/n/deployments/web HTTP/1.1\r\nHost: x\r\n\r\n";

    fn ear(method: &'static str, part: Part) -> HttpEar {
        let trap = HttpTrap { method, path_end: "/deployments/web".to_owned(), dry_run: false, part };
        HttpEar { armed: Arc::new(Mutex::new(Some(trap))), body: 0, answer: false }
    }

    #[test]
    fn the_real_write_is_held_and_its_dry_run_is_not() {
        let mut ear = ear("PUT", Part::Request);
        let both = [DRY, PUT].concat();
        assert_eq!(ear.hear_client(&both), Verdict::Hold(DRY.len()));
        assert_eq!(ear.hear_client(&both[DRY.len()..]), Verdict::Pass(PUT.len()), "released");
        assert_eq!(ear.hear_server(b"HTTP/1.1 200 OK\r\n\r\n"), Verdict::Pass(19));
    }

    #[test]
    fn an_answer_is_held_whatever_pieces_the_request_comes_in() {
        let mut ear = ear("GET", Part::Answer);
        let (first, second) = GET.split_at(30);
        assert_eq!(ear.hear_client(first), Verdict::Pass(0));
        assert_eq!(ear.hear_client(&[first, second].concat()), Verdict::Pass(GET.len()));
        assert_eq!(ear.hear_server(b""), Verdict::Pass(0));
        assert_eq!(ear.hear_server(b"HTTP/1.1 200 OK\r\n"), Verdict::Hold(0));
        assert_eq!(ear.hear_server(b"HTTP/1.1 200 OK\r\n"), Verdict::Pass(17), "released");
    }

    #[test]
    fn a_body_in_pieces_is_no_request() {
        let mut ear = ear("PUT", Part::Request);
        let (head, body) = DRY.split_at(DRY.len() - 4);
        assert_eq!(ear.hear_client(head), Verdict::Pass(head.len()));
        assert_eq!(ear.hear_client(&body[..2]), Verdict::Pass(2));
        assert_eq!(ear.hear_client(&[&body[2..], GET].concat()), Verdict::Pass(2 + GET.len()));
    }
}
