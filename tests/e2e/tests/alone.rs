//! What touches everybody: each service killed in the middle of a rollback, and the cluster-wide brakes. One at a time.

use std::process::ExitCode;

use e2e::cases;
use testbed::world::WorldOptions;

fn main() -> ExitCode {
    let cases = cases![
        killed::alert_ingest,
        killed::orchestrator,
        killed::executor,
        killed::verifier,
        killed::notifier,
        brakes::the_pause_switch,
        brakes::a_mass_failure,
    ];
    e2e::harness::main(WorldOptions::default().with_mass_failure_brake(), cases, 1)
}
