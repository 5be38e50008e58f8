//! A real cluster, given by `KUBECONFIG`: the images that the tests' pods run, made of one static binary without any container engine.
//!
//! Guarantee: images are written into the target directory and loaded by the command that the user names; nothing is pushed to a
//! registry. What cannot be loaded is assumed to be there already.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    Error,
    tools::{locked, output, target_dir, workspace},
    workload::{Behaviour, parse_image},
};

/// How long a build of the workload, or loading an image, may take.
const STEP: Duration = Duration::from_mins(20);
/// The image's name without its tag.
pub const REPOSITORY: &str = "docker.io/lastgood/workload";
/// The environment variable with the command that loads an image; the tarball's path is appended to it.
pub const IMAGE_LOAD: &str = "LASTGOOD_IMAGE_LOAD";
/// What the static binary is built for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The kubeconfig that `KUBECONFIG` names, if it is set and the file is there.
#[must_use]
pub fn kubeconfig() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("KUBECONFIG")?);
    path.is_file().then_some(path)
}

/// The image reference of a tag, as pods name it.
#[must_use]
pub fn image(tag: &str) -> String {
    format!("{REPOSITORY}:{tag}")
}

/// Builds the workload and loads an image for each tag. Without `LASTGOOD_IMAGE_LOAD` nothing is built or loaded. The cluster's pods
/// need `imagePullPolicy: Never` or `IfNotPresent`.
pub async fn provide_images(tags: &[&str]) -> Result<(), Error> {
    let Some(load) = std::env::var_os(IMAGE_LOAD).and_then(|load| load.into_string().ok()).filter(|load| !load.trim().is_empty())
    else {
        return Ok(());
    };
    let binary = build_workload().await?;
    let dir = target_dir()?.join("images");
    std::fs::create_dir_all(&dir).map_err(Error::io(format!("creating {}", dir.display())))?;
    // What can't be pulled is an image that doesn't exist.
    for tag in tags.iter().filter(|tag| parse_image(&image(tag)).1 != Behaviour::Unpullable) {
        let tarball = dir.join(format!("workload-{tag}.tar"));
        write_image(&binary, &image(tag), &tarball)?;
        load_image(&load, &tarball).await?;
    }
    Ok(())
}

/// Builds the static `workload` in a target directory of its own (its flags would otherwise rebuild everything else) and returns its path.
pub async fn build_workload() -> Result<PathBuf, Error> {
    let target = target_dir()?.join("static");
    std::fs::create_dir_all(&target).map_err(Error::io(format!("creating {}", target.display())))?;
    let _lock = locked(&target.join("testbed-build.lock"), STEP).await?;
    let mut command = tokio::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--package", "workload", "--target", TRIPLE])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(workspace()?);
    output(command, STEP).await?;
    Ok(target.join(TRIPLE).join("debug/workload"))
}

/// Runs the command that loads an image, with the tarball's path as its last argument. Its words are separated by blanks.
async fn load_image(load: &str, tarball: &Path) -> Result<(), Error> {
    let mut words = load.split_whitespace();
    let program = words.next().ok_or_else(|| Error::Refused(format!("{IMAGE_LOAD} is blank")))?;
    let mut command = tokio::process::Command::new(program);
    command.args(words).arg(tarball).stdin(Stdio::null());
    output(command, STEP).await.map(drop)
}

/// Writes a docker-archive image of one layer: the binary as `/workload`, which is also the entry point, with the version
/// and the behaviour that the reference's tag names in its environment.
pub fn write_image(binary: &Path, reference: &str, tarball: &Path) -> Result<(), Error> {
    let program = std::fs::read(binary).map_err(Error::io(format!("reading {}", binary.display())))?;
    let scratch = tarball.with_extension("tmp");
    let write = || {
        std::fs::write(&scratch, archive(&program, reference)?)?;
        std::fs::rename(&scratch, tarball)
    };
    write().map_err(Error::io(format!("writing {}", tarball.display())))
}

/// What a registry calls these bytes, "sha256:…".
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The one layer of an image, and its configuration as JSON; the same for the same program and reference.
pub fn layer_and_config(program: &[u8], reference: &str) -> std::io::Result<(Vec<u8>, String)> {
    let (version, behaviour) = parse_image(reference);
    let layer = tar(&[("workload", 0o755, program)])?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": ["/workload"], "Env": [format!("VERSION={version}"), format!("BEHAVIOUR={behaviour}")], "ExposedPorts": { "8080/tcp": {} } },
        "rootfs": { "type": "layers", "diff_ids": [sha256(&layer)] },
        "history": [{ "created_by": "lastgood testbed" }],
    })
    .to_string();
    Ok((layer, config))
}

/// The bytes of the image's archive; the same for the same program and reference.
fn archive(program: &[u8], reference: &str) -> std::io::Result<Vec<u8>> {
    let (layer, config) = layer_and_config(program, reference)?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(config.as_bytes())));
    let manifest = json!([{ "Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"] }]).to_string();
    tar(&[("layer.tar", 0o644, &layer), (&config_name, 0o644, config.as_bytes()), ("manifest.json", 0o644, manifest.as_bytes())])
}

/// A tar archive (ustar) of regular files with short names, owned by root, dated 1970.
fn tar(files: &[(&str, u32, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (name, mode, content) in files {
        out.write_all(&tar_header(name, *mode, content.len()))?;
        out.write_all(content)?;
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    Ok(out)
}

fn tar_header(name: &str, mode: u32, size: usize) -> [u8; 512] {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000"); // owner
    put(116, "0000000"); // group
    put(124, &format!("{size:011o}"));
    put(136, "00000000000"); // modification time
    put(148, "        "); // the checksum counts as blanks while it is computed
    put(156, "0"); // a regular file
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one judge of a tar archive that every machine has.
    fn listed(tarball: &Path) -> String {
        let listed = std::process::Command::new("tar").arg("-tvf").arg(tarball).output().unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }

    #[test]
    fn an_image_is_an_archive_with_a_layer_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (binary, tarball) = (dir.path().join("workload"), dir.path().join("image.tar"));
        std::fs::write(&binary, vec![7; 1000]).unwrap();
        write_image(&binary, &image("v2-failing"), &tarball).unwrap();
        let outer = listed(&tarball);
        assert!(outer.contains("layer.tar") && outer.contains("manifest.json") && outer.lines().count() == 3, "{outer}");
        let extract = std::process::Command::new("tar").current_dir(dir.path()).args(["-xf", "image.tar"]).status().unwrap();
        assert!(extract.success());
        let inner = listed(&dir.path().join("layer.tar"));
        assert!(inner.starts_with("-rwxr-xr-x") && inner.trim_end().ends_with("workload") && inner.contains("1000"), "{inner}");
        let manifest = std::fs::read_to_string(dir.path().join("manifest.json")).unwrap();
        assert!(manifest.contains("docker.io/lastgood/workload:v2-failing"), "{manifest}");
        let config = outer.split_whitespace().find(|word| word.len() == 64 + 5).unwrap();
        let config = std::fs::read_to_string(dir.path().join(config)).unwrap();
        assert!(config.contains("VERSION=v2\"") && config.contains("BEHAVIOUR=failing\""), "{config}");
    }

    #[tokio::test]
    async fn the_loader_gets_the_tarball_last() {
        let dir = tempfile::tempdir().unwrap();
        let tarball = dir.path().join("x.tar");
        std::fs::write(&tarball, "x").unwrap();
        let copy = dir.path().join("copied");
        load_image(&format!("cp -t {}", dir.path().display()), &tarball).await.expect_err("a file is not copied onto itself");
        std::fs::create_dir(&copy).unwrap();
        load_image(&format!("cp -t {}", copy.display()), &tarball).await.unwrap();
        assert!(copy.join("x.tar").is_file());
    }
}
