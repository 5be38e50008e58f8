//! Versions below which no automatic rollback goes: one that migrated a database, say.
//!
//! A version is marked by the annotation `lastgood.dev/irreversible` of its pod template; its text says why. On the workload itself the
//! annotation marks the version that runs. If the version that runs, or any that is newer than the one to go back to, is marked, the
//! rollback is held and people are paged. Guarantees: any text but `false` marks, an empty one too. Must not: know of an age but the order
//! in which the versions ran.

use serde_json::Value;

/// The annotation.
pub const IRREVERSIBLE: &str = "lastgood.dev/irreversible";

/// What an annotation's text says: why there is no way back, or that there is one.
#[must_use]
pub fn mark(annotation: Option<&str>) -> Option<String> {
    match annotation?.trim() {
        "false" => None,
        "" | "true" => Some(String::new()),
        why => Some(why.chars().take(200).collect()),
    }
}

/// The mark of a pod template.
#[must_use]
pub fn mark_of_template(template: &Value) -> Option<String> {
    let annotation = template.pointer("/metadata/annotations")?.get(IRREVERSIBLE)?;
    mark(Some(annotation.as_str().unwrap_or_default()))
}

/// What holds a rollback: the first of these versions that is marked. They are the one that runs and those newer than the target, each for
/// people and with its mark.
#[must_use]
pub fn held(versions: impl IntoIterator<Item = (String, Option<String>)>) -> Option<String> {
    versions.into_iter().find_map(|(version, mark)| {
        let why = mark?;
        let because = if why.is_empty() { String::new() } else { format!(": {why}") };
        Some(format!("{version} is marked {IRREVERSIBLE}{because}; nothing older is restored by itself"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_text_but_false_marks() {
        for (text, marked) in
            [("true", true), ("", true), ("migrated orders", true), ("no", true), ("false", false), (" false ", false)]
        {
            assert_eq!(mark(Some(text)).is_some(), marked, "{text}");
        }
        assert_eq!(mark(None), None);
        let template = |value: Value| mark_of_template(&json!({"metadata": {"annotations": {IRREVERSIBLE: value}}}));
        assert_eq!(template(json!("migrated orders")).as_deref(), Some("migrated orders"));
        assert!(template(json!(7)).is_some(), "what can't be read holds");
        assert_eq!(mark_of_template(&json!({})), None);
    }

    #[test]
    fn one_marked_version_holds() {
        let versions = |marks: &[Option<&str>]| {
            let each = marks.iter().enumerate();
            held(each.map(|(index, mark)| (format!("web:v{index}"), mark.map(ToOwned::to_owned))))
        };
        assert_eq!(versions(&[None, None]), None);
        let said = versions(&[None, Some("migrated orders")]).unwrap();
        assert_eq!(said, "web:v1 is marked lastgood.dev/irreversible: migrated orders; nothing older is restored by itself");
    }
}
