//! S5: every incident ends in `IncidentClosed`, and everybody who is to be told is told: never zero times, and twice only for a reason.
//!
//! A reason is something that befell that very notification: its sender was told that it had failed, its sender died before it could record
//! it, or the bus gave it to somebody again although whoever had it had said in time that it was at work on it.

use std::collections::{BTreeMap, BTreeSet};

use contracts::Fact;
use contracts::subjects::streams;
use contracts::v1::Audience;
use jiff::{SignedDuration, Timestamp};

use super::Invariant;
use super::fold::Incidents;
use crate::world::history::{Event, Handling, Told, What};

/// How long the notifier's consumer waits for a sign of work.
const ACK_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// (incident, audience, reason).
type Key = (String, i32, String);

/// What is known of one notification.
#[derive(Debug, Default)]
struct Notice {
    /// How often somebody got it.
    told: u32,
    /// How often something befell it for which it may be told once more.
    excuses: u32,
    /// Who has told it.
    tellers: BTreeSet<String>,
    /// Whether it is on the log that it was told.
    recorded: bool,
    /// Whether it was given up for good, over all channels: news, or what no provider will ever take.
    given_up: bool,
    /// Who has it in hand, and when that was last known.
    hands: BTreeMap<String, Timestamp>,
}

/// The promise.
#[derive(Debug, Default)]
pub(super) struct EverybodyIsTold {
    incidents: Incidents,
    notices: BTreeMap<Key, Notice>,
    /// The notification that is asked for at this sequence of the log.
    asked: BTreeMap<u64, Key>,
}

impl Invariant for EverybodyIsTold {
    fn name(&self) -> &'static str {
        "S5 every incident closes, and everybody is told"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match &event.what {
            What::Stored(_) => self.stored(event),
            What::Ended(process, _) => self.died(process),
            What::Handled { process, stream, sequence, handling } if stream == streams::INCIDENTS => {
                self.handled(process, *sequence, *handling, event.at);
            }
            What::Told(told) => return self.told(told),
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

impl EverybodyIsTold {
    fn stored(&mut self, event: &Event) {
        let What::Stored(message) = &event.what else { return };
        let Some((subject, fact)) = self.incidents.see(event) else { return };
        let incident = subject.incident.to_string();
        let (audience, reason) = match fact {
            Fact::NotificationRequested(asked) => {
                let key = (incident, asked.audience, asked.reason);
                self.notices.entry(key.clone()).or_default();
                self.asked.insert(message.sequence, key);
                return;
            }
            Fact::NotificationFailed(failed) => {
                self.notices.entry((incident, failed.audience, failed.reason)).or_default().given_up = !failed.owed;
                return;
            }
            Fact::OnCallNotified(notified) => (Audience::OnCall, notified.reason),
            Fact::Escalated(escalated) => (Audience::TeamLead, escalated.reason),
            _ => return,
        };
        if let Some(notice) = self.notices.get_mut(&(incident, audience as i32, reason)) {
            notice.recorded = true;
        }
    }

    fn died(&mut self, process: &str) {
        for notice in self.notices.values_mut() {
            if notice.tellers.remove(process) && !notice.recorded {
                notice.excuses += 1;
            }
            notice.hands.remove(process);
        }
    }

    fn handled(&mut self, process: &str, sequence: u64, handling: Handling, at: Timestamp) {
        let Some(notice) = self.asked.get(&sequence).and_then(|key| self.notices.get_mut(key)) else { return };
        match handling {
            Handling::Given => {
                // Whoever has it and was silent for too long lost it by a mistake of its own.
                let kept = notice.hands.values().any(|last| at.duration_since(*last) < ACK_WAIT);
                notice.excuses += u32::from(kept);
                notice.hands.insert(process.to_owned(), at);
            }
            Handling::InHand | Handling::Done => {
                notice.hands.insert(process.to_owned(), at);
            }
            Handling::HandedBack => {
                notice.hands.remove(process);
            }
        }
    }

    fn told(&mut self, told: &Told) -> Result<(), String> {
        let key = (told.incident.clone(), told.audience as i32, told.reason.clone());
        let Some(notice) = self.notices.get_mut(&key) else {
            return Err(format!("{key:?} was told, and nobody had asked for it"));
        };
        notice.told += 1;
        if notice.told > 1 + notice.excuses {
            return Err(format!("{key:?} was told {} times, for {} reasons to repeat it", notice.told, notice.excuses));
        }
        notice.tellers.insert(told.process.clone());
        notice.excuses += u32::from(told.answer_lost);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, broken_at, holds, holds_at};

    fn new() -> EverybodyIsTold {
        EverybodyIsTold::default()
    }

    #[test]
    fn it_can_fail() {
        let all = |more: Vec<What>| [vec![forge::opened(1), forge::asked(1)], more].concat();
        holds(new(), all(vec![forge::told(1, false), forge::closed(1)]));
        holds(new(), all(vec![forge::told(1, true), forge::told(1, false), forge::closed(1)]));
        let crash = |process: &str| What::Ended(process.into(), "killed".into());
        holds(new(), all(vec![forge::told(1, false), crash("notifier-0"), forge::told(1, false), forge::closed(1)]));
        broken(new(), all(vec![forge::told(1, false), crash("notifier-1"), forge::told(1, false)]), "told 2 times");
        let recorded = vec![forge::told(1, false), forge::notified(1), crash("notifier-0"), forge::told(1, false)];
        broken(new(), all(recorded), "told 2 times");
        broken(new(), all(vec![forge::told(1, true), forge::told(1, false), forge::told(1, false)]), "told 3 times");
        broken(new(), all(vec![forge::told(1, false)]), "is still");
        broken(new(), all(vec![forge::closed(1)]), "nobody was told");
        broken(new(), all(vec![forge::told(1, false), forge::told(1, false)]), "told 2 times");
        broken(new(), vec![forge::told(1, false)], "nobody had asked");
    }

    #[test]
    fn a_second_delivery_excuses_only_who_had_it_in_hand() {
        let handled = |process: &str, handling| What::Handled {
            process: process.into(),
            stream: streams::INCIDENTS.into(),
            sequence: 1,
            handling,
        };
        let given = |process| handled(process, Handling::Given);
        let twice = |signs: Vec<(i64, What)>, again: i64| {
            let before = vec![(0, forge::opened(1)), (0, forge::asked(1)), (0, given("notifier-0")), (1, forge::told(1, false))];
            let after = vec![(again, given("notifier-1")), (again, forge::told(1, false)), (again, forge::closed(1))];
            [before, signs, after].concat()
        };
        let in_hand = |at| vec![(at, handled("notifier-0", Handling::InHand))];
        holds_at(new(), twice(Vec::new(), 9));
        broken_at(new(), twice(Vec::new(), 11), "told 2 times");
        holds_at(new(), twice(in_hand(8), 11));
        broken_at(new(), twice(vec![(2, handled("notifier-0", Handling::HandedBack))], 3), "told 2 times");
    }
}
