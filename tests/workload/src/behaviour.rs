//! How a version of the test workload behaves, and how that is written in an image's tag. Pure.

use std::fmt;
use std::str::FromStr;

/// What a version of the workload does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Everything answers 200.
    #[default]
    Healthy,
    /// `/healthz` answers 503 for ever, so the pod never becomes ready.
    NeverReady,
    /// Never ready; prints a panic and exits with 1 after about 300 ms.
    Crashing,
    /// The image can't be pulled (simulated cluster only; on a real one the image doesn't exist).
    Unpullable,
    /// Ready, but `/` answers 500.
    Failing,
    /// Ready, but `/` takes three seconds.
    Slow,
    /// Ready, `/` and the metrics are fine, but `/smoke` answers 500.
    UnhealthySmoke,
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 7] =
        [Self::Healthy, Self::NeverReady, Self::Crashing, Self::Unpullable, Self::Failing, Self::Slow, Self::UnhealthySmoke];

    /// The name used in tags and in the environment.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::NeverReady => "never-ready",
            Self::Crashing => "crashing",
            Self::Unpullable => "unpullable",
            Self::Failing => "failing",
            Self::Slow => "slow",
            Self::UnhealthySmoke => "unhealthy-smoke",
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a behaviour that doesn't exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown behaviour {0:?}")]
pub struct UnknownBehaviour(pub String);

impl FromStr for Behaviour {
    type Err = UnknownBehaviour;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|b| b.name() == name).ok_or_else(|| UnknownBehaviour(name.to_owned()))
    }
}

/// Reads version and behaviour from an image name such as `docker.io/local/web:v2-failing`.
///
/// A plain tag (`v1`) is healthy; a tag that is only a behaviour's name is its own version.
#[must_use]
pub fn parse_image(image: &str) -> (String, Behaviour) {
    let last = image.rsplit('/').next().unwrap_or(image);
    let last = last.split('@').next().unwrap_or(last);
    let tag = last.split_once(':').map_or("latest", |(_, tag)| tag);
    for behaviour in Behaviour::ALL {
        if tag == behaviour.name() {
            return (tag.to_owned(), behaviour);
        }
        if let Some(version) =
            tag.strip_suffix(behaviour.name()).and_then(|rest| rest.strip_suffix('-')).filter(|version| !version.is_empty())
        {
            return (version.to_owned(), behaviour);
        }
    }
    (tag.to_owned(), Behaviour::Healthy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_choose_version_and_behaviour() {
        for (image, version, behaviour) in [
            ("docker.io/local/web:v1", "v1", Behaviour::Healthy),
            ("docker.io/local/web:v2-failing", "v2", Behaviour::Failing),
            ("local:5000/web:v3-never-ready", "v3", Behaviour::NeverReady),
            ("web:v4-unhealthy-smoke", "v4", Behaviour::UnhealthySmoke),
            ("web:2.1-rc1-slow", "2.1-rc1", Behaviour::Slow),
            ("web:crashing", "crashing", Behaviour::Crashing),
            ("web", "latest", Behaviour::Healthy),
            ("web:v5@sha256:00", "v5", Behaviour::Healthy),
        ] {
            assert_eq!(parse_image(image), (version.to_owned(), behaviour), "{image}");
        }
    }
}
