//! One container's life: pulling, running, being probed, crashing, backing off, starting again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;

use super::configuration;
use super::image::{self, Program};
use super::probe::{self, Pace};
use crate::sim::Shared;
use crate::sim::events;
use crate::sim::ident;
use crate::sim::json::Json as _;
use crate::sim::tags;
use crate::workload::{Behaviour, Identity, Steering, serve};

/// How often a failing probe is told as an event: not every quarter of a second.
const TELL_EVERY: u32 = 12;
/// How long an imagined container lives whose program crashes; the real one takes as long.
const CRASH_AFTER: Duration = Duration::from_millis(300);

/// Everything a container's task needs.
pub(super) struct Container {
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Value>,
    pub(super) spec: Value,
    pub(super) index: usize,
    pub(super) ip: IpAddr,
    /// Takes the container's status whenever it changes.
    pub(super) report: UnboundedSender<(usize, Value)>,
}

impl Container {
    /// Lives until the task is dropped.
    pub(super) async fn live(self) {
        let mut status = waiting(&self.spec);
        let mut restarts = 0;
        loop {
            let program = self.pulled(&mut status).await;
            status.put("/restartCount", restarts);
            let exit = self.run(&program, &mut status).await;
            let id = status.text("/containerID").to_owned();
            let started = status.at("/state/running/startedAt").clone();
            let ended = json!({"terminated": {
                "exitCode": exit, "reason": "Error", "startedAt": started, "finishedAt": ident::now_text(),
                "containerID": id,
            }});
            status.put("/ready", false);
            status.put("/started", false);
            status.put("/state", ended.clone());
            self.send(&status);
            tokio::time::sleep(self.shared.timing.settle).await;
            self.back_off(&mut status, ended, restarts).await;
            restarts += 1;
        }
    }

    fn send(&self, status: &Value) {
        // The pod's task only goes away together with this one.
        let _ = self.report.send((self.index, status.clone()));
    }

    fn emit(&self, reason: &str, message: &str) {
        events::emit(&self.shared.store, &self.pod, "kubelet", reason, message);
    }

    /// Waits until everything is there that it refers to.
    async fn configured(&self, status: &mut Value) -> Value {
        let namespace = self.pod.text("/metadata/namespace");
        let look = |kind: &str, name: &str| self.shared.store.get(kind, namespace, name);
        loop {
            match configuration::resolved(&self.pod, &self.spec, &look) {
                Ok(container) => return container,
                Err(missing) => {
                    self.emit("Failed", &format!("Error: {missing}"));
                    self.wait(status, "CreateContainerConfigError", &missing);
                    tokio::time::sleep(self.shared.timing.backoff).await;
                }
            }
        }
    }

    /// What the file that `BEHAVIOUR_FILE` names says, where it is mounted from a ConfigMap or a Secret.
    fn steering(&self, program: &Program) -> Steering {
        let file = program.steered_by.as_deref().and_then(|path| configuration::mounted(&self.pod, &self.spec, path));
        let (shared, namespace) = (Arc::clone(&self.shared), self.pod.text("/metadata/namespace").to_owned());
        Arc::new(move || {
            let file = file.as_ref()?;
            let object = shared.store.get(file.kind, &namespace, &file.name)?;
            configuration::value(file.kind, &object, &file.key)?.trim().parse().ok()
        })
    }

    /// Waits until everything is there, the image too, which may be another one each time.
    async fn pulled(&self, status: &mut Value) -> Program {
        let image = self.spec.text("/image");
        let timing = self.shared.timing;
        let mut pause = timing.backoff;
        let mut container = self.configured(status).await;
        loop {
            if let Some(content) = self.shared.content(image) {
                container.put("/image", content.clone());
                let program = image::program(&container, self.pod.text("/metadata/name"));
                let normally = program.identity.behaviour != Behaviour::Unpullable;
                if self.shared.pull_allowed(image).unwrap_or(normally) {
                    status.put("/imageID", tags::image_id(image, &content));
                    self.emit("Pulled", &format!("Container image {image:?} already present on machine"));
                    return program;
                }
            }
            let message =
                format!("rpc error: code = NotFound desc = failed to pull and unpack image {image:?}: {image}: not found");
            self.emit("Failed", &format!("Failed to pull image {image:?}: {message}"));
            self.wait(status, "ErrImagePull", &message);
            tokio::time::sleep(timing.settle).await;
            let message = format!("Back-off pulling image {image:?}");
            self.emit("BackOff", &message);
            self.wait(status, "ImagePullBackOff", &message);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(timing.backoff_limit);
        }
    }

    fn wait(&self, status: &mut Value, reason: &str, message: &str) {
        status.put("/state", json!({"waiting": {"reason": reason, "message": message}}));
        self.send(status);
    }

    async fn back_off(&self, status: &mut Value, ended: Value, restarts: u32) {
        let timing = self.shared.timing;
        let pause = timing.backoff.saturating_mul(2_u32.saturating_pow(restarts)).min(timing.backoff_limit);
        let (pod, container) = (self.pod.text("/metadata/name"), self.spec.text("/name"));
        let namespace = self.pod.text("/metadata/namespace");
        self.emit("BackOff", &format!("Back-off restarting failed container {container} in pod {pod}_{namespace}"));
        status.put("/lastState", ended);
        let message = format!("back-off {}s restarting failed container={container} pod={pod}_{namespace}", pause.as_secs_f32());
        self.wait(status, "CrashLoopBackOff", &message);
        tokio::time::sleep(pause).await;
    }

    /// Runs the container once and answers its exit code.
    async fn run(&self, program: &Program, status: &mut Value) -> u8 {
        let name = self.spec.text("/name");
        let uid = self.pod.text("/metadata/uid");
        self.shared.logs.start(uid, name);
        status.put("/containerID", format!("simulated://{}", ident::sha256(&ident::uid())));
        status.put("/state", json!({"running": {"startedAt": ident::now_text()}}));
        status.put("/started", true);
        let bound = if self.shared.imagined { Ok(None) } else { TcpListener::bind((self.ip, program.port)).await.map(Some) };
        let listener = match bound {
            Ok(listener) => listener,
            Err(error) => {
                let line = format!("can't listen on port {}: {error}", program.port);
                self.shared.logs.push(uid, name, &line);
                return 1;
            }
        };
        self.emit("Created", &format!("Created container: {name}"));
        self.emit("Started", &format!("Started container {name}"));
        let ready = self.spec.get("readinessProbe").is_none();
        status.put("/ready", ready);
        self.send(status);
        let Some(listener) = listener else { return self.imagine(program, status).await };
        let log = {
            let (shared, uid, name) = (Arc::clone(&self.shared), uid.to_owned(), name.to_owned());
            Arc::new(move |line: &str| shared.logs.push(&uid, &name, line))
        };
        tokio::select! {
            exit = serve(listener, program.identity.clone(), self.steering(program), log) => exit,
            () = self.watch_liveness() => 137,
            () = self.watch_readiness(status) => 1,
        }
    }

    /// Runs without a process: crashes when the behaviour says so, else becomes ready if it ever would, and stays.
    async fn imagine(&self, program: &Program, status: &mut Value) -> u8 {
        let Identity { behaviour, ready_before, .. } = program.identity;
        if behaviour == Behaviour::Crashing {
            tokio::time::sleep(CRASH_AFTER).await;
            return 1;
        }
        let too_late = ready_before.is_some_and(|second| ident::now().as_second() > second);
        let ready = !too_late && behaviour != Behaviour::NeverReady;
        if let Some(probe) = self.spec.get("readinessProbe").filter(|_| ready) {
            let pace = Pace::of(probe);
            let successes = u32::try_from(pace.successes).unwrap_or(1);
            tokio::time::sleep(pace.delay + pace.period.saturating_mul(successes)).await;
            status.put("/ready", true);
            self.send(status);
        }
        std::future::pending().await
    }

    /// Keeps the readiness up to date; never ends.
    async fn watch_readiness(&self, status: &mut Value) {
        let Some(probe) = self.spec.get("readinessProbe") else {
            return std::future::pending().await;
        };
        let pace = Pace::of(probe);
        tokio::time::sleep(pace.delay).await;
        let (mut good, mut bad, mut told) = (0, 0, 0_u32);
        loop {
            match probe::check(self.ip, &self.spec, probe).await {
                Ok(()) => (good, bad, told) = (good + 1, 0, 0),
                Err(why) => {
                    (good, bad) = (0, bad + 1);
                    if told % TELL_EVERY == 0 {
                        self.emit("Unhealthy", &format!("Readiness probe failed: {why}"));
                    }
                    told += 1;
                }
            }
            let ready = status.flag("/ready");
            let now = if ready { bad < pace.failures } else { good >= pace.successes };
            if now != ready {
                status.put("/ready", now);
                self.send(status);
            }
            tokio::time::sleep(pace.period).await;
        }
    }

    /// Ends when the container has failed its liveness probe often enough.
    async fn watch_liveness(&self) {
        let Some(probe) = self.spec.get("livenessProbe") else {
            return std::future::pending().await;
        };
        let pace = Pace::of(probe);
        tokio::time::sleep(pace.delay).await;
        let mut bad = 0;
        while bad < pace.failures {
            match probe::check(self.ip, &self.spec, probe).await {
                Ok(()) => bad = 0,
                Err(why) => {
                    bad += 1;
                    self.emit("Unhealthy", &format!("Liveness probe failed: {why}"));
                }
            }
            tokio::time::sleep(pace.period).await;
        }
        let name = self.spec.text("/name");
        self.emit("Killing", &format!("Container {name} failed liveness probe, will be restarted"));
    }
}

/// The status of a container that hasn't started yet.
pub(super) fn waiting(spec: &Value) -> Value {
    json!({
        "name": spec.text("/name"),
        "image": spec.text("/image"),
        "imageID": "",
        "ready": false,
        "started": false,
        "restartCount": 0,
        "lastState": {},
        "state": {"waiting": {"reason": "ContainerCreating"}},
    })
}

/// The status of an init container, which always succeeds at once here.
pub(super) fn initialised(shared: &Shared, spec: &Value) -> Value {
    let now = ident::now_text();
    let mut status = waiting(spec);
    let content = shared.content(spec.text("/image")).unwrap_or_default();
    status.put("/imageID", tags::image_id(spec.text("/image"), &content));
    status.put("/ready", true);
    status.put("/state", json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}));
    status
}

/// How the simulated kubelet paces itself; a real one is ten times slower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How long short-lived states stay visible.
    pub(crate) settle: Duration,
    /// The first back-off after a crash or a failed pull; it doubles.
    pub(crate) backoff: Duration,
    /// The longest back-off.
    pub(crate) backoff_limit: Duration,
    /// How long a deleted pod lives on.
    pub(crate) termination: Duration,
}
