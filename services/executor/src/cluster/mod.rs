//! Cluster access: plain JSON in and out, and what each answer means.
//!
//! Guarantees: objects keep every field, also those this binary has never heard of; every write names its field manager and is
//! guarded by the resourceVersion in its body. Must not: decide what to write.

mod kind;
pub mod mirror;

use std::sync::Arc;

use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use kind::Kind;

use crate::strategies::ownership::{self, MANAGER, Owners};

/// How much of a log is read at most: a line of it can be of any length.
const LOG_BYTES: i64 = 64 * 1024;

/// What the API server made of a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Somebody else wrote first, or it exists already: read again.
    #[error("the object was changed by somebody else: {0}")]
    Conflict(String),
    /// It does not exist.
    #[error("there is no such object: {0}")]
    NotFound(String),
    /// The server will never accept this.
    #[error("the API server refuses it ({code}): {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server is away, or the answer was lost: whether it was done is not known.
    #[error("the API server can't be reached: {0}")]
    Outage(String),
}

impl ApiError {
    /// What an unimportant request came to: what it answered, or why the server will never accept it. An outage is an error still.
    pub fn optional<T>(result: Result<T, Self>) -> Result<Result<T, String>, Self> {
        match result {
            Ok(done) => Ok(Ok(done)),
            Err(refused @ Self::Refused { .. }) => Ok(Err(refused.to_string())),
            Err(error) => Err(error),
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        if chassis::cluster::is_outage(&error) {
            return Self::Outage(match &error {
                kube::Error::Api(status) => status.message.clone(),
                other => chain(other),
            });
        }
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict(status.message),
            kube::Error::Api(status) if status.code == 404 => Self::NotFound(status.message),
            kube::Error::Api(status) => Self::Refused { code: status.code, message: status.message },
            // No answer of the API server's own (a proxy's page, a cut-off body, credentials that can't be had just now): whether
            // a write was made is not known, and saying that it was refused could be untrue.
            other => Self::Outage(chain(&other)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.ends_with(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    text
}

/// Reads and writes; cheap to clone, clones share connections.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    endpoints: Arc<OnceCell<Kind>>,
}

impl Cluster {
    /// On this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, endpoints: Arc::new(OnceCell::new()) }
    }

    async fn send(&self, request: Result<http::Request<Vec<u8>>, kube::core::request::Error>) -> Result<Value, ApiError> {
        let request = request.map_err(|error| ApiError::Refused { code: 0, message: error.to_string() })?;
        Ok(self.client.request::<Value>(request).await?)
    }

    /// Reads one object; `None` when it does not exist.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        match self.send(kind.request(namespace).get(name, &GetParams::default())).await {
            Ok(object) => Ok(Some(object)),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the objects that a label selector selects.
    pub async fn list(&self, kind: Kind, namespace: &str, selector: &str) -> Result<Vec<Value>, ApiError> {
        let mut list = self.send(kind.request(namespace).list(&ListParams::default().labels(selector))).await?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Lists the objects of all namespaces that a label selector selects.
    pub async fn list_everywhere(&self, kind: Kind, selector: &str) -> Result<Vec<Value>, ApiError> {
        let mut list = self.send(kind.request_everywhere().list(&ListParams::default().labels(selector))).await?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Deletes an object, if it is still there.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), ApiError> {
        match self.send(kind.request(namespace).delete(name, &DeleteParams::default())).await {
            Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Replaces an object, guarded by the resourceVersion in it; answers with what the server made of it.
    pub async fn put(&self, kind: Kind, namespace: &str, name: &str, object: &Value, dry_run: bool) -> Result<Value, ApiError> {
        let params = PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) };
        self.send(kind.request(namespace).replace(name, &params, object.to_string().into_bytes())).await
    }

    /// Creates an object.
    pub async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        let params = PostParams { dry_run: false, field_manager: Some(MANAGER.to_owned()) };
        self.send(kind.request(namespace).create(&params, object.to_string().into_bytes())).await
    }

    /// Sets annotations, guarded by a resourceVersion.
    pub async fn annotate(&self, kind: Kind, live: &Value, annotations: &Value) -> Result<Value, ApiError> {
        let patch = json!({"metadata": {"resourceVersion": live["metadata"]["resourceVersion"], "annotations": annotations}});
        self.patch(kind, live, &Patch::Merge(patch)).await
    }

    async fn patch(&self, kind: Kind, live: &Value, patch: &Patch<Value>) -> Result<Value, ApiError> {
        let (namespace, name) = place(live);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.send(kind.request(namespace).patch(name, &params, patch)).await
    }

    /// Drops our `managedFields` entry and gives each of its fields to its owner; `before` and `recorded` as in `Owners`.
    /// Answers with the object as it is then.
    pub async fn release(
        &self,
        kind: Kind,
        live: Value,
        before: Option<&Value>,
        recorded: Option<&Value>,
        root: &[&str],
    ) -> Result<Value, ApiError> {
        let owners = Owners { now: &live["metadata"]["managedFields"], before, recorded };
        let Some(managed_fields) = ownership::release(owners, root) else { return Ok(live) };
        // An empty list would mean "as they are"; a list with one empty entry resets them.
        let managed_fields = if managed_fields == json!([]) { json!([{}]) } else { managed_fields };
        let patch: json_patch::Patch = serde_json::from_value(json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": managed_fields},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        ]))
        .map_err(|error| ApiError::Refused { code: 0, message: error.to_string() })?;
        self.patch(kind, &live, &Patch::Json(patch)).await
    }

    /// Deletes a pod, if it is still this very one; at once when `force`.
    pub async fn delete_pod(&self, namespace: &str, name: &str, uid: &str, force: bool) -> Result<(), ApiError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            grace_period_seconds: force.then_some(0),
            ..DeleteParams::default()
        };
        match self.send(Kind::Pod.request(namespace).delete(name, &params)).await {
            Ok(_) | Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes a pod as it was read; `false` when it has changed since, and was not deleted.
    pub async fn delete_as_read(&self, pod: &Value) -> Result<bool, ApiError> {
        let (namespace, name) = place(pod);
        let text = |key: &str| pod["metadata"][key].as_str().map(ToOwned::to_owned);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: text("uid"), resource_version: text("resourceVersion") }),
            ..DeleteParams::default()
        };
        match self.send(Kind::Pod.request(namespace).delete(name, &params)).await {
            Ok(_) => Ok(true),
            Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last lines that a container wrote.
    pub async fn log_tail(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: i64,
    ) -> Result<String, ApiError> {
        let params = LogParams {
            container: Some(container.to_owned()),
            tail_lines: Some(lines),
            limit_bytes: Some(LOG_BYTES),
            previous,
            ..LogParams::default()
        };
        let request = Kind::Pod.request(namespace).logs(pod, &params);
        let request = request.map_err(|error| ApiError::Refused { code: 0, message: error.to_string() })?;
        Ok(self.client.request_text(request).await?)
    }

    /// EndpointSlices where the server has them in v1, else core Endpoints. Asked once.
    pub async fn endpoints_kind(&self) -> Result<Kind, ApiError> {
        let ask = async || match self.client.list_api_group_resources("discovery.k8s.io/v1").await {
            Ok(list) if list.resources.iter().any(|resource| resource.name == "endpointslices") => Ok(Kind::EndpointSlice),
            Ok(_) => Ok(Kind::Endpoints),
            Err(error) => match ApiError::from(error) {
                outage @ ApiError::Outage(_) => Err(outage),
                _ => Ok(Kind::Endpoints),
            },
        };
        self.endpoints.get_or_try_init(ask).await.copied()
    }

    /// The client below, for watches.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

/// Namespace and name of an object.
#[must_use]
pub fn place(object: &Value) -> (&str, &str) {
    let part = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    (part("namespace"), part("name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_words_are_a_refusal() {
        let page = serde_json::from_str::<Value>("<html>").unwrap_err();
        assert!(matches!(ApiError::from(kube::Error::SerdeError(page)), ApiError::Outage(_)));
        let status = kube::core::Status::failure("no", "Invalid").with_code(422).boxed();
        assert!(matches!(ApiError::from(kube::Error::Api(status)), ApiError::Refused { code: 422, .. }));
    }
}
