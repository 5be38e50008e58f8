//! S5: every incident ends in `IncidentClosed`, and everybody who is to be told is told: never zero times, and twice only for a reason.

use std::collections::BTreeMap;

use contracts::Fact;

use super::Invariant;
use super::fold::Incidents;
use crate::world::history::{Event, What};

/// (incident, audience, reason).
type Key = (String, i32, String);

/// What is known of one notification.
#[derive(Debug, Default)]
struct Notice {
    /// How often somebody got it without a reason for a repetition.
    told: u32,
    /// Whether a repetition is due to a crash or a lost answer.
    excused: bool,
    /// Whether it was given up, over all channels.
    given_up: bool,
}

/// The promise.
#[derive(Debug, Default)]
pub(super) struct EverybodyIsTold {
    repeats_allowed: bool,
    incidents: Incidents,
    notices: BTreeMap<Key, Notice>,
}

impl EverybodyIsTold {
    pub(super) fn new(repeats_allowed: bool) -> Self {
        Self { repeats_allowed, ..Self::default() }
    }
}

impl Invariant for EverybodyIsTold {
    fn name(&self) -> &'static str {
        "S5 every incident closes, and everybody is told"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        if let Some((subject, fact)) = self.incidents.see(event) {
            let incident = subject.incident.to_string();
            match fact {
                Fact::NotificationRequested(asked) => {
                    self.notices.entry((incident, asked.audience, asked.reason)).or_default();
                }
                Fact::NotificationFailed(failed) => {
                    self.notices.entry((incident, failed.audience, failed.reason)).or_default().given_up = true;
                }
                _ => {}
            }
        }
        match &event.what {
            What::Ended(process, _) if process.starts_with("notifier") => {
                for notice in self.notices.values_mut() {
                    notice.excused = true;
                }
            }
            What::Told(told) => {
                let key = (told.incident.clone(), told.audience as i32, told.reason.clone());
                let allowed = self.repeats_allowed;
                let Some(notice) = self.notices.get_mut(&key) else {
                    return Err(format!("{key:?} was told, and nobody had asked for it"));
                };
                if notice.told > 0 && !notice.excused && !allowed {
                    return Err(format!("{key:?} was told twice, without a crash or a lost answer"));
                }
                notice.told += 1;
                notice.excused = told.answer_lost;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        if let Some(open) = self.incidents.all.values().find(|known| known.incident.is_open()) {
            return Err(format!("{} is still {:?}", open.subject, open.incident.phase()));
        }
        match self.notices.iter().find(|(_, notice)| notice.told == 0 && !notice.given_up) {
            Some((key, _)) => Err(format!("{key:?} was asked for, and nobody was told")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, holds};

    #[test]
    fn it_can_fail() {
        let new = || EverybodyIsTold::new(false);
        let all = |more: Vec<What>| [vec![forge::opened(1), forge::asked(1)], more].concat();
        holds(new(), all(vec![forge::told(1, false), forge::closed(1)]));
        holds(new(), all(vec![forge::told(1, true), forge::told(1, false), forge::closed(1)]));
        let crash = What::Ended("notifier-0".into(), "killed".into());
        holds(new(), all(vec![forge::told(1, false), crash, forge::told(1, false), forge::closed(1)]));
        broken(new(), all(vec![forge::told(1, false)]), "is still");
        broken(new(), all(vec![forge::closed(1)]), "nobody was told");
        broken(new(), all(vec![forge::told(1, false), forge::told(1, false)]), "told twice");
        broken(new(), vec![forge::told(1, false)], "nobody had asked");
    }
}
