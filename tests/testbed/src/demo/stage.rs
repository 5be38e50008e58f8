//! Where the demo shows: the terminal, line by line, with a sign of life while something takes long.
//!
//! Guarantees: a terminal that goes away ends nothing; without a terminal there are no control sequences. Must not: decide anything.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::look::{Line, Look, Tone, paragraph};

/// Where there is no terminal to ask.
const WIDTH: usize = 100;
/// How often a log hears that something still goes on.
const PATIENCE: u64 = 15;

/// The terminal.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// What it takes.
    pub look: Look,
    terminal: bool,
}

impl Stage {
    /// Looks at what standard output is. `NO_COLOR` and `COLUMNS` are heeded.
    #[must_use]
    pub fn open() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let columns = set("COLUMNS").and_then(|columns| columns.to_str()?.parse().ok());
        let width = columns.or_else(|| terminal.then(terminal_width).flatten()).unwrap_or(WIDTH);
        Self { look: Look::new(width, terminal && set("NO_COLOR").is_none()), terminal }
    }

    /// Prints lines. Nobody reading them is no reason to stop.
    pub fn lines(self, lines: impl IntoIterator<Item = String>) {
        let mut out = std::io::stdout().lock();
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
        let _ = out.flush();
    }

    /// Prints a paragraph.
    pub fn say(self, tone: Tone, text: &str) {
        self.lines(paragraph(text, 2, tone, self.look));
    }

    /// Prints an empty line.
    pub fn gap(self) {
        self.lines([String::new()]);
    }

    /// Prints a heading over a rule.
    pub fn title(self, text: &str) {
        self.gap();
        let rule = "━".repeat(self.look.width.saturating_sub(super::look::cells(text) + 4));
        self.lines([format!(
            "{} {} {}",
            self.look.toned(Tone::Quiet, "━━"),
            self.look.toned(Tone::Title, text),
            self.look.toned(Tone::Quiet, &rule)
        )]);
    }

    /// Prints facts.
    pub fn facts(self, lines: &[Line]) {
        self.lines(lines.iter().flat_map(|line| line.paint(self.look)));
    }

    /// Prints something that happened around the incident, such as a deploy.
    pub fn note(self, step: &str, detail: &str, tone: Tone) {
        self.facts(&[Line { at: None, node: "", step: step.to_owned(), details: vec![detail.to_owned()], tone }]);
    }

    /// Waits for something that may take long, and shows that it goes on and how long it took.
    pub async fn long<T, E>(self, what: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = Instant::now();
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = ticks.tick() => self.still(what, begun.elapsed()),
            }
        };
        let (mark, tone) = if done.is_ok() { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
        let (mark, seconds) = (self.look.toned(tone, mark), begun.elapsed().as_secs_f64());
        let start = if self.terminal { "\r\u{1b}[K" } else { "" };
        self.lines([format!("{start}  {mark} {what}  {}", self.look.toned(Tone::Quiet, &format!("{seconds:.1} s")))]);
        done
    }

    fn still(self, what: &str, since: Duration) {
        let seconds = since.as_secs();
        let mut out = std::io::stdout().lock();
        let _ = if self.terminal {
            write!(out, "\r\u{1b}[K  · {what} … {seconds} s")
        } else if seconds > 0 && seconds.is_multiple_of(PATIENCE) {
            writeln!(out, "  · {what} … {seconds} s")
        } else {
            Ok(())
        };
        let _ = out.flush();
    }
}

/// Asks `stty`, which every Debian has.
fn terminal_width() -> Option<usize> {
    let output = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().nth(1)?.parse().ok().filter(|width| *width > 0)
}
