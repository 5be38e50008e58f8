//! Watches under the weather: each event takes a moment, and the stream may break.
//!
//! Guarantees: what arrives is in order and complete up to where it broke. Must not: make events up.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::Frame;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Body, Failure};
use crate::world::Shared;
use crate::world::dice::Dice;
use crate::world::weather::{Weather, is_away};

struct Watch {
    world: Shared,
    dice: Dice,
    inner: BodyStream<testbed::sim::memory::Body>,
    breaks_at: Option<Instant>,
    over: bool,
}

/// The body of a watch's answer as it arrives.
pub(super) fn under(world: &Shared, dice: &Dice, weather: &Weather, body: testbed::sim::memory::Body) -> Body {
    let breaks_at = dice.chance(weather.watch_breaks).then(|| Instant::now() + dice.millis(500, 40_000));
    let watch = Watch { world: Arc::clone(world), dice: dice.clone(), inner: BodyStream::new(body), breaks_at, over: false };
    let frames = futures::stream::unfold(watch, |mut watch| async move {
        let frame = watch.next().await?;
        Some((frame, watch))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Failure>> {
        if self.over {
            return None;
        }
        let broken = async {
            match self.breaks_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let frame = tokio::select! {
            biased;
            () = broken => None,
            frame = self.inner.next() => Some(frame?),
        };
        let away = is_away(self.world.sky().api_away);
        let Some(frame) = frame.filter(|_| !away) else {
            self.over = true;
            self.world.count("api: watch broken");
            // Half of them end as if the server had ended them, half break off.
            let error: Failure = Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
            return self.dice.chance(0.5).then_some(Err(error));
        };
        sleep(self.dice.millis(0, 8)).await;
        Some(frame.map_err(|never| match never {}))
    }
}
