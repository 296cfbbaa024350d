//! How a sidecar is, as it can be seen from outside and as it says itself. Facts in, findings out. Pure.

use std::path::{Path, PathBuf};

use kt_contract::time::UnixMillis;
use kt_contract::wire;
use kt_contract::wire::admin::{Condition, GatewayStatus, Presence, StatusReply};

use super::finding::Finding;
use super::stores;
use crate::commands::config::is_behind;

/// Two clocks that are this far apart are set by one source; `Date` has no fractions of a second.
const CLOCK_MS_MAX: u64 = 2_000;
/// Beyond it, ends of keys and of budgets are at the wrong moment.
const CLOCK_MS_FAIL: u64 = 30_000;
/// By then every gateway that hears from the sidecar has a new version.
const SETTLED_MS: u64 = 10_000;

/// What stands at a socket's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SocketFact {
    /// Nothing.
    Missing,
    /// Something that is no socket.
    NoSocket,
    /// This user may not open it, or not look.
    Denied(String),
    /// A socket on which nobody listens.
    Dead(String),
    /// Somebody listens. Its permissions.
    Open(u32),
}

/// Whether a sidecar listens, and what to do if not. `others` are those that gateways spawned.
pub(crate) fn socket(path: &Path, fact: &SocketFact, others: &[PathBuf], file: &Path) -> Finding {
    const NAME: &str = "sidecar";
    let shown = path.display();
    let start = format!(
        "start it: sidecar-cache --policy-config {} --socket {shown} --data-dir .kt/run/data",
        file.display()
    );
    let start = match others {
        [] => start,
        others => {
            let named: Vec<_> = others.iter().map(|it| it.display().to_string()).collect();
            format!("name the one you mean with --sidecar ({}), or {start}", named.join(", "))
        }
    };
    match fact {
        SocketFact::Open(_) => Finding::ok(NAME, format!("one listens on {shown}")),
        SocketFact::Missing => Finding::fail(NAME, format!("there is no socket at {shown}"), start),
        SocketFact::Dead(why) => {
            Finding::fail(NAME, format!("nobody listens on {shown} ({why}): it has ended"), start)
        }
        SocketFact::NoSocket => Finding::fail(
            NAME,
            format!("{shown} is no socket"),
            "move it away, or name the sidecar's --socket with --sidecar",
        ),
        SocketFact::Denied(why) => Finding::fail(
            NAME,
            format!("this user may not open {shown}: {why}"),
            "ask as the user who runs the sidecar; gateways and sidecar must be one user, or share the folder",
        ),
    }
}

/// Whoever opens the admin socket is the operator, and whoever opens the other is a gateway.
pub(crate) fn permissions(sockets: [(&Path, &SocketFact); 2]) -> Finding {
    const NAME: &str = "socket permissions";
    let open = sockets.iter().find_map(|(path, fact)| match fact {
        SocketFact::Open(mode) if mode & 0o077 != 0 => Some((path.display(), *mode)),
        SocketFact::Open(_)
        | SocketFact::Missing
        | SocketFact::NoSocket
        | SocketFact::Denied(_)
        | SocketFact::Dead(_) => None,
    });
    let unseen = sockets.iter().find(|(_, fact)| !matches!(fact, SocketFact::Open(_)));
    match (open, unseen) {
        (None, None) => Finding::ok(NAME, "for their owner alone"),
        (None, Some((path, _))) => {
            Finding::skipped(NAME, format!("nobody was seen to listen on {}", path.display()))
        }
        (Some((path, mode)), _) => Finding::fail(
            NAME,
            format!("others may open {path} ({mode:04o}): they make keys and move money"),
            format!("chmod 600 {path}; the sidecar makes it so, something has changed it"),
        ),
    }
}

/// Whether this kt, and so the filter beside it, and the sidecar speak one language. `marker` is what the sidecar says,
/// or why it says nothing.
pub(crate) fn wire_version(marker: &Result<Option<String>, String>) -> Finding {
    const NAME: &str = "wire version";
    const MEND: &str =
        "run kt, the filter and sidecar-cache of one release; sidecar first, then the gateways";
    let marker = match marker {
        Ok(marker) => marker.as_deref(),
        Err(why) => {
            return Finding::fail(
                "sidecar",
                format!("somebody listens and does not answer: {why}"),
                "see whether it is stopped (`ps -o stat`) or starved of CPU; the end of its log says what it did last",
            );
        }
    };
    match marker.map(|text| (text, text.parse::<u16>())) {
        Some((_, Ok(version))) if version == wire::VERSION => {
            Finding::ok(NAME, format!("{version}, as that of this kt"))
        }
        Some((text, _)) => Finding::fail(
            NAME,
            format!(
                "the sidecar speaks {text} and this kt {}: gateways take it for lost",
                wire::VERSION
            ),
            MEND,
        ),
        None => Finding::fail(NAME, "what listens there does not say that it is a sidecar", MEND),
    }
}

/// Whether the two are of one release.
pub(crate) fn release(theirs: &str, ours: &str) -> Finding {
    const NAME: &str = "release";
    match theirs == ours {
        true => Finding::ok(NAME, format!("kt and sidecar-cache are {ours}")),
        false => Finding::warn(
            NAME,
            format!("sidecar-cache is {theirs} and kt {ours}"),
            "run both, and the filter, of one release",
        ),
    }
}

/// Whether whoever answered with this `Date` has another clock. `of` is who.
pub(crate) fn clock(of: &str, theirs: Option<UnixMillis>, ours: UnixMillis) -> Finding {
    const NAME: &str = "clock";
    let Some(theirs) = theirs else {
        return Finding::skipped(NAME, "the answer has no Date").of(of);
    };
    // It is cut off to the second.
    let ahead = theirs.0.saturating_sub(ours.0);
    let behind = ours.0.saturating_sub(theirs.0.saturating_add(999));
    let (apart, side) = if ahead > 0 { (ahead, "ahead of") } else { (behind, "behind") };
    let seen =
        format!("its clock is {}.{} s {side} this machine's", apart / 1_000, apart % 1_000 / 100);
    let mend = "set both by NTP (`timedatectl`): the ends of keys, days of budgets and the audit log go by it";
    match apart {
        0..=CLOCK_MS_MAX => Finding::ok(NAME, "as this machine's").of(of),
        apart if apart > CLOCK_MS_FAIL => Finding::fail(NAME, seen, mend).of(of),
        _ => Finding::warn(NAME, seen, mend).of(of),
    }
}

/// What a sidecar says of itself.
pub(crate) fn status(status: &StatusReply) -> Vec<Finding> {
    let mut findings = vec![in_force(status)];
    if status.status == Condition::Draining {
        findings.push(Finding::warn(
            "condition",
            "the sidecar drains: it finishes what it has and takes nothing new",
            "start another one over the same --data-dir once it has ended",
        ));
    }
    if status.status == Condition::Degraded && has_no_reason(status) {
        findings.push(Finding::warn(
            "condition",
            "the sidecar is degraded and does not say why",
            "look again in some seconds: one that has just begun may not know yet what was invalidated elsewhere; then \
             at the end of its log",
        ));
    }
    findings.push(told(
        "stores",
        &stores::others(status),
        "docs/operations/alerts.md says what each wants",
    ));
    findings.push(told(
        "database",
        &status.database_errors,
        "see whether it runs and who may reach it; docs/reference/database.md",
    ));
    findings.push(told(
        "wallet",
        &status.wallet_errors,
        "docs/reference/wallet.md says what to do about each; a wallet that is frozen wants `kt wallet unfreeze` then",
    ));
    findings.push(told(
        "tenants",
        &status.tenant_errors,
        "mend the file that is named; its last good one is in force",
    ));
    findings.extend(gateways(status));
    findings
}

fn has_no_reason(status: &StatusReply) -> bool {
    let StatusReply { config_errors, store_errors, .. } = status;
    let StatusReply { database_errors, wallet_errors, tenant_errors, .. } = status;
    [config_errors, store_errors, database_errors, wallet_errors, tenant_errors]
        .into_iter()
        .all(Vec::is_empty)
}

fn in_force(status: &StatusReply) -> Finding {
    const NAME: &str = "configuration in force";
    let version = &status.config.version;
    match status.config_errors.as_slice() {
        [] => Finding::ok(NAME, format!("the sidecar runs {version}, which is what its file says")),
        errors => Finding::fail(
            NAME,
            format!(
                "the sidecar still runs {version}; its file was refused: {}",
                errors.join("; ")
            ),
            "mend the file, or `kt config rollback`; what needs a restart goes live by one, and until then the next \
             restart of the sidecar fails or changes it",
        ),
    }
}

fn told(name: &'static str, errors: &[String], mend: &str) -> Finding {
    match errors {
        [] => Finding::ok(name, "the sidecar has nothing to say"),
        errors => Finding::fail(name, errors.join("; "), mend),
    }
}

/// Whether every gateway runs what is in force.
fn gateways(status: &StatusReply) -> Vec<Finding> {
    const NAME: &str = "gateway";
    if status.gateways.is_empty() {
        return vec![Finding::warn(
            NAME,
            "no gateway has asked the sidecar for anything",
            "start one: kt gateway run --sidecar SOCKET; one that runs has another socket, or a filter of another \
             release, which its Envoy's log says",
        )];
    }
    status.gateways.iter().map(|it| gateway(it, status).of(&it.gateway.id)).collect()
}

fn gateway(gateway: &GatewayStatus, status: &StatusReply) -> Finding {
    const NAME: &str = "gateway";
    let runs = gateway.config.as_deref().unwrap_or("an unknown version");
    let seconds = gateway.last_seen_ms / 1_000;
    match gateway.state {
        Presence::Lost => Finding::warn(
            NAME,
            format!("it has asked for nothing for {seconds} s"),
            "see whether it runs, and whether it reaches this sidecar's socket; one that was stopped is forgotten after \
             ten minutes",
        ),
        Presence::Live if !is_behind(gateway) => Finding::ok(NAME, format!("live, runs {runs}")),
        Presence::Live => {
            let GatewayStatus { workers, workers_behind, .. } = gateway;
            let live_ms = status.config.live_ms;
            let seen = format!(
                "{workers_behind} of its {workers} workers are behind: it runs {runs}, and {} is in force for {} s",
                status.config.version,
                live_ms / 1_000
            );
            match live_ms < SETTLED_MS {
                true => Finding::warn(NAME, seen, "wait: a new version takes some seconds"),
                false => Finding::fail(
                    NAME,
                    seen,
                    "drain it and start it again: a worker that does not ask is stuck in its Envoy",
                ),
            }
        }
    }
}

/// Whether the file here is what is in force there.
pub(crate) fn same_file(file: &Path, here: &str, in_force: &str) -> Finding {
    const NAME: &str = "file";
    let shown = file.display();
    match here == in_force {
        true => Finding::ok(NAME, format!("{shown} is what the sidecar runs")),
        false => Finding::warn(
            NAME,
            format!("{shown} is not what the sidecar runs"),
            format!(
                "`kt config diff {shown}` shows the difference, `kt config apply {shown}` puts it in force"
            ),
        ),
    }
}

#[cfg(test)]
pub(super) mod tests;
