//! Configuration: defaults, then a file (TOML or YAML), then the environment; one loader for every service.
//!
//! A service's configuration is a struct of sections with `#[serde(deny_unknown_fields, default)]`; no `flatten` at its top.
//! `LASTGOOD_<SECTION>__<KEY>` overrides a key, deeper ones with one more `__`; lists and objects are written as YAML or JSON, a
//! list of texts also with commas. Any key `k` may be given as `k_file`: the file's text without its last newline.
//!
//! Guarantees: unknown keys and bad values are refused with their path, the reason and where they came from; sections of other
//! services are passed over, so that all can share one environment or file, and so are the variables that Kubernetes puts into every
//! pod for a Service called `lastgood…`. Must not: print a secret, or know a service.

mod deserialize;
mod node;
mod secret;
mod sections;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use node::{Node, Origin};
pub use secret::Secret;
pub use sections::{Admin, Kubernetes, LogFormat, Nats, NatsTls, Telemetry};

/// Sections that some service has; a service passes over the ones that are not its own.
pub const ALL_SECTIONS: &[&str] =
    &["nats", "admin", "telemetry", "kubernetes", "ingest", "detector", "orchestrator", "executor", "verifier", "notifier"];

/// Variables that start with `LASTGOOD_` and are not configuration keys.
pub const OTHER_VARIABLES: &[&str] = &["LASTGOOD_CONFIG", "LASTGOOD_LOG"];

/// How deep a tree of keys may be: what walks it walks no deeper.
const DEEPEST: usize = 16;

/// What every service takes on its command line.
#[derive(Debug, Clone, Default, clap::Parser)]
#[command(version, about = "A service of lastgood")]
pub struct Args {
    /// The configuration file, `.toml`, `.yaml` or `.yml`.
    #[arg(long, value_name = "FILE", env = "LASTGOOD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Read the configuration, say whether it is good, and end.
    #[arg(long)]
    pub check_config: bool,
}

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not TOML or YAML, as its name says it is.
    #[error("the configuration file {} is not good {format}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// "TOML" or "YAML".
        format: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// A key or a value is refused.
    #[error("configuration key `{key}` ({origin}): {reason}")]
    Refused {
        /// The path of the key, with dots.
        key: String,
        /// "file …", "environment variable …" or "default".
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the configuration of this service from the file that `args` name and the process's environment. `service` only
/// appears in the log.
pub fn load<T: DeserializeOwned>(service: &str, args: &Args) -> Result<T, ConfigError> {
    let loaded = load_from(args.config.as_deref(), std::env::vars());
    if loaded.is_ok() {
        tracing::debug!(service, file = ?args.config, "configuration read");
    }
    loaded
}

/// [`load`] from a file and an environment that are given.
pub fn load_from<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut root = match file {
        Some(path) => read_file(path)?,
        None => Node::empty(Origin::Default),
    };
    let mut variables: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with("LASTGOOD_") && !OTHER_VARIABLES.contains(&name.as_str()) && !is_service_link(name))
        .collect();
    variables.sort();
    for (name, text) in variables {
        let key = name["LASTGOOD_".len()..].to_ascii_lowercase();
        let path: Vec<&str> = key.split("__").collect();
        if path.len() > DEEPEST {
            return Err(ConfigError::Refused {
                key: path[..DEEPEST].join("."),
                origin: format!("environment variable {}", &name[..name.floor_char_boundary(100)]),
                reason: format!("no key has more than {DEEPEST} parts; this one has {}", path.len()),
            });
        }
        root.set(&path, &name, text).map_err(|reason| ConfigError::Refused {
            key: path.join("."),
            origin: format!("environment variable {name}"),
            reason,
        })?;
    }
    let origin = root.origin().clone();
    T::deserialize(deserialize::NodeDeserializer::root(root)).map_err(|error| error.or_of(&origin).into_config_error())
}

/// Whether Kubernetes set this variable for a Service (`LASTGOOD_NATS_SERVICE_HOST`, `LASTGOOD_NATS_PORT_4222_TCP_ADDR`, …): every
/// pod gets those of its namespace's Services, and their presence must not keep a service from starting.
fn is_service_link(name: &str) -> bool {
    let protocol = |rest: &str| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(|port| port.parse::<u16>().is_ok()) && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    let of_port = name.match_indices("_PORT").map(|(at, found)| &name[at + found.len()..]);
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || of_port.into_iter().any(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(protocol)))
}

fn read_file(path: &Path) -> Result<Node, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let malformed = |format, reason| ConfigError::Malformed { path: path.to_owned(), format, reason };
    let value: serde_json::Value = match extension {
        "toml" => toml::from_str(&text).map_err(|e| malformed("TOML", e.to_string()))?,
        "yaml" | "yml" if text.trim().is_empty() => serde_json::Value::Null,
        "yaml" | "yml" => serde_saphyr::from_str(&text).map_err(|e| malformed("YAML", e.to_string()))?,
        other => return Err(malformed("TOML or YAML", format!("its name ends in `.{other}`, not in .toml, .yaml or .yml"))),
    };
    Ok(match Node::from_value(value, &Origin::File(path.to_owned())) {
        Node::Null(origin) => Node::empty(origin),
        node => node,
    })
}

/// For `#[serde(with = "chassis::config::duration")]`: durations written `30s`, `5m`, `1h 30m`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads a duration out of a text; what is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text.trim()).map_err(|error| format!("`{text}` is not a duration like `30s` or `5m`: {error}"))
    }

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// Writes it the same way.
    pub fn serialize<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&humantime::format_duration(*length).to_string())
    }
}

/// For `#[serde(with = "chassis::config::optional_duration")]` (with `default`): the same, where it may be absent.
pub mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads a duration, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| {
            humantime::parse_duration(&text)
                .map_err(|error| D::Error::custom(format!("`{text}` is not a duration like `30s` or `5m`: {error}")))
        })
        .transpose()
    }

    /// Writes it the same way.
    pub fn serialize<S: Serializer>(length: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match length {
            Some(length) => serializer.serialize_some(&humantime::format_duration(*length).to_string()),
            None => serializer.serialize_none(),
        }
    }
}
