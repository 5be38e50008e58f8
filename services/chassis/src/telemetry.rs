//! Telemetry: one start for log lines, traces and metrics.
//!
//! Guarantees: log lines go to stderr; the trace that is under way travels in `traceparent` headers, so that an incident is one
//! trace across services; traces are exported only where an endpoint is configured. Must not: stop a service because a
//! collector is away.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use opentelemetry_sdk::{Resource, trace};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, Telemetry as Config};

/// Buckets for durations, seconds: from a bus append to a long rollout.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// What is wrong with the telemetry's configuration.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter.
    #[error("`telemetry.log`: `{filter}` is no log filter")]
    Filter {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter of traces.
    #[error("`telemetry.otlp_endpoint`: {0}")]
    Exporter(String),
    /// The recorder of metrics.
    #[error("metrics can't be recorded: {0}")]
    Recorder(String),
}

/// Started telemetry; keep it until the end.
#[derive(Clone)]
pub struct Telemetry {
    metrics: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("traces", &self.traces.is_some()).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts it for this process; within a tokio runtime. A second start keeps the first's subscriber and recorder.
    pub fn start(service: &str, config: &Config) -> Result<Self, TelemetryError> {
        let filter = std::env::var("LASTGOOD_LOG").unwrap_or_else(|_| config.log.clone());
        let filter = EnvFilter::try_new(&filter).map_err(|source| TelemetryError::Filter { filter, source })?;
        let traces = config.otlp_endpoint.as_deref().map(|endpoint| exporter(service, endpoint)).transpose()?;
        let lines = match config.format {
            LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
            LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        };
        let spans =
            traces.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service.to_owned())));
        // Only tests start it twice in one process.
        let _ = tracing_subscriber::registry().with(filter).with(lines).with(spans).try_init();
        Ok(Self { metrics: recorder()?, traces })
    }

    /// The metrics as Prometheus reads them.
    #[must_use]
    pub fn render(&self) -> String {
        self.metrics.render()
    }

    /// Drops what is too old; to be called now and then.
    pub fn upkeep(&self) {
        self.metrics.run_upkeep();
    }

    /// Sends the traces that are left. Takes up to some seconds when the collector is away.
    pub async fn flush(&self) {
        if let Some(traces) = self.traces.clone() {
            let ended = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(Duration::from_secs(3))).await;
            if let Ok(Err(error)) = ended {
                eprintln!("traces may be lost: {error}");
            }
        }
    }
}

fn recorder() -> Result<PrometheusHandle, TelemetryError> {
    static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new().set_buckets(SECONDS).map_err(|error| error.to_string())?;
        builder.install_recorder().map_err(|error| error.to_string())
    };
    RECORDER.get_or_init(install).clone().map_err(TelemetryError::Recorder)
}

fn exporter(service: &str, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    crate::cluster::install_crypto();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(reqwest::Client::new())
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(3))
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let exporter = OnTokio { exporter: Arc::new(exporter), runtime: tokio::runtime::Handle::current() };
    let resource = Resource::builder().with_service_name(format!("lastgood-{service}")).build();
    Ok(trace::SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Exports on tokio: the batch processor's own thread has no reactor for the HTTP client.
#[derive(Debug)]
struct OnTokio {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: tokio::runtime::Handle,
}

impl SpanExporter for OnTokio {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        let sent = self.runtime.spawn(async move { exporter.export(batch).await }).await;
        sent.unwrap_or_else(|error| Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure(error.to_string())))
    }
}

/// The current span as a W3C `traceparent`; `None` when no traces are exported.
#[must_use]
pub fn traceparent() -> Option<String> {
    let mut headers = std::collections::HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut headers);
    headers.remove("traceparent")
}

/// Makes a span the child of a `traceparent` from somewhere else; one that is absent or not understood is passed over.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent {
        let headers = std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // Fails only where no traces are exported.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
    }
}
