//! TCP proxies between one process and what it talks to, which can hold a connection at an exact point of the conversation.
//!
//! `mod` has the mechanics, [`nats`] and [`http`] understand what is said. Guarantees: bytes go on in order and unchanged; what is held
//! back when a connection ends never goes on; a client's end is passed on at once, also while its connection is held. Must not: answer for
//! either side.

pub mod http;
pub mod nats;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{Error, wait};

/// What becomes of the bytes that one side has sent and the other has not got yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// So many go on; the rest waits for more bytes.
    Pass(usize),
    /// So many go on, and then nothing in either direction until the proxy is told to release, or for ever.
    Hold(usize),
}

/// Follows one connection's conversation.
pub trait Ear: Send + 'static {
    /// What becomes of these bytes from the client.
    fn hear_client(&mut self, bytes: &[u8]) -> Verdict;
    /// What becomes of these bytes from the server.
    fn hear_server(&mut self, bytes: &[u8]) -> Verdict;
}

/// What the proxy's owner has asked for so far.
#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    stalled: bool,
    cuts: u64,
    releases: u64,
}

/// A proxy that runs; it ends, with its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    held: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
        self.task.abort();
    }
}

impl Proxy {
    /// Listens on loopback and connects each client to `upstream`; `ear` makes the ear of a connection.
    pub async fn start<E: Ear>(upstream: SocketAddr, ear: impl Fn() -> E + Send + 'static) -> Result<Self, Error> {
        let port = crate::ports::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(Error::io("a proxy's port"))?;
        let address = listener.local_addr().map_err(Error::io("a proxy's address"))?;
        let (orders, followed) = watch::channel(Orders::default());
        let (holds, held) = watch::channel(0);
        let holds = Arc::new(holds);
        let task = tokio::spawn(async move {
            // An error of accept is of one client that has gone again.
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    let relay = Relay { ear: ear(), orders: followed.clone(), holds: Arc::clone(&holds) };
                    tokio::spawn(relay.run(client, upstream));
                }
            }
        });
        Ok(Self { address, orders, held, task })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a connection was held so far.
    #[must_use]
    pub fn holds(&self) -> u64 {
        *self.held.borrow()
    }

    /// Waits until a connection is held that was not when [`Proxy::holds`] said `before`.
    pub async fn wait_hold(&self, before: u64, what: &str, deadline: Duration) -> Result<(), wait::TimedOut> {
        let mut held = self.held.clone();
        let waited = tokio::time::timeout(deadline, held.wait_for(|holds| *holds > before)).await;
        let last_seen = "the conversation did not come to that point".to_owned();
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(wait::TimedOut { what: what.to_owned(), waited: deadline, last_seen }),
        }
    }

    /// Lets what is held go on.
    pub fn release(&self) {
        self.orders.send_modify(|orders| orders.releases += 1);
    }

    /// Ends all connections; new ones are taken.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// A black hole from now on: connections stay open, are taken, and nothing comes through.
    pub fn stall(&self) {
        self.orders.send_modify(|orders| orders.stalled = true);
    }

    /// Ends the stall; what was sent meanwhile goes on.
    pub fn go_on(&self) {
        self.orders.send_modify(|orders| orders.stalled = false);
    }
}

/// One connection.
struct Relay<E> {
    ear: E,
    orders: watch::Receiver<Orders>,
    holds: Arc<watch::Sender<u64>>,
}

impl<E: Ear> Relay<E> {
    async fn run(mut self, client: TcpStream, upstream: SocketAddr) {
        let born = *self.orders.borrow();
        let gone = self.orders.wait_for(|orders| !orders.stalled || orders.cuts != born.cuts).await.is_err();
        if gone {
            return;
        }
        let Ok(server) = TcpStream::connect(upstream).await else { return };
        // A failure only means that segments are larger.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let (mut holding, mut releases) = (false, born.releases);
        loop {
            let orders = *self.orders.borrow_and_update();
            if orders.cuts != born.cuts {
                return;
            }
            if orders.releases != releases {
                (holding, releases) = (false, orders.releases);
            }
            if !holding && !orders.stalled {
                let verdict = self.ear.hear_client(&up);
                let Ok(hold) = pass(verdict, &mut up, &mut to_server).await else { return };
                let verdict = if hold { Verdict::Pass(0) } else { self.ear.hear_server(&down) };
                let Ok(held_back) = pass(verdict, &mut down, &mut to_client).await else { return };
                holding = hold || held_back;
                if holding {
                    self.holds.send_modify(|holds| *holds += 1);
                }
            }
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() { return },
                read = from_client.read_buf(&mut up) => if !matches!(read, Ok(1..)) { return },
                read = from_server.read_buf(&mut down) => if !matches!(read, Ok(1..)) { return },
            }
        }
    }
}

/// Sends on what may go, and says whether the connection is held from here on.
async fn pass(verdict: Verdict, bytes: &mut Vec<u8>, to: &mut tokio::net::tcp::OwnedWriteHalf) -> std::io::Result<bool> {
    let (length, hold) = match verdict {
        Verdict::Pass(length) => (length, false),
        Verdict::Hold(length) => (length, true),
    };
    if length > 0 {
        to.write_all(&bytes[..length]).await?;
        bytes.drain(..length);
    }
    Ok(hold)
}
