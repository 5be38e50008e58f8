//! Reads from a real API server.
//!
//! Guarantees: one request a read, with the client's timeouts; objects come as raw JSON. Must not: cache; a decision wants what is true now.

use kube::Client;
use serde_json::Value;

use super::{Kind, Lookup, LookupError, Object, Selector};

/// A cluster behind a kube client.
#[derive(Clone)]
pub struct LiveCluster {
    client: Client,
}

impl LiveCluster {
    /// Reads through this client.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    async fn read(&self, path: &str) -> Result<Option<Value>, LookupError> {
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| LookupError { what: path.to_owned(), source };
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json").body(Vec::new());
        match self.client.request::<Value>(request.map_err(|error| fail(error.into()))?).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(fail(error.into())),
        }
    }
}

/// Percent-encodes what is not unreserved in a query's value.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match char::from(byte) {
        plain if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => plain.to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[async_trait::async_trait]
impl Lookup for LiveCluster {
    async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Object>, LookupError> {
        let (group, plural) = kind.resource();
        let path = format!("{group}/namespaces/{}/{plural}/{}", encoded(namespace), encoded(name));
        Ok(self.read(&path).await?.map(Object::new))
    }

    async fn list(&self, kind: Kind, namespace: &str, selector: &Selector) -> Result<Vec<Object>, LookupError> {
        let (group, plural) = kind.resource();
        let mut path = format!("{group}/namespaces/{}/{plural}", encoded(namespace));
        let query = selector.query();
        if !query.is_empty() {
            path.push_str("?labelSelector=");
            path.push_str(&encoded(&query));
        }
        let items = self.read(&path).await?.and_then(|mut list| list.get_mut("items").map(Value::take));
        Ok(match items {
            Some(Value::Array(items)) => items.into_iter().map(Object::new).collect(),
            _ => Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_survives_in_a_url() {
        assert_eq!(encoded("app in (a,b),!x"), "app%20in%20%28a%2Cb%29%2C%21x");
    }
}
