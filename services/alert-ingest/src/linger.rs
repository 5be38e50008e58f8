//! A connection that is closed the way that lets the peer read the last answer.
//!
//! A server that answers before it has read the whole request (413 to a large body, 431 to a large head) and closes at once makes the
//! operating system reset the connection, and the peer may never see why it was refused. So the end is said first, and what still comes is
//! read and thrown away for a while.
//! Guarantees: no more than [`MOST`] bytes and [`LONGEST`] time are spent on it. Must not: keep anything of what it reads.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How much is thrown away: a body of twice the default limit.
pub(crate) const MOST: usize = 32 << 20;
/// For how long.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// A stream with that end.
pub(crate) struct Lingering<S> {
    inner: S,
    ending: Option<Ending>,
}

struct Ending {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Lingering<S> {
    /// Around this stream.
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner, ending: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.ending.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        let ending =
            this.ending.get_or_insert_with(|| Ending { until: Box::pin(sleep_until(Instant::now() + LONGEST)), left: MOST });
        let mut thrown_away = [0_u8; 8 * 1024];
        while ending.left > 0 && ending.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer));
            // The peer has closed, or is gone.
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            ending.left = ending.left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_answer_arrives_though_the_request_was_not_read() {
        let (mut peer, server) = duplex(64);
        let mut server = Lingering::new(server);
        let sending = tokio::spawn(async move {
            peer.write_all(&[b'x'; 10_000]).await.unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).await.unwrap();
            answer
        });
        server.write_all(b"413").await.unwrap();
        let closing = tokio::spawn(async move { server.shutdown().await });
        assert_eq!(sending.await.unwrap(), "413");
        closing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_ends_is_left_at_the_deadline() {
        let (peer, server) = duplex(64);
        let begun = Instant::now();
        Lingering::new(server).shutdown().await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), LONGEST.as_secs());
        drop(peer);
    }
}
