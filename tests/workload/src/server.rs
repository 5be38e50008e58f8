//! The workload's HTTP server: `/`, `/healthz`, `/smoke`, `/version` and `/metrics` on one listener.
//!
//! Dropping the future returned by [`serve`] ends the server and all its connections at once, as SIGTERM does for the
//! binary. It logs one line a failing request and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Behaviour;

/// Takes the server's log lines, one call a line, without the newline.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// What the instance is to do from now on, where something outside says so: asked at each request.
pub type Steering = Arc<dyn Fn() -> Option<Behaviour> + Send + Sync>;

/// Who this instance of the workload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The version it reports.
    pub version: String,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// The name of its pod.
    pub pod: String,
    /// Started after this second (Unix, UTC) it never becomes ready: a version that was healthy once and can't come back.
    pub ready_before: Option<i64>,
}

struct App {
    identity: Identity,
    steering: Steering,
    too_late: bool,
    log: LogSink,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// How long a crashing version lives.
const CRASH_AFTER: Duration = Duration::from_millis(300);
/// How long a slow version takes to answer `/`.
const SLOW: Duration = Duration::from_secs(3);

/// Serves until the workload crashes and answers its exit code; every other behaviour serves until the future is dropped.
pub async fn serve(listener: TcpListener, identity: Identity, steering: Steering, log: LogSink) -> u8 {
    log(&format!("web {} ({}) listening as {}", identity.version, identity.behaviour, identity.pod));
    let crashes = identity.behaviour == Behaviour::Crashing;
    let too_late = identity.ready_before.is_some_and(|second| now().as_second() > second);
    let app = Arc::new(App { identity, steering, too_late, log, succeeded: AtomicU64::new(0), failed: AtomicU64::new(0) });
    if crashes {
        tokio::select! {
            () = accept_loop(listener, Arc::clone(&app)) => {}
            () = tokio::time::sleep(CRASH_AFTER) => {}
        }
        (app.log)("thread 'main' panicked at src/main.rs:42:13:");
        (app.log)("configuration key \"checkout.currency\" is missing");
        return 1;
    }
    accept_loop(listener, app).await;
    0
}

#[expect(clippy::disallowed_methods, reason = "the workload plays a program of the world outside, whose clock is real")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

async fn accept_loop(listener: TcpListener, app: Arc<App>) {
    // The set owns the connections, so that dropping this future ends them too.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Failing to set it only costs latency.
                let _ = stream.set_nodelay(true);
                let app = Arc::clone(&app);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let app = Arc::clone(&app);
                        async move { Ok::<_, Infallible>(answer(&app, &request).await) }
                    });
                    // A client that goes away is not worth a line.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl App {
    fn behaviour(&self) -> Behaviour {
        (self.steering)().unwrap_or(self.identity.behaviour)
    }
}

async fn answer(app: &App, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let behaviour = app.behaviour();
    let (status, content_type, body) = match request.uri().path() {
        "/" => {
            if behaviour == Behaviour::Slow {
                tokio::time::sleep(SLOW).await;
            }
            let failing = behaviour == Behaviour::Failing;
            let counter = if failing { &app.failed } else { &app.succeeded };
            counter.fetch_add(1, Ordering::Relaxed);
            let text = if failing { "internal error" } else { "hello" };
            (code(failing, 500), "text/plain", format!("{text} from {}\n", app.identity.version))
        }
        "/healthz" => {
            let unready = app.too_late || matches!(behaviour, Behaviour::NeverReady | Behaviour::Crashing);
            (code(unready, 503), "text/plain", "health\n".to_owned())
        }
        "/smoke" => (code(behaviour == Behaviour::UnhealthySmoke, 500), "text/plain", "smoke\n".to_owned()),
        "/version" => (StatusCode::OK, "application/json", version(app)),
        "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4", metrics(app)),
        _ => (StatusCode::NOT_FOUND, "text/plain", "not found\n".to_owned()),
    };
    if status.as_u16() >= 500 {
        (app.log)(&format!("ERROR {} {} -> {}", request.method(), request.uri().path(), status.as_u16()));
    }
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    response
}

fn code(failing: bool, failure: u16) -> StatusCode {
    if failing { StatusCode::from_u16(failure).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR) } else { StatusCode::OK }
}

fn version(app: &App) -> String {
    serde_json::json!({
        "version": app.identity.version,
        "behaviour": app.behaviour().name(),
        "pod": app.identity.pod,
    })
    .to_string()
}

fn metrics(app: &App) -> String {
    let version = &app.identity.version;
    let behaviour = app.behaviour();
    let succeeded = app.succeeded.load(Ordering::Relaxed);
    let failed = app.failed.load(Ordering::Relaxed);
    format!(
        "# HELP http_requests_total Requests to / by status code.\n\
         # TYPE http_requests_total counter\n\
         http_requests_total{{code=\"200\",version=\"{version}\"}} {succeeded}\n\
         http_requests_total{{code=\"500\",version=\"{version}\"}} {failed}\n\
         # HELP app_info What runs here.\n\
         # TYPE app_info gauge\n\
         app_info{{version=\"{version}\",behaviour=\"{behaviour}\"}} 1\n"
    )
}
