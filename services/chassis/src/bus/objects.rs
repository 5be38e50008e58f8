//! Object stores: buckets of named objects, in the layout that every NATS client reads (`nats object get BUCKET NAME`).
//!
//! Guarantees: an object is replaced only if it still is the one that the caller read ([`Bus::put_object`]), so that two writers never
//! lose one another's; what is read is the leader's, complete, and has the digest that was written, also while others replace it.
//! Must not: know what is in an object.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, StorageType};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::append::{IN_FLIGHT, WRONG_LAST};
use super::wire::{ApiError, CallError, PubAck};
use super::{AppendError, Bus, ConnectError, ReadError};

/// Bytes a message of an object.
const CHUNK: usize = 128 * 1024;
/// How often an object is read again that was replaced while it was read.
const REPLACED: usize = 5;

/// What a bucket holds under a name, as it was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The object's content; `None` where there is none, or none any more.
    pub data: Option<Bytes>,
    /// What replacing it expects: the sequence of its description, also of a deleted one; 0 for none.
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

    /// Whether there is a bucket of this name.
    pub async fn has_bucket(&self, bucket: &str) -> Result<bool, ReadError> {
        match self.stream_call("INFO", &stream_of(bucket), &serde_json::json!({})).await {
            Ok(_) => Ok(true),
            Err(CallError::Api(error)) if error.err_code == ApiError::NO_STREAM => Ok(false),
            Err(CallError::Api(error)) => Err(error.into()),
            Err(CallError::Transport(error)) => Err(error.into()),
        }
    }

    /// Shows how full a bucket is, and says so loudly long before it refuses objects.
    pub async fn measure_bucket(&self, bucket: &str) {
        self.measure(&stream_of(bucket)).await;
    }

    /// What there is of this name. An object whose parts are missing or damaged is [`ReadError::Refused`].
    pub async fn object(&self, bucket: &str, name: &str) -> Result<Slot, ReadError> {
        let stream = stream_of(bucket);
        let damaged = |what: &str| ReadError::Refused(format!("object {name} of {bucket}: {what}"));
        let mut seen = 0;
        for _ in 0..REPLACED {
            let Some(description) = self.last(&stream, &description_of(bucket, name)).await? else { return Ok(Slot::default()) };
            let revision = description.sequence;
            if revision == seen {
                return Err(damaged("its content is not what was stored"));
            }
            let info: Info = serde_json::from_slice(&description.data).map_err(|error| damaged(&error.to_string()))?;
            if info.deleted {
                return Ok(Slot { data: None, revision, nuid: info.nuid });
            }
            let chunks = self.read(&stream, &chunks_of(bucket, &info.nuid), 1, None).await?;
            let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.iter().copied()).collect();
            if data.len() == info.size && digest(&data) == info.digest {
                return Ok(Slot { data: Some(data.into()), revision, nuid: info.nuid });
            }
            // Whoever replaced it meanwhile has taken its chunks away.
            seen = revision;
        }
        Err(ReadError::Unavailable(format!("object {name} of {bucket} is replaced faster than it can be read")))
    }

    /// Stores an object in the place of what was read. [`AppendError::Lost`] when somebody else stored or deleted one of this name since;
    /// then nothing has changed. What was there before takes room until [`Bus::forget_object`].
    pub async fn put_object(&self, bucket: &str, name: &str, before: &Slot, data: &[u8]) -> Result<(), AppendError> {
        let nuid = self.ids().uuid().simple().to_string();
        let mut chunks = 0_u32;
        for chunk in data.chunks(CHUNK) {
            if let Err(error) = self.store(chunks_of(bucket, &nuid), HeaderMap::new(), Bytes::copy_from_slice(chunk)).await {
                self.forget_chunks(bucket, &nuid).await;
                return Err(error);
            }
            chunks += 1;
        }
        let described = self.describe(bucket, name, before.revision, &nuid, chunks, data).await;
        match &described {
            // Where there is no answer it may be stored all the same, or be yet.
            Ok(()) | Err(AppendError::Unavailable(_)) => {}
            Err(_) => self.forget_chunks(bucket, &nuid).await,
        }
        described
    }

    /// Takes away the content of an object that was replaced; once what replaced it was read back.
    pub async fn forget_object(&self, bucket: &str, replaced: &Slot) {
        if !replaced.nuid.is_empty() {
            self.forget_chunks(bucket, &replaced.nuid).await;
        }
    }

    /// Takes away chunks that nothing names. Where that fails they only take room until they are too old.
    async fn forget_chunks(&self, bucket: &str, nuid: &str) {
        let _ = self.purge(&stream_of(bucket), &chunks_of(bucket, nuid), u64::MAX).await;
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
            Some(error) if error.err_code == IN_FLIGHT => Err(AppendError::Unavailable(error.to_string())),
            Some(error) if error.err_code == WRONG_LAST => self.own_description(bucket, name, nuid).await,
            Some(error) => Err(error.into()),
        }
    }

    /// Whether what is described now is ours: then the description came to the server twice, and only its second coming was refused.
    async fn own_description(&self, bucket: &str, name: &str, nuid: &str) -> Result<(), AppendError> {
        match self.last(&stream_of(bucket), &description_of(bucket, name)).await {
            Ok(Some(stored)) if serde_json::from_slice::<Info>(&stored.data).is_ok_and(|info| info.nuid == nuid) => Ok(()),
            Ok(_) => Err(AppendError::Lost),
            Err(error) => Err(AppendError::Unavailable(error.to_string())),
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
