//! The deserializer that reads the tree into a configuration.
//!
//! Guarantees: a text from the environment becomes what the field wants (a number, a list, …), and never what it merely looks
//! like; errors come out with the path and the origin. Must not: know a section, beyond passing other services' over.

use std::collections::BTreeMap;

use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::ALL_SECTIONS;
use super::node::{Node, NodeError};

/// Reads a [`Node`].
pub(super) struct NodeDeserializer {
    node: Node,
    root: bool,
}

impl NodeDeserializer {
    pub(super) const fn root(node: Node) -> Self {
        Self { node, root: true }
    }

    const fn inner(node: Node) -> Self {
        Self { node, root: false }
    }
}

/// Replaces `k_file` by the file's text as `k`, where the struct knows `k` and not `k_file`; drops other services' sections.
fn prepare(entries: BTreeMap<String, Node>, fields: &[&str], root: bool) -> Result<BTreeMap<String, Node>, NodeError> {
    let mut prepared = BTreeMap::new();
    let mut files = Vec::new();
    for (key, node) in entries {
        let known = fields.contains(&key.as_str());
        match key.strip_suffix("_file").filter(|k| !known && fields.contains(k)) {
            Some(target) => files.push((target.to_owned(), key.clone(), node)),
            None if root && !known && ALL_SECTIONS.contains(&key.as_str()) => {}
            None => drop(prepared.insert(key, node)),
        }
    }
    for (target, key, node) in files {
        let origin = node.origin().clone();
        let path = match &node {
            Node::Text(text, _) | Node::Scalar(Value::String(text), _) => text.clone(),
            _ => return Err(NodeError::new("must be the path of a file".to_owned()).at(&key, &origin)),
        };
        if prepared.contains_key(&target) {
            return Err(NodeError::new(format!("both `{target}` and `{key}` are given")).at(&key, &origin));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|error| NodeError::new(format!("can't read the file {path}: {error}")).at(&key, &origin))?;
        prepared.insert(target, Node::Text(text.trim_end_matches(['\n', '\r']).to_owned(), origin));
    }
    Ok(prepared)
}

macro_rules! number {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
            match self.node {
                Node::Text(text, _) => {
                    let number = text.trim().parse::<$type>()
                        .map_err(|error| NodeError::new(format!("`{text}` is not the number that is wanted: {error}")))?;
                    visitor.$visit(number)
                }
                node => NodeDeserializer::inner(node).deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer {
    type Error = NodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match self.node {
            Node::Null(_) => visitor.visit_unit(),
            Node::Scalar(value, _) => value.deserialize_any(visitor).map_err(|e| NodeError::new(e.to_string())),
            Node::Text(..) => Self::inner(self.node.unfold()?).deserialize_any(visitor),
            Node::List(items, _) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            Node::Map(entries, _) => visitor.visit_map(Entries { entries: entries.into_iter(), value: None }),
        }
    }

    number!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64, deserialize_bool visit_bool bool
    );

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match self.node {
            Node::Text(text, _) => visitor.visit_string(text),
            node => Self::inner(node).deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match self.node {
            Node::Null(_) => visitor.visit_none(),
            Node::Text(text, _) if text.is_empty() => visitor.visit_none(),
            node => visitor.visit_some(Self::inner(node)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeError> {
        match self.node {
            Node::Text(text, origin) if !text.trim_start().starts_with(['[', '-']) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let items: Vec<_> = parts.map(|part| Node::Text(part.to_owned(), origin.clone())).collect();
                visitor.visit_seq(Items { items: items.into_iter(), index: 0 })
            }
            node => Self::inner(node.unfold()?).deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, NodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        let root = self.root;
        match self.node.unfold()? {
            Node::Map(entries, _) => {
                visitor.visit_map(Entries { entries: prepare(entries, fields, root)?.into_iter(), value: None })
            }
            // A section that is there and empty has its defaults.
            Node::Null(_) => visitor.visit_map(Entries { entries: BTreeMap::new().into_iter(), value: None }),
            node => Self::inner(node).deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeError> {
        match self.node {
            Node::Text(text, _) if !text.trim_start().starts_with('{') => visitor.visit_enum(text.into_deserializer()),
            Node::Scalar(Value::String(text), _) => visitor.visit_enum(text.into_deserializer()),
            node => {
                plain(node.unfold()?).deserialize_enum(name, variants, visitor).map_err(|error| NodeError::new(error.to_string()))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct tuple tuple_struct map ignored_any i128 u128
    }
}

/// The bare value, for what needs no origins inside (enums with data).
fn plain(node: Node) -> Value {
    match node {
        Node::Null(_) => Value::Null,
        Node::Scalar(value, _) => value,
        Node::Text(text, _) => Value::String(text),
        Node::List(items, _) => Value::Array(items.into_iter().map(plain).collect()),
        Node::Map(entries, _) => Value::Object(entries.into_iter().map(|(k, v)| (k, plain(v))).collect()),
    }
}

struct Items {
    items: std::vec::IntoIter<Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = NodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, NodeError> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let (origin, index) = (node.origin().clone(), self.index);
        self.index += 1;
        seed.deserialize(NodeDeserializer::inner(node)).map(Some).map_err(|error| error.at(&index.to_string(), &origin))
    }
}

struct Entries {
    entries: std::collections::btree_map::IntoIter<String, Node>,
    value: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = NodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, NodeError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        let read = seed
            .deserialize(IntoDeserializer::<NodeError>::into_deserializer(key.as_str()))
            .map_err(|error| error.at(&key, node.origin()))?;
        self.value = Some((key, node));
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NodeError> {
        let (key, node) = self.value.take().ok_or_else(|| NodeError::new("a value before its key".to_owned()))?;
        let origin = node.origin().clone();
        seed.deserialize(NodeDeserializer::inner(node)).map_err(|error| error.at(&key, &origin))
    }
}
