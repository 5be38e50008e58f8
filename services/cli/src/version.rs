//! Which version a command is about: the beginning of its hash, an image or tag, `current` or `previous`.
//!
//! Guarantee: a text that fits more than one version names none, and the refusal says which it fits. Must not: guess.

use crate::exit::Failure;
use crate::record::Version;

/// The shortest beginning of a hash that names a version.
const SHORTEST: usize = 4;
/// Versions that a refusal lists.
const LISTED: usize = 8;

/// The version that this text names; `versions` are all of the workload's, newest first.
pub fn resolve<'a>(versions: &'a [Version], text: &str) -> Result<&'a Version, Failure> {
    match text {
        "current" => versions.iter().find(|version| version.current).ok_or_else(|| {
            Failure::NoSuch("which version runs now is not known: the ledger holds none as the current one".to_owned())
        }),
        "previous" => versions
            .iter()
            .find(|version| !version.current)
            .ok_or_else(|| Failure::NoSuch("there is no previous version: the ledger holds only the current one".to_owned())),
        text => named(versions, text),
    }
}

fn named<'a>(versions: &'a [Version], text: &str) -> Result<&'a Version, Failure> {
    if let Some(exact) = versions.iter().find(|version| version.hash == text) {
        return Ok(exact);
    }
    let fitting: Vec<_> = versions.iter().filter(|version| fits(version, text)).collect();
    match fitting[..] {
        [one] => Ok(one),
        [] => Err(Failure::NoSuch(format!("`{text}` names no version in the ledger; it holds {}", listed(versions.iter())))),
        _ => Err(Failure::Usage(format!("`{text}` fits {} versions: {}", fitting.len(), listed(fitting.into_iter())))),
    }
}

fn fits(version: &Version, text: &str) -> bool {
    let is_hash = text.len() >= SHORTEST && version.hash.starts_with(&text.to_ascii_lowercase());
    is_hash || version.images.iter().any(|image| is_image(&image.image, text))
}

/// Whether a text is this image: all of it, what stands behind its registry and folders, its tag, or its digest.
fn is_image(image: &str, text: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    let (tagged, digest) = name.split_once('@').map_or((name, None), |(tagged, digest)| (tagged, Some(digest)));
    let tag = tagged.split_once(':').map(|(_, tag)| tag);
    [Some(image), Some(name), Some(tagged).filter(|_| tag.is_some()), tag, digest].contains(&Some(text))
}

fn listed<'a>(versions: impl ExactSizeIterator<Item = &'a Version>) -> String {
    let more = versions.len().saturating_sub(LISTED);
    let mut list: Vec<_> =
        versions.take(LISTED).map(|version| format!("{} ({})", version.short(), version.image_names())).collect();
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::version;

    fn versions() -> Vec<Version> {
        let mut all = vec![
            version("aaaa1111", "registry.example:5000/shop/web:v3@sha256:77"),
            version("aaaa2222", "registry.example:5000/shop/web:v2"),
            version("bbbb3333", "registry.example:5000/shop/web:v1"),
            version("cccc4444", "web:bbbb"),
        ];
        all[1].current = true;
        all
    }

    fn resolved(text: &str) -> Result<String, Failure> {
        resolve(&versions(), text).map(|version| version.hash.clone())
    }

    #[test]
    fn one_version_is_named_in_many_ways() {
        for (text, hash) in [
            ("current", "aaaa2222"),
            ("previous", "aaaa1111"),
            ("aaaa1", "aaaa1111"),
            ("AAAA1", "aaaa1111"),
            ("bbbb3333", "bbbb3333"),
            ("v2", "aaaa2222"),
            ("web:v2", "aaaa2222"),
            ("registry.example:5000/shop/web:v1", "bbbb3333"),
            ("web:v3", "aaaa1111"),
            ("sha256:77", "aaaa1111"),
        ] {
            assert_eq!(resolved(text).unwrap(), hash, "{text}");
        }
    }

    #[test]
    fn what_fits_two_names_none() {
        for text in ["aaaa", "bbbb"] {
            let failure = resolved(text).unwrap_err();
            assert_eq!(failure.code(), crate::exit::WRONG_USE);
            assert!(failure.to_string().contains("fits 2 versions"), "{failure}");
        }
    }

    #[test]
    fn what_fits_none_is_no_such_thing() {
        for text in ["aaa", "v9", "web", "", "5000/shop/web:v2", "dddd"] {
            let failure = resolved(text).unwrap_err();
            assert_eq!(failure.code(), crate::exit::NO_SUCH_THING, "{text}");
            assert!(failure.to_string().contains("bbbb3333 (web:v1)") || failure.to_string().contains("bbbb3333"), "{failure}");
        }
        assert_eq!(resolve(&[version("a", "web:v1")], "current").unwrap_err().code(), crate::exit::NO_SUCH_THING);
        assert_eq!(resolve(&[], "previous").unwrap_err().code(), crate::exit::NO_SUCH_THING);
    }
}
