//! Every arrow of the workflow, each scenario with a workload of its own, side by side in one world.

use std::process::ExitCode;

use e2e::cases;
use testbed::world::WorldOptions;

fn main() -> ExitCode {
    let cases = cases![
        completed::a_version_that_serves_errors_is_put_right,
        completed::a_crash_loop_is_detected_and_put_right,
        completed::an_image_that_cannot_be_pulled_is_put_right,
        completed::a_rollout_that_does_not_progress_is_put_right,
        completed::a_second_alert_joins,
        completed::a_pinned_service_is_switched_without_a_gap,
        completed::the_owners_next_deploy_is_left_alone,
        completed::the_good_version_before_an_unproved_one_comes_back,
        completed::a_history_that_somebody_deleted_comes_back,
        configured::a_bad_config_map_edit_is_put_right,
        configured::image_and_config_map_go_back_together,
        policies::a_custom_resource_allows_the_rollback,
        moved::a_tag_that_moved_comes_back_by_its_digest,
        halted::a_predecessor_that_never_proved_itself,
        halted::a_workload_that_did_not_opt_in,
        halted::a_workload_that_is_managed_elsewhere,
        halted::a_rollout_that_is_paused,
        halted::a_page_that_nobody_acknowledges,
        halted::a_second_bad_version_within_the_cooldown,
        halted::an_alert_that_names_no_workload,
        failed::a_restored_version_whose_smoke_tests_fail,
        failed::a_restored_version_that_never_becomes_ready,
        failed::an_alert_that_goes_on_opens_no_second_rollback,
        contested::a_persons_deploy_supersedes,
        contested::the_bad_version_put_back_on_purpose_supersedes,
        contested::an_autoscaler_supersedes_nothing,
    ];
    let options = WorldOptions::default();
    // They wait more than they work; a real kubelet on the same two cores works more.
    let side_by_side = if options.kubeconfig.is_some() { 5 } else { 10 };
    e2e::harness::main(options, cases, side_by_side)
}
