//! Each budget at its limit, and that no order of facts overspends.

use contracts::v1;
use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn workload(namespace: &str, name: &str) -> WorkloadRef {
    WorkloadRef { cluster: "eu".into(), namespace: namespace.into(), kind: "Deployment".into(), name: name.into() }
}

fn taken(incident: &str, namespace: &str, name: &str) -> BudgetFact {
    let expires_after = Some(contracts::time::duration_to_proto(Duration::from_mins(30)));
    v1::BudgetTaken { incident: incident.into(), workload: Some(workload(namespace, name)), expires_after }.into()
}

fn returned(incident: &str, unused: bool) -> BudgetFact {
    v1::BudgetReturned { incident: incident.into(), unused }.into()
}

fn fold(facts: &[(i64, BudgetFact)]) -> Spent {
    (1..).zip(facts).fold(Spent::default(), |spent, (sequence, (second, fact))| evolve(spent, sequence, at(*second), fact))
}

const ONE_EACH: Budgets = Budgets { workload_per_hour: Some(1), namespace_concurrent: Some(1), cluster_concurrent: Some(2) };

fn asks(spent: &Spent, incident: &str, namespace: &str, name: &str, second: i64) -> Result<(), String> {
    spent.allows(incident, &workload(namespace, name), ONE_EACH, at(second)).map_err(|overspent| overspent.to_string())
}

#[test]
fn each_budget_holds_at_its_limit_and_names_who_holds_it() {
    let spent = fold(&[(0, taken("inc_1", "shop", "web"))]);
    for (namespace, name, words) in [("shop", "web", "within an hour"), ("shop", "cart", "namespace shop")] {
        let why = asks(&spent, "inc_2", namespace, name, 60).unwrap_err();
        assert!(why.contains(words) && why.contains("inc_1"), "{why}");
    }
    assert_eq!(asks(&spent, "inc_2", "bank", "web", 60), Ok(()));
    let two = evolve(spent, 2, at(1), &taken("inc_2", "bank", "web"));
    assert!(asks(&two, "inc_3", "post", "web", 60).unwrap_err().contains("in the cluster"));
    let unlimited = two.allows("inc_3", &workload("shop", "web"), Budgets::default(), at(2));
    assert_eq!(unlimited, Ok(()), "where no policy says otherwise");
}

#[test]
fn what_is_over_makes_room_but_counts_for_the_hour() {
    let spent = fold(&[(0, taken("inc_1", "shop", "web")), (60, returned("inc_1", false))]);
    assert_eq!(asks(&spent, "inc_2", "shop", "cart", 61), Ok(()));
    assert!(asks(&spent, "inc_2", "shop", "web", 3599).is_err());
    assert_eq!(asks(&spent, "inc_2", "shop", "web", 3600), Ok(()));
}

#[test]
fn what_was_never_done_does_not_count() {
    let spent = fold(&[(0, taken("inc_1", "shop", "web")), (60, returned("inc_1", true))]);
    assert_eq!(asks(&spent, "inc_2", "shop", "web", 61), Ok(()));
}

#[test]
fn an_incident_that_never_returns_expires() {
    let spent = fold(&[(0, taken("inc_1", "shop", "web"))]);
    assert!(asks(&spent, "inc_2", "shop", "cart", 30 * 60 - 1).is_err());
    assert_eq!(asks(&spent, "inc_2", "shop", "cart", 30 * 60), Ok(()));
}

#[test]
fn an_incident_does_not_stand_in_its_own_way() {
    let spent = fold(&[(0, taken("inc_1", "shop", "web")), (1, taken("inc_1", "shop", "web"))]);
    assert_eq!(asks(&spent, "inc_1", "shop", "web", 2), Ok(()));
    assert!(spent.holds("inc_1") && !spent.holds("inc_2"));
}

#[test]
fn what_does_not_matter_any_more_may_go_and_the_last_fact_stays() {
    let spent = fold(&[
        (0, taken("inc_1", "shop", "web")),
        (1, returned("inc_1", false)),
        (3000, taken("inc_2", "shop", "cart")),
        (3001, returned("inc_2", false)),
    ]);
    assert_eq!(spent.needed_from(at(3002)), 1, "it counts for its workload's hour");
    assert_eq!(spent.needed_from(at(3601)), 3);
    assert_eq!(spent.needed_from(at(90_000)), 4);
    assert_eq!(Spent::default().needed_from(at(0)), 0);
}

proptest! {
    /// Whoever takes asks first, as the log's expectation makes sure; whatever is returned, and whenever, the limits hold, and what may be
    /// purged changes no answer.
    #[test]
    fn no_order_of_facts_overspends(steps in proptest::collection::vec((0..6_u8, 0..3_usize, 0..2_usize, 0..2000_i64), 0..40)) {
        let (mut spent, mut log, mut now) = (Spent::default(), Vec::new(), 0);
        for (sequence, (incident, namespace, name, passes)) in (1..).zip(steps) {
            now += passes;
            let (id, namespace, name) = (format!("inc_{incident}"), ["shop", "bank", "post"][namespace], ["web", "cart"][name]);
            let fact = if spent.holds(&id) {
                returned(&id, name == "cart")
            } else if asks(&spent, &id, namespace, name, now).is_ok() {
                taken(&id, namespace, name)
            } else {
                continue;
            };
            spent = evolve(spent, sequence, at(now), &fact);
            log.push((sequence, now, fact));
            let under_way: Vec<_> = spent.taken.values().filter(|taken| taken.is_under_way(at(now))).collect();
            prop_assert!(under_way.len() <= 2);
            for one in ["shop", "bank", "post"] {
                prop_assert!(under_way.iter().filter(|taken| taken.workload.namespace == one).count() <= 1);
            }
            let kept = log.iter().filter(|(sequence, ..)| *sequence >= spent.needed_from(at(now)));
            let purged = kept.fold(Spent::default(), |spent, (sequence, second, fact)| evolve(spent, *sequence, at(*second), fact));
            prop_assert_eq!(purged.sequence, spent.sequence);
            for (namespace, name) in [("shop", "web"), ("shop", "cart"), ("bank", "web"), ("post", "cart")] {
                prop_assert_eq!(asks(&purged, "inc_9", namespace, name, now), asks(&spent, "inc_9", namespace, name, now));
            }
        }
    }
}
