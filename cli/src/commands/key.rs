//! `kt key …`: gateway keys, which the sidecar makes and keeps (as digests).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::{
    KeyCreated, KeyEntry, KeyList, KeyRequest, KeyRotated, KeyRotation, OVERLAP_SECONDS_MAX,
    PATH_KEYS,
};
use serde::Serialize;
use serde_json::json;

use crate::clock;
use crate::commands::config::print;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::idempotency;
use crate::key_name;
use crate::money::moment;
use crate::paths;
use crate::report;
use crate::sidecar::{Admin, NotDone};
use crate::table;

/// The commands for gateway keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key and show it, once.
    Create(Create),
    /// List the keys there are and were.
    List(Common),
    /// Put a new key in the place of one, and show it, once. The old one stays valid for a while.
    Rotate {
        /// The public name of the old one, gk_…
        key_id: String,
        /// How long the old key stays valid: 30m, 24h, 7d; 0 ends it at once.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = read_overlap)]
        overlap: u64,
        /// The name of this rotation: asked again with the same within ten minutes, it is not made twice.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a key: within a second no gateway takes it any more.
    Revoke {
        /// Its public name, gk_…
        key_id: String,
        #[command(flatten)]
        common: Common,
    },
}

/// What a new key stands for.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The organization. Nothing is ever shared across organizations.
    #[arg(long)]
    org: String,
    /// The team.
    #[arg(long)]
    team: Option<String>,
    /// The person.
    #[arg(long)]
    user: Option<String>,
    /// The agent.
    #[arg(long)]
    agent: Option<String>,
    /// The agent gateway group [default: that of the gateway at which the key is used]
    #[arg(long)]
    group: Option<String>,
    /// A codebase it may ask about; can be given again.
    #[arg(long = "codebase", value_name = "CODEBASE")]
    codebases: Vec<String>,
    /// An entitlement tag, e.g. residency:eu; can be given again.
    #[arg(long = "entitlement", value_name = "TAG")]
    entitlements: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// What all of them have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: JSON.
    #[arg(long)]
    json: bool,
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(environment).await,
            Self::List(common) => list(&common, environment).await,
            Self::Rotate { key_id, overlap, idempotency_key, common } => {
                rotate((&key_id, overlap, idempotency_key), &common, environment).await
            }
            Self::Revoke { key_id, common } => revoke(&key_id, &common, environment).await,
        }
    }
}

// === impl Create ===

impl Create {
    async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { org, team, user, agent, group, codebases, entitlements, common } = self;
        let request = KeyRequest { org, team, user, agent, group, codebases, entitlements };
        let made: KeyCreated = common.admin(environment).post(PATH_KEYS, &request).await?;
        if common.json {
            return common.print(&made);
        }
        // The key alone on standard output: KEY=$(kt key create …).
        report::note(format_args!("made {}; the key is shown this once", made.key_id));
        report::say(made.key);
        Ok(())
    }
}

async fn list(common: &Common, environment: &Environment) -> Result<(), Failure> {
    let list: KeyList = common.admin(environment).get(PATH_KEYS).await?;
    if common.json {
        return common.print(&list);
    }
    let now = clock::unix_now();
    let rows: Vec<_> = list.keys.iter().map(|entry| row(entry, now)).collect();
    let head =
        ["key", "org", "team", "user", "agent", "group", "codebases", "entitlements", "state"];
    report::say(table::layout(head, &rows));
    Ok(())
}

async fn rotate(
    (key_id, overlap_seconds, name): (&str, u64, Option<String>),
    common: &Common,
    environment: &Environment,
) -> Result<(), Failure> {
    let path = format!("{PATH_KEYS}/{}/rotate", key_name::public(key_id)?);
    let name = name.map_or_else(idempotency::new_key, Ok)?;
    let request = KeyRotation { overlap_seconds };
    let rotated = common.admin(environment).post_once(&path, &name, &request).await;
    let made: KeyRotated = rotated.map_err(|not_done| match not_done {
        NotDone::Surely(failure) => failure,
        NotDone::Perhaps(failure) => failure.hint(format!(
            "nobody knows whether it was rotated: ask again with --idempotency-key={name}; after ten minutes \
             `kt key list` shows it"
        )),
    })?;
    if common.json {
        return common.print(&made);
    }
    let (old, new, end) = (&made.replaces, &made.key_id, moment(made.ends_at));
    report::note(format_args!(
        "made {new} in the place of {old}, which ends at {end}; the key is shown this once"
    ));
    report::say(made.key);
    Ok(())
}

async fn revoke(key_id: &str, common: &Common, environment: &Environment) -> Result<(), Failure> {
    let path = format!("{PATH_KEYS}/{}/revoke", key_name::public(key_id)?);
    let entry: KeyEntry = common.admin(environment).post(&path, &json!({})).await?;
    if common.json {
        return common.print(&entry);
    }
    report::say(format_args!("revoked {}", entry.principal.key_id));
    Ok(())
}

fn row(entry: &KeyEntry, now: UnixMillis) -> [String; 9] {
    let KeyEntry { principal, created_at: _, revoked_at, ends_at, successor } = entry;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let all = |set: &std::collections::BTreeSet<String>| match set.is_empty() {
        true => "-".to_owned(),
        false => set.iter().map(String::as_str).collect::<Vec<_>>().join(","),
    };
    [
        principal.key_id.clone(),
        principal.org.clone(),
        or_dash(&principal.team),
        or_dash(&principal.user),
        or_dash(&principal.agent),
        or_dash(&principal.group),
        all(&principal.codebases),
        all(&principal.entitlements),
        match (revoked_at, ends_at) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(end)) => ending(*end, successor.as_deref(), now),
            (None, None) => "valid".to_owned(),
        },
    ]
}

/// When a key that another one has taken the place of ends or has ended, and which one that is.
fn ending(end: UnixMillis, successor: Option<&str>, now: UnixMillis) -> String {
    let (verb, link) = if end <= now { ("ended", "now") } else { ("ends", "then") };
    let successor = successor.map(|key_id| format!(", {link} {key_id}")).unwrap_or_default();
    format!("{verb} {}{successor}", moment(end))
}

// === impl Common ===

impl Common {
    fn admin(&self, environment: &Environment) -> Admin {
        Admin::beside(&paths::sidecar_socket(self.sidecar.as_deref(), environment))
    }

    fn print(&self, value: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_value(value)
            .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        print(&value)
    }
}

/// A length of time, in seconds.
fn read_overlap(text: &str) -> Result<u64, String> {
    let bad =
        || "a length of time is a number with s, m, h or d: 90s, 30m, 24h, 7d; or 0".to_owned();
    let at = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "" if number == 0 => 1,
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let overlap = number.saturating_mul(seconds);
    if overlap > OVERLAP_SECONDS_MAX {
        return Err("an old key stays valid for at most 90d".to_owned());
    }
    Ok(overlap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_whose_time_is_over_has_ended() {
        let end = UnixMillis(5_000);
        let told = |now, successor| ending(end, successor, UnixMillis(now));
        assert_eq!(told(4_999, Some("gk_2")), "ends 1970-01-01 00:00:05Z, then gk_2");
        assert_eq!(told(5_000, Some("gk_2")), "ended 1970-01-01 00:00:05Z, now gk_2");
        assert_eq!(told(4_999, None), "ends 1970-01-01 00:00:05Z");
        assert_eq!(told(9_000, None), "ended 1970-01-01 00:00:05Z");
    }

    #[test]
    fn an_overlap_is_a_number_with_its_unit() {
        for (text, seconds) in
            [("0", 0), ("90s", 90), ("30m", 1_800), ("24h", 86_400), ("90d", 7_776_000)]
        {
            assert_eq!(read_overlap(text), Ok(seconds), "{text}");
        }
        for text in ["24", "h", "", "1w", "-1h", "1.5h", "91d", "99999999999999999d", "5é"] {
            assert!(read_overlap(text).is_err(), "{text}");
        }
    }
}
