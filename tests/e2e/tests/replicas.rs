//! Kills and pauses where no fact is appended: at the write itself, one process of two, and an executor that stands still.

use std::process::ExitCode;

use e2e::small_cases;

fn main() -> ExitCode {
    let cases = small_cases![
        writes::the_executor_killed_right_before_its_write,
        writes::the_executor_killed_right_after_its_write,
        writes::the_executor_killed_after_its_dry_run,
        replicas::one_alert_ingest_of_two_is_killed,
        replicas::one_orchestrator_of_two_is_killed,
        replicas::one_executor_of_two_is_killed,
        replicas::one_verifier_of_two_is_killed,
        replicas::one_notifier_of_two_is_killed,
        pauses::a_write_that_arrives_after_everything,
        pauses::a_read_that_is_stale_when_it_is_used,
        pauses::a_dry_run_that_is_answered_after_everything,
        pauses::an_intent_whose_answer_comes_after_everything,
        pauses::a_write_whose_answer_comes_after_everything,
        pauses::a_person_deploys_between_intent_and_write,
        pauses::a_person_deploys_while_the_write_is_on_its_way,
        pauses::a_person_deploys_between_the_read_and_the_write,
    ];
    e2e::crash::harness::main(cases, 4)
}
