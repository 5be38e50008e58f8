//! `history`, `diff` and `mark`.

use std::time::Duration;

use anyhow::Result;
use contracts::v1;
use serde_json::{Value, json};

use crate::world::{HOSTILE, World, observed, soaked};

const GOOD: &str = "1111aaaa00000000000000000000000000000000000000000000000000000000";
const BAD: &str = "2222bbbb00000000000000000000000000000000000000000000000000000000";
const NEW: &str = "2222cccc00000000000000000000000000000000000000000000000000000000";

/// Three versions of shop/web: a good one, one that was rolled back from, and one that has just come.
async fn three(world: &World) -> Result<()> {
    let [available, stood] = soaked(GOOD, Duration::from_mins(30));
    let trouble =
        v1::VersionTroubled { template_hash: BAD.into(), kind: "alert".into(), detail: HOSTILE.into(), incident: "inc_1".into() };
    let back = v1::VersionRolledBackFrom { template_hash: BAD.into(), incident: "inc_1".into() };
    let facts = [
        observed(GOOD, "registry.example/web:v1"),
        available,
        stood,
        observed(BAD, "registry.example/web:v2"),
        trouble.into(),
        back.into(),
        observed(NEW, "registry.example/web:v3"),
    ];
    world.record("web", &facts).await
}

fn standings(history: &Value) -> Vec<(String, String)> {
    let text = |version: &Value, key: &str| version[key].as_str().unwrap_or_default().to_owned();
    let versions = history["versions"].as_array().cloned().unwrap_or_default();
    versions.iter().map(|version| (text(version, "hash")[..8].to_owned(), text(version, "standing"))).collect()
}

fn expected(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(hash, standing)| ((*hash).to_owned(), (*standing).to_owned())).collect()
}

#[tokio::test]
async fn a_persons_word_changes_what_the_history_says() -> Result<()> {
    let world = World::start().await?;
    three(&world).await?;
    let (text, json) = world.reads("history shop/deployment/web").await?;
    assert_eq!(standings(&json), expected(&[("2222cccc", "unknown"), ("2222bbbb", "bad"), ("1111aaaa", "good")]));
    assert_eq!((&json["versions"][0]["current"], &json["versions"][1]["rolled_back_from_by"]), (&json!(true), &json!("inc_1")));
    assert_eq!(json["versions"][2]["soaked"]["seconds"], 1800);
    for part in ["*  2222cccc00  unknown", "was rolled back from by inc_1", "alert: evil\\u{1b}[2J", "3 replicas, 0 restarts"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }

    let marked = world.run_with(&["mark", "good", "deploy/web", "v2", "-n", "shop", "--reason", "it was the database"]).await?;
    assert!(
        marked.code == 0 && marked.out.contains("2222bbbb00 (web:v2) of deployment/web -n shop is now marked good"),
        "{marked:?}"
    );
    let (text, json) = world.reads("history deploy/web -n shop").await?;
    assert_eq!(standings(&json), expected(&[("2222cccc", "unknown"), ("2222bbbb", "good"), ("1111aaaa", "good")]));
    assert_eq!(json["versions"][1]["marked"]["who"], "sam", "the login name");
    assert!(text.contains("sam said so") && text.contains("it was the database"), "{text}");

    let again = world
        .run_with(&["mark", "good", "deploy/web", "v2", "-n", "shop", "--reason", "it was the database", "-o", "json"])
        .await?;
    assert_eq!((again.code, &again.json()?["changed"]), (0, &json!(false)));
    let bad = world.run("mark bad deploy/web current -n shop --reason slow --who ann -o json").await?.json()?;
    assert_eq!((&bad["changed"], &bad["marked"], &bad["version"]["hash"]), (&json!(true), &json!("bad"), &json!(NEW)));
    let cleared = world.run("mark clear deploy/web 2222b -n shop --reason enough").await?;
    assert!(cleared.code == 0 && cleared.out.contains("is now marked by nobody"), "{cleared:?}");
    let nothing = world.run("mark clear deploy/web 2222b -n shop --reason enough").await?;
    assert!(nothing.code == 0 && nothing.out.contains("was marked by nobody already"), "{nothing:?}");
    let (_, json) = world.reads("history deploy/web -n shop").await?;
    assert_eq!(standings(&json), expected(&[("2222cccc", "bad"), ("2222bbbb", "bad"), ("1111aaaa", "good")]));
    Ok(())
}

#[tokio::test]
async fn what_names_nothing_or_two_is_refused() -> Result<()> {
    let world = World::start().await?;
    three(&world).await?;
    world.fails("history deploy/api -n shop", 3, "holds no version of deployment/api -n shop").await?;
    world.fails("history shop/deploy/web -n test", 2, "two namespaces").await?;
    world.fails("diff shop/deploy/web v1 v9", 3, "`v9` names no version").await?;
    world.fails("mark bad shop/deploy/web 2222 --reason x", 2, "fits 2 versions").await?;
    world.fails("mark bad shop/deploy/none current --reason x", 3, "holds no version").await?;
    for line in ["history web", "mark good shop/deploy/web v1", "history deploy/>"] {
        let ran = world.run(line).await?;
        assert!(ran.code == 2 && ran.out.is_empty() && !ran.err.is_empty(), "{line}: {ran:?}");
    }
    let blank = world.run_with(&["mark", "good", "shop/deploy/web", "v1", "--reason", " "]).await?;
    assert!(blank.code == 2 && blank.err.contains("must say something"), "{blank:?}");
    Ok(())
}

#[tokio::test]
async fn two_people_at_once_are_both_heard() -> Result<()> {
    let world = World::start().await?;
    three(&world).await?;
    let marks = ["v1", "v2", "v3"].map(|version| {
        let line = format!("mark bad shop/deploy/web {version} --reason drill -o json");
        let world = &world;
        async move { world.run(&line).await }
    });
    for ran in futures::future::join_all(marks).await {
        assert_eq!(ran?.json()?["changed"], true);
    }
    let (_, json) = world.reads("history shop/deploy/web").await?;
    assert_eq!(standings(&json), expected(&[("2222cccc", "bad"), ("2222bbbb", "bad"), ("1111aaaa", "bad")]));
    Ok(())
}

#[tokio::test]
async fn two_versions_are_compared_and_secrets_stay_hidden() -> Result<()> {
    let world = World::start().await?;
    three(&world).await?;
    world.record("web", &[observed("3333", &format!("web:{HOSTILE}"))]).await?;
    let (text, json) = world.reads("diff shop/deploy/web v1 v2").await?;
    assert_eq!(
        text,
        "--- 1111aaaa00  web:v1\n+++ 2222bbbb00  web:v2\n~ containers[web].image: registry.example/web:v1 → registry.example/web:v2\n"
    );
    assert_eq!(json["template"][0]["change"], "changed");
    let (text, json) = world.reads("diff shop/deploy/web").await?;
    assert!(text.starts_with("--- 2222cccc00  web:v3\n+++ 3333  web:evil\\u{1b}[2J"), "from the previous to the current: {text}");
    assert_eq!(json["same"], false);
    let (text, json) = world.reads("diff shop/deploy/web v1 1111aaaa").await?;
    assert!(text.contains("nothing differs") && json["same"] == true, "{text}");
    assert!(
        !json.to_string().contains("hunter2") && !world.reads("history shop/deploy/web").await?.1.to_string().contains("hunter2")
    );
    Ok(())
}
