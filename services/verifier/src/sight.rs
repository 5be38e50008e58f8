//! What the verifier sees of a workload at one look: plain values, so that checks can be judged without a cluster.
//!
//! Guarantees: only pods of the restored version are in it, and none that is being deleted. Must not: remember earlier looks.

use std::net::{IpAddr, SocketAddr};

/// One pod of the restored version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSight {
    /// Its name.
    pub name: String,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// Restarts of all its containers together.
    pub restarts: u32,
    /// What is wrong with it, where the cluster says so, e.g. `CrashLoopBackOff`.
    pub trouble: Option<String>,
}

/// One Service that selects the restored pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSight {
    /// Its name.
    pub name: String,
    /// Its cluster address; a headless Service has none.
    pub address: Option<IpAddr>,
    /// Its ports.
    pub ports: Vec<u16>,
}

/// One look at a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// How many pods it should have.
    pub desired: u32,
    /// The restored version's pods.
    pub pods: Vec<PodSight>,
    /// The Services that select them.
    pub services: Vec<ServiceSight>,
}

impl Sight {
    /// How many of its pods are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.pods.iter().filter(|pod| pod.ready).count()
    }
}

/// Where a check goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To each ready pod of the restored version.
    Pods,
    /// To the Services' cluster addresses: all that have the port, or the one of this name.
    Service(Option<String>),
}

/// An address to probe, with the name to show for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The pod's or Service's name.
    pub name: String,
    /// Where to connect; its text has brackets around an IPv6 address.
    pub address: SocketAddr,
}

/// The places that a check of this port goes to now, or why there are none (which is no data).
pub fn places(sight: &Sight, target: &Target, port: u16) -> Result<Vec<Place>, String> {
    let found: Vec<Place> = match target {
        Target::Pods => sight.pods.iter().filter(|pod| pod.ready).filter_map(|pod| place(&pod.name, pod.address, port)).collect(),
        Target::Service(wanted) => sight
            .services
            .iter()
            .filter(|service| wanted.as_ref().is_none_or(|name| *name == service.name) && service.ports.contains(&port))
            .filter_map(|service| place(&service.name, service.address, port))
            .collect(),
    };
    if !found.is_empty() {
        return Ok(found);
    }
    Err(match target {
        Target::Pods => format!("none of the restored version's {} pods is ready with an address", sight.pods.len()),
        Target::Service(None) => format!("no Service with a cluster address and port {port} selects the restored pods"),
        Target::Service(Some(name)) => {
            format!("Service {name} is not there with a cluster address and port {port}, or does not select the restored pods")
        }
    })
}

fn place(name: &str, address: Option<IpAddr>, port: u16) -> Option<Place> {
    Some(Place { name: name.to_owned(), address: SocketAddr::new(address?, port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight() -> Sight {
        let pod = |name: &str, address: &str, ready| PodSight {
            name: name.into(),
            address: address.parse().ok(),
            ready,
            restarts: 0,
            trouble: None,
        };
        let service = |name: &str, address: &str, ports: &[u16]| ServiceSight {
            name: name.into(),
            address: address.parse().ok(),
            ports: ports.to_vec(),
        };
        Sight {
            desired: 3,
            pods: vec![pod("a", "10.0.0.1", true), pod("b", "fd00::2", true), pod("c", "10.0.0.3", false), pod("d", "", true)],
            services: vec![
                service("web", "10.96.0.1", &[80]),
                service("headless", "None", &[80]),
                service("admin", "10.96.0.2", &[81]),
            ],
        }
    }

    fn shown(target: &Target, port: u16) -> Result<Vec<String>, String> {
        places(&sight(), target, port)
            .map(|places| places.iter().map(|place| format!("{} {}", place.name, place.address)).collect())
    }

    #[test]
    fn ready_pods_with_an_address_are_probed_and_ipv6_has_brackets() {
        assert_eq!(shown(&Target::Pods, 8080), Ok(vec!["a 10.0.0.1:8080".into(), "b [fd00::2]:8080".into()]));
        let none = places(&Sight::default(), &Target::Pods, 8080).unwrap_err();
        assert!(none.contains("none of the restored version's 0 pods"), "{none}");
    }

    #[test]
    fn services_are_found_by_port_and_name() {
        assert_eq!(shown(&Target::Service(None), 80), Ok(vec!["web 10.96.0.1:80".into()]));
        assert_eq!(shown(&Target::Service(Some("admin".into())), 81), Ok(vec!["admin 10.96.0.2:81".into()]));
        assert!(shown(&Target::Service(Some("headless".into())), 80).is_err());
        assert!(shown(&Target::Service(None), 443).is_err());
    }
}
