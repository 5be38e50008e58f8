//! `diff`: what differs between two versions of a workload, of everything that the ledger holds of them.
//!
//! Guarantees: values that look secret are hidden, as in every other place; where a version was not recorded whole, that is said and no
//! difference is claimed. Must not: read a cluster.

use lastgood_core::configuration::diff::Content;
use lastgood_core::configuration::{self, Kind};
use lastgood_core::plan::diff::{Change, changes};
use orchestrator::ledger::LedgerStore;
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::{Answer, Failure};
use crate::look::{Look, Tone};
use crate::record::{self, Version};
use crate::version::resolve;
use crate::workload::{self, Target};

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// The version to begin with: the beginning of its hash, an image or tag, `current` or `previous`.
    #[arg(value_name = "A", default_value = "previous")]
    from: String,
    /// The version to end with, written the same way.
    #[arg(value_name = "B", default_value = "current")]
    to: String,
}

/// Compares.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let workload = args.target.resolve(&context.config.kubernetes)?;
    let store = LedgerStore::new(context.bus().await?);
    let versions = record::versions(&context.ledger(&store, &workload).await?, context.configured_soak());
    let (from, to) = (resolve(&versions, &args.from)?, resolve(&versions, &args.to)?);
    let mut changes = changes(&template(from)?, &template(to)?);
    changes.extend(digests(from, to));
    let configuration = configuration::diff::diff(&contents(from), &contents(to));
    let json = json!({
        "workload": workload::json(&workload),
        "from": record::brief(from),
        "to": record::brief(to),
        "same": changes.is_empty() && configuration.is_empty(),
        "template": changes.iter().map(change).collect::<Vec<_>>(),
        "configuration": configuration,
    });
    let mut lines = text(from, to, &changes, context.look);
    lines.extend(configuration.iter().map(|line| context.look.toned(Tone::Open, line)));
    Ok(Answer::done(&lines, json))
}

/// The images that both are known to have run, where they differ: also of one name, whose tag was moved.
fn digests(from: &Version, to: &Version) -> Vec<Change> {
    let ran = |version: &Version, container: &str| {
        let image = version.images.iter().find(|image| image.container == container && !image.digest.is_empty())?;
        Some(image.digest.clone())
    };
    let both = from.images.iter().filter_map(|image| Some((image, ran(from, &image.container)?, ran(to, &image.container)?)));
    both.filter(|(_, was, is)| was != is)
        .map(|(image, was, is)| Change { path: format!("containers[{}].digest", image.container), from: Some(was), to: Some(is) })
        .collect()
}

/// What it ran with, by fingerprint: the content is in the cluster.
fn contents(version: &Version) -> Vec<Content> {
    let known = version.known.version.configuration.iter();
    known.filter_map(|one| Some(Content::of(Kind::parse(&one.kind)?, &one.name, &one.fingerprint, None))).collect()
}

fn template(version: &Version) -> Result<Value, Failure> {
    if version.known.template_json.is_empty() {
        return Err(Failure::Impossible(format!("the pod template of {} was not recorded", version.short())));
    }
    serde_json::from_slice(&version.known.template_json)
        .map_err(|error| Failure::Impossible(format!("what the ledger holds of {} is damaged: {error}", version.short())))
}

fn text(from: &Version, to: &Version, changes: &[Change], look: Look) -> Vec<String> {
    let named = |sign: &str, version: &Version| {
        let is = if version.current { " (current)" } else { "" };
        look.toned(Tone::Title, &format!("{sign} {}  {}{is}", version.short(), version.image_names()))
    };
    let mut lines = vec![named("---", from), named("+++", to)];
    if changes.is_empty() {
        lines.push("nothing differs in the pod template".to_owned());
    }
    lines.extend(changes.iter().map(|change| {
        let tone = match (&change.from, &change.to) {
            (Some(_), None) => Tone::Bad,
            (None, Some(_)) => Tone::Good,
            _ => Tone::Open,
        };
        look.toned(tone, &change.to_string())
    }));
    lines
}

fn change(change: &Change) -> Value {
    let kind = match (&change.from, &change.to) {
        (Some(_), None) => "removed",
        (None, Some(_)) => "added",
        _ => "changed",
    };
    json!({"change": kind, "path": change.path, "from": change.from, "to": change.to})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::version;

    fn with_template(hash: &str, image: &str, template: &Value) -> Version {
        let mut version = version(hash, image);
        version.known.template_json = template.to_string().into_bytes();
        version
    }

    #[test]
    fn differences_read_line_by_line() {
        let one = json!({"spec": {"containers": [{"name": "web", "image": "web:v1", "env": [{"name": "A", "value": "x"}]}]}});
        let two = json!({"spec": {"containers": [{"name": "web", "image": "web:v2",
            "env": [{"name": "B", "value": "\u{1b}[2J"}, {"name": "DB_PASSWORD", "value": "hunter2"}]}]}});
        let (from, mut to) = (with_template("aaaa", "web:v1", &one), with_template("bbbb", "web:v2", &two));
        to.current = true;
        let changes = changes(&template(&from).unwrap(), &template(&to).unwrap());
        assert_eq!(
            text(&from, &to, &changes, Look::new(false)),
            [
                "--- aaaa  web:v1",
                "+++ bbbb  web:v2 (current)",
                "~ containers[web].image: web:v1 → web:v2",
                "- containers[web].env[A].value: x",
                "+ containers[web].env[B].value: \\u{1b}[2J",
                "+ containers[web].env[DB_PASSWORD].value: (hidden)",
            ]
        );
        assert_eq!(
            change(&changes[1]),
            json!({"change": "removed", "path": "containers[web].env[A].value", "from": "x", "to": null})
        );
        assert_eq!(text(&from, &from, &[], Look::new(false))[2], "nothing differs in the pod template");
    }

    #[test]
    fn images_of_one_name_may_differ() {
        let ran = |digest: &str| {
            let mut version = version("aaaa", "web:v1");
            version.images[0].digest = digest.into();
            version
        };
        let told: Vec<_> = digests(&ran("sha256:a"), &ran("sha256:b")).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["~ containers[web].digest: sha256:a → sha256:b"]);
        assert!(digests(&ran("sha256:a"), &ran("")).is_empty(), "what one of them ran is not known");
    }

    #[test]
    fn what_was_not_recorded_is_not_compared() {
        let mut damaged = version("aaaa", "web:v1");
        damaged.known.template_json = b"{".to_vec();
        for (version, said) in [(version("aaaa", "web:v1"), "was not recorded"), (damaged, "is damaged")] {
            assert!(template(&version).unwrap_err().to_string().contains(said));
        }
    }
}
