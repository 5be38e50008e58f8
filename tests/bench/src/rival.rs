//! What lastgood is compared with: Debian's `webhook` (adnanh/webhook) with a hook that runs `kubectl rollout undo`.
//!
//! Guarantees: both programs are the distribution's own; kubectl is executed without a shell in between, and its discovery cache is
//! warm after the first call, which favours it. Must not: get any help from, or any hindrance by, lastgood.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::process::Daemon;
use testbed::{tools, wait};

use crate::stage;

/// A `webhook` that runs.
pub(crate) struct Rival {
    url: String,
    http: reqwest::Client,
    _daemon: Daemon,
}

impl Rival {
    /// Starts it for the cluster of this kubeconfig; files and log go to `dir`.
    pub(crate) async fn start(kubeconfig: &Path, dir: &Path) -> Result<Self> {
        let (webhook, kubectl) = (tools::webhook().await?, tools::kubectl().await?);
        let hooks = dir.join("hooks.json");
        std::fs::write(&hooks, hook(&kubectl, dir).to_string()).context("writing the hook")?;
        let address = stage::loopback()?;
        let (kubeconfig, home) = (kubeconfig.to_owned(), dir.to_owned());
        let daemon = Daemon::start("webhook", dir.join("webhook.log"), move || {
            let mut command = Command::new(&webhook);
            command.arg("-hooks").arg(&hooks).args(["-ip", "127.0.0.1", "-port", &address.port().to_string()]);
            command.env("KUBECONFIG", &kubeconfig).env("HOME", &home);
            command
        })?;
        let root = format!("http://{address}/");
        daemon.ready(Duration::from_secs(20), || async { wait::get(&root).await.map(drop) }).await.context("webhook")?;
        Ok(Self { url: format!("{root}hooks/undo"), http: stage::http()?, _daemon: daemon })
    }

    /// Posts a notification; done when it was accepted, which is before kubectl has run.
    pub(crate) async fn post(&self, notification: &Value) -> Result<()> {
        let answer = self.http.post(&self.url).json(notification).send().await.context("posting to webhook")?;
        let status = answer.status();
        // Read to the end, so that the connection is kept.
        let said = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "webhook: {status} {said}");
        Ok(())
    }
}

/// `kubectl rollout undo deployment NAME -n NAMESPACE`, with both names from the first alert's labels.
fn hook(kubectl: &Path, dir: &Path) -> Value {
    let word = |word: &str| json!({"source": "string", "name": word});
    let label = |label: &str| json!({"source": "payload", "name": format!("alerts.0.labels.{label}")});
    json!([{
        "id": "undo", "execute-command": kubectl, "command-working-directory": dir,
        "pass-arguments-to-command":
            [word("rollout"), word("undo"), word("deployment"), label("deployment"), word("-n"), label("namespace")],
    }])
}
