//! One probe of a container, over the network as the kubelet does it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::sim::json::Json as _;

/// When and how often a container is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) delay: Duration,
    pub(super) period: Duration,
    pub(super) failures: i64,
    pub(super) successes: i64,
}

impl Pace {
    /// Reads a probe's spec. The shortest period, one second, is taken four times faster so that tests are.
    pub(super) fn of(probe: &Value) -> Self {
        let seconds = |field: &str| Duration::from_secs(u64::try_from(probe.int(field)).unwrap_or_default());
        let period = seconds("/periodSeconds");
        Self {
            delay: seconds("/initialDelaySeconds"),
            period: if period <= Duration::from_secs(1) { Duration::from_millis(250) } else { period },
            failures: probe.int("/failureThreshold").max(1),
            successes: probe.int("/successThreshold").max(1),
        }
    }
}

/// Probes once; answers why it failed. Commands can't be run here and count as successes.
pub(super) async fn check(ip: IpAddr, container: &Value, probe: &Value) -> Result<(), String> {
    let seconds = u64::try_from(probe.int("/timeoutSeconds")).unwrap_or_default().max(1);
    let port = |value: &Value| -> u16 {
        let named = || {
            let mut ports = container.items("/ports").iter();
            let port = ports.find(|p| Some(p.text("/name")) == value.as_str());
            port.map(|p| p.int("/containerPort"))
        };
        let number = value.as_i64().or_else(named).unwrap_or_default();
        u16::try_from(number).unwrap_or_default()
    };
    let attempt = async {
        if let Some(get) = probe.get("httpGet") {
            return http_get(SocketAddr::new(ip, port(get.at("/port"))), get.text("/path")).await;
        }
        for kind in ["tcpSocket", "grpc"] {
            if let Some(socket) = probe.get(kind) {
                let address = SocketAddr::new(ip, port(socket.at("/port")));
                return TcpStream::connect(address).await.map(|_| ()).map_err(|e| e.to_string());
            }
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(seconds), attempt)
        .await
        .unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
}

async fn http_get(address: SocketAddr, path: &str) -> Result<(), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.33\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await?;
        // Read to the end, or else closing resets the connection under the server's hands.
        let mut rest = Vec::new();
        stream.take(1 << 20).read_to_end(&mut rest).await?;
        Ok::<_, std::io::Error>(head)
    };
    let head = exchange.await.map_err(|error| format!("Get \"http://{address}{path}\": {error}"))?;
    let code = std::str::from_utf8(&head[9..]).unwrap_or_default();
    match code.parse::<u16>() {
        Ok(200..400) => Ok(()),
        _ => Err(format!("HTTP probe failed with statuscode: {code}")),
    }
}
