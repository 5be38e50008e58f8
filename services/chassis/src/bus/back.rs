//! Going back: from a message to the one before it under the same expectation, by sequence.
//!
//! A filter with a wildcard makes nats-server look at every message between the first and the last that it matches (`firstMatching` of its file
//! store), which in a storm is most of the log. But each message tells upon which one it was appended: the server took it only because its
//! filter ended with that very sequence, so nothing of the filter lies between the two.
//!
//! Guarantees: what is given is whole; where a message doesn't tell, or one is missing, a filter is read instead. Every wait has a deadline.
//! Must not: interpret what it reads.

use contracts::subjects::is_match;
use tokio::time::{Instant, timeout_at};

use super::read::{Beginning, ReadError, Stored};
use super::{Bus, append};

/// As many messages of others are looked through in about the time of one request by sequence.
const SCANNED: u64 = 256;
/// Messages of others under the same expectation that are passed by on the way.
const PASSED: usize = 64;

/// What is read of one place of a log: the messages on a filter, which are some of those on a filter of expectations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The stream.
    pub(crate) stream: &'a str,
    /// What is wanted.
    pub(crate) own: &'a str,
    /// The filter under whose expectation all of it was appended.
    pub(crate) expectation: &'a str,
}

impl Stored {
    /// The sequence of the message right before this one on a filter of expectations; 0 for none, `None` where it doesn't tell.
    fn follows(&self, filter: &str) -> Option<u64> {
        let number = |name| self.header(name)?.parse::<u64>().ok();
        if let Some(expected) = number(append::EXPECTED) {
            return (self.header(append::EXPECTED_OF) == Some(filter)).then_some(expected);
        }
        // A later one of its group, which stands as one in its batch, and the batch as one in the log.
        (number(append::BATCH_SEQUENCE)? > 1).then(|| self.sequence - 1)
    }
}

impl Bus {
    /// All messages on a filter of expectations, as new as the leader's, oldest first.
    pub async fn read_whole(&self, stream: &str, filter: &str) -> Result<Vec<Stored>, ReadError> {
        let deadline = Instant::now() + self.request_timeout();
        let (last, beginning) = tokio::join!(self.last(stream, filter), self.beginning(stream, filter, deadline));
        let (Some(end), beginning) = (last?, beginning?) else { return Ok(Vec::new()) };
        self.history(Place { stream, own: filter, expectation: filter }, beginning, &end, deadline).await
    }

    /// All messages of a place up to `end`, its last one (newer ones may come along), oldest first, by whichever way is the shorter.
    pub(crate) async fn history(
        &self,
        place: Place<'_>,
        beginning: Beginning,
        end: &Stored,
        deadline: Instant,
    ) -> Result<Vec<Stored>, ReadError> {
        let first = beginning.first.as_ref().map_or(end.sequence, |first| first.sequence);
        if end.sequence.saturating_sub(first) > SCANNED.saturating_mul(beginning.rest) {
            let steps = usize::try_from(beginning.rest).unwrap_or(usize::MAX).saturating_add(PASSED);
            if let Some(messages) = self.back_to(place, end, first, steps, deadline).await? {
                return Ok(messages);
            }
        }
        let mut messages = Vec::new();
        let more = self.first_page(place.stream, place.own, beginning, deadline, &mut messages).await?;
        if let Some(last) = messages.last().filter(|_| more) {
            let next = self.read_once(place.stream, place.own, last.sequence + 1, deadline).await?;
            messages.extend(next);
        }
        self.read_on(place.stream, place.own, 1, end.sequence, messages, deadline).await
    }

    /// All messages of a place from the one at sequence `first` to `end`, both included, oldest first; `None` where the way back breaks off,
    /// misses `first` or takes more than so many steps.
    pub(crate) async fn back_to(
        &self,
        place: Place<'_>,
        end: &Stored,
        first: u64,
        steps: usize,
        deadline: Instant,
    ) -> Result<Option<Vec<Stored>>, ReadError> {
        let mut way = vec![end.clone()];
        while let Some(at) = way.last().filter(|at| at.sequence != first) {
            let before = at.follows(place.expectation).filter(|before| *before >= first && way.len() <= steps);
            let Some(before) = before else { return Ok(None) };
            let reading = timeout_at(deadline, self.message(place.stream, before));
            let found = reading.await.map_err(|_| ReadError::Unavailable("no answer in time".to_owned()))??;
            let Some(found) = found.filter(|found| is_match(place.expectation, &found.subject)) else { return Ok(None) };
            way.push(found);
        }
        way.retain(|message| is_match(place.own, &message.subject));
        way.reverse();
        Ok(Some(way))
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use jiff::Timestamp;

    use super::*;

    fn message(headers: &[(&str, &str)]) -> Stored {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        Stored { subject: String::new(), sequence: 40, at: Timestamp::UNIX_EPOCH, headers: map, data: bytes::Bytes::new() }
    }

    #[test]
    fn a_message_tells_which_one_it_follows() {
        let (expected, of) = ((append::EXPECTED, "17"), (append::EXPECTED_OF, "a.>"));
        assert_eq!(message(&[expected, of]).follows("a.>"), Some(17));
        assert_eq!(message(&[expected, of]).follows("b.>"), None, "another filter's expectation says nothing about this one");
        assert_eq!(message(&[expected]).follows("a.>"), None);
        assert_eq!(message(&[expected, of, (append::BATCH_SEQUENCE, "3")]).follows("a.>"), Some(17));
        assert_eq!(message(&[(append::BATCH_SEQUENCE, "3")]).follows("a.>"), Some(39));
        assert_eq!(message(&[(append::BATCH_SEQUENCE, "1")]).follows("a.>"), None);
        assert_eq!(message(&[]).follows("a.>"), None);
    }
}
