//! A secret value: it can be used, and never seen by accident.
//!
//! Guarantee: `Debug` prints `[redacted]`, and there is no `Display` and no `Serialize`. Must not: be logged by way of `expose`.

use serde::{Deserialize, Deserializer};

/// A password, token or key. In the configuration it is a text under its key `k`, or the file named under `k_file`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not the plain text's error: serde's would repeat the value.
        let secret = String::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("a secret must be a text; numbers need quotes"))?;
        if secret.is_empty() {
            return Err(serde::de::Error::custom("a secret must not be empty"));
        }
        Ok(Self(secret))
    }
}
