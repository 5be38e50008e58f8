//! The committed corpus, `tests/corpus/<name>/`.
//!
//! Guarantee: files in the order of their names, so that runs agree. Must not: be empty; a test that mutates nothing proves nothing.

use std::path::Path;

/// The files of a corpus.
///
/// # Panics
/// When it can't be read or holds nothing.
#[must_use]
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let files: Vec<_> = paths.iter().map(read).collect();
    assert!(!files.is_empty(), "{} is empty", dir.display());
    files
}
