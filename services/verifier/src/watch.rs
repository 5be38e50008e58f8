//! While an incident is mitigated: asks Prometheus whether its alerts are over.
//!
//! Guarantees: only a healthy rule that was evaluated after the mitigation resolves an alert; what can't be told is asked again.
//! It ends with the phase. Must not: resolve alerts that did not come from Prometheus' rules (rollout alerts, commands), or give up while
//! the incident is mitigated: the orchestrator keeps the deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::HandleError;
use contracts::IncidentSubject;
use contracts::v1::{AlertResolved, Occurrence};
use jiff::Timestamp;
use lastgood_core::incident::{BY_COMMAND, Command, Incident, Phase};

use crate::log::{Log, Said};
use crate::net::Prometheus;
use crate::rules::{Answer, Judgement, judge};

/// Who saw it.
const SEEN_BY: &str = "prometheus";
/// The source of alerts that no rule of Prometheus raises.
const ROLLOUT: &str = "rollout";

/// Watches alerts.
pub struct AlertWatch {
    /// The incident log.
    pub log: Arc<dyn Log>,
    /// Where rules are looked up.
    pub prometheus: Arc<dyn Prometheus>,
    /// How often.
    pub poll: Duration,
    /// Labels that are not compared.
    pub ignore_labels: Vec<String>,
}

/// The incident's alerts that may be resolved by a look at Prometheus now, and since when it must have been evaluated; empty when
/// there is nothing (more) to watch.
#[must_use]
pub fn to_watch(state: &Incident) -> Option<(Timestamp, Vec<Occurrence>)> {
    let since = state.mitigated_at.filter(|_| state.phase() == Phase::Mitigated)?;
    let trigger = state.opened.as_ref().map(|opened| &opened.trigger);
    let open: Vec<Occurrence> = trigger
        .into_iter()
        .chain(state.joined.values())
        .filter(|alert| {
            ![ROLLOUT, BY_COMMAND].contains(&alert.source.as_str())
                && !alert.alert_name.is_empty()
                && !state.resolved.contains(&alert.fingerprint)
        })
        .cloned()
        .collect();
    Some((since, open))
}

/// Which of these alerts are over by this answer.
#[must_use]
pub fn over(answer: &Answer, alerts: &[Occurrence], ignored: &[String], since: Timestamp) -> Vec<(Occurrence, Judgement)> {
    let judged = |alert: &Occurrence| {
        let labels: BTreeMap<String, String> = alert.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        (alert.clone(), judge(&answer.data.groups, &alert.alert_name, &labels, ignored, since))
    };
    alerts.iter().map(judged).collect()
}

impl AlertWatch {
    /// Watches this incident's alerts until it is not mitigated any more, or none is left to watch.
    pub async fn run(&self, subject: &IncidentSubject, at_least: u64) -> Result<(), HandleError> {
        let mut at_least = Some(at_least);
        loop {
            let state = self.log.load(subject, at_least.take()).await?;
            let Some((since, alerts)) = to_watch(&state) else { return Ok(()) };
            if !alerts.is_empty() {
                self.look(subject, since, &alerts).await?;
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    async fn look(&self, subject: &IncidentSubject, since: Timestamp, alerts: &[Occurrence]) -> Result<(), HandleError> {
        let answer = match self.prometheus.alerting_rules().await {
            Ok(answer) => answer,
            Err(why) => {
                metrics::counter!("lastgood_prometheus_looks_total", "answer" => "unknown").increment(1);
                tracing::warn!(incident = %subject, why, "Prometheus can't be asked");
                return Ok(());
            }
        };
        for (alert, judgement) in over(&answer, alerts, &self.ignore_labels, since) {
            let name = alert.alert_name.as_str();
            let told = match &judgement {
                Judgement::Over => "over",
                Judgement::Active(state) => {
                    tracing::debug!(incident = %subject, name, state, "still active in Prometheus");
                    "active"
                }
                Judgement::Unknown(why) => {
                    tracing::debug!(incident = %subject, name, why, "Prometheus does not tell");
                    "unknown"
                }
            };
            metrics::counter!("lastgood_prometheus_looks_total", "answer" => told).increment(1);
            if judgement == Judgement::Over {
                self.resolve(subject, &alert).await?;
            }
        }
        Ok(())
    }

    async fn resolve(&self, subject: &IncidentSubject, alert: &Occurrence) -> Result<(), HandleError> {
        // Prometheus does not say when it ended, only that it has.
        let fact = AlertResolved { fingerprint: alert.fingerprint.clone(), ends_at: None, seen_by: SEEN_BY.to_owned() };
        match self.log.execute(subject, &Command::ResolveAlert(fact)).await? {
            Said::Done => tracing::info!(incident = %subject, alert = alert.alert_name, "over, by Prometheus' rules"),
            Said::MovedOn(why) => tracing::info!(incident = %subject, alert = alert.alert_name, why, "the incident has moved on"),
        }
        Ok(())
    }
}
