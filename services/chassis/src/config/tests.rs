//! Configuration: what is read, and what is refused with which words.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Executor {
    #[serde(with = "optional_duration")]
    patience: Option<Duration>,
    token: Option<Secret>,
    workers: u16,
    dry: bool,
    names: Vec<String>,
    labels: std::collections::BTreeMap<String, String>,
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rule {
    name: String,
    #[serde(with = "duration")]
    soak: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    nats: Nats,
    telemetry: Telemetry,
    kubernetes: Kubernetes,
    executor: Executor,
}

fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn refused(file: Option<&Path>, variables: &[(&str, &str)]) -> (String, String, String) {
    match load_from::<Config>(file, environment(variables)).unwrap_err() {
        ConfigError::Refused { key, origin, reason } => (key, origin, reason),
        other => panic!("{other}"),
    }
}

#[test]
fn what_kubernetes_says_of_services_is_passed_over() {
    let links = [
        "LASTGOOD_NATS_SERVICE_HOST",
        "LASTGOOD_NATS_SERVICE_PORT",
        "LASTGOOD_NATS_SERVICE_PORT_CLIENT",
        "LASTGOOD_ALERT_INGEST_PORT",
        "LASTGOOD_ALERT_INGEST_PORT_8080_TCP",
        "LASTGOOD_ALERT_INGEST_PORT_8080_TCP_ADDR",
        "LASTGOOD_PORT",
    ];
    for name in links {
        let loaded = load_from::<Config>(None, environment(&[(name, "tcp://10.96.0.1:4222")]));
        assert!(loaded.is_ok(), "{name}: {loaded:?}");
    }
    for name in ["LASTGOOD_NATS__PORT", "LASTGOOD_NATSURLS", "LASTGOOD_PORTS", "LASTGOOD_NATS_PORT_X_TCP"] {
        refused(None, &[(name, "x")]);
    }
}

#[test]
fn defaults_then_file_then_environment() {
    let yaml =
        "nats: {urls: [nats://a:1], replicas: 3}\nexecutor:\n  patience: 5m\n  workers: 2\n  rules: [{name: x, soak: 1h}]\n";
    let toml = "[nats]\nurls = [\"nats://a:1\"]\nreplicas = 3\n[executor]\npatience = \"5m\"\nworkers = 2\n\
                [[executor.rules]]\nname = \"x\"\nsoak = \"1h\"\n";
    for (name, text) in [("c.yaml", yaml), ("c.toml", toml)] {
        let (_dir, path) = file(name, text);
        let variables = [("LASTGOOD_EXECUTOR__WORKERS", "7"), ("LASTGOOD_NATS__URLS", "nats://b:1, nats://c:1"), ("HOME", "/")];
        let config: Config = load_from(Some(&path), environment(&variables)).unwrap();
        assert_eq!(config.nats.urls, ["nats://b:1", "nats://c:1"]);
        assert_eq!((config.nats.replicas, config.executor.workers), (3, 7));
        assert_eq!(config.executor.patience, Some(Duration::from_mins(5)));
        assert_eq!((config.executor.rules[0].name.as_str(), config.executor.rules[0].soak), ("x", Duration::from_hours(1)));
        assert_eq!(config.nats.request_timeout, Duration::from_secs(5), "a default beside given keys");
        assert_eq!(config.telemetry.log, "info");
    }
    assert_eq!(load_from::<Config>(None, environment(&[])).unwrap().nats.urls, ["nats://127.0.0.1:4222"]);
    let (_dir, empty) = file("empty.yaml", "");
    assert!(load_from::<Config>(Some(&empty), environment(&[])).is_ok());
}

#[test]
fn a_text_becomes_what_the_field_wants() {
    let variables = [
        ("LASTGOOD_EXECUTOR__DRY", "true"),
        ("LASTGOOD_EXECUTOR__NAMES", "[\"a,b\", \"1.10\"]"),
        ("LASTGOOD_EXECUTOR__LABELS", "{team: shop}"),
        ("LASTGOOD_EXECUTOR__RULES", "[{name: \"1.10\", soak: 30s}]"),
        ("LASTGOOD_TELEMETRY__FORMAT", "json"),
        ("LASTGOOD_TELEMETRY__LOG", "123"),
        ("LASTGOOD_NATS__TLS__REQUIRED", "true"),
        ("LASTGOOD_KUBERNETES__CLUSTER_LABEL", ""),
    ];
    let config: Config = load_from(None, environment(&variables)).unwrap();
    assert!(config.executor.dry && config.nats.tls.required);
    assert_eq!(config.executor.names, ["a,b", "1.10"]);
    assert_eq!(config.executor.labels["team"], "shop");
    assert_eq!(config.executor.rules[0].name, "1.10");
    assert_eq!((config.telemetry.format, config.telemetry.log.as_str()), (LogFormat::Json, "123"));
    assert_eq!(config.kubernetes.cluster_label, None);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let (_dir, path) = file("c.yaml", "executor: {rules: [{name: a, soak: soon}]}\n");
    let (key, origin, reason) = refused(Some(&path), &[]);
    assert_eq!((key.as_str(), origin), ("executor.rules.0.soak", format!("file {}", path.display())));
    assert!(reason.contains("`soon`") && reason.contains("30s"), "{reason}");
    let cases = [
        ("LASTGOOD_EXECUTOR__WORKERS", "many", "executor.workers", "`many`"),
        ("LASTGOOD_EXECUTOR__WORKERZ", "1", "executor.workerz", "unknown field"),
        ("LASTGOOD_EXECUTOUR__WORKERS", "1", "executour", "unknown field"),
        ("LASTGOOD_EXECUTOR__WORKERS", "70000", "executor.workers", "`70000`"),
        ("LASTGOOD_EXECUTOR__LABELS", "{team: [", "executor.labels", "not YAML"),
        ("LASTGOOD_KUBERNETES__CLUSTER", "Prod_1", "kubernetes.cluster", "`Prod_1`"),
        ("LASTGOOD_TELEMETRY__FORMAT", "xml", "telemetry.format", "unknown variant"),
        ("LASTGOOD_EXECUTOR____WORKERS", "1", "executor..workers", "empty"),
    ];
    for (name, text, key, reason) in cases {
        let refusal = refused(None, &[(name, text)]);
        assert_eq!((refusal.0.as_str(), refusal.1), (key, format!("environment variable {name}")), "{}", refusal.2);
        assert!(refusal.2.contains(reason), "{}", refusal.2);
    }
}

#[test]
fn other_services_sections_and_variables_are_passed_over() {
    let (_dir, path) = file("c.toml", "[notifier]\nanything = 1\n");
    let variables = [("LASTGOOD_INGEST__LISTEN", "x"), ("LASTGOOD_CONFIG", "y"), ("LASTGOOD_LOG", "debug")];
    assert!(load_from::<Config>(Some(&path), environment(&variables)).is_ok());
    // Inside a section of one's own, nothing is.
    assert_eq!(refused(None, &[("LASTGOOD_EXECUTOR__NATS__URLS", "x")]).0, "executor.nats");
}

#[test]
fn a_secret_comes_from_a_file_and_never_shows() {
    let (_dir, path) = file("token", "s3cret\n");
    let path = path.display().to_string();
    let config: Config = load_from(None, environment(&[("LASTGOOD_EXECUTOR__TOKEN_FILE", &path)])).unwrap();
    assert_eq!(config.executor.token.as_ref().map(Secret::expose), Some("s3cret"));
    assert!(!format!("{config:?}").contains("s3cret") && format!("{config:?}").contains("[redacted]"));
    let both = refused(None, &[("LASTGOOD_EXECUTOR__TOKEN_FILE", &path), ("LASTGOOD_EXECUTOR__TOKEN", "x")]);
    assert!(both.2.contains("both"), "{both:?}");
    let missing = refused(None, &[("LASTGOOD_EXECUTOR__TOKEN_FILE", "/nowhere/token")]);
    assert_eq!(missing.0, "executor.token_file");
    let (_dir, path) = file("c.yaml", "executor: {token: 12345678}\n");
    let number = refused(Some(&path), &[]);
    assert!(!number.2.contains("12345678"), "{number:?}");
}

#[test]
fn a_bad_file_is_named() {
    let (_dir, path) = file("c.ini", "");
    assert!(load_from::<Config>(Some(&path), []).unwrap_err().to_string().contains(".ini"));
    let (_dir, path) = file("c.toml", "= 1");
    assert!(load_from::<Config>(Some(&path), []).unwrap_err().to_string().contains("TOML"));
    let missing = load_from::<Config>(Some(Path::new("/nowhere.yaml")), []).unwrap_err();
    assert!(missing.to_string().contains("/nowhere.yaml"));
}
