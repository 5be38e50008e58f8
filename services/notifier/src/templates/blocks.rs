//! Slack's building blocks within Slack's limits.
//!
//! Guarantees: at most 50 blocks, 3000 characters a section, 150 a header, 4000 of text. Must not: escape; the values that come in
//! are escaped already (headers excepted: Slack's plain text takes none).

use serde_json::{Value, json};

use crate::text::{cut, line};

const BLOCKS: usize = 50;
const SECTION: usize = 3000;
const HEADER: usize = 150;
/// `chat.postMessage` takes 40,000, `chat.update` 4,000; the blocks carry what is long.
const TEXT: usize = 4_000;

/// A message for the chat.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatMessage {
    /// What notifications and old clients show.
    pub text: String,
    /// What people see.
    pub blocks: Vec<Value>,
    /// Whether a reply shows in the channel too: a person is needed.
    pub broadcast: bool,
}

impl ChatMessage {
    /// A message of this (escaped) text without blocks yet.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: cut(text, TEXT), blocks: Vec::new(), broadcast: false }
    }

    /// With a title.
    #[must_use]
    pub fn header(self, text: &str) -> Self {
        let text = line(text, HEADER);
        self.block(json!({"type": "header", "text": {"type": "plain_text", "text": text, "emoji": true}}))
    }

    /// With a paragraph, escaped; nothing when it is empty.
    #[must_use]
    pub fn section(self, text: &str) -> Self {
        if text.trim().is_empty() {
            return self;
        }
        self.block(json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(text, SECTION)}}))
    }

    /// With small print, escaped.
    #[must_use]
    pub fn context(self, text: &str) -> Self {
        if text.trim().is_empty() {
            return self;
        }
        self.block(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(text, SECTION)}]}))
    }

    /// Shown in the channel too.
    #[must_use]
    pub const fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    fn block(mut self, block: Value) -> Self {
        if self.blocks.len() < BLOCKS {
            self.blocks.push(block);
        }
        self
    }
}
