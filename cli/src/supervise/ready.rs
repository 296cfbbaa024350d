//! Whether a gateway takes requests: it answers `/health` itself, with its word for how it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{interval, sleep};

use crate::client::Question;
use crate::report;

const POLL: Duration = Duration::from_millis(50);
/// After this long somebody wants to know what keeps it.
const REMARK_EVERY: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    reason: Option<String>,
}

/// Waits until the gateway is `ok` or `degraded`, and says now and then why it is not.
pub(crate) async fn wait(listen: SocketAddr) {
    let address = reachable(listen);
    let mut remark = interval(REMARK_EVERY);
    remark.tick().await;
    loop {
        let state = match look(address).await {
            Ok(()) => return,
            Err(state) => state,
        };
        tokio::select! {
            () = sleep(POLL) => {}
            _ = remark.tick() => report::note(format_args!("not ready yet: {state}")),
        }
    }
}

async fn look(address: SocketAddr) -> Result<(), String> {
    let answer =
        Question::get("/health").ask_tcp(address).await.map_err(|error| error.to_string())?;
    let health: Health = serde_json::from_slice(&answer.body)
        .map_err(|_other| format!("/health answers {} and no JSON with .status", answer.status))?;
    match health.status.as_str() {
        "ok" | "degraded" => Ok(()),
        other => {
            let reason = health.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
            Err(format!("/health says {other}{reason}; is the sidecar running?"))
        }
    }
}

/// An address to connect to, for one to listen on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}
