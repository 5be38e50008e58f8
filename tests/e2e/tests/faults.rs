//! What everything stands on fails in the middle of an incident: NATS, the API server, Prometheus, the providers, the disk; or all services
//! were away. `LASTGOOD_DEPTH=deep` for full lengths.

use std::process::ExitCode;

use e2e::crash::harness::{self, Case};
use e2e::small_fault_cases;

fn main() -> ExitCode {
    let mut cases = small_fault_cases![
        bus::nats_killed_and_restarted_as_it_opens,
        bus::nats_killed_and_restarted_as_it_begins,
        bus::nats_killed_and_restarted_as_it_is_verified,
        bus::nats_killed_and_restarted_as_it_is_mitigated,
        bus::nats_away_in_the_middle_of_the_rollback,
        bus::nats_away_while_it_is_verified,
        bus::nats_is_a_black_hole,
        bus::connections_to_nats_are_cut_again_and_again,
        bus::the_leader_of_three_nats_nodes_is_killed,
        bus::services_end_while_nats_is_away,
        full::the_incidents_are_full_when_an_alert_comes,
        full::the_incidents_fill_in_the_middle_of_a_rollback,
        full::the_alerts_are_full,
        letters::what_cannot_be_processed_is_told_of_and_replayed,
        cluster::the_api_server_away_around_the_write,
        cluster::the_api_server_away_in_the_middle_of_the_rollback,
        cluster::the_api_server_away_while_it_is_verified,
        cluster::watches_are_cut_again_and_again,
        cluster::the_api_server_is_a_black_hole,
        cluster::a_storm_of_conflicts,
        prometheus::prometheus_away_until_the_end,
        prometheus::prometheus_comes_back_in_time,
        providers::providers_are_busy,
        providers::providers_are_broken,
        providers::providers_hang,
        providers::providers_lie,
        providers::providers_lose_their_answers,
        providers::providers_are_away,
        expired::a_plan_that_waited_too_long,
        expired::a_plan_that_waited_too_long_executor_first,
        expired::a_plan_that_waited_too_long_in_reverse,
        expired::a_plan_that_waited_too_long_all_at_once,
    ];
    let deep = small_fault_cases![expired::a_plan_that_waited_too_long_in_any_order];
    cases.extend(deep.into_iter().map(|case| Case { deep_only: true, ..case }));
    harness::main(cases, 6)
}
