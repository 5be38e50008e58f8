//! The seeded simulation: all services' code in one process, in virtual time, under faults; S1 to S8 are judged after every event.
//!
//! `LASTGOOD_SEED=17` replays one seed and prints every event; `LASTGOOD_SEEDS=5000` runs so many; `LASTGOOD_SOAK=30` runs for so many
//! minutes; both begin with `LASTGOOD_FROM`, and go on after a failure with `LASTGOOD_KEEP_GOING=1`. A failure prints the seed, the broken
//! promise, the last events and the command that replays it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::run::{Report, run};
use tokio::time::Instant;

/// A quarter of a seed's time is spent in the usual allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of a usual run: more than a second of CPU each, for most of our crates are not optimised in it; with `--config
/// tests/model/optimised.toml` 0.4 s.
const SEEDS: u64 = 60;
/// Seeds with `LASTGOOD_DEPTH=deep`.
const DEEP: u64 = 5_000;
/// Events shown of a failed run.
const SHOWN: usize = 60;
/// A line of progress after so many seeds.
const PROGRESS: u64 = 250;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn replay(seed: u64) -> String {
    format!("LASTGOOD_SEED={seed} cargo test --workspace --test simulation -- --nocapture the_promises_hold")
}

fn failure(report: &Report) -> String {
    let Some(violation) = &report.violation else { return String::new() };
    let from = report.events.len().saturating_sub(SHOWN);
    format!(
        "seed {} breaks: {}\n  {}\nthe last events:\n{}\nreplay it: {}",
        report.seed,
        violation.invariant,
        violation.detail,
        report.events[from..].join("\n"),
        replay(report.seed)
    )
}

/// What many runs came to.
#[derive(Default)]
struct Total {
    seeds: u64,
    seconds: u64,
    outcomes: BTreeMap<String, u64>,
    counts: BTreeMap<String, u64>,
    failures: Vec<String>,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.seconds += report.seconds;
        if self.seeds.is_multiple_of(PROGRESS) {
            println!("{} seeds, {} failed", self.seeds, self.failures.len());
        }
        for (into, from) in [(&mut self.outcomes, &report.outcomes), (&mut self.counts, &report.counts)] {
            for (kind, count) in from {
                *into.entry(kind.clone()).or_default() += count;
            }
        }
        if report.violation.is_some() {
            let failure = failure(report);
            println!("{failure}\n");
            self.failures.push(failure);
        }
    }
}

/// Runs seeds on two threads until `more` says that it is enough, or until one fails.
fn run_many(from: u64, more: impl Fn(u64) -> bool + Sync) -> Total {
    let (next, failed, total) = (AtomicU64::new(from), AtomicBool::new(false), Mutex::new(Total::default()));
    let keep_going = std::env::var("LASTGOOD_KEEP_GOING").is_ok();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while keep_going || !failed.load(Ordering::SeqCst) {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if !more(seed - from) {
                        return;
                    }
                    let report = run(seed, false);
                    failed.fetch_or(report.violation.is_some(), Ordering::SeqCst);
                    total.lock().expect("the other thread has not panicked").add(&report);
                }
            });
        }
    });
    total.into_inner().expect("no thread has panicked")
}

/// Prints also where the test harness captures what a test prints.
fn show(total: &Total, took: Duration) {
    let mut text = format!("{} seeds, {} virtual hours, in {took:.1?}\n", total.seeds, total.seconds / 3600);
    let _ = writeln!(text, "incidents by outcome: {:?}\nwhat happened:", total.outcomes);
    for (kind, count) in &total.counts {
        let _ = writeln!(text, "  {kind:<28} {count}");
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[test]
fn the_promises_hold() {
    if let Some(seed) = setting("LASTGOOD_SEED") {
        let report = run(seed, true);
        println!("{}", report.events.join("\n"));
        println!("seed {seed}: digest {:016x}, {} virtual seconds", report.digest, report.seconds);
        println!("incidents by outcome: {:?}\n{:?}", report.outcomes, report.counts);
        assert!(report.violation.is_none(), "{}", failure(&report));
        return;
    }
    let begun = Instant::now();
    let from = setting("LASTGOOD_FROM").unwrap_or(1);
    let total = if let Some(minutes) = setting("LASTGOOD_SOAK") {
        run_many(from, |_| begun.elapsed() < Duration::from_secs(60 * minutes))
    } else {
        let deep = std::env::var("LASTGOOD_DEPTH").is_ok_and(|depth| depth == "deep");
        let seeds = setting("LASTGOOD_SEEDS").unwrap_or(if deep { DEEP } else { SEEDS });
        run_many(from, |done| done < seeds)
    };
    show(&total, begun.elapsed());
    assert!(total.failures.is_empty(), "{} of {} seeds failed; {}", total.failures.len(), total.seeds, total.failures[0]);
}

#[test]
fn a_seed_repeats_itself() {
    for seed in [1, 2, 3] {
        let (one, two) = (run(seed, true), run(seed, true));
        let differ = one.events.iter().zip(&two.events).position(|(a, b)| a != b);
        if let Some(at) = differ {
            panic!("seed {seed} differs from itself at event {at}:\n{}\n{}", one.events[at], two.events[at]);
        }
        assert_eq!((one.events.len(), one.digest), (two.events.len(), two.digest), "seed {seed}");
    }
}
