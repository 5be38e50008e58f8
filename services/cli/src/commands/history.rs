//! `history`: the versions of a workload, newest first, with what is known of each and what it is worth.
//!
//! Guarantee: the standing is the one that a decision would go by, by the policy that governs the workload, and its reason is said; where it is
//! not known which does, that is said too. Must not: look for what runs now; that is what the ledger last saw.

use std::time::Duration;

use contracts::time::from_proto;
use contracts::v1::WorkloadRef;
use jiff::{SignedDuration, Timestamp};
use lastgood_core::ledger::Standing;
use lastgood_core::text::{length, utc, when};
use orchestrator::ledger::LedgerStore;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Answer, Failure};
use crate::governing::{By, Judge, judge};
use crate::look::{Cell, Look, Tone, cell};
use crate::record::{self, Version};
use crate::workload::{self, Target, pasteable};

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

/// Reads and tells.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let workload = args.target.resolve(&context.config.kubernetes)?;
    let store = LedgerStore::new(context.bus().await?);
    let view = context.ledger(&store, &workload).await?;
    let Judge { soak, by } = judge(context, &workload, &view).await;
    if let By::Configuration { because } = &by {
        context.remark(&format!("judged by the configured soak ({}): {because}", length(signed(soak))));
    }
    let versions = record::versions(&view, soak);
    let json = json!({
        "workload": workload::json(&workload),
        "soak_seconds": soak.as_secs(),
        "soak_by": by.json(),
        "versions": versions.iter().map(record::whole).collect::<Vec<_>>(),
    });
    Ok(Answer::done(&text(&workload, &versions, soak, context.now(), context.look), json))
}

fn text(workload: &WorkloadRef, versions: &[Version], soak: Duration, now: Timestamp, look: Look) -> Vec<String> {
    let heading = format!("{} in cluster {}", pasteable(workload), workload.cluster);
    let count = if versions.len() == 1 { "1 version".to_owned() } else { format!("{} versions", versions.len()) };
    let note = format!("{count}; good is what stood {} without trouble, or what a person said is good", length(signed(soak)));
    let mut rows = vec![["", "VERSION", "STANDING", "SINCE", "IMAGES"].map(|title| cell(Tone::Quiet, title)).to_vec()];
    rows.extend(versions.iter().map(|version| row(version, now)));
    let mut table = look.table(&rows).into_iter();
    let mut lines = vec![look.toned(Tone::Title, &heading), look.toned(Tone::Quiet, &note)];
    lines.extend(table.next());
    for (version, line) in versions.iter().zip(table) {
        lines.push(line);
        lines.extend(evidence(version, now).iter().map(|(tone, text)| format!("     {}", look.toned(*tone, text))));
    }
    lines
}

fn row(version: &Version, now: Timestamp) -> Vec<Cell> {
    let since = if version.current { when(version.since, now) } else { format!("({})", utc(version.since)) };
    vec![
        cell(Tone::Title, if version.current { "*" } else { " " }),
        cell(Tone::Title, &version.short()),
        cell(tone(&version.standing), version.standing.word()),
        cell(Tone::Plain, &since),
        cell(Tone::Plain, &images(version)),
    ]
}

/// The color of a standing.
const fn tone(standing: &Standing) -> Tone {
    match standing {
        Standing::Good(_) => Tone::Good,
        Standing::Bad(_) => Tone::Bad,
        Standing::Unknown(_) => Tone::Open,
    }
}

/// One container's image as it is, of more each with its container.
fn images(version: &Version) -> String {
    match version.images.as_slice() {
        [one] => one.image.clone(),
        more => more.iter().map(|image| format!("{}={}", image.container, image.image)).collect::<Vec<_>>().join(", "),
    }
}

/// Why it stands as it does, and everything else that is known of it, a line each.
fn evidence(version: &Version, now: Timestamp) -> Vec<(Tone, String)> {
    let known = &version.known;
    let mut lines = vec![(tone(&version.standing), version.standing.why().to_owned())];
    let available = from_proto(known.version.fully_available_at.as_ref());
    // What is not good yet says so by itself.
    if let Some(at) = available.filter(|_| !matches!(version.standing, Standing::Unknown(_))) {
        lines.push((Tone::Quiet, format!("first seen fully available at {}", when(at, now))));
    }
    if let Some(soaked) = known.soaked {
        let (stood, at) = (length(signed(soaked.stood)), utc(soaked.at));
        let pods = format!("{}, {}", counted(soaked.replicas, "replica"), counted(soaked.restarts, "restart"));
        lines.push((Tone::Quiet, format!("stood {stood} at the longest with {pods}, seen {at}")));
    }
    for image in known.version.images.iter().filter(|image| !image.digest.is_empty()) {
        lines.push((Tone::Quiet, format!("{} ran {}", image.container, image.digest)));
    }
    if let Some(since) = known.clean_since.filter(|_| version.current) {
        let pods = counted(known.clean_replicas, "replica");
        lines.push((Tone::Quiet, format!("soaking since {} with {pods}", when(since, now))));
    }
    for trouble in &known.troubles {
        let incident = if trouble.incident.is_empty() { String::new() } else { format!(", {}", trouble.incident) };
        lines.push((Tone::Bad, format!("{}: {} at {}{incident}", trouble.kind, trouble.detail, when(trouble.at, now))));
    }
    if let Some(incident) = known.rolled_back_from.as_ref().filter(|incident| !version.standing.why().contains(*incident)) {
        lines.push((Tone::Bad, format!("rolled back from by {incident}")));
    }
    if known.template_json.is_empty() {
        lines.push((Tone::Quiet, "its pod template is not recorded (any more)".to_owned()));
    }
    lines
}

fn counted(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use lastgood_core::ledger::{Marked, Soaked, Trouble};

    use super::*;
    use crate::record::tests::version;

    const SOAK: Duration = Duration::from_mins(10);

    fn at(text: &str) -> Timestamp {
        format!("2026-11-25T{text}Z").parse().unwrap()
    }

    fn judged(mut version: Version) -> Version {
        version.standing = version.known.standing(SOAK);
        version
    }

    fn workload() -> WorkloadRef {
        WorkloadRef { cluster: "eu".into(), namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() }
    }

    #[test]
    fn a_history_reads_from_the_newest_back() {
        let available = |at: Timestamp| Some(contracts::time::to_proto(at));
        let mut newest = version("3333333333333333", "registry.example/web:v3");
        (newest.current, newest.since) = (true, at("12:55:00"));
        newest.known.version.fully_available_at = available(at("12:56:00"));
        newest.known.clean_since = Some(at("12:56:00"));
        newest.known.clean_replicas = 1;
        newest.known.template_json = b"{}".to_vec();
        let mut bad = version("2222222222222222", "registry.example/web:v2");
        bad.since = at("11:00:00");
        bad.known.rolled_back_from = Some("inc_1".into());
        bad.known.troubles = vec![Trouble {
            kind: "alert".into(),
            detail: "Errors\u{1b}[2J".into(),
            incident: "inc_1".into(),
            at: at("11:05:00"),
        }];
        let mut good = version("1111111111111111", "registry.example/web:v1");
        good.since = at("09:00:00");
        good.known.version.fully_available_at = available(at("09:01:00"));
        good.known.soaked = Some(Soaked { stood: Duration::from_mins(90), replicas: 3, restarts: 0, at: at("10:31:00") });
        good.known.marked = Some(Marked { good: true, who: "ann".into(), reason: "checked by hand".into(), at: at("12:00:00") });
        good.known.template_json = b"{}".to_vec();
        good.known.version.images[0].digest = "sha256:abc".into();
        let lines = text(&workload(), &[newest, bad, good].map(judged), SOAK, at("13:00:00"), Look::new(false));
        assert_eq!(
            lines,
            [
                "deployment/web -n shop in cluster eu",
                "3 versions; good is what stood 10m 00s without trouble, or what a person said is good",
                "   VERSION     STANDING  SINCE                              IMAGES",
                "*  3333333333  unknown   2026-11-25 12:55:00Z (5m 00s ago)  registry.example/web:v3",
                "     seen fully available at 2026-11-25T12:56:00Z, but not to stay so for 10m without trouble",
                "     soaking since 2026-11-25 12:56:00Z (4m 00s ago) with 1 replica",
                "   2222222222  bad       (2026-11-25 11:00:00Z)             registry.example/web:v2",
                "     was rolled back from by inc_1",
                "     alert: Errors\\u{1b}[2J at 2026-11-25 11:05:00Z (1h 55m ago), inc_1",
                "     its pod template is not recorded (any more)",
                "   1111111111  good      (2026-11-25 09:00:00Z)             registry.example/web:v1",
                "     ann said so at 2026-11-25T12:00:00Z: checked by hand",
                "     first seen fully available at 2026-11-25 09:01:00Z (3h 59m ago)",
                "     stood 1h 30m at the longest with 3 replicas, 0 restarts, seen 2026-11-25 10:31:00Z",
                "     web ran sha256:abc",
            ]
        );
    }

    #[test]
    fn containers_are_named_where_there_are_several() {
        let mut two = version("aaaa", "web:v1");
        two.images.push(contracts::v1::ContainerImage {
            container: "proxy".into(),
            image: "envoy:1".into(),
            ..contracts::v1::ContainerImage::default()
        });
        assert_eq!(images(&two), "web=web:v1, proxy=envoy:1");
        assert_eq!(images(&version("aaaa", "web:v1")), "web:v1");
    }
}
