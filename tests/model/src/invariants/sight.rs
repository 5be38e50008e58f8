//! S7: no data is not healthy: a verification passes only on successful looks and probes since the traffic shifted, and Prometheus' word
//! that an alert is over was really given since the mitigation.

use std::collections::BTreeMap;

use contracts::Fact;
use contracts::v1::Verdict;

use super::Invariant;
use super::fold::Incidents;
use crate::world::history::{Event, What};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct SeenHealthy {
    incidents: Incidents,
    /// The numbers of the events at which a verifier was shown pods.
    looks: Vec<usize>,
    /// The numbers of the events at which a probe of this app succeeded.
    probes: BTreeMap<String, Vec<usize>>,
    /// The number of each event at which a verifier was told what fires, and what that was.
    told: Vec<(usize, Vec<String>)>,
}

impl Invariant for SeenHealthy {
    fn name(&self) -> &'static str {
        "S7 no data is not healthy"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match &event.what {
            What::Looked { .. } => self.looks.push(event.number),
            What::Asked { firing, .. } => self.told.push((event.number, firing.clone())),
            What::Probed { app, good: true, .. } => self.probes.entry(app.clone()).or_default().push(event.number),
            _ => {}
        }
        let Some((subject, fact)) = self.incidents.see(event) else { return Ok(()) };
        let Some(known) = self.incidents.all.get(&subject.incident) else { return Ok(()) };
        let since = |numbers: &[usize]| numbers.iter().filter(|number| known.shifted.is_some_and(|at| **number > at)).count();
        match fact {
            Fact::SmokeTestFinished(check) if check.verdict() == Verdict::Passed => {
                let looks = since(&self.looks);
                let probes = self.probes.get(&subject.workload.name).map_or(0, |numbers| since(numbers));
                // Two tries of a probe may share a look that is a moment old; the pods have to be seen to stay well.
                let (least_looks, least_probes) = if check.kind == "http" { (1, 2) } else { (2, 0) };
                if looks < least_looks || probes < least_probes {
                    return Err(format!("{subject}: `{}` passed on {looks} looks and {probes} good probes", check.check));
                }
            }
            Fact::VerificationPassed(_) => {
                let checks = &known.incident.checks;
                let unproved = checks.values().find(|check| check.verdict() != Verdict::Passed);
                if let Some(check) = unproved {
                    return Err(format!("{subject} is verified although `{}` did not pass", check.check));
                }
                if !checks.contains_key("pods") {
                    return Err(format!("{subject} is verified without a look at its pods"));
                }
            }
            Fact::AlertResolved(resolved) if resolved.seen_by == "prometheus" => {
                let is_over = |(number, firing): &&(usize, Vec<String>)| {
                    known.mitigated.is_some_and(|at| *number > at) && !firing.contains(&subject.workload.name)
                };
                if !self.told.iter().any(|told| is_over(&told)) {
                    return Err(format!("{subject}: Prometheus never said that {} is over", resolved.fingerprint));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, holds};

    #[test]
    fn it_can_fail() {
        let look = || What::Looked { process: "verifier-0".into(), namespace: "shop".into() };
        let base = || vec![forge::opened(1), forge::shifted(1)];
        let seen = || [base(), vec![look(), look()]].concat();
        let passed = |kind: &str| forge::check(1, kind, Verdict::Passed);
        holds(SeenHealthy::default(), [seen(), vec![passed("pods"), forge::verified(1)]].concat());
        broken(SeenHealthy::default(), [base(), vec![passed("pods")]].concat(), "passed on 0 looks");
        broken(SeenHealthy::default(), [seen(), vec![passed("http")]].concat(), "0 good probes");
        broken(SeenHealthy::default(), [seen(), vec![forge::verified(1)]].concat(), "without a look");
        let blind = vec![passed("pods"), forge::check(1, "http", Verdict::NoData), forge::verified(1)];
        broken(SeenHealthy::default(), [seen(), blind].concat(), "did not pass");
        let asked = |firing: &[&str]| What::Asked {
            process: "verifier-0".into(),
            firing: firing.iter().map(|name| (*name).to_owned()).collect(),
        };
        let over = || forge::over(1, "f1");
        let mitigated = || vec![forge::opened(1), forge::mitigated(1)];
        holds(SeenHealthy::default(), [mitigated(), vec![asked(&["web"]), asked(&[]), over()]].concat());
        broken(SeenHealthy::default(), [mitigated(), vec![asked(&["web"]), over()]].concat(), "never said");
        broken(SeenHealthy::default(), [vec![asked(&[])], mitigated(), vec![over()]].concat(), "never said");
    }
}
