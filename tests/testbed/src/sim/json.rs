//! Short access to JSON objects by pointer, which is all that the simulator knows of Kubernetes' types. Pure.

use std::borrow::Cow;

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// Reading and writing by JSON pointer; what isn't there reads as null, zero, false, or empty.
pub(crate) trait Json {
    /// The value at `pointer`, or null.
    fn at(&self, pointer: &str) -> &Value;
    /// The text at `pointer`, or the empty text.
    fn text(&self, pointer: &str) -> &str;
    /// The whole number at `pointer`, or zero.
    fn int(&self, pointer: &str) -> i64;
    /// The truth at `pointer`, or false.
    fn flag(&self, pointer: &str) -> bool;
    /// The list at `pointer`, or an empty one.
    fn items(&self, pointer: &str) -> &[Value];
    /// Writes `value` at `pointer`, making the objects on the way.
    fn put<V: Into<Value>>(&mut self, pointer: &str, value: V);
    /// Writes `value` at `pointer` when nothing, or null, is there.
    fn default<V: Into<Value>>(&mut self, pointer: &str, value: V);
    /// Removes what is at `pointer`.
    fn cut(&mut self, pointer: &str);
    /// The list at `pointer` for changing; empty if there is none.
    fn items_mut(&mut self, pointer: &str) -> &mut [Value];
}

/// A pointer's token as a key; most are their own.
fn decode(token: &str) -> Cow<'_, str> {
    if token.contains('~') { Cow::Owned(token.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(token) }
}

/// One step of a pointer.
fn child<'v>(value: &'v Value, token: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(&*decode(token)),
        Value::Array(list) => token.parse().ok().and_then(|index: usize| list.get(index)),
        _ => None,
    }
}

impl Json for Value {
    fn at(&self, pointer: &str) -> &Value {
        pointer.split('/').skip(1).try_fold(self, child).unwrap_or(&NULL)
    }

    fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    fn int(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or_default()
    }

    fn flag(&self, pointer: &str) -> bool {
        self.at(pointer).as_bool().unwrap_or_default()
    }

    fn items(&self, pointer: &str) -> &[Value] {
        self.at(pointer).as_array().map_or(&[], Vec::as_slice)
    }

    fn put<V: Into<Value>>(&mut self, pointer: &str, value: V) {
        let mut here = self;
        for token in pointer.split('/').skip(1) {
            if !here.is_object() {
                *here = Value::Object(Map::new());
            }
            let Value::Object(map) = here else { return };
            here = map.entry(decode(token).into_owned()).or_insert(Value::Null);
        }
        *here = value.into();
    }

    fn default<V: Into<Value>>(&mut self, pointer: &str, value: V) {
        if self.at(pointer).is_null() {
            self.put(pointer, value);
        }
    }

    fn cut(&mut self, pointer: &str) {
        let Some((parent, token)) = pointer.rsplit_once('/') else {
            return;
        };
        if let Some(Value::Object(map)) = self.pointer_mut(parent) {
            map.remove(&*decode(token));
        }
    }

    fn items_mut(&mut self, pointer: &str) -> &mut [Value] {
        match self.pointer_mut(pointer) {
            Some(Value::Array(items)) => items,
            _ => &mut [],
        }
    }
}

/// An annotation's value, or the empty text.
pub(crate) fn annotation<'v>(object: &'v Value, key: &str) -> &'v str {
    object.at("/metadata/annotations").get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Sets an annotation.
pub(crate) fn annotate(object: &mut Value, key: &str, value: &str) {
    let pointer = format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"));
    object.put(&pointer, value);
}

/// The uid of the object's controller, or the empty text.
pub(crate) fn controller_uid(object: &Value) -> &str {
    object
        .items("/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.flag("/controller"))
        .map_or("", |owner| owner.text("/uid"))
}

/// The condition of a type, or null.
pub(crate) fn condition<'v>(object: &'v Value, kind: &str) -> &'v Value {
    object.items("/status/conditions").iter().find(|c| c.text("/type") == kind).unwrap_or(&NULL)
}

/// Whether the object has the condition with status `True`.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).text("/status") == "True"
}

/// Text with its objects' keys sorted, equal for equal values whatever their keys' order.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_str());
            let fields: Vec<_> = keys.into_iter().map(|(key, value)| format!("{key:?}:{}", canonical(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}
