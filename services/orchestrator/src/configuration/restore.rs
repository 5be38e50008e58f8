//! From a version to go back to, and what its configuration is now, to the template that refers to the copies.
//!
//! Guarantees: the template that is planned names a copy for all that comes back, so that nobody's live object is written; what can't come
//! back although it has to is said (`missing`). Must not: read anything.

use std::collections::BTreeMap;

use contracts::v1;
use lastgood_core::configuration::diff::{Content, diff};
use lastgood_core::configuration::restore::{Now, copies};
use lastgood_core::configuration::{Kind, Place, point_to_copies, without_copies};
use lastgood_core::template;
use serde_json::Value;

use super::Seen;
use crate::cluster::Object;
use crate::plan::Target;

/// What was read for a version's configuration.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// What is to be done about each object.
    pub planned: Vec<v1::PlannedConfiguration>,
    /// What each is now, by the name that its owner gave.
    pub live: BTreeMap<Place, (Now, Option<Object>)>,
    /// The copies, as far as they are there and hold what they should.
    pub copies: BTreeMap<Place, Option<Object>>,
}

/// Points the target to the copies, and tells the difference; `running` is what runs now. What has to come back and can't is answered.
pub fn restore(target: &mut Target, running: &[Seen], read: Restored) -> Vec<String> {
    let mapping = copies(&read.planned);
    let pointed = |json: &[u8]| {
        let template: Value = serde_json::from_slice(json).unwrap_or(Value::Null);
        point_to_copies(&without_copies(&template), &mapping)
    };
    let template = pointed(&target.template_json);
    target.version.template_hash = template::hash(&template);
    target.template_json = template.to_string().into_bytes();
    if !target.last_applied_template_json.is_empty() {
        target.last_applied_template_json = pointed(&target.last_applied_template_json).to_string().into_bytes();
    }
    target.lines = difference(running, &read);
    let missing = missing(&read);
    target.configuration = read.planned;
    missing
}

fn difference(running: &[Seen], read: &Restored) -> Vec<String> {
    let content = |kind: Kind, name: &str, fingerprint: &str, object: Option<&Object>| {
        Content::of(kind, name, fingerprint, object.map(Object::json))
    };
    let from: Vec<_> = running
        .iter()
        .map(|seen| content(seen.reference.kind, &seen.recorded.name, &seen.recorded.fingerprint, seen.object.as_ref()))
        .collect();
    let to: Vec<_> = read
        .planned
        .iter()
        .filter_map(|one| {
            let place = (Kind::parse(&one.kind)?, one.name.clone());
            if one.restored {
                let copy = read.copies.get(&place).and_then(Option::as_ref);
                return Some(content(place.0, &place.1, &one.fingerprint, copy));
            }
            let (now, object) = read.live.get(&place)?;
            let fingerprint = if let Now::Has(fingerprint) = now { fingerprint } else { "" };
            Some(content(place.0, &place.1, fingerprint, object.as_ref()))
        })
        .collect();
    let notes = read.planned.iter().filter(|one| !one.note.is_empty()).map(|one| format!("! {}", one.note));
    let through = read.planned.iter().filter(|one| one.restored);
    let through = through.map(|one| format!("! {} {} comes back as {}", one.kind, one.name, one.copy));
    diff(&from, &to).into_iter().chain(through).chain(notes).collect()
}

fn missing(read: &Restored) -> Vec<String> {
    let restored = read.planned.iter().filter(|one| one.restored);
    let is_missing = |one: &&v1::PlannedConfiguration| {
        let Some(kind) = Kind::parse(&one.kind) else { return true };
        let place = (kind, one.name.clone());
        // What holds the same now can be copied still.
        let same = read.live.get(&place).is_some_and(|(now, _)| *now == Now::Has(one.fingerprint.clone()));
        one.copy.is_empty() || !(same || read.copies.contains_key(&place))
    };
    restored
        .filter(is_missing)
        .map(|one| match one.copy.as_str() {
            "" => format!("{} {} has too long a name for a copy", one.kind, one.name),
            copy => format!("{} {} as the version ran with it is not kept (no {copy} that holds it)", one.kind, one.name),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use lastgood_core::configuration::fingerprint::fingerprint;
    use lastgood_core::configuration::restore::{Rules, planned};
    use lastgood_core::configuration::{Read, Reference, recorded};
    use lastgood_core::policy::Effective;
    use serde_json::json;

    use super::*;

    fn template() -> Value {
        json!({"spec": {"containers": [{"name": "web", "image": "web:v1", "envFrom": [{"configMapRef": {"name": "web"}}]}]}})
    }

    fn config_map(mode: &str) -> Object {
        Object::new(json!({"data": {"mode": mode}}))
    }

    fn place() -> Place {
        (Kind::ConfigMap, "web".to_owned())
    }

    fn seen(mode: &str) -> Seen {
        let reference = Reference { kind: Kind::ConfigMap, name: "web".into(), optional: false, at_start: true };
        let object = config_map(mode);
        let recorded = recorded(&reference, Read::Object(object.json()), None);
        Seen { reference, recorded, written_at: None, object: Some(object) }
    }

    fn back_to(mode: &str, with_copy: bool) -> (Target, Vec<String>) {
        let (then, now) = (seen(mode), seen("new"));
        let planned = planned(std::slice::from_ref(&then.recorded), Rules::from(&Effective::default()), |_| now.now().unwrap());
        let copies = if with_copy { [(place(), then.object)].into() } else { BTreeMap::new() };
        let read = Restored { planned, live: [(place(), (now.now().unwrap(), now.object.clone()))].into(), copies };
        let json = template().to_string().into_bytes();
        let mut target = Target { template_json: json.clone(), last_applied_template_json: json, ..Target::default() };
        let missing = restore(&mut target, &[now], read);
        (target, missing)
    }

    #[test]
    fn the_template_refers_to_the_copy_and_so_does_what_was_applied() {
        let (target, missing) = back_to("old", true);
        let fingerprint = fingerprint(Kind::ConfigMap, config_map("old").json(), None).unwrap();
        let copy = format!("web-lastgood-{}", &fingerprint[..10]);
        for json in [&target.template_json, &target.last_applied_template_json] {
            let template: Value = serde_json::from_slice(json).unwrap();
            assert_eq!(template["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"], copy.as_str());
        }
        let template: Value = serde_json::from_slice(&target.template_json).unwrap();
        assert_eq!(target.version.template_hash, template::hash(&template));
        assert_eq!(target.lines, ["~ ConfigMap web[mode]: new → old", &format!("! ConfigMap web comes back as {copy}")]);
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn what_has_not_changed_stays_where_it_is() {
        let (target, missing) = back_to("new", false);
        assert_eq!(target.template_json, template().to_string().into_bytes());
        assert!(missing.is_empty() && target.lines.is_empty(), "{missing:?} {:?}", target.lines);
    }

    #[test]
    fn a_copy_that_is_gone_is_said() {
        let (_, missing) = back_to("old", false);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("ConfigMap web as the version ran with it is not kept"), "{missing:?}");
    }
}
