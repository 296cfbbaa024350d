//! `kt key …`: gateway keys, which the sidecar makes and keeps (as digests).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kt_contract::wire::admin::{KeyCreated, KeyEntry, KeyList, KeyRequest, PATH_KEYS};
use serde::Serialize;
use serde_json::json;

use crate::commands::config::print;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::key_name;
use crate::paths;
use crate::report;
use crate::sidecar::Admin;
use crate::table;

/// The commands for gateway keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key and show it, once.
    Create(Create),
    /// List the keys there are and were.
    List(Common),
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
    let rows: Vec<_> = list.keys.iter().map(row).collect();
    let head =
        ["key", "org", "team", "user", "agent", "group", "codebases", "entitlements", "state"];
    report::say(table::layout(head, &rows));
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

fn row(entry: &KeyEntry) -> [String; 9] {
    let KeyEntry { principal, created_at: _, revoked_at } = entry;
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
        if revoked_at.is_some() { "revoked" } else { "valid" }.to_owned(),
    ]
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
