//! `GET /` and `GET /v1`: what there is, for a person with curl.
//!
//! Guarantee: says nothing of the configuration. Must not: need credentials.

use axum::Json;
use serde_json::{Value, json};

/// The endpoints.
pub(super) async fn get() -> Json<Value> {
    Json(json!({
        "service": "lastgood-alert-ingest",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": [
            {"method": "POST", "path": "/v1/alerts/alertmanager", "takes": "Alertmanager's webhook payload, version 4"},
            {"method": "POST", "path": "/v1/incidents/{id}/acknowledge", "takes": "{\"who\": \"…\", \"note\": \"…\"}"},
            {"method": "POST", "path": "/v1/acknowledgements/pagerduty", "takes": "PagerDuty's webhook v3, signed"},
        ],
    }))
}
