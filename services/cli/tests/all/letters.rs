//! `dead-letters`.

use anyhow::Result;
use chassis::bus::{Advisory, AdvisoryKind};
use contracts::subjects::streams;
use serde_json::json;

use crate::world::{HOSTILE, World};

#[tokio::test]
async fn what_was_given_up_is_listed_shown_and_delivered_again() -> Result<()> {
    let world = World::start().await?;
    let (text, json) = world.reads("dead-letters list").await?;
    assert_eq!((text.as_str(), json), ("there are no dead letters\n", json!([])));

    let subject = world.open("web", HOSTILE).await?;
    let stored = world.bus.last(streams::INCIDENTS, &subject.filter()).await?.unwrap();
    let advisory = Advisory {
        kind: AdvisoryKind::MaxDeliveries,
        stream: streams::INCIDENTS.into(),
        consumer: "executor".into(),
        sequence: stored.sequence,
        deliveries: 5,
        reason: None,
    };
    world.bus.dead_letter_of(&advisory, &stored, HOSTILE).await?;

    let (text, json) = world.reads("dead-letters list --consumer executor").await?;
    assert!(text.contains("executor  anomaly_detected of inc_") && text.contains("evil\\u{1b}[2J"), "{text}");
    assert_eq!((&json[0]["incident"], &json[0]["consumer"]), (&json!(subject.incident.to_string()), &json!("executor")));
    assert_eq!(world.reads("dead-letters list --consumer nobody").await?.1, json!([]));
    let number = json[0]["sequence"].to_string();
    let (text, json) = world.reads(&format!("dead-letters show {number}")).await?;
    assert!(
        text.contains("replayed     never") && json["decoded"].as_str().is_some_and(|text| text.contains("AnomalyDetected")),
        "{text}"
    );

    let replayed = world.run(&format!("dead-letters replay {number} -o json")).await?;
    assert_eq!((replayed.code, replayed.json()?["replayed"].to_string()), (0, format!("[{number}]")));
    let nothing = world.run("dead-letters replay --all").await?;
    assert_eq!((nothing.code, nothing.out.as_str()), (0, "there is nothing to replay\n"));
    world.fails("dead-letters show 99999", 3, "there is no dead letter 99999").await?;
    let missing = world.run("dead-letters replay 99999").await?;
    assert_eq!(missing.code, 3, "{missing:?}");
    Ok(())
}
