//! Configuration from nowhere: any file and any environment is read, or refused with the key, and never a panic.

use std::io::Write as _;

use chassis::config::{Admin, ConfigError, Kubernetes, Nats, Telemetry, load_from};
use fuzz::{Plan, Random, corpus, mutate, run};
use serde::Deserialize;

/// What every service has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    nats: Nats,
    admin: Admin,
    telemetry: Telemetry,
    kubernetes: Kubernetes,
}

/// A refusal names the key, or the file where that is no tree at all, and says why.
fn is_told(error: &ConfigError) {
    let text = error.to_string();
    match error {
        ConfigError::Refused { key, origin, reason } => {
            assert!(!key.is_empty() || !origin.starts_with("default"), "{text}");
            assert!(!reason.is_empty(), "{text}");
        }
        ConfigError::Malformed { format, reason, .. } => assert!(!format.is_empty() && !reason.is_empty(), "{text}"),
        ConfigError::Unreadable { .. } => {}
    }
}

fn variables(random: &mut Random) -> Vec<(String, String)> {
    let keys = [
        "LASTGOOD_NATS__URLS",
        "LASTGOOD_NATS__TLS__CA_FILE",
        "LASTGOOD_NATS__PASSWORD",
        "LASTGOOD_ADMIN__LISTEN",
        "LASTGOOD_KUBERNETES__CLUSTER",
        "LASTGOOD_NATS__MAX_BYTES",
        "LASTGOOD_NATS",
    ];
    let values: Vec<Vec<u8>> = ["nats://a:1,nats://b:2", "[a, {b: c}]", "12", "30s", "", "s3cret", "{urls: [x]}"]
        .map(|text| text.as_bytes().to_vec())
        .into();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (0..random.below(4))
        .map(|_| {
            let key = random.of(&keys).as_bytes().to_vec();
            let key = if random.once_in(3) { mutate(random, &[key]) } else { key };
            let value = if random.once_in(2) { random.of(&values).clone() } else { mutate(random, &values) };
            (text(key), text(value))
        })
        .collect()
}

#[test]
fn any_environment_is_read_or_refused_by_its_key() {
    run("environments", Plan::of(40_000), |random| match load_from::<Config>(None, variables(random)) {
        Ok(_) => true,
        Err(error) => {
            is_told(&error);
            assert!(matches!(error, ConfigError::Refused { .. }), "{error}");
            false
        }
    });
}

#[test]
fn any_file_is_read_or_refused_with_what_is_wrong() {
    let files = corpus("config");
    let dir = tempfile::tempdir().expect("a directory");
    run("configuration files", Plan::of(3_000), |random| {
        let bytes = if random.once_in(20) { random.of(&files).clone() } else { mutate(random, &files) };
        let path = dir.path().join(random.of(&["config.toml", "config.yaml", "config.yml", "config.ini"]));
        std::fs::File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("the file is written");
        match load_from::<Config>(Some(&path), variables(random)) {
            Ok(_) => true,
            Err(error) => {
                is_told(&error);
                false
            }
        }
    });
}

/// Files and variables that make a tree which is too deep to walk, or too large to hold.
#[test]
fn a_deep_or_self_referring_configuration_overflows_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let laughs = |n: usize| format!("b{n}: &b{n} [{}]\n", vec![format!("*b{}", n - 1); 10].join(","));
    let bombs = [
        ("deep.yaml", format!("nats: {}", "[".repeat(100_000))),
        ("deep.toml", format!("nats = {}", "[".repeat(100_000))),
        ("indented.yaml", (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<Vec<_>>().concat()),
        ("table.toml", format!("[nats{}]\n", ".a".repeat(50_000))),
        ("dotted.toml", format!("nats{} = 1\n", ".a".repeat(50_000))),
        ("laughs.yaml", format!("b0: &b0 [x,x,x,x,x,x,x,x,x,x]\n{}", (1..10).map(laughs).collect::<Vec<_>>().concat())),
    ];
    for (name, text) in bombs {
        println!("{name}");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        is_told(&load_from::<Config>(Some(&path), Vec::new()).expect_err(name));
    }
    println!("a deep value");
    let deep = [("LASTGOOD_NATS__URLS".to_owned(), "[".repeat(100_000))];
    is_told(&load_from::<Config>(None, deep).expect_err("a deep variable"));
    println!("a deep key");
    let nested = [(format!("LASTGOOD_NATS{}", "__A".repeat(20_000)), "x".to_owned())];
    is_told(&load_from::<Config>(None, nested).expect_err("a deep key"));
}
