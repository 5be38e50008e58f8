//! The proxy on a service's connection to NATS, which stops the service at the moment in which it appends a given fact.
//!
//! Guarantees: *before*: what completes the append (the publish, or the batch's commit) never reaches the server unless released;
//! *after*: the server has stored it and said so, and the service does not hear of it unless released; an append that the server refused is
//! let through and does not count. Must not: be used with TLS.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Ear, Proxy, Verdict};
use crate::process::lock;
use crate::{Error, wait};

/// On which side of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// It never happened.
    Before,
    /// It happened, and its writer does not know.
    After,
}

/// An append to be stopped at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// The event type of one of its events, as [`event_type`] names it.
    pub event_type: String,
    /// Which of the appends with such an event, from 1.
    pub nth: u32,
    /// On which side.
    pub moment: Moment,
}

/// The name of what is published on a subject: a fact's event type, `alert_notification`, `timer`; `None` for what nobody stores.
#[must_use]
pub fn event_type(subject: &str) -> Option<&str> {
    let mut tokens = subject.strip_prefix("lastgood.")?.split('.');
    match tokens.next()? {
        "incident" | "occurrence" | "ledger" | "switch" => tokens.next_back(),
        "alert" => Some("alert_notification"),
        "timer" => Some("timer"),
        "dead" => Some("dead_letter"),
        _ => None,
    }
}

/// A proxy to a NATS server.
#[derive(Debug)]
pub struct NatsProxy {
    proxy: Proxy,
    armed: Arc<Mutex<Option<Armed>>>,
}

#[derive(Debug)]
struct Armed {
    trap: Trap,
    /// Appends of its kind that the server has stored.
    stored: u32,
}

impl NatsProxy {
    /// Between a service and `nats://<address>`.
    pub async fn start(url: &str) -> Result<Self, Error> {
        let address: SocketAddr = url
            .trim_start_matches("nats://")
            .parse()
            .map_err(|_| Error::Refused(format!("`{url}` is not the address of one NATS server")))?;
        let armed: Arc<Mutex<Option<Armed>>> = Arc::default();
        let shared = Arc::clone(&armed);
        let proxy = Proxy::start(address, move || NatsEar {
            armed: Arc::clone(&shared),
            batches: HashMap::new(),
            awaited: HashSet::new(),
        })
        .await?;
        Ok(Self { proxy, armed })
    }

    /// What the service has to be told.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.proxy.address())
    }

    /// Sets the trap, in place of one that is set.
    pub fn arm(&self, trap: Trap) {
        *lock(&self.armed) = Some(Armed { trap, stored: 0 });
    }

    /// Takes the trap away.
    pub fn disarm(&self) {
        *lock(&self.armed) = None;
    }

    /// Waits until the trap has sprung: then the service's connection is held.
    pub async fn sprung(&self, deadline: Duration) -> Result<(), wait::TimedOut> {
        let what = lock(&self.armed).as_ref().map(|armed| format!("{:?}", armed.trap)).unwrap_or_default();
        self.proxy.wait_hold(0, &what, deadline).await
    }

    /// The mechanics: release, cut, stall.
    #[must_use]
    pub const fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

/// Follows one connection.
struct NatsEar {
    armed: Arc<Mutex<Option<Armed>>>,
    /// The event types of the batches that are being sent, by batch; a service sends several at once.
    batches: HashMap<String, Vec<String>>,
    /// The inboxes of the replies to appends of the trap's kind: several may be under way, and any of them may be refused.
    awaited: HashSet<String>,
}

impl Ear for NatsEar {
    fn hear_client(&mut self, bytes: &[u8]) -> Verdict {
        let mut done = 0;
        while let Some((said, length)) = next(&bytes[done..]) {
            if let Said::Publish { subject, reply, headers } = said
                && self.hears(subject, reply, headers)
            {
                return Verdict::Hold(done);
            }
            done += length;
        }
        Verdict::Pass(done)
    }

    fn hear_server(&mut self, bytes: &[u8]) -> Verdict {
        let mut done = 0;
        while let Some((said, length)) = next(&bytes[done..]) {
            if let Said::Delivery { subject, payload } = said
                && self.awaited.remove(subject)
                && is_stored(payload)
                && self.counts()
            {
                return Verdict::Hold(done);
            }
            done += length;
        }
        Verdict::Pass(done)
    }
}

impl NatsEar {
    /// Whether to stop before this message.
    fn hears(&mut self, subject: &str, reply: Option<&str>, headers: &[u8]) -> bool {
        let Some(event_type) = event_type(subject) else { return false };
        let mut append = vec![event_type.to_owned()];
        if let Some(batch) = header(headers, "Nats-Batch-Id") {
            let sent = self.batches.entry(batch.to_owned()).or_default();
            sent.append(&mut append);
            if header(headers, "Nats-Batch-Commit").is_none() {
                return false;
            }
            append = self.batches.remove(batch).unwrap_or_default();
        }
        let mut slot = lock(&self.armed);
        let Some(armed) = slot.as_mut().filter(|armed| append.contains(&armed.trap.event_type)) else { return false };
        let nth = usize::try_from(armed.stored).unwrap_or(usize::MAX).saturating_add(self.awaited.len() + 1);
        if armed.trap.moment == Moment::Before && u32::try_from(nth) == Ok(armed.trap.nth) {
            *slot = None;
            return true;
        }
        self.awaited.extend(reply.map(str::to_owned));
        false
    }

    /// Counts an append that was stored; whether to stop before its writer hears of it.
    fn counts(&self) -> bool {
        let mut slot = lock(&self.armed);
        let Some(armed) = slot.as_mut() else { return false };
        armed.stored += 1;
        let sprung = armed.trap.moment == Moment::After && armed.stored == armed.trap.nth;
        if sprung {
            *slot = None;
        }
        sprung
    }
}

/// Whether this is the reply to an append that was stored.
fn is_stored(reply: &[u8]) -> bool {
    let reply: serde_json::Value = serde_json::from_slice(reply).unwrap_or_default();
    reply["seq"].is_u64() && reply["error"].is_null()
}

/// One protocol message.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    /// `PUB`, `HPUB`.
    Publish { subject: &'a str, reply: Option<&'a str>, headers: &'a [u8] },
    /// `MSG`, `HMSG`.
    Delivery { subject: &'a str, payload: &'a [u8] },
    /// Anything else.
    Other,
}

/// The first whole protocol message and its length; `None` while it is not whole.
fn next(bytes: &[u8]) -> Option<(Said<'_>, usize)> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let body = &bytes[line_end + 2..];
    let line = std::str::from_utf8(&bytes[..line_end]).unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    let words: Vec<&str> = words.collect();
    // Where the words of each verb are: the subject first, the sizes last, and between them `sid` and perhaps a reply.
    let (sizes, fixed) = match verb.as_str() {
        "PUB" => (1, 1),
        "HPUB" => (2, 1),
        "MSG" => (1, 2),
        "HMSG" => (2, 2),
        _ => return Some((Said::Other, line_end + 2)),
    };
    let size =
        |back: usize| words.len().checked_sub(back).and_then(|at| words.get(at)).and_then(|word| word.parse::<usize>().ok());
    let (Some(subject), Some(total)) = (words.first(), size(1)) else { return Some((Said::Other, line_end + 2)) };
    let head = if sizes == 2 { size(2).unwrap_or(0).min(total) } else { 0 };
    if body.len() < total + 2 {
        return None;
    }
    let reply = (words.len() > fixed + sizes).then(|| words[fixed]);
    let (headers, payload) = body[..total].split_at(head);
    let said = match verb.as_str() {
        "PUB" | "HPUB" => Said::Publish { subject, reply, headers },
        _ => Said::Delivery { subject, payload },
    };
    Some((said, line_end + 2 + total + 2))
}

/// A header's value in a header block.
fn header<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(block).ok()?;
    text.split("\r\n").filter_map(|line| line.split_once(':')).find(|(known, _)| *known == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ear(event_type: &str, nth: u32, moment: Moment) -> NatsEar {
        let trap = Trap { event_type: event_type.to_owned(), nth, moment };
        let armed = Arc::new(Mutex::new(Some(Armed { trap, stored: 0 })));
        NatsEar { armed, batches: HashMap::new(), awaited: HashSet::new() }
    }

    fn publish(event_type: &str, reply: &str, headers: &str) -> Vec<u8> {
        let block = format!("NATS/1.0\r\n{headers}\r\n");
        let head = format!("HPUB lastgood.incident.c.n.deployment.web.inc_1.{event_type} {reply}");
        format!("{head} {} {}\r\n{block}da\r\nta\r\n", block.len(), block.len() + 6).into_bytes()
    }

    fn answer(inbox: &str, body: &str) -> Vec<u8> {
        format!("MSG {inbox} 7 {}\r\n{body}\r\n", body.len()).into_bytes()
    }

    #[test]
    fn each_kind_of_message_is_read_whole() {
        let hmsg = b"HMSG a.b 9 _R_ 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n";
        assert_eq!(next(hmsg), Some((Said::Delivery { subject: "a.b", payload: b"hi" }, hmsg.len() - 6)));
        assert_eq!(next(b"pub x 2\r\n\r\n\r\n"), Some((Said::Publish { subject: "x", reply: None, headers: b"" }, 13)));
        assert_eq!(next(b"PUB x _IN 0\r\n\r\n"), Some((Said::Publish { subject: "x", reply: Some("_IN"), headers: b"" }, 15)));
        assert_eq!(next(b"MSG x 1 _IN 1\r\n.\r\n"), Some((Said::Delivery { subject: "x", payload: b"." }, 18)));
        assert_eq!(next(b"INFO {\"a\":1}\r\n"), Some((Said::Other, 14)));
        assert_eq!(next(b"PING\r"), None);
        let whole = publish("pods_ready", "_IN.1", "ce-id:1\r\n");
        for length in 0..whole.len() {
            assert_eq!(next(&whole[..length]), None, "{length} bytes are not the whole");
        }
        assert_eq!(next(&whole).map(|(_, length)| length), Some(whole.len()));
    }

    #[test]
    fn headers_are_found_by_name() {
        let block = b"NATS/1.0\r\nNats-Batch-Id: b1\r\nce-type:x:y\r\n\r\n";
        assert_eq!((header(block, "Nats-Batch-Id"), header(block, "ce-type")), (Some("b1"), Some("x:y")));
        assert_eq!(header(block, "Batch-Id"), None);
    }

    #[test]
    fn what_is_stored_has_a_name() {
        for (subject, name) in [
            ("lastgood.incident.c.n.deployment.web.inc_1.pods_ready", Some("pods_ready")),
            ("lastgood.occurrence.f00.occurrence_opened", Some("occurrence_opened")),
            ("lastgood.alert.alertmanager", Some("alert_notification")),
            ("lastgood.timer.c.n.deployment.web.inc_1.decide", Some("timer")),
            ("$JS.API.STREAM.INFO.X", None),
            ("lastgood", None),
        ] {
            assert_eq!(event_type(subject), name, "{subject}");
        }
    }

    #[test]
    fn before_holds_the_publish_back_and_passes_what_came_first() {
        let mut ear = ear("pods_ready", 2, Moment::Before);
        let first = [b"PING\r\n".to_vec(), publish("pods_ready", "_IN.1", "")].concat();
        let both = [first.clone(), publish("pods_ready", "_IN.2", "")].concat();
        assert_eq!(ear.hear_client(&both), Verdict::Hold(first.len()));
        assert_eq!(ear.hear_client(&both[first.len()..]), Verdict::Pass(both.len() - first.len()), "released");
    }

    #[test]
    fn before_holds_a_batch_at_its_commit() {
        let mut ear = ear("mitigated", 1, Moment::Before);
        let staged = publish("mitigated", "_IN.1", "Nats-Batch-Id:b\r\nNats-Batch-Sequence:1\r\n");
        let commit = publish("announced", "_IN.2", "Nats-Batch-Id:b\r\nNats-Batch-Sequence:2\r\nNats-Batch-Commit:1\r\n");
        assert_eq!(ear.hear_client(&[staged.clone(), commit].concat()), Verdict::Hold(staged.len()));
    }

    #[test]
    fn after_holds_the_servers_word_that_it_is_stored() {
        let mut ear = ear("pods_ready", 1, Moment::After);
        let append = publish("pods_ready", "_IN.1", "");
        assert_eq!(ear.hear_client(&append), Verdict::Pass(append.len()));
        let refused = answer("_IN.1", r#"{"error":{"err_code":10071},"seq":0}"#);
        assert_eq!(ear.hear_server(&refused), Verdict::Pass(refused.len()), "a refused append does not count");
        assert_eq!(ear.hear_client(&append), Verdict::Pass(append.len()));
        let other = answer("_IN.9", r#"{"stream":"S","seq":8}"#);
        let both = [other.clone(), answer("_IN.1", r#"{"stream":"S","seq":9}"#)].concat();
        assert_eq!(ear.hear_server(&both), Verdict::Hold(other.len()));
        assert_eq!(ear.hear_server(&both[other.len()..]), Verdict::Pass(both.len() - other.len()), "released");
    }

    #[test]
    fn of_two_appends_under_way_the_one_that_is_stored_counts() {
        let mut ear = ear("version_available", 1, Moment::After);
        let both = [publish("version_available", "_IN.1", ""), publish("version_available", "_IN.2", "")].concat();
        assert_eq!(ear.hear_client(&both), Verdict::Pass(both.len()));
        let refused = answer("_IN.1", r#"{"error":{"err_code":10071},"seq":0}"#);
        assert_eq!(ear.hear_server(&refused), Verdict::Pass(refused.len()));
        assert_eq!(ear.hear_server(&answer("_IN.2", r#"{"stream":"S","seq":9}"#)), Verdict::Hold(0));
    }
}
