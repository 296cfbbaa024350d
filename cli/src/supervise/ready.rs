//! Whether a gateway takes requests: it answers `/health` itself, with its word for how it is. One that speaks TLS is not
//! asked, for whom its certificate is for is not known here: its Envoy says whether its filter has a configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::{interval, sleep};

use crate::client::Question;
use crate::envoy::bootstrap::Plan;
use crate::report;

/// The first wait between two looks. Each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(800);
/// A sidecar that is being started at this moment gets this long before its absence is a remark.
const SIDECAR_GRACE: Duration = Duration::from_millis(500);
/// The filter's counter of configurations that it has taken.
const SNAPSHOTS: &str = "kt_filter_snapshots_applied_total";
/// After this long somebody wants to know what keeps it.
const REMARK_EVERY: Duration = Duration::from_secs(10);

/// Where to ask how a gateway is.
#[derive(Debug)]
pub(crate) enum Where {
    /// At its front door.
    Door(SocketAddr),
    /// At Envoy's admin socket.
    Admin(PathBuf),
}

#[derive(Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    reason: Option<String>,
}

// === impl Where ===

impl Where {
    /// Of one gateway.
    pub(crate) fn of(plan: &Plan) -> Self {
        match plan.tls {
            None => Self::Door(reachable(plan.listen)),
            Some(_) => Self::Admin(plan.admin_socket.clone()),
        }
    }

    async fn look(&self) -> Result<(), String> {
        match self {
            Self::Door(address) => look(*address).await,
            Self::Admin(socket) => has_snapshot(socket).await,
        }
    }
}

/// Waits until the gateway is `ok` or `degraded`, and says now and then why it is not. A sidecar that was not started
/// here is missed at once.
pub(crate) async fn wait(at: &Where, joined: Option<&Path>) {
    tokio::select! {
        () = answered(at) => {}
        () = miss(joined) => {}
    }
}

async fn answered(at: &Where) {
    let mut remark = interval(REMARK_EVERY);
    remark.tick().await;
    let mut wait = FIRST_WAIT;
    loop {
        let state = match at.look().await {
            Ok(()) => return,
            Err(state) => state,
        };
        tokio::select! {
            () = sleep(wait) => wait = longer(wait),
            _ = remark.tick() => report::note(format_args!("not ready yet: {state}")),
        }
    }
}

fn longer(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(LONGEST_WAIT)
}

/// Says that nothing answers at the sidecar's socket, if so. Never returns: there is nothing else to wait for here.
async fn miss(joined: Option<&Path>) {
    if let Some(socket) = joined
        && UnixStream::connect(socket).await.is_err()
    {
        sleep(SIDECAR_GRACE).await;
        if UnixStream::connect(socket).await.is_err() {
            let socket = socket.display();
            report::note(format_args!(
                "nothing answers at {socket}: start sidecar-cache with --socket {socket}; waiting for it"
            ));
        }
    }
    std::future::pending().await
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

/// Whether a filter of this Envoy has had a configuration.
async fn has_snapshot(socket: &Path) -> Result<(), String> {
    let path = format!("/stats?usedonly&filter={SNAPSHOTS}");
    let answer = Question::get(&path).ask(socket).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer.body);
    match text.contains(SNAPSHOTS) {
        true => Ok(()),
        false => Err("its filter has no configuration yet; is the sidecar running?".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rare_while_a_gateway_is_not_ready() {
        let waits = std::iter::successors(Some(FIRST_WAIT), |wait| Some(longer(*wait)));
        let ms: Vec<_> = waits.take(7).map(|wait| wait.as_millis()).collect();
        assert_eq!(ms, [50, 100, 200, 400, 800, 800, 800]);
    }
}
