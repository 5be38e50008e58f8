//! Runs scenarios side by side in one world, with the output and the arguments of a usual Rust test.
//!
//! Guarantees: one world a test binary, which ends with it; on the cluster that `LASTGOOD_E2E_KUBECONFIG` names, else on the
//! simulated one. Must not: run a scenario twice to get it green.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use testbed::world::{World, WorldOptions};

/// A scenario as a plain function.
pub type Scenario = fn(Arc<World>) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// A named scenario.
pub struct Case {
    /// The name that the test runner shows.
    pub name: &'static str,
    /// What runs.
    pub run: Scenario,
}

/// Names scenarios after their functions.
#[macro_export]
macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$($crate::harness::Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |world| Box::pin(async move { $crate::scenarios::$module::$name(&world).await }),
        }),*]
    };
}

/// Runs them where a real cluster is given; else each is shown as ignored, and why.
#[must_use]
pub fn real_only(options: WorldOptions, cases: Vec<Case>, side_by_side: usize) -> ExitCode {
    if options.kubeconfig.is_some() {
        return main(options, cases, side_by_side);
    }
    println!("IGNORED, not run: these need a real cluster (LASTGOOD_E2E_KUBECONFIG); the simulated one has no such controllers");
    let trials = cases.into_iter().map(|case| Trial::test(case.name, || Ok(())).with_ignored_flag(true));
    let mut arguments = Arguments::from_args();
    // To be asked for them by name changes nothing.
    (arguments.ignored, arguments.include_ignored) = (false, false);
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Runs them, at most `side_by_side` at once.
#[must_use]
pub fn main(options: WorldOptions, cases: Vec<Case>, side_by_side: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(side_by_side);
    let wanted = |case: &&Case| arguments.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str()));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    // A world takes seconds to come up: none for a mere listing, or for a filter that leaves nothing to run.
    let world = if arguments.list || cases.iter().filter(wanted).count() == 0 {
        None
    } else {
        match runtime.block_on(World::start(options)) {
            Ok(world) => Some(Arc::new(world)),
            Err(error) => {
                eprintln!("the world did not come up: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    };
    let trials = cases.into_iter().map(|case| {
        let (runtime, world) = (Arc::clone(&runtime), world.clone());
        Trial::test(case.name, move || {
            let world = world.ok_or("no world")?;
            runtime
                .block_on((case.run)(Arc::clone(&world)))
                .map_err(|error| Failed::from(format!("{error:#}{}", world.epilogue())))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Some(world) = world.and_then(Arc::into_inner) {
        runtime.block_on(world.stop());
    }
    conclusion.exit_code()
}
