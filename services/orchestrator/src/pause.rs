//! `lastgood-orchestrator pause` and `resume`: the switches that stop all automatic action, in a cluster or in one namespace.
//!
//! Guarantees: returns after the switch is stored; switching twice is harmless. Must not: touch incidents; each service asks the switch
//! before it acts.

use contracts::v1::PauseSwitched;

use crate::ledger::{LedgerStore, Scope, StoreError};

/// Sets the switch, and says what came of it, for people.
pub async fn switch(store: &LedgerStore, scope: &Scope, wanted: &PauseSwitched) -> Result<String, StoreError> {
    let changed = store.set_switch(scope, wanted).await?;
    let state = if wanted.paused { "paused" } else { "active" };
    let (whole, _) = store.switch(&Scope::cluster(&scope.cluster)).await?;
    let held = scope.namespace.is_some() && !wanted.paused && whole.is_some_and(|whole| whole.paused);
    let held = if held { ", but the whole cluster is paused" } else { "" };
    Ok(if changed { format!("{scope} is now {state}{held}") } else { format!("{scope} was {state} already{held}") })
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
