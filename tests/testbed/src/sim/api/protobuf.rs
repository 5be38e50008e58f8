//! The one body that kubectl (1.32 and later) insists on sending as protobuf and that everybody types: `create namespace`.
//!
//! Everything else in protobuf is refused; `apply -f` and `create -f` send JSON. Pure.

use std::collections::HashMap;

use prost::Message as _;
use serde_json::{Value, json};

use crate::sim::error::ApiError;

/// What every protobuf body of Kubernetes starts with.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, PartialEq, prost::Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
}

/// Reads a Namespace.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ApiError> {
    namespace(bytes).ok_or_else(|| {
        ApiError::unsupported_media_type("the simulated cluster takes JSON only: write a manifest and apply it".to_owned())
    })
}

fn namespace(bytes: &[u8]) -> Option<Value> {
    let unknown = Unknown::decode(bytes.strip_prefix(MAGIC)?).ok()?;
    if unknown.type_meta?.kind != "Namespace" {
        return None;
    }
    let metadata = Named::decode(unknown.raw.as_slice()).ok()?.metadata?;
    Some(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": metadata.name, "labels": metadata.labels, "annotations": metadata.annotations,
    }}))
}
