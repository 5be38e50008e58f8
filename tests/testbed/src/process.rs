//! Supervised child processes: a process group each, a log file each, signals by method, and an end with their owner.
//!
//! Guarantee: what was spawned here dies when its [`Process`] is dropped, and also when this whole process is killed (a small
//! shell reaper holds the other end of a pipe and ends what is left). It must never signal a process that it has not spawned.

use std::{
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{Error, wait};

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 40;

/// Locks without caring for a panic elsewhere: the data behind these locks is valid after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child process and what it has ended with.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    child: Mutex<(Child, Option<ExitStatus>)>,
}

impl Process {
    /// Starts `command` in a process group of its own, with stdin closed and stdout and stderr appended to `log_file`.
    pub fn spawn(name: impl Into<String>, mut command: Command, log_file: impl Into<PathBuf>) -> Result<Self, Error> {
        let (name, log) = (name.into(), log_file.into());
        let open = || {
            if let Some(dir) = log.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let out = File::options().create(true).append(true).open(&log)?;
            Ok((out.try_clone()?, out))
        };
        let (out, err) = open().map_err(Error::io(format!("opening the log {} of {name}", log.display())))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(Error::io(format!("starting {name}: {command:?}")))?;
        let pid = child.id();
        reaper('+', pid);
        Ok(Self { name, pid, log, child: Mutex::new((child, None)) })
    }

    /// The name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, which is also its group's.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Where stdout and stderr go.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit status, or `None` while it runs (or is paused).
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let mut child = lock(&self.child);
        if child.1.is_none()
            && let Ok(Some(status)) = child.0.try_wait()
        {
            child.1 = Some(status);
            reaper('-', self.pid);
        }
        child.1
    }

    /// Whether it has not ended; a paused process runs.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// SIGTERM, then SIGKILL when it has not ended at the deadline. The exit status tells which it was.
    pub async fn terminate(&self, deadline: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::SIGTERM);
        if let Ok(status) = self.wait_exit(deadline).await {
            return Ok(status);
        }
        self.kill();
        self.wait_exit(Duration::from_secs(5)).await
    }

    /// SIGKILL to the whole group, without waiting.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// SIGSTOP: it keeps its sockets and its memory and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits till it has ended by itself or by a signal.
    pub async fn wait_exit(&self, deadline: Duration) -> Result<ExitStatus, Error> {
        let what = format!("the end of {} (pid {})", self.name, self.pid);
        Ok(wait::until(&what, deadline, || async { self.exit_status() }).await?)
    }

    /// Resident memory in KiB; `None` once it has ended.
    #[must_use]
    pub fn rss_kib(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// The most memory that was resident at any time, KiB; `None` when it has ended.
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    /// The CPU time that it has used in user mode and in the kernel; `None` when it has ended.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        /// `USER_HZ`, which is 100 on every Linux of ours.
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name is in parentheses and may hold anything; utime and stime are the 12th and 13th after it.
        let mut numbers = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || numbers.next()?.parse::<u32>().ok();
        Some(TICK.saturating_mul(ticks()?.saturating_add(ticks()?)))
    }

    fn status(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes))
    }

    /// Signals the group, unless the child was reaped: then its id may belong to somebody else.
    fn signal(&self, signal: Signal) {
        if self.is_running()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // The only error left is a group that has just ended, which the next look at the status shows.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if child.1.is_none() {
            let _ = child.0.wait(); // after SIGKILL this returns at once, and leaves no zombie
            reaper('-', self.pid);
        }
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Ends, by SIGKILL to their groups, the processes announced with `+` and not taken back with `-` when its stdin closes.
const REAPER: &str = r#"
live=" "
while read -r op pid; do
  case "$op$live" in
    +*) live="$live$pid " ;;
    *" $pid "*) live="${live%% $pid *} ${live#* $pid }" ;;
  esac
done
for pid in $live; do kill -KILL "-$pid" 2>/dev/null; done
"#;

/// Tells the reaper about a child. Without a shell there is no reaper, and [`Drop`] alone has to do.
fn reaper(operation: char, pid: u32) {
    static PIPE: OnceLock<Mutex<Option<ChildStdin>>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", REAPER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Mutex::new(command.spawn().ok().and_then(|mut child| child.stdin.take()))
    });
    if let Some(pipe) = lock(pipe).as_mut() {
        let _ = writeln!(pipe, "{operation} {pid}");
    }
}

/// A program that a test kills and starts again with the same arguments.
pub struct Daemon {
    name: String,
    log: PathBuf,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    current: Mutex<Arc<Process>>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("name", &self.name).field("log", &self.log).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Starts it for the first time.
    pub fn start(
        name: impl Into<String>,
        log: impl Into<PathBuf>,
        command: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let (name, log) = (name.into(), log.into());
        let current = Mutex::new(Arc::new(Process::spawn(&name, command(), &log)?));
        Ok(Self { name, log, command: Box::new(command), current })
    }

    /// The process that runs now, or that ran last.
    pub fn process(&self) -> Arc<Process> {
        Arc::clone(&lock(&self.current))
    }

    /// SIGKILL, and waits till it is gone.
    pub async fn kill(&self) -> Result<(), Error> {
        let process = self.process();
        process.kill();
        process.wait_exit(Duration::from_secs(5)).await.map(drop)
    }

    /// Kills what runs and starts a new process; the log continues.
    pub async fn respawn(&self) -> Result<(), Error> {
        self.kill().await?;
        let process = Process::spawn(&self.name, (self.command)(), &self.log)?;
        *lock(&self.current) = Arc::new(process);
        Ok(())
    }

    /// Waits till `probe` is content; a process that ends meanwhile is an error at once, with the end of its log.
    pub async fn ready<F, Fut>(&self, deadline: Duration, mut probe: F) -> Result<(), Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let process = self.process();
        let look = || {
            let ended = process.exit_status();
            let probed = probe();
            async move {
                match ended {
                    Some(status) => Ok(Err(status)),
                    None => probed.await.map(Ok),
                }
            }
        };
        match wait::until(&format!("{} to be ready", self.name), deadline, look).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => {
                let (log, tail) = (process.log().to_owned(), process.log_tail());
                Err(Error::Exited { name: self.name.clone(), status, log, tail })
            }
            Err(timed_out) => Err(Error::NotReady { timed_out, tail: process.log_tail() }),
        }
    }
}
