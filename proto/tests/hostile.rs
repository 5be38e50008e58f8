//! Bytes, headers and subjects from nowhere: read back as what they say, or refused as what they are, and never a panic.

use std::collections::BTreeMap;

use contracts::subjects::parse_ledger;
use contracts::{DecodeError, Envelope, EventId, Fact, IncidentSubject, LedgerFact, OccurrenceFact, v1};
use fuzz::{Plan, Random, bytes_of_protobuf, mutate, run};
use prost::Message;

/// What is accepted says the same after another round; what is not is damage, since the type is known.
fn reads_back<F: PartialEq + std::fmt::Debug>(
    event_type: &str,
    bytes: &[u8],
    decode: impl Fn(&str, &[u8]) -> Result<F, DecodeError>,
    encode: impl Fn(&F) -> Vec<u8>,
) -> Option<Vec<u8>> {
    match decode(event_type, bytes) {
        Ok(fact) => {
            let encoded = encode(&fact);
            assert_eq!(decode(event_type, &encoded).as_ref(), Ok(&fact), "{event_type}");
            Some(encoded)
        }
        Err(DecodeError::Damaged { event_type: named, reason }) => {
            assert!(named == event_type && !reason.is_empty());
            None
        }
        Err(DecodeError::UnknownType(other)) => panic!("`{other}` is a known type"),
    }
}

fn any_fact(random: &mut Random, bytes: &[u8]) -> Option<Vec<u8>> {
    let types = [Fact::EVENT_TYPES, OccurrenceFact::EVENT_TYPES, LedgerFact::EVENT_TYPES];
    let at = random.below(types.iter().map(|types| types.len()).sum());
    let event_type = types.iter().copied().flatten().nth(at).expect("it is within all of them");
    if Fact::EVENT_TYPES.contains(event_type) {
        reads_back(event_type, bytes, Fact::decode, Fact::encode)
    } else if OccurrenceFact::EVENT_TYPES.contains(event_type) {
        reads_back(event_type, bytes, OccurrenceFact::decode, OccurrenceFact::encode)
    } else {
        reads_back(event_type, bytes, LedgerFact::decode, LedgerFact::encode)
    }
}

#[test]
fn every_fact_reads_back_or_is_damaged() {
    run("facts", Plan::of(100_000), |random| {
        let bytes = bytes_of_protobuf(random);
        let Some(encoded) = any_fact(random, &bytes) else { return false };
        // A good one, damaged a little: as another type too.
        let mutated = mutate(random, &[encoded]);
        any_fact(random, &mutated).is_some()
    });
}

#[test]
fn other_messages_read_back_or_are_refused() {
    fn same<M: Message + Default + PartialEq>(bytes: &[u8]) -> bool {
        let Ok(message) = M::decode(bytes) else { return false };
        M::decode(message.encode_to_vec().as_slice()).is_ok_and(|again| again == message)
    }
    run("alerts and dead letters", Plan::of(60_000), |random| {
        let bytes = bytes_of_protobuf(random);
        let (alerts, letter) = (same::<v1::AlertNotification>(&bytes), same::<v1::DeadLetter>(&bytes));
        let refused = v1::AlertNotification::decode(bytes.as_slice()).is_err();
        assert!(alerts || refused, "an alert that does not read back: {}", hex::encode(&bytes));
        assert!(letter || v1::DeadLetter::decode(bytes.as_slice()).is_err());
        alerts || letter
    });
}

#[test]
fn an_unknown_type_is_never_taken_for_damage() {
    let words = [b"pods_ready".to_vec(), b"incident_closed".to_vec()];
    run("event types", Plan::of(20_000), |random| {
        let word = String::from_utf8_lossy(&mutate(random, &words)).into_owned();
        match Fact::decode(&word, b"") {
            Ok(fact) => fact.event_type() == word,
            Err(error) => {
                assert_eq!(error, DecodeError::UnknownType(word));
                false
            }
        }
    });
}

fn headers() -> Vec<(&'static str, String)> {
    let envelope = Envelope {
        id: EventId::from_uuid(uuid::Uuid::from_u128(7)),
        source: "lastgood/executor".into(),
        event_type: "lastgood.v1.PodsReady".into(),
        time: "2026-11-21T10:00:00.5Z".parse().expect("a time"),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    envelope.headers()
}

#[test]
fn an_envelope_reads_back_or_names_its_header() {
    run("envelopes", Plan::of(100_000), |random| {
        let mut headers: BTreeMap<&'static str, String> = headers().into_iter().collect();
        for _ in 0..=random.below(2) {
            let name = *random.of(&headers.keys().copied().collect::<Vec<_>>());
            if random.once_in(8) {
                headers.remove(name);
            } else if let Some(value) = headers.get_mut(name) {
                *value = String::from_utf8_lossy(&mutate(random, &[value.clone().into_bytes()])).into_owned();
            }
        }
        let read =
            |headers: &BTreeMap<&'static str, String>| Envelope::from_headers(|name| headers.get(name).map(String::as_str));
        match read(&headers) {
            Ok(envelope) => {
                let again: BTreeMap<_, _> = envelope.headers().into_iter().collect();
                assert_eq!(read(&again), Ok(envelope));
                true
            }
            Err(error) => {
                assert!(error.to_string().contains("header `ce-"), "{error}");
                false
            }
        }
    });
}

#[test]
fn a_subject_reads_back_or_is_refused() {
    let id = "inc_0190a8a5c3f77b3c8000000000000001";
    let corpus = [
        format!("lastgood.incident.eu.shop.deployment.web.{id}.pods_ready").into_bytes(),
        format!("lastgood.timer.eu.kube-system.statefulset.web_v1.{id}.decide").into_bytes(),
        format!("lastgood.fired.eu.a.daemonset.b.{id}.verify").into_bytes(),
        b"lastgood.ledger.eu.shop.deployment.web.version_observed".to_vec(),
    ];
    run("subjects", Plan::of(100_000), |random| {
        let bytes = if random.once_in(4) { random.of(&corpus).clone() } else { mutate(random, &corpus) };
        let text = String::from_utf8_lossy(&bytes);
        let ledger = parse_ledger(&text).is_ok();
        match IncidentSubject::parse(&text) {
            Ok((subject, last)) => {
                assert_eq!(IncidentSubject::parse(&subject.fact(last)), Ok((subject, last)), "{text}");
                true
            }
            Err(error) => {
                assert!(error.to_string().contains("is not a subject of"));
                ledger
            }
        }
    });
}
