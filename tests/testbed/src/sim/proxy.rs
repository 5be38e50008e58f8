//! The Services' own addresses: a TCP proxy on every port of a cluster address, round robin over the ready endpoints.
//!
//! Without a ready endpoint nothing listens, so that connections are refused as on a real cluster.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::json::Json as _;
use super::store::Store;

type Backends = Arc<Mutex<Vec<SocketAddr>>>;

struct Front {
    owner: (String, String),
    backends: Backends,
    task: AbortHandle,
}

/// All proxies of the cluster; dropping it ends them and their connections.
#[derive(Default)]
pub(crate) struct Proxy {
    fronts: HashMap<SocketAddr, Front>,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// Brings the proxies of one Service up to date with its Endpoints.
    pub(crate) fn update(&mut self, store: &Store, namespace: &str, name: &str) {
        while self.tasks.try_join_next().is_some() {}
        let owner = (namespace.to_owned(), name.to_owned());
        let service = store.get("services", namespace, name);
        let endpoints = store.get("endpoints", namespace, name);
        let wanted = match (service, endpoints) {
            (Some(service), Some(endpoints)) => wanted(&service, &endpoints),
            _ => HashMap::new(),
        };
        self.fronts.retain(|address, front| {
            let keep = front.owner != owner || wanted.contains_key(address);
            if !keep {
                front.task.abort();
            }
            keep
        });
        for (address, backends) in wanted {
            if let Some(front) = self.fronts.get(&address) {
                *front.backends.lock().unwrap_or_else(PoisonError::into_inner) = backends;
                continue;
            }
            let backends: Backends = Arc::new(Mutex::new(backends));
            let task = self.tasks.spawn(listen(address, Arc::clone(&backends)));
            let owner = owner.clone();
            self.fronts.insert(address, Front { owner, backends, task });
        }
    }
}

/// The addresses to listen on, with the ready endpoints behind each; those without are left out.
fn wanted(service: &Value, endpoints: &Value) -> HashMap<SocketAddr, Vec<SocketAddr>> {
    let Ok(ip) = service.text("/spec/clusterIP").parse::<IpAddr>() else {
        return HashMap::new();
    };
    let port = |value: &Value, field: &str| u16::try_from(value.int(field)).unwrap_or_default();
    let mut fronts: HashMap<SocketAddr, Vec<SocketAddr>> = HashMap::new();
    for front in service.items("/spec/ports") {
        for subset in endpoints.items("/subsets") {
            let mut same = subset.items("/ports").iter();
            let Some(back) = same.find(|p| p.text("/name") == front.text("/name")) else {
                continue;
            };
            let addresses = subset.items("/addresses").iter();
            let backends = addresses
                .filter_map(|address| address.text("/ip").parse::<IpAddr>().ok())
                .map(|ip| SocketAddr::new(ip, port(back, "/port")));
            let all = fronts.entry(SocketAddr::new(ip, port(front, "/port"))).or_default();
            all.extend(backends);
        }
    }
    fronts.retain(|_, backends| !backends.is_empty());
    fronts
}

async fn listen(address: SocketAddr, backends: Backends) {
    // The listener before us on this address may be still closing.
    let mut listener = None;
    for _ in 0..20 {
        match TcpListener::bind(address).await {
            Ok(bound) => {
                listener = Some(bound);
                break;
            }
            Err(error) => tracing::debug!(%address, %error, "can't listen for a Service yet"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let Some(listener) = listener else {
        tracing::warn!(%address, "can't listen for a Service");
        return;
    };
    let mut connections = JoinSet::new();
    let mut turn = 0_usize;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                turn = turn.wrapping_add(1);
                let chosen = {
                    let backends = backends.lock().unwrap_or_else(PoisonError::into_inner);
                    backends.get(turn % backends.len().max(1)).copied()
                };
                if let Some(backend) = chosen {
                    connections.spawn(forward(client, backend));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(mut client: TcpStream, backend: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(backend).await {
        // Either side may hang up whenever it likes.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
