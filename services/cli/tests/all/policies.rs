//! `policy check`, without a cluster.

use anyhow::Result;

use crate::world::{finished, program};

const GOOD: &str =
    "apiVersion: lastgood.dev/v1alpha1\nkind: RollbackPolicy\nmetadata: {name: web, namespace: shop}\nspec: {mode: auto}\n";

#[tokio::test]
async fn a_file_is_good_or_what_is_wrong_with_it_is_said() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bad = GOOD.replace("auto", "splendid");
    // YAML takes such characters only written like this.
    let hostile = GOOD.replace("auto", r#""evil\u001b[2J\u009b31m\u202e""#);
    for (name, text, code, said) in [
        ("good.yaml", GOOD, 0, "RollbackPolicy shop/web: good"),
        ("bad.yaml", bad.as_str(), 1, "splendid"),
        ("hostile.yaml", hostile.as_str(), 1, "not good"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text)?;
        let check = ["policy", "check", "--offline", path.to_str().unwrap_or_default()];
        let ran = finished(program("nats://127.0.0.1:1").args(check)).await?;
        assert!(ran.code == code && ran.out.contains(said), "{name}: {ran:?}");
        let ran = finished(program("nats://127.0.0.1:1").args(check).args(["-o", "json"])).await?;
        assert_eq!((ran.code, ran.json()?["documents"][0]["number"].as_u64()), (code, Some(1)), "{name}: {ran:?}");
    }
    let ran = finished(program("nats://127.0.0.1:1").args(["policy", "check", "--offline", "/nowhere.yaml"])).await?;
    assert!(ran.code == 1 && ran.err.contains("/nowhere.yaml can't be read"), "{ran:?}");
    Ok(())
}
