//! Object stores: buckets of named objects, in the layout that every NATS client reads (`nats object get BUCKET NAME`).
//!
//! Guarantees: an object is replaced only if it still is the one that the caller read ([`Bus::put_object`]), so that two writers never
//! lose one another's; what is read is the leader's, complete, and has the digest that was written. Must not: know what is in an object.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, StorageType};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::append::WRONG_LAST;
use super::wire::PubAck;
use super::{AppendError, Bus, ConnectError, ReadError};

/// Bytes a message of an object.
const CHUNK: usize = 128 * 1024;

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub data: Bytes,
    /// What replacing it expects: the sequence of its description.
    pub revision: u64,
    /// Which chunks are its own.
    nuid: String,
}

/// Why a bucket can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The server refuses it for good.
    #[error(transparent)]
    Refused(#[from] ConnectError),
    /// NATS is away, or has no leader yet.
    #[error("the bucket {0} could not be made in time")]
    Unavailable(String),
}

/// An object's description, as far as it is needed to read it.
#[derive(Debug, Deserialize)]
struct Info {
    nuid: String,
    #[serde(default)]
    size: usize,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    deleted: bool,
}

/// The stream below a bucket.
fn stream_of(bucket: &str) -> String {
    format!("OBJ_{bucket}")
}

fn chunks_of(bucket: &str, nuid: &str) -> String {
    format!("$O.{bucket}.C.{nuid}")
}

fn description_of(bucket: &str, name: &str) -> String {
    format!("$O.{bucket}.M.{}", URL_SAFE.encode(name))
}

fn digest(data: &[u8]) -> String {
    format!("SHA-256={}", URL_SAFE.encode(Sha256::digest(data)))
}

impl Bus {
    /// Makes a bucket, compressed and as large as the streams of facts, unless it is there. `keep` is how long its objects are kept, zero
    /// for ever; a longer one is taken over later, a shorter one is not.
    pub async fn ensure_bucket(&self, bucket: &str, keep: Duration) -> Result<(), BucketError> {
        let config = &self.inner.config;
        let want = Config {
            name: stream_of(bucket),
            subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: config.replicas,
            max_bytes: config.max_bytes,
            max_age: keep,
            compression: Some(Compression::S2),
            allow_rollup: true,
            allow_direct: true,
            ..Config::default()
        };
        let made = tokio::time::timeout(config.request_timeout.saturating_mul(2), self.ensure(&want)).await;
        made.map_err(|_| BucketError::Unavailable(bucket.to_owned()))?.map_err(BucketError::from)
    }

    /// Shows how full a bucket is, and says so loudly long before it refuses objects.
    pub async fn measure_bucket(&self, bucket: &str) {
        self.measure(&stream_of(bucket)).await;
    }

    /// An object; `None` when there is none of this name. One whose parts are missing or damaged is [`ReadError::Refused`].
    pub async fn object(&self, bucket: &str, name: &str) -> Result<Option<Object>, ReadError> {
        let stream = stream_of(bucket);
        let Some(description) = self.last(&stream, &description_of(bucket, name)).await? else { return Ok(None) };
        let damaged = |what: &str| ReadError::Refused(format!("object {name} of {bucket}: {what}"));
        let info: Info = serde_json::from_slice(&description.data).map_err(|error| damaged(&error.to_string()))?;
        if info.deleted {
            return Ok(None);
        }
        let chunks = self.read(&stream, &chunks_of(bucket, &info.nuid), 1, None).await?;
        let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.iter().copied()).collect();
        if data.len() != info.size || digest(&data) != info.digest {
            return Err(damaged("its content is not what was stored"));
        }
        Ok(Some(Object { data: data.into(), revision: description.sequence, nuid: info.nuid }))
    }

    /// Stores an object in the place of the one that was read (`None`: there was none). [`AppendError::Lost`] when somebody else stored
    /// one of this name since; then nothing has changed.
    pub async fn put_object(&self, bucket: &str, name: &str, before: Option<&Object>, data: &[u8]) -> Result<(), AppendError> {
        let nuid = self.ids().uuid().simple().to_string();
        let mut chunks = 0_u32;
        for chunk in data.chunks(CHUNK) {
            self.store(chunks_of(bucket, &nuid), HeaderMap::new(), Bytes::copy_from_slice(chunk)).await?;
            chunks += 1;
        }
        let described = self.describe(bucket, name, before.map_or(0, |before| before.revision), &nuid, chunks, data).await;
        let forgotten = match &described {
            Ok(()) => before.map(|before| before.nuid.clone()),
            Err(AppendError::Lost) => Some(nuid),
            // It may have been stored all the same: whoever asks again sees it.
            Err(_) => None,
        };
        if let Some(nuid) = forgotten {
            // Chunks that nothing names only take room until they are too old.
            let _ = self.purge(&stream_of(bucket), &chunks_of(bucket, &nuid), u64::MAX).await;
        }
        described
    }

    async fn describe(
        &self,
        bucket: &str,
        name: &str,
        expected: u64,
        nuid: &str,
        chunks: u32,
        data: &[u8],
    ) -> Result<(), AppendError> {
        let info = serde_json::json!({
            "name": name, "bucket": bucket, "nuid": nuid, "size": data.len(), "chunks": chunks,
            "mtime": self.clock().now().to_string(), "digest": digest(data),
        });
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        headers.insert(super::append::EXPECTED, expected.to_string().as_str());
        let reply = self.request(description_of(bucket, name), Some(headers), info.to_string().into()).await?;
        let ack: PubAck = serde_json::from_slice(&reply)
            .map_err(|error| AppendError::Unavailable(format!("the reply is not understood: {error}")))?;
        match ack.error {
            None => Ok(()),
            Some(error) if WRONG_LAST.contains(&error.err_code) => Err(AppendError::Lost),
            Some(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_one_of_nats_clients() {
        assert_eq!(description_of("B", "inc_1"), "$O.B.M.aW5jXzE=");
        assert_eq!(digest(b""), "SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
