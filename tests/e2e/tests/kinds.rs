//! StatefulSets and DaemonSets. The simulated cluster has no controllers for them: without `LASTGOOD_E2E_KUBECONFIG` each is ignored.

use std::process::ExitCode;

use e2e::cases;
use testbed::world::WorldOptions;

fn main() -> ExitCode {
    let cases = cases![
        kinds::a_stateful_set_with_a_bad_image_is_put_back,
        kinds::a_daemon_set_with_a_bad_image_is_put_back,
        kinds::a_stuck_stateful_set_that_crashes_is_put_back,
        kinds::a_stuck_stateful_set_that_is_never_ready_is_put_back,
        kinds::a_stuck_stateful_set_of_one_is_put_back,
        kinds::a_daemon_set_that_crashes_is_put_back,
        kinds::the_next_apply_to_a_stateful_set_goes_in,
        kinds::the_next_server_side_apply_to_a_stateful_set_goes_in,
        kinds::the_next_apply_to_a_daemon_set_goes_in,
        kinds::a_persons_change_of_a_stateful_set_wins,
        kinds::a_persons_change_of_a_daemon_set_wins,
        kinds::the_bad_version_of_a_stateful_set_put_back_on_purpose_wins,
        kinds::a_stateful_set_that_updates_on_delete_is_put_back,
        kinds::a_daemon_set_that_updates_on_delete_is_put_back,
        configured::image_and_config_map_of_a_stateful_set_go_back_together,
        moved::a_tag_of_a_stateful_set_that_moved_comes_back_by_its_digest,
        kinds::a_partition_is_respected,
        kinds::the_brakes_hold_for_every_kind,
    ];
    // Long enough for a healthy version's pods to end and start, one after the other, on a busy machine.
    let env = [("LASTGOOD_DETECTOR__PROGRESS", "25s"), ("LASTGOOD_ORCHESTRATOR__DEADLINES__ROLLBACK", "240s")];
    let env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    e2e::harness::real_only(WorldOptions { env, ..WorldOptions::default() }, cases, 4)
}
