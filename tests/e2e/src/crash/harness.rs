//! Runs scenarios that each have a small world of their own, with the output and the arguments of a usual Rust test.
//!
//! Guarantees: a scenario that only runs at depth is shown as ignored otherwise. Must not: run a scenario twice to get it green.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

/// A scenario as a plain function.
pub type Scenario = fn() -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// A named scenario.
pub struct Case {
    /// The name that the test runner shows.
    pub name: &'static str,
    /// What runs.
    pub run: Scenario,
    /// Whether it runs at depth alone.
    pub deep_only: bool,
}

/// Names scenarios after their functions: those of `crash`, or of `crash::faults`.
#[macro_export]
macro_rules! small_cases {
    ($($module:ident :: $name:ident),* $(,)?) => { $crate::small_cases![@ $crate::crash; $($module :: $name),*] };
    (@ $base:path; $($module:ident :: $name:ident),*) => {{
        use $base as base;
        vec![$($crate::crash::harness::Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: || Box::pin(base::$module::$name()),
            deep_only: false,
        }),*]
    }};
}

/// [`small_cases`] of `crash::faults`.
#[macro_export]
macro_rules! small_fault_cases {
    ($($module:ident :: $name:ident),* $(,)?) => { $crate::small_cases![@ $crate::crash::faults; $($module :: $name),*] };
}

/// Whether everything runs at full length: `LASTGOOD_DEPTH=deep`.
#[must_use]
pub fn deep() -> bool {
    std::env::var("LASTGOOD_DEPTH").is_ok_and(|depth| depth == "deep")
}

/// Runs them, at most `side_by_side` at once.
#[must_use]
pub fn main(cases: Vec<Case>, side_by_side: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(side_by_side);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = cases.into_iter().map(|case| {
        let runtime = Arc::clone(&runtime);
        let run = move || runtime.block_on((case.run)()).map_err(|error| Failed::from(format!("{error:#}")));
        Trial::test(case.name, run).with_ignored_flag(case.deep_only && !deep())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
