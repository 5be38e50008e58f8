//! `rollback`, `approve`, `decline` and `hold`: what a person asks for and answers, as far as the log has it.

use std::time::Duration;

use anyhow::Result;
use contracts::{Fact, IncidentSubject, time, v1};
use serde_json::json;

use crate::world::{World, observed, soaked};

fn version(hash: &str, image: &str) -> v1::Version {
    let images = vec![v1::ContainerImage { container: "web".into(), image: image.into(), ..v1::ContainerImage::default() }];
    v1::Version { template_hash: hash.into(), images, ..v1::Version::default() }
}

/// An incident whose plan waits for a person's word.
pub(crate) async fn asking(world: &World, name: &str) -> Result<IncidentSubject> {
    let subject = world.open(name, "Errors").await?;
    let (from, to) = (version("bbbb", "web:v2"), version("aaaa", "web:v1"));
    let minutes = |count| Some(time::duration_to_proto(Duration::from_mins(count)));
    let plan = v1::Plan { strategy: "rolling".into(), from: Some(from.clone()), to: Some(to.clone()), ..v1::Plan::default() };
    let facts: [Fact; 4] = [
        v1::CurrentVersionIdentified { version: Some(from), ..Default::default() }.into(),
        v1::PreviousVersionFound { version: Some(to), evidence: "stood for 1h".into() }.into(),
        v1::ApprovalRequested { within: minutes(10), would_do: "back to web:v1".into(), ..Default::default() }.into(),
        v1::RollbackPlanned { plan: Some(plan) }.into(),
    ];
    world.append(&subject, &facts).await?;
    Ok(subject)
}

#[tokio::test]
async fn a_plan_that_waits_is_answered_once() -> Result<()> {
    let world = World::start().await?;
    let id = asking(&world, "web").await?.incident.to_string();
    let (text, json) = world.reads(&format!("show {id}")).await?;
    assert!(text.contains("waits for somebody to approve or decline it until"), "{text}");
    let waits = json["waiting_for"].as_array().is_some_and(|all| all.iter().any(|one| one["deadline"] == "approve"));
    assert!(waits && json["phase"] == "awaiting_approval", "{json}");

    let approved = world.run(&format!("approve {id} --reason fine --who ann")).await?;
    assert!(approved.code == 0 && approved.out.starts_with(&format!("{id} is now approved")), "{approved:?}");
    let again = world.run(&format!("approve {id} -o json")).await?;
    assert_eq!((again.code, &again.json()?["changed"]), (0, &json!(false)));
    let (text, json) = world.reads(&format!("show {id}")).await?;
    assert!(text.contains("ann approved it (via command)") && json["phase"] == "planned", "{text}");

    let other = asking(&world, "api").await?.incident.to_string();
    let declined = world.run(&format!("decline {other} --reason no")).await?;
    assert!(declined.code == 0 && declined.out.contains("is now declined"), "{declined:?}");
    let (text, json) = world.reads(&format!("show {other}")).await?;
    assert!(text.contains("sam declined it (via command)"), "the login name: {text}");
    assert_eq!(json["halted"]["reason"], "declined_by_person");
    world.fails(&format!("approve {other}"), 1, "waits for an approval").await?;
    world.fails("approve inc_0000000000000000000000000000002a", 3, "there is no incident").await?;
    world.fails("hold inc_0000000000000000000000000000002a", 3, "there is no incident").await?;
    Ok(())
}

#[tokio::test]
async fn a_rollback_is_asked_for_once_and_shows_as_an_incident() -> Result<()> {
    let world = World::start().await?;
    let [available, stood] = soaked("aaaa", Duration::from_mins(30));
    let facts = [observed("aaaa", "web:v1"), available, stood, observed("bbbb", "web:v2"), observed("cccc", "web:v3")];
    world.record("web", &facts).await?;
    world.fails("rollback shop/deploy/web --to current --reason slow", 1, "is what runs now").await?;
    world.fails("rollback shop/deploy/web --to v9 --reason slow", 3, "names no version").await?;
    world.fails("rollback shop/deploy/none --reason slow", 3, "holds no version").await?;
    assert_eq!(world.reads("incidents").await?.1["incidents"], json!([]), "nothing was opened");

    let asked = world.run("rollback shop/deploy/web --to v1 --reason slow -o json").await?.json()?;
    assert_eq!((&asked["changed"], &asked["to"]["hash"]), (&json!(true), &json!("aaaa")));
    let again = world.run("rollback shop/deploy/web --to v1 --reason slow -o json").await?.json()?;
    assert_eq!((&again["changed"], &again["incident"]), (&json!(false), &asked["incident"]));
    world.fails("rollback shop/deploy/web --to v2 --reason slow", 1, "is under way").await?;
    let id = asked["incident"].as_str().unwrap_or_default();
    let (text, json) = world.reads(&format!("show {id}")).await?;
    assert!(text.contains("sam asked for a rollback: slow") && json["open"] == true, "{text}");
    assert_eq!(world.reads("incidents --open").await?.1["incidents"][0]["incident"], id);
    Ok(())
}
