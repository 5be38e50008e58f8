//! lastgood's services as real processes: built once, started with an environment, awaited until ready.
//!
//! Guarantee: they are built with the profile and target directory of the running test, by one process at a time. They inherit only what a
//! program needs of this environment, so that a developer's settings never reach them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{
    Error,
    process::{Daemon, Process},
    tools::{locked, output, workspace},
    wait,
};

/// How long a build may take from scratch.
const BUILD: Duration = Duration::from_mins(30);
/// How long a service may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// What a service inherits of this process's environment.
const INHERITED: [&str; 7] = ["PATH", "HOME", "TMPDIR", "LANG", "TZ", "SSL_CERT_FILE", "RUST_BACKTRACE"];

/// The built programs of the workspace.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Builds all programs of the workspace once per process. With `LASTGOOD_BIN_DIR` set, nothing is built and they are taken from there.
    pub async fn build() -> Result<Self, Error> {
        static BUILT: OnceCell<Binaries> = OnceCell::const_new();
        BUILT.get_or_try_init(build).await.cloned()
    }

    /// Programs that were built elsewhere.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The path of a program, which exists.
    pub fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(Error::Refused(format!("there is no program {name} in {}", self.dir.display())))
        }
    }

    /// The directory with the programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

async fn build() -> Result<Binaries, Error> {
    if let Some(dir) = std::env::var_os("LASTGOOD_BIN_DIR").filter(|dir| !dir.is_empty()) {
        return Ok(Binaries::at(dir));
    }
    let exe = std::env::current_exe().map_err(Error::io("the path of this program"))?;
    let plan = Plan::of(&exe, |dir| dir.join("CACHEDIR.TAG").is_file()).ok_or_else(|| {
        Error::Refused(format!("{} is not in a target directory of cargo; set LASTGOOD_BIN_DIR", exe.display()))
    })?;
    let _lock = locked(&plan.target.join("testbed-build.lock"), BUILD).await?;
    let mut command = tokio::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--workspace", "--bins", "--profile", &plan.profile]);
    if let Some(triple) = &plan.triple {
        command.args(["--target", triple]);
    }
    // Cargo's variables about the crate under test would make the same build look like another one.
    let foreign = |name: &str| {
        ["CARGO_PKG_", "CARGO_BIN_", "CARGO_MANIFEST_", "CARGO_CRATE_"].iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
        command.env_remove(name);
    }
    command.env("CARGO_TARGET_DIR", &plan.target).env("CARGO_TERM_COLOR", "never").current_dir(workspace()?);
    output(command, BUILD).await?;
    Ok(Binaries { dir: plan.dir })
}

/// How the running program was built, read off its path.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    target: PathBuf,
    triple: Option<String>,
    profile: String,
    dir: PathBuf,
}

impl Plan {
    /// `<target>[/<triple>]/<profile dir>[/deps]/<program>`; cargo marks its target directories.
    fn of(exe: &Path, is_target: impl Fn(&Path) -> bool) -> Option<Self> {
        let parent = exe.parent()?;
        let dir = if parent.ends_with("deps") || parent.ends_with("examples") { parent.parent()? } else { parent };
        let above = dir.parent()?;
        let (target, triple) = if is_target(above) {
            (above, None)
        } else {
            (above.parent().filter(|dir| is_target(dir))?, Some(above.file_name()?.to_str()?.to_owned()))
        };
        let profile = match dir.file_name()?.to_str()? {
            "debug" => "dev",
            other => other,
        };
        Some(Self { target: target.to_owned(), triple, profile: profile.to_owned(), dir: dir.to_owned() })
    }
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    admin: SocketAddr,
    daemon: Daemon,
}

impl Service {
    /// Starts a program with this environment and waits till `http://<admin>/readyz` answers 2xx. The log is `<log_dir>/<name>.log`.
    pub async fn start(
        name: &str,
        binaries: &Binaries,
        env: Vec<(String, String)>,
        log_dir: &Path,
        admin: SocketAddr,
    ) -> Result<Self, Error> {
        let service = Self::launch(name, binaries, env, log_dir, admin)?;
        service.ready().await?;
        Ok(service)
    }

    /// [`Service::start`] without waiting, for a service that is expected to refuse to start. A second one of a name needs another `log_dir`.
    pub fn launch(
        name: &str,
        binaries: &Binaries,
        env: Vec<(String, String)>,
        log_dir: &Path,
        admin: SocketAddr,
    ) -> Result<Self, Error> {
        let program = binaries.path(name)?;
        let daemon = Daemon::start(name, log_dir.join(format!("{name}.log")), move || {
            let mut command = Command::new(&program);
            command.env_clear();
            for name in INHERITED {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
            command.envs(env.iter().map(|(name, value)| (name, value)));
            command
        })?;
        Ok(Self { admin, daemon })
    }

    /// The address of its probes and metrics, `http://…`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Its metrics, as text.
    pub async fn metrics(&self) -> Result<String, Error> {
        wait::get(&format!("{}/metrics", self.admin_url())).await.map_err(|reason| Error::request("metrics", reason))
    }

    /// The process, to pause it or to read its log and memory.
    #[must_use]
    pub fn process(&self) -> Arc<Process> {
        self.daemon.process()
    }

    /// SIGKILL.
    pub async fn kill(&self) -> Result<(), Error> {
        self.daemon.kill().await
    }

    /// SIGTERM, SIGKILL at the deadline; the status tells which.
    pub async fn terminate(&self, deadline: Duration) -> Result<ExitStatus, Error> {
        self.daemon.process().terminate(deadline).await
    }

    /// Starts it again with the same environment (killing it when it runs) and waits till it is ready.
    pub async fn restart(&self) -> Result<(), Error> {
        self.respawn().await?;
        self.ready().await
    }

    /// [`Service::restart`] without waiting, for one that has so much to read first that it is watched at that.
    pub async fn respawn(&self) -> Result<(), Error> {
        self.daemon.respawn().await
    }

    /// Waits, 30 s at most, till it is ready.
    pub async fn ready(&self) -> Result<(), Error> {
        let url = format!("{}/readyz", self.admin_url());
        self.daemon.ready(READY, || async { wait::get(&url).await.map(drop) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_how_it_was_built() {
        for (exe, triple, profile, dir) in [
            ("/t/debug/deps/e2e-123", None, "dev", "/t/debug"),
            ("/t/release/demo", None, "release", "/t/release"),
            (
                "/t/x86_64-unknown-linux-gnu/bench/deps/x",
                Some("x86_64-unknown-linux-gnu"),
                "bench",
                "/t/x86_64-unknown-linux-gnu/bench",
            ),
        ] {
            let plan = Plan::of(Path::new(exe), |dir| dir == Path::new("/t"));
            let expected =
                Plan { target: "/t".into(), triple: triple.map(str::to_owned), profile: profile.to_owned(), dir: dir.into() };
            assert_eq!(plan, Some(expected), "{exe}");
        }
        assert_eq!(Plan::of(Path::new("/usr/bin/demo"), |_| false), None);
    }
}
