//! `lastgood-orchestrator pause` and `resume`: the switch that stops all automatic action in a cluster.
//!
//! Guarantees: returns after the switch is stored; switching twice is harmless. Must not: touch incidents; each service asks the switch
//! before it acts.

use contracts::v1::PauseSwitched;

use crate::ledger::{LedgerStore, StoreError};

/// Sets the switch, and says what came of it, for people.
pub async fn switch(store: &LedgerStore, cluster: &str, wanted: &PauseSwitched) -> Result<String, StoreError> {
    let changed = store.set_switch(cluster, wanted).await?;
    let state = if wanted.paused { "paused" } else { "active" };
    Ok(if changed { format!("cluster {cluster} is now {state}") } else { format!("cluster {cluster} was {state} already") })
}

/// Who gives the command, for the record: `--who`, else the login name, else "unknown".
#[must_use]
pub fn who(given: Option<String>, login: Option<String>) -> String {
    given.or(login).filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_always_named() {
        assert_eq!(who(Some("ann".into()), Some("root".into())), "ann");
        assert_eq!(who(None, Some("root".into())), "root");
        assert_eq!(who(None, Some(" ".into())), "unknown");
    }
}
