//! Cluster access: one way to build a Kubernetes client, and what its errors mean.
//!
//! Guarantees: every request's answer begins within the configured time (a watch's stream may then go on); TLS is rustls with
//! aws-lc-rs alone. Must not: know what is read or written.

use std::error::Error as StdError;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

use crate::config;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig file or its context.
    #[error("`kubernetes.kubeconfig`, `kubernetes.context`: the cluster's configuration can't be used")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    /// No kubeconfig and no service account.
    #[error("no kubeconfig and no service account were found")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The client can't be built from it.
    #[error("the Kubernetes client can't be built")]
    Client(#[source] Box<kube::Error>),
}

/// Makes aws-lc-rs the process's one TLS provider; more calls do no harm.
pub fn install_crypto() {
    // An error means that one is installed, which can only be this one: no other is compiled in.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Connects as configured; does not talk to the cluster yet.
pub async fn connect(kubernetes: &config::Kubernetes) -> Result<Client, ClusterError> {
    install_crypto();
    let mut config = read_config(kubernetes).await?;
    config.connect_timeout = kubernetes.connect_timeout.or(Some(kubernetes.request_timeout));
    let built = ClientBuilder::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))?;
    Ok(built
        .with_layer(&tower::layer::layer_fn(tower::util::BoxService::new))
        .with_layer(&TimeoutLayer::new(kubernetes.request_timeout))
        .build())
}

async fn read_config(kubernetes: &config::Kubernetes) -> Result<Config, ClusterError> {
    let kubeconfig = |error| ClusterError::Kubeconfig(Box::new(error));
    let options = KubeConfigOptions { context: kubernetes.context.clone(), ..KubeConfigOptions::default() };
    match (&kubernetes.kubeconfig, &kubernetes.context) {
        (Some(path), _) => {
            let read = Kubeconfig::read_from(path).map_err(kubeconfig)?;
            Config::from_custom_kubeconfig(read, &options).await.map_err(kubeconfig)
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(kubeconfig),
        (None, None) => Config::infer().await.map_err(|error| ClusterError::Infer(Box::new(error))),
    }
}

/// Whether the API server is away or too busy: the same request may succeed later, whatever it was.
#[must_use]
pub fn is_outage(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) | kube::Error::Service(_) => true,
        other => is_io(other),
    }
}

/// Whether somebody else wrote first (a stale `resourceVersion`, or a failed precondition).
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether there is no such object, or no such API.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an error comes from the network in the end.
fn is_io(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<std::io::Error>() || error.is::<hyper::Error>() || error.is::<tower::timeout::error::Elapsed>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("no", "Because").with_code(code).boxed())
    }

    #[test]
    fn errors_are_told_apart() {
        for (code, outage, conflict, missing) in [
            (503, true, false, false),
            (500, true, false, false),
            (429, true, false, false),
            (409, false, true, false),
            (404, false, false, true),
            (422, false, false, false),
            (403, false, false, false),
        ] {
            let error = api(code);
            assert_eq!((is_outage(&error), is_conflict(&error), is_not_found(&error)), (outage, conflict, missing), "{code}");
        }
        let elapsed: tower::BoxError = Box::new(tower::timeout::error::Elapsed::new());
        assert!(is_outage(&kube::Error::Service(elapsed)));
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_an_outage() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let server = format!("http://{}", silent.local_addr().unwrap());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let kubernetes = config::Kubernetes {
            kubeconfig: Some(path),
            request_timeout: std::time::Duration::from_millis(100),
            ..config::Kubernetes::default()
        };
        let client = connect(&kubernetes).await.unwrap();
        let error = client.apiserver_version().await.unwrap_err();
        assert!(is_outage(&error), "{error:?}");
    }
}
