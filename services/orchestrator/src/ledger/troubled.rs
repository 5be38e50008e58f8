//! Notes on the ledger that an alert opened an incident while a version ran.
//!
//! Guarantees: noted once an incident, also when messages come twice, and of the version that the incident found running, whatever runs by
//! the time this is heard; an alert that says it is about another version is not noted of this one. Must not: judge the version: an alert may
//! have other causes, and only begins its soak anew.

use chassis::bus::{Delivery, HandleError};
use chassis::incidents::Incidents;
use contracts::v1::{CurrentVersionIdentified, VersionTroubled};
use lastgood_core::configuration::id_of;

use super::LedgerStore;
use crate::decision::ABOUT;

/// What is written where an alert has no name.
const NAMELESS: &str = "an alert without a name";

impl LedgerStore {
    /// Notes it of the version that the incident identified.
    pub(super) async fn note_alert(
        &self,
        incidents: &Incidents,
        delivery: &Delivery,
        identified: &CurrentVersionIdentified,
    ) -> Result<(), HandleError> {
        let (subject, _) = delivery.incident()?;
        let Some(version) = &identified.version else { return Ok(()) };
        let view = self.load(&subject.workload).await?;
        let incident = subject.incident.to_string();
        let Some(known) = view.known(id_of(version)) else { return Ok(()) };
        if known.troubles.iter().any(|trouble| trouble.incident == incident) {
            return Ok(());
        }
        let loaded = incidents.load(&subject, Some(delivery.sequence())).await?;
        let Some(trigger) = loaded.incident.opened.map(|opened| opened.trigger) else { return Ok(()) };
        if trigger.labels.get(ABOUT).is_some_and(|about| *about != version.template_hash) {
            return Ok(());
        }
        let detail = if trigger.alert_name.is_empty() { NAMELESS.to_owned() } else { trigger.alert_name };
        let template_hash = id_of(version).to_owned();
        let fact = VersionTroubled { template_hash, kind: "alert".to_owned(), detail, incident };
        self.append(&subject.workload, &view, &[fact.into()]).await?;
        Ok(())
    }
}
