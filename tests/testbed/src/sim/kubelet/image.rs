//! What an image and a container's environment make of the test workload. Pure.

use serde_json::Value;

use crate::sim::json::Json as _;
use crate::workload::{Behaviour, Identity, parse_image};

/// A container's workload and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) identity: Identity,
    pub(super) port: u16,
    /// The file whose content chooses the behaviour while it runs.
    pub(super) steered_by: Option<String>,
}

/// Reads a container's spec. `VERSION`, `BEHAVIOUR` and `PORT` in its environment win over the image and the first port.
pub(super) fn program(container: &Value, pod: &str) -> Program {
    let (version, behaviour) = parse_image(container.text("/image"));
    let variable = |name: &str| {
        let variables = container.items("/env").iter();
        let mut named = variables.filter(|v| v.text("/name") == name);
        named.next_back().map(|v| v.text("/value")).filter(|value| !value.is_empty())
    };
    let behaviour = variable("BEHAVIOUR").map_or(behaviour, |name| {
        // A behaviour that doesn't exist makes the binary exit at once.
        name.parse().unwrap_or(Behaviour::Crashing)
    });
    let declared = u16::try_from(container.int("/ports/0/containerPort")).ok().filter(|port| *port > 0);
    let port = variable("PORT").and_then(|port| port.parse().ok());
    Program {
        identity: Identity {
            version: variable("VERSION").map_or(version, str::to_owned),
            behaviour,
            pod: pod.to_owned(),
            ready_before: variable("READY_BEFORE").and_then(|second| second.parse().ok()),
        },
        port: port.or(declared).unwrap_or(8080),
        steered_by: variable("BEHAVIOUR_FILE").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_environment_wins_over_the_image() {
        let plain = program(&json!({"image": "web:v2-failing", "ports": [{"containerPort": 9000}]}), "p");
        assert_eq!((plain.identity.behaviour, plain.port), (Behaviour::Failing, 9000));
        let env = json!([{"name": "VERSION", "value": "v3"}, {"name": "BEHAVIOUR", "value": "slow"},
            {"name": "PORT", "value": "81"}]);
        let set = program(&json!({"image": "web:v2-failing", "env": env}), "p");
        assert_eq!(set.identity.version, "v3");
        assert_eq!((set.identity.behaviour, set.port), (Behaviour::Slow, 81));
        assert_eq!(program(&json!({"image": "web"}), "p").port, 8080);
    }
}
