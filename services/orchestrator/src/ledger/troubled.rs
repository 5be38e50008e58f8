//! Notes on the ledger that an alert opened an incident while a version ran.
//!
//! Guarantees: noted once an incident, also when messages come twice; an alert that says it is about another version is not noted of this
//! one. Must not: judge the version: an alert may have other causes, and only begins its soak anew.

use chassis::bus::{Delivery, HandleError};
use contracts::v1::{AnomalyDetected, VersionTroubled};

use super::LedgerStore;
use crate::decision::ABOUT;

/// What is written where an alert has no name.
const NAMELESS: &str = "an alert without a name";

impl LedgerStore {
    /// Notes it of the version that the ledger holds for current.
    pub(super) async fn note_alert(&self, delivery: &Delivery, opened: &AnomalyDetected) -> Result<(), HandleError> {
        let (subject, _) = delivery.incident()?;
        let Some(trigger) = &opened.trigger else { return Ok(()) };
        let view = self.load(&subject.workload).await?;
        let Some(hash) = view.current_hash().cloned() else { return Ok(()) };
        let Some(known) = view.known(&hash) else { return Ok(()) };
        let incident = subject.incident.to_string();
        let about_another = trigger.labels.get(ABOUT).is_some_and(|about| *about != known.version.template_hash);
        if about_another || known.troubles.iter().any(|trouble| trouble.incident == incident) {
            return Ok(());
        }
        let detail = if trigger.alert_name.is_empty() { NAMELESS } else { &trigger.alert_name }.to_owned();
        let fact = VersionTroubled { template_hash: hash, kind: "alert".to_owned(), detail, incident };
        self.append(&subject.workload, &view, &[fact.into()]).await?;
        Ok(())
    }
}
