//! `pause`, `resume`, `completions`, colours, and the program under its other name.

use anyhow::Result;
use serde_json::json;

use crate::world::{HOSTILE, World, finished, program};

#[tokio::test]
async fn the_switch_is_pressed_once_and_everybody_sees_it() -> Result<()> {
    let world = World::start().await?;
    let paused = world.run_with(&["pause", "--reason", HOSTILE, "--who", "ann"]).await?;
    assert_eq!((paused.code, paused.out.as_str()), (0, "cluster test is now paused\n"));
    let again = world.run_with(&["pause", "--reason", HOSTILE, "--who", "ann", "-o", "json"]).await?.json()?;
    assert_eq!((&again["paused"], &again["changed"], &again["who"]), (&json!(true), &json!(false), &json!("ann")));
    let (text, json) = world.reads("incidents").await?;
    assert!(text.starts_with("all automatic action is paused by ann: evil\\u{1b}[2J"), "{text}");
    assert_eq!(json["paused"]["who"], "ann");
    assert_eq!(world.run("resume").await?.out, "cluster test is now active\n");
    assert_eq!(world.run("resume").await?.out, "cluster test was active already\n");
    assert_eq!(world.reads("incidents").await?.1["paused"], json!(null));

    let one = world.run("pause -n shop --reason drill --who ann -o json").await?.json()?;
    assert_eq!((&one["namespace"], &one["changed"]), (&json!("shop"), &json!(true)));
    let (text, json) = world.reads("incidents").await?;
    assert!(text.starts_with("all automatic action in namespace shop is paused by ann: drill"), "{text}");
    assert_eq!((&json["paused"], &json["paused_namespaces"][0]["namespace"]), (&json!(null), &json!("shop")));
    assert_eq!(world.run("resume -n shop").await?.code, 0);
    assert_eq!(world.reads("incidents").await?.1["paused_namespaces"], json!([]));
    Ok(())
}

#[tokio::test]
async fn scripts_for_shells_need_no_bus() -> Result<()> {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = program("nats://127.0.0.1:1").args(["completions", shell]).output().await?;
        let script = String::from_utf8(ran.stdout)?;
        assert!(ran.status.success() && script.contains("dead-letters"), "{shell}: {script}");
    }
    let ran = program("nats://127.0.0.1:1").args(["completions", "bash", "-o", "json"]).output().await?;
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    assert_eq!(json["shell"], "bash");
    Ok(())
}

#[tokio::test]
async fn colour_is_for_terminals_or_for_whom_asks() -> Result<()> {
    let world = World::start().await?;
    let coloured = async |arguments: &[&str], variable: &str| -> Result<bool> {
        let ran = program(&world.nats.url()).env(variable, "1").args(arguments).output().await?;
        assert!(ran.status.success());
        Ok(ran.stdout.contains(&0x1b))
    };
    assert!(coloured(&["resume", "--color", "always"], "NO_COLOR").await?, "who asks for it gets it");
    assert!(!coloured(&["resume"], "CLICOLOR_FORCE").await?, "this is no terminal");
    assert!(!coloured(&["resume", "--color", "never"], "X").await?);
    Ok(())
}

#[tokio::test]
async fn kubectl_finds_it_as_a_plugin() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plugin = dir.path().join("kubectl-lastgood");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lastgood"), &plugin)?;
    let mut kubectl = tokio::process::Command::new(testbed::tools::kubectl().await?);
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    kubectl.env_clear().env("PATH", path).env("HOME", dir.path()).args(["lastgood", "history", "--help"]).kill_on_drop(true);
    let help = finished(&mut kubectl).await?;
    assert!(help.code == 0 && help.out.contains("Usage: kubectl lastgood history"), "{help:?}");
    Ok(())
}
