//! Programs out of Debian packages, downloaded and unpacked without installing them.
//!
//! Guarantee: nothing outside the tools directory changes, except that the package lists are refreshed when they are empty.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{install_once, is_executable, on_path, run};
use crate::Error;

/// One step of apt or dpkg.
const STEP: Duration = Duration::from_mins(3);

/// Where Debian's Alertmanager looks for its templates.
const COMPILED_IN: &str = "/usr/share/prometheus/alertmanager";
/// Where the unpacked one looks: [`super::ALERTMANAGER_ASSETS`] in its current directory.
const ASSETS: &str = "/proc/self/cwd/alertmanager-assets";

/// The first of `names` on `PATH`, else out of Debian's `package`.
pub(super) async fn find_or_unpack(names: &[&str], package: &str) -> Result<PathBuf, Error> {
    if let Some(path) = names.iter().find_map(|name| on_path(name)) {
        return Ok(path);
    }
    let home = install_once(&format!("{package}-unpacked"), |content| async move { unpack(package, &content).await })
        .await
        .map_err(|error| unavailable(names[0], package, &error))?;
    let mut found = names.iter().map(|name| home.join("usr/bin").join(name));
    found.find(|path| is_executable(path)).ok_or_else(|| {
        let reason = format!("Debian's package {package} in {} holds none of {names:?}", home.display());
        unavailable(names[0], package, &reason)
    })
}

/// Downloads the package and unpacks it into `content`.
async fn unpack(package: &str, content: &Path) -> Result<(), Error> {
    let apt_cache = on_path("apt-cache").ok_or_else(|| Error::Refused("this machine has no apt".to_owned()))?;
    let apt_get = on_path("apt-get").ok_or_else(|| Error::Refused("this machine has no apt-get".to_owned()))?;
    let policy = run(&apt_cache, ["policy", package], content, STEP).await?;
    if !has_candidate(&policy) {
        run(&apt_get, ["update", "-q"], content, STEP).await?;
    }
    let download = content.with_file_name("download");
    std::fs::create_dir(&download).map_err(Error::io(format!("creating {}", download.display())))?;
    run(&apt_get, ["download", "-q", package], &download, STEP).await?;
    let files = std::fs::read_dir(&download).map_err(Error::io(format!("reading {}", download.display())))?;
    let deb =
        files.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ext| ext == "deb"));
    let deb = deb.ok_or_else(|| Error::Refused(format!("apt-get download {package} left no .deb")))?;
    run(Path::new("dpkg-deb"), [Path::new("-x"), &deb, content], &download, STEP).await?;
    relocate(&content.join("usr/bin/prometheus-alertmanager"))
}

/// Debian's Alertmanager reads its default templates from a path compiled into it, which only an installed package has. The
/// unpacked copy gets a path of the same length instead, which leads over its current directory.
fn relocate(program: &Path) -> Result<(), Error> {
    if !program.is_file() {
        return Ok(());
    }
    let failed = || format!("giving {} another path for its templates", program.display());
    let bytes = std::fs::read(program).map_err(Error::io(failed()))?;
    std::fs::write(program, replaced(bytes, COMPILED_IN.as_bytes(), ASSETS.as_bytes())).map_err(Error::io(failed()))
}

/// Every occurrence of `from` overwritten with `to`, which has the same length.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if bytes[at] == from[0] && bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
        at += 1;
    }
    bytes
}

/// Whether `apt-cache policy` knows a version to download.
fn has_candidate(policy: &str) -> bool {
    policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate:")).any(|version| version.trim() != "(none)")
}

fn unavailable(tool: &str, package: &str, reason: &impl std::fmt::Display) -> Error {
    Error::Tool {
        tool: tool.to_owned(),
        reason: format!("not on PATH, and Debian's package could not be unpacked: {reason}"),
        remedy: format!("put `{tool}` on PATH, or on Debian run `apt-get update` as root once (the package is `{package}`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_same_length_takes_the_place() {
        assert_eq!(COMPILED_IN.len(), ASSETS.len());
        assert_eq!(ASSETS, format!("/proc/self/cwd/{}", crate::tools::ALERTMANAGER_ASSETS));
        let bytes = format!("x{COMPILED_IN}/ui-{COMPILED_IN}").into_bytes();
        let expected = format!("x{ASSETS}/ui-{ASSETS}").into_bytes();
        assert_eq!(replaced(bytes, COMPILED_IN.as_bytes(), ASSETS.as_bytes()), expected);
    }

    #[test]
    fn candidates() {
        for (policy, expected) in [
            ("prometheus:\n  Installed: (none)\n  Candidate: 2.42.0+ds-5\n", true),
            ("prometheus:\n  Installed: (none)\n  Candidate: (none)\n", false),
            ("", false),
        ] {
            assert_eq!(has_candidate(policy), expected, "{policy}");
        }
    }
}
