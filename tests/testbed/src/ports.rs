//! Free loopback ports for processes that must be told theirs beforehand.
//!
//! Guarantee: a port is handed out again only when nothing listens on it and [`HELD`] others were handed out since, so that a process which
//! is away for a moment finds its own again; and not to two processes of the testbed at the same time. Ports come from below the range
//! that the kernel gives to outgoing connections, so that none of those takes one between here and its use.

use std::{
    collections::VecDeque,
    fs::File,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::Mutex,
};

use crate::Error;

/// First port handed out.
const FIRST: u16 = 20_000;
/// How many ports there are to hand out.
const COUNT: u16 = 10_000;

/// How many of the last ports that it was handed out a process keeps for itself.
const HELD: usize = 2_000;

/// What this process has taken: where it looks next, and the claims that it holds, the oldest first.
struct Taken {
    next: u16,
    claims: VecDeque<File>,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken { next: 0, claims: VecDeque::new() });

/// A loopback port on which nothing listens, for TCP and UDP.
pub fn free() -> Result<u16, Error> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Each process starts to look somewhere else, so that claims seldom meet.
    let start = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(COUNT)).unwrap_or(0);
    let none = || format!("all of the {COUNT} ports from {FIRST} on are in use, or other testbeds hold them");
    taken.take(COUNT, HELD, |index| FIRST + (start + index) % COUNT).ok_or_else(|| Error::Refused(none()))
}

impl Taken {
    /// The next of `count` ports that is free.
    fn take(&mut self, count: u16, held: usize, port: impl Fn(u16) -> u16) -> Option<u16> {
        for _ in 0..count {
            let port = port(self.next);
            self.next = (self.next + 1) % count;
            if let Some(claim) = claim(port)
                && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
                && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            {
                self.claims.push_back(claim);
                if self.claims.len() > held {
                    self.claims.pop_front();
                }
                return Some(port);
            }
        }
        None
    }
}

/// Claims a port against the testbeds of other processes, by a lock that ends with this process.
fn claim(port: u16) -> Option<File> {
    let dir = std::env::temp_dir().join("lastgood-testbed-ports");
    std::fs::create_dir_all(&dir).ok()?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(port.to_string())).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_twice() {
        let mut ports: Vec<u16> = (0..50).map(|_| free().expect("there are plenty")).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_long_run_is_never_out_of_ports() {
        let mut few = Taken { next: 0, claims: VecDeque::new() };
        // Above those that the other tests of this process are given.
        let mut take = || few.take(16, 4, |index| FIRST + COUNT + index).expect("what was handed out long ago is free again");
        let listening = take();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listening)).expect("nothing listens there");
        let given: Vec<_> = (0..100).map(|_| take()).collect();
        assert!(!given.contains(&listening), "it is in use");
        let soon = given.windows(4).any(|last| last[..3].contains(&last[3]));
        assert!(!soon, "who is away for a moment finds its own port again: {given:?}");
    }
}
