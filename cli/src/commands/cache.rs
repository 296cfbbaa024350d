//! `kt cache …`: what the group's cache holds, one entry of it, and its invalidation. Through the admin socket.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kt_contract::wire::admin::{
    CacheStatsReply, EntryReply, EntryRequest, InvalidateReply, InvalidateRequest, PATH_ENTRY,
    PATH_INVALIDATE, PATH_STATS, StoredShape, StoredUsage,
};

use crate::commands::config::print;
use crate::commands::explain::{self, Asking};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::paths;
use crate::report;
use crate::sidecar::Admin;
use crate::table;

/// The commands for the shared cache.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Invalidate entries of an organization: within a second no gateway serves them any more.
    Purge(Purge),
    /// Say what the cache holds and what came of it.
    Stats(Common),
    /// Show one entry, by its key or by its request. Nothing changes by it.
    Get(Get),
}

/// What to invalidate.
#[derive(Debug, Args)]
#[group(id = "selector", required = true, multiple = false, args = ["codebase", "fabric", "model", "policy", "key", "all"])]
pub(crate) struct Purge {
    /// The organization. Nothing reaches beyond one.
    #[arg(long)]
    org: String,
    /// What was made for this codebase.
    #[arg(long)]
    codebase: Option<String>,
    /// What was made with this version of a fabric artifact set.
    #[arg(long, value_name = "VERSION")]
    fabric: Option<String>,
    /// What this served model answered.
    #[arg(long)]
    model: Option<String>,
    /// What was made under this policy, by its digest.
    #[arg(long, value_name = "DIGEST")]
    policy: Option<String>,
    /// One entry, by its key as `kt explain` shows it.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Everything of the organization.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// Which entry to show.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The entry's key as `kt explain` shows it; its organization is needed too.
    #[arg(
        value_name = "KEY",
        requires = "org",
        conflicts_with = "request",
        required_unless_present = "request"
    )]
    entry: Option<String>,
    /// The organization whose entry it is.
    #[arg(long, requires = "entry")]
    org: Option<String>,
    /// The body of the request that the entry answers; - reads it from standard input.
    #[arg(long, value_name = "FILE", requires = "key")]
    request: Option<PathBuf>,
    #[command(flatten)]
    asking: Asking,
    /// Print the answer itself, and nothing else.
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    common: Common,
}

/// What all of them have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: the sidecar's own answer.
    #[arg(long)]
    json: bool,
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        match self {
            Self::Purge(args) => args.run(environment).await,
            Self::Stats(common) => stats(&common, environment).await,
            Self::Get(args) => args.run(environment).await,
        }
    }
}

// === impl Purge ===

impl Purge {
    async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { org, codebase, fabric, model, policy, key, all, common } = self;
        let request = InvalidateRequest { org, codebase, fabric, model, policy, key, all };
        let done: InvalidateReply =
            common.admin(environment).post(PATH_INVALIDATE, &request).await?;
        if common.json {
            return print_json(&done);
        }
        report::say(told(&done));
        Ok(())
    }
}

fn told(done: &InvalidateReply) -> String {
    let InvalidateReply { org, kind, name, generation, entries_dropped, entries_held } = done;
    let what = match name {
        Some(name) => format!("{kind} {name} of {org}"),
        None => format!("everything of {org}"),
    };
    format!(
        "invalidated {what}: generation {generation}\n{entries_dropped} entries removed at once; {org} \
         holds {entries_held}, of which those made before are not served and go when asked for"
    )
}

async fn stats(common: &Common, environment: &Environment) -> Result<(), Failure> {
    let stats: CacheStatsReply = common.admin(environment).get(PATH_STATS).await?;
    if common.json {
        return print_json(&stats);
    }
    report::say(summary(&stats));
    report::say("");
    let row = |org: &kt_contract::wire::admin::OrgEntries| {
        [org.org.clone(), org.entries.to_string(), org.entry_bytes.to_string()]
    };
    let rows: Vec<_> = stats.orgs.iter().map(row).collect();
    report::say(table::layout(["org", "entries", "bytes"], &rows));
    Ok(())
}

fn summary(stats: &CacheStatsReply) -> String {
    let CacheStatsReply {
        entries,
        entry_bytes,
        evicted,
        expired,
        hits,
        misses,
        flights,
        invalidated_tags,
        generation,
        orgs: _,
    } = stats;
    format!(
        "entries={entries} ({entry_bytes} bytes), evicted={evicted}, expired={expired}\n\
         hits={hits}, misses={misses}, flights={flights}\n\
         generation={generation}, invalidated tags={invalidated_tags}"
    )
}

// === impl Get ===

impl Get {
    async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let admin = self.common.admin(environment);
        let (org, key) = match (self.entry, self.org, &self.request) {
            (Some(key), Some(org), _) => (org, key),
            (_, _, Some(file)) => {
                let explained = self.asking.ask(&admin, explain::read_body(file)?).await?;
                (explained.gates.org, explained.key.0.to_hex())
            }
            (_, _, None) => return Err(Failure::new("name a key and its organization")),
        };
        let request = EntryRequest { org, key, body: self.body };
        let entry: EntryReply = admin.post(PATH_ENTRY, &request).await?;
        if self.common.json {
            return print_json(&entry);
        }
        if let Some(body) = &entry.body {
            report::say(body.trim_end_matches('\n'));
            return Ok(());
        }
        let rows: Vec<_> = rows(&entry).into_iter().collect();
        report::say(table::layout(["entry", &entry.key.0.to_hex()], &rows));
        report::say("");
        report::say(explain::alone(explain::by_name(&entry.gates)));
        Ok(())
    }
}

fn rows(entry: &EntryReply) -> [[String; 2]; 7] {
    let state = match (entry.is_current, entry.fresh_ms, entry.stale_ms) {
        (false, _, _) => "invalidated: not served, and removed when asked for".to_owned(),
        (true, 0, stale) => format!("stale for {} s", stale / 1_000),
        (true, fresh, _) => format!("fresh for {} s", fresh / 1_000),
    };
    let shape = match entry.shape {
        StoredShape::Json => "json",
        StoredShape::Sse => "sse",
    };
    let usage = entry.usage.map_or_else(
        || "not told".to_owned(),
        |usage| {
            let StoredUsage { input_tokens, cache_read_tokens, cache_write_tokens, output_tokens } =
                usage;
            format!(
                "{input_tokens} in ({cache_read_tokens} read from and {cache_write_tokens} written to \
                 the provider's prompt cache), {output_tokens} out"
            )
        },
    );
    let generations: Vec<_> = entry.generations.iter().map(u64::to_string).collect();
    [
        ["state", &state],
        ["age", &format!("{} s", entry.age_ms / 1_000)],
        ["size", &format!("{} bytes", entry.body_bytes)],
        ["shape", shape],
        ["tokens", &usage],
        ["served by", &entry.served_by],
        ["generations", &generations.join(" ")],
    ]
    .map(|row| row.map(str::to_owned))
}

// === impl Common ===

impl Common {
    fn admin(&self, environment: &Environment) -> Admin {
        Admin::beside(&paths::sidecar_socket(self.sidecar.as_deref(), environment))
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let value = serde_json::to_value(value)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    print(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_says_what_it_did_and_what_is_left() {
        let done = InvalidateReply {
            org: "acme".to_owned(),
            kind: "model".to_owned(),
            name: Some("gpt-4o".to_owned()),
            generation: 7,
            entries_dropped: 0,
            entries_held: 3,
        };
        assert_eq!(
            told(&done),
            "invalidated model gpt-4o of acme: generation 7\n0 entries removed at once; acme holds 3, of \
             which those made before are not served and go when asked for"
        );
        let all = InvalidateReply { kind: "org".to_owned(), name: None, ..done };
        assert!(told(&all).starts_with("invalidated everything of acme: generation 7\n"));
    }
}
