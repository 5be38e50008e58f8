//! Free loopback ports for processes that must be told theirs beforehand.
//!
//! Guarantee: a port is handed out once per process, and not to two processes of the testbed at the same time. Ports come from
//! below the range that the kernel gives to outgoing connections, so that none of those takes one between here and its use.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::Mutex,
};

use crate::Error;

/// First port handed out.
const FIRST: u16 = 20_000;
/// How many ports there are to hand out.
const COUNT: u16 = 10_000;

/// What this process has taken: how far it has looked, and the claims that it holds till it ends.
struct Taken {
    looked: u16,
    claims: Vec<File>,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken { looked: 0, claims: Vec::new() });

/// A loopback port on which nothing listens, for TCP and UDP.
pub fn free() -> Result<u16, Error> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Each process starts to look somewhere else, so that claims seldom meet.
    let start = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(COUNT)).unwrap_or(0);
    while taken.looked < COUNT {
        let port = FIRST + (start + taken.looked) % COUNT;
        taken.looked += 1;
        if let Some(claim) = claim(port)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            taken.claims.push(claim);
            return Ok(port);
        }
    }
    Err(Error::Refused(format!("all of the {COUNT} ports from {FIRST} on are in use or were handed out by this process")))
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
}
