//! A registry of the test workload's images, in which a tag can be moved.
//!
//! Guarantees: a real cluster pulls from it over plain HTTP on loopback, as container runtimes do from there; what was pushed once can always
//! be pulled by its digest; on the simulated cluster the same names lead to the same versions. Must not: be reachable from elsewhere.
//!
//! The OCI distribution and image specifications (pull only).

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::ground::Ground;
use crate::real_cluster::{build_workload, layer_and_config, sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The repository's path behind the registry's address.
const PATH: &str = "lastgood/workload";

/// What is stored, by tag and by digest.
#[derive(Default)]
struct Stored {
    tags: HashMap<String, String>,
    blobs: HashMap<String, (&'static str, Bytes)>,
}

type Shared = Arc<Mutex<Stored>>;

/// A registry that runs until it is dropped.
pub struct Registry {
    repository: String,
    /// The static workload; none where nothing is pulled for real.
    program: Option<Vec<u8>>,
    stored: Shared,
    _server: JoinSet<()>,
}

impl Registry {
    /// Starts it for this cluster.
    pub async fn start(ground: &Ground) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening for the registry")?;
        let repository = format!("{}/{PATH}", listener.local_addr()?);
        let program = match ground.simulated() {
            Some(_) => None,
            None => Some(std::fs::read(build_workload().await?).context("reading the workload")?),
        };
        let stored = Shared::default();
        let router = Router::new()
            .route("/v2/", get(|| async { StatusCode::OK }))
            .route(&format!("/v2/{PATH}/manifests/{{reference}}"), get(manifest))
            .route(&format!("/v2/{PATH}/blobs/{{digest}}"), get(blob))
            .with_state(Arc::clone(&stored));
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends with the test, which has failed by then if it could not pull.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { repository, program, stored, _server: server })
    }

    /// The image's name without its tag.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Lets a tag lead to the version that another name stands for, as a push does.
    pub fn push(&self, ground: &Ground, tag: &str, version: &str) -> Result<()> {
        if let Some(cluster) = ground.simulated() {
            cluster.move_tag(&format!("{}:{tag}", self.repository), &format!("{}:{version}", self.repository));
            return Ok(());
        }
        let program = self.program.as_deref().context("no program to push")?;
        let (layer, config) = layer_and_config(program, &format!("{}:{version}", self.repository))?;
        // Its own: a node names an image that it has from elsewhere too by any of the two repositories.
        let mut config: Value = serde_json::from_str(&config).context("the image's configuration")?;
        config["author"] = json!(self.repository);
        let config = config.to_string();
        let blob = |media: &str, bytes: &[u8]| json!({"mediaType": media, "digest": sha256(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": blob(CONFIG, config.as_bytes()), "layers": [blob(LAYER, &layer)],
        });
        let manifest = Bytes::from(manifest.to_string());
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = sha256(&manifest);
        for (media, bytes) in [(LAYER, layer.into()), (CONFIG, config.into()), (MANIFEST, manifest)] {
            stored.blobs.insert(sha256(&bytes), (media, bytes));
        }
        stored.tags.insert(tag.to_owned(), digest);
        Ok(())
    }
}

async fn manifest(State(stored): State<Shared>, Path(reference): Path<String>) -> Response {
    let digest = stored.lock().unwrap_or_else(PoisonError::into_inner).tags.get(&reference).cloned();
    found(&stored, &digest.unwrap_or(reference))
}

async fn blob(State(stored): State<Shared>, Path(digest): Path<String>) -> Response {
    found(&stored, &digest)
}

fn found(stored: &Shared, digest: &str) -> Response {
    let Some((media, bytes)) = stored.lock().unwrap_or_else(PoisonError::into_inner).blobs.get(digest).cloned() else {
        let body: Value = json!({"errors": [{"code": "NOT_FOUND", "message": format!("{digest} was not pushed")}]});
        return (StatusCode::NOT_FOUND, axum::Json(body)).into_response();
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
    if let Ok(digest) = digest.parse() {
        headers.insert("docker-content-digest", digest);
    }
    (headers, bytes).into_response()
}
