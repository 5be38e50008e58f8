//! Answers in the form that the client asked for: JSON objects, tables for kubectl, metadata alone, or plain text.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use serde_json::{Value, json};

use super::pages::Page;
use super::request::Call;
use crate::sim::error::ApiError;
use crate::sim::json::Json as _;
use crate::sim::kinds::Kind;
use crate::sim::table;

/// A whole body or a stream.
pub type Body = BoxBody<Bytes, Infallible>;

/// The form of objects in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    Metadata,
    /// A table, with whole objects or with their metadata beside the cells.
    Table {
        whole: bool,
    },
}

impl Form {
    /// What the request's `Accept` asks for first.
    pub(super) fn of(call: &Call) -> Self {
        let first = call.accept.split(',').next().unwrap_or_default();
        if first.contains("as=Table") {
            Self::Table { whole: call.parameter("includeObject") == "Object" }
        } else if first.contains("as=PartialObjectMetadata") {
            Self::Metadata
        } else {
            Self::Whole
        }
    }

    /// One object in this form.
    pub(super) fn object<'v>(self, kind: &Kind, object: &'v Arc<Value>) -> Cow<'v, Value> {
        match self {
            Self::Whole => Cow::Borrowed(&**object),
            Self::Metadata => Cow::Owned(metadata_only(object)),
            Self::Table { whole } => {
                let version = object.text("/metadata/resourceVersion");
                Cow::Owned(table::render(kind, std::slice::from_ref(object), version, whole))
            }
        }
    }

    /// A list in this form, as bytes.
    pub(super) fn list(self, kind: &Kind, page: &Page) -> Bytes {
        let Page { objects, version, rest } = page;
        let (list_kind, api_version) = match self {
            Self::Table { whole } => {
                let mut table = table::render(kind, objects, &version.to_string(), whole);
                if let Some(rest) = rest {
                    table.put("/metadata/continue", rest.token.as_str());
                    table.put("/metadata/remainingItemCount", rest.count);
                }
                return table.to_string().into();
            }
            Self::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Self::Whole => (format!("{}List", kind.name), kind.api_version()),
        };
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if let Some(rest) = rest {
            metadata["continue"] = rest.token.as_str().into();
            metadata["remainingItemCount"] = rest.count.into();
        }
        // Written by hand so that the objects need not be copied first.
        let mut text = format!("{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
            .into_bytes();
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            let partial;
            let value: &Value = if self == Self::Metadata {
                partial = metadata_only(object);
                &partial
            } else {
                object
            };
            serde_json::to_writer(&mut text, value).expect("a value can always be written to memory");
        }
        text.extend_from_slice(b"]}");
        text.into()
    }
}

pub(super) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.at("/metadata"),
    })
}

/// An answer made of bytes.
pub(super) fn bytes(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    with_body(status, content_type, Full::new(body.into()).boxed())
}

/// An answer with any body.
pub(super) fn with_body(status: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    response
}

/// An answer made of JSON.
pub(super) fn json(status: u16, value: &Value) -> Response<Body> {
    let body = serde_json::to_vec(value).expect("a value can always be written to memory");
    bytes(status, "application/json", body)
}

/// One stored object, in the form asked for.
pub(super) fn object(call: &Call, kind: &Kind, object: &Arc<Value>, status: u16) -> Response<Body> {
    match Form::of(call) {
        Form::Whole => json(status, object),
        form => json(status, &form.object(kind, object)),
    }
}

/// A refusal.
pub(super) fn failure(error: &ApiError) -> Response<Body> {
    json(error.code, &error.status())
}
