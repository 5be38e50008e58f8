//! What the ledger chooses, and why not.

use std::collections::BTreeSet;
use std::time::Duration;

use contracts::{LedgerFact, time, v1};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const SOAK: Duration = Duration::from_mins(10);

fn observed(hash: &str) -> LedgerFact {
    let version = Some(v1::Version { template_hash: hash.into(), ..Default::default() });
    v1::VersionObserved { version, template_json: b"{}".to_vec(), ..Default::default() }.into()
}

fn available(hash: &str) -> LedgerFact {
    v1::VersionAvailable { template_hash: hash.into(), replicas: 1, restarts: 0, images: Vec::new() }.into()
}

fn unavailable(hash: &str) -> LedgerFact {
    v1::VersionUnavailable { template_hash: hash.into(), detail: "0 of 1 available".into() }.into()
}

fn soaked(hash: &str, minutes: u64) -> LedgerFact {
    let stood = Some(time::duration_to_proto(Duration::from_mins(minutes)));
    v1::VersionSoaked { template_hash: hash.into(), stood, replicas: 3, restarts: 0, images: Vec::new() }.into()
}

fn troubled(hash: &str, detail: &str) -> LedgerFact {
    v1::VersionTroubled { template_hash: hash.into(), kind: "alert".into(), detail: detail.into(), incident: String::new() }
        .into()
}

fn bad(hash: &str, incident: &str) -> LedgerFact {
    v1::VersionRolledBackFrom { template_hash: hash.into(), incident: incident.into() }.into()
}

fn marked(hash: &str, standing: v1::Standing) -> LedgerFact {
    v1::VersionMarked { template_hash: hash.into(), standing: standing.into(), who: "ann".into(), reason: "seen".into() }.into()
}

fn at(sequence: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(sequence).unwrap()).unwrap()
}

fn fold(facts: &[LedgerFact]) -> Ledger {
    onto(Ledger::default(), 1, facts)
}

fn onto(ledger: Ledger, from: u64, facts: &[LedgerFact]) -> Ledger {
    (from..).zip(facts).fold(ledger, |ledger, (sequence, fact)| evolve(ledger, sequence, at(sequence), fact))
}

fn chosen(facts: &[LedgerFact], current: &str, soak: Duration) -> Result<String, Vec<String>> {
    match fold(facts).choose(current, soak) {
        Choice::Chosen(known, _) => Ok(known.version.template_hash.clone()),
        Choice::Missing(refused) => Err(refused),
    }
}

#[test]
fn the_newest_proved_version_is_chosen() {
    let facts = [observed("a"), available("a"), observed("b"), available("b"), observed("c")];
    assert_eq!(chosen(&facts, "c", Duration::ZERO).as_deref(), Ok("b"));
    assert_eq!(chosen(&facts, "b", Duration::ZERO).as_deref(), Ok("a"));
}

#[test]
fn a_version_is_good_once_it_has_stood_as_long_as_the_policy_asks() {
    let stood = |minutes| [observed("a"), available("a"), soaked("a", minutes), observed("b")];
    assert_eq!(chosen(&stood(10), "b", SOAK).as_deref(), Ok("a"));
    let refused = chosen(&stood(9), "b", SOAK).unwrap_err();
    assert!(refused[0].contains("not to stay so for 10m") && refused[0].contains("9m at the longest"), "{refused:?}");
    assert_eq!(chosen(&stood(9), "b", Duration::from_mins(5)).as_deref(), Ok("a"));
    let only_available = [observed("a"), available("a"), observed("b")];
    assert!(chosen(&only_available, "b", SOAK).is_err(), "nobody saw it stand");
}

#[test]
fn an_unproved_version_is_passed_over_for_the_good_one_before_it() {
    let facts = [observed("a"), soaked("a", 30), available("a"), observed("b"), available("b"), observed("c")];
    assert_eq!(chosen(&facts, "c", SOAK).as_deref(), Ok("a"));
}

#[test]
fn a_version_that_was_rolled_back_from_is_passed_over() {
    let facts = [observed("a"), available("a"), observed("b"), available("b"), bad("b", "inc_1"), observed("a"), observed("c")];
    assert_eq!(chosen(&facts, "c", Duration::ZERO).as_deref(), Ok("a"));
}

#[test]
fn an_unproved_version_is_no_target_and_the_reason_is_told() {
    let facts = [observed("a"), observed("b")];
    assert_eq!(chosen(&facts, "b", Duration::ZERO), Err(vec![" (a): was never seen fully available".to_owned()]));
}

#[test]
fn becoming_current_again_makes_it_the_newest_and_keeps_its_proof() {
    let facts = [observed("a"), soaked("a", 10), observed("b"), soaked("b", 10), observed("a"), available("a"), observed("c")];
    assert_eq!(fold(&facts).versions["b"].standing(SOAK), Standing::Unknown("was never seen fully available".into()));
    assert_eq!(chosen(&facts, "c", SOAK).as_deref(), Ok("a"));
}

#[test]
fn a_persons_word_counts_before_the_evidence_and_until_it_goes_bad_again() {
    let facts = [observed("a"), observed("b"), marked("a", v1::Standing::Good)];
    assert_eq!(chosen(&facts, "b", SOAK).as_deref(), Ok("a"));
    let again = onto(fold(&facts), 10, &[bad("a", "inc_2")]);
    assert!(matches!(again.versions["a"].standing(SOAK), Standing::Bad(why) if why.contains("inc_2")));
    let forgiven = onto(again, 20, &[marked("a", v1::Standing::Good)]);
    assert!(matches!(forgiven.versions["a"].standing(SOAK), Standing::Good(why) if why.contains("ann said so")));
    let evidence = onto(forgiven, 30, &[marked("a", v1::Standing::ByEvidence)]);
    assert!(matches!(evidence.versions["a"].standing(SOAK), Standing::Bad(_)));
    let condemned = [observed("a"), available("a"), soaked("a", 60), marked("a", v1::Standing::Bad), observed("b")];
    assert!(chosen(&condemned, "b", SOAK).unwrap_err()[0].contains("ann said so"));
}

#[test]
fn trouble_begins_the_soak_anew() {
    let clean = |facts: &[LedgerFact]| fold(facts).versions["a"].clean_since;
    assert_eq!(clean(&[observed("a"), available("a")]), Some(at(2)));
    assert_eq!(clean(&[observed("a"), available("a"), unavailable("a")]), None);
    assert_eq!(clean(&[observed("a"), available("a"), troubled("a", "HighErrorRate")]), None);
    assert_eq!(clean(&[observed("a"), available("a"), troubled("a", "X"), available("a")]), Some(at(4)));
    assert_eq!(clean(&[observed("a"), available("a"), observed("b")]), None, "its time is over");
    assert_eq!(clean(&[observed("a"), available("a"), observed("a")]), Some(at(2)), "more is known of it, and it runs on");
}

#[test]
fn troubles_are_told_once_and_only_the_last_few_are_kept() {
    let mut facts = vec![observed("a"), troubled("a", "0"), troubled("a", "0")];
    assert_eq!(fold(&facts).versions["a"].troubles.len(), 1);
    facts.extend((1..40).map(|number| troubled("a", &number.to_string())));
    let ledger = fold(&facts);
    let troubles = &ledger.versions["a"].troubles;
    assert_eq!((troubles.len(), troubles.last().map(|trouble| trouble.detail.as_str())), (10, Some("39")));
}

#[test]
fn the_oldest_go_but_never_what_runs_or_what_would_be_restored() {
    let mut facts = vec![observed("good"), available("good"), soaked("good", 10)];
    facts.extend((0..30).map(|number| observed(&format!("v{number:02}"))));
    facts.push(bad("v03", "inc_3"));
    let ledger = fold(&facts);
    let goes = surplus(&ledger, 20, SOAK);
    assert_eq!(goes.len(), 10);
    assert!(!goes.contains("good") && !goes.contains("v29") && goes.contains("v03"));
    let compact = fold(&kept(&ledger, &goes, Some(at(33))).into_iter().map(LedgerFact::from).collect::<Vec<_>>());
    assert_eq!((compact.versions.len(), compact.current.as_deref()), (22, Some("v29")));
    assert!(matches!(compact.versions["v03"].standing(SOAK), Standing::Bad(_)), "it stays known that it is bad");
    assert!(compact.versions["v03"].template_json.is_empty());
    assert!(surplus(&compact, 20, SOAK).is_empty());
}

/// Any fact about one of a few versions.
fn any_fact() -> impl Strategy<Value = LedgerFact> {
    ("[a-d]", 0..8_u32, 0..30_u64).prop_map(|(hash, kind, number)| match kind {
        0 | 1 => observed(&hash),
        2 => available(&hash),
        3 => unavailable(&hash),
        4 => soaked(&hash, number),
        5 => troubled(&hash, &number.to_string()),
        6 => bad(&hash, &format!("inc_{number}")),
        _ => {
            marked(&hash, [v1::Standing::Good, v1::Standing::Bad, v1::Standing::ByEvidence][usize::try_from(number % 3).unwrap()])
        }
    })
}

proptest! {
    #[test]
    fn a_compacted_ledger_is_the_same_ledger(facts in proptest::collection::vec(any_fact(), 0..40), more in proptest::collection::vec(any_fact(), 0..10)) {
        let ledger = fold(&facts);
        let since = ledger.current.as_ref().map(|_| at(1));
        let compact: Vec<_> = kept(&ledger, &BTreeSet::new(), since).into_iter().map(LedgerFact::from).collect();
        // Sequences differ, and their order is what counts.
        let (before, after) = (onto(ledger, 100, &more), onto(onto(Ledger::default(), 50, &compact), 100, &more));
        prop_assert_eq!(&before.current, &after.current);
        for current in ["a", "b", "none"] {
            let (one, other) = (before.choose(current, SOAK), after.choose(current, SOAK));
            match (one, other) {
                (Choice::Chosen(a, why), Choice::Chosen(b, same)) => prop_assert_eq!((&a.version, why), (&b.version, same)),
                (Choice::Missing(a), Choice::Missing(b)) => prop_assert_eq!(a, b),
                (a, b) => prop_assert!(false, "{:?} {:?}", a, b),
            }
        }
        for (hash, known) in &before.versions {
            prop_assert_eq!(Known { last_current: 0, ..known.clone() }, Known { last_current: 0, ..after.versions[hash].clone() });
        }
    }

    #[test]
    fn what_is_chosen_is_good_and_not_what_runs(facts in proptest::collection::vec(any_fact(), 0..40)) {
        if let Choice::Chosen(known, _) = fold(&facts).choose("a", SOAK) {
            prop_assert!(known.version.template_hash != "a");
            prop_assert!(matches!(known.standing(SOAK), Standing::Good(_)));
        }
    }
}
