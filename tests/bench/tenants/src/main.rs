//! What thousands of tenants and their keys take: the packs of a hosted sidecar, its key store, and what one worker of a
//! filter remembers of both. Every pack says something else, so that none is shared. Prints its figures as one JSON object.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use kt_contract::config::{self, SecretRef};
use kt_contract::hex::Digest;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::UnixMillis;
use kt_filter_core::principals::{Known, Principals, Rules};
use serde_json::{Value, json};
use sidecar_cache::clock::Clock;
use sidecar_cache::service::callers::{Callers, Resolved};
use sidecar_cache::service::known;
use sidecar_cache::service::tenants::Tenants;
use sidecar_cache::store::sqlite::SqliteKeys;
use sidecar_cache::store::{KeyRecord, PrincipalStore};

type Failed = Box<dyn std::error::Error + Send + Sync>;

const HOST: &str = "
tenants: {folder: tenants}
providers:
  targets:
    - {id: openai, provider: openai}
workflow_cache: {enabled: true, default_tier: org_shared_cache, org_shared_enabled: true}
";

#[derive(Debug, Parser)]
struct Args {
    /// How many organizations.
    #[arg(long, default_value_t = 10_000)]
    tenants: usize,
    /// How many keys, by turns of each of them.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Where the files go. A commit waits for this disk: /dev/shm makes 100,000 keys soon.
    #[arg(long)]
    folder: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let folder = tempfile::tempdir_in(&args.folder)?;
    let tenants = of_sidecar(&args, folder.path())?;
    let keys = of_keys(&args, folder.path()).await?;
    let worker = of_worker(&args, folder.path())?;
    let text = json!({
        "tenants": args.tenants, "keys": args.keys,
        "sidecar_packs": tenants, "key_store": keys, "filter_worker": worker,
    });
    #[expect(clippy::print_stdout, reason = "the figures are what it is for")]
    {
        println!("{text}");
    }
    Ok(())
}

/// The packs, as a sidecar that starts reads them.
fn of_sidecar(args: &Args, folder: &Path) -> Result<Value, Failed> {
    let packs = folder.join("tenants");
    std::fs::create_dir(&packs)?;
    for tenant in 0..args.tenants {
        std::fs::write(packs.join(format!("org-{tenant}.yaml")), pack(tenant))?;
    }
    let host = config::load("host.yaml", HOST).map_err(|errors| format!("{errors:?}"))?.config;
    let before = resident_bytes()?;
    let began = now();
    let tenants = Tenants::load(packs, host, false, |_, _: &SecretRef| Ok("made-up".to_owned()));
    let load = now().duration_since(began);
    let bytes = grown(before)?;
    if tenants.count() != args.tenants {
        return Err(format!("{} tenants, {:?}", tenants.count(), tenants.faults().first()).into());
    }
    let names: Vec<String> = (0..args.tenants).map(|tenant| format!("org-{tenant}")).collect();
    let began = now();
    let found = names.iter().filter(|org| tenants.settings(org).is_some()).count();
    let lookup = each(now().duration_since(began), found);
    Ok(json!({
        "load_ms": load.as_millis(), "resident_bytes": bytes,
        "bytes_per_tenant": bytes.map(|bytes| bytes / args.tenants as u64), "lookup_ns": lookup,
    }))
}

/// The keys in SQLite: of one that is asked for the first time, and of one that is remembered.
async fn of_keys(args: &Args, folder: &Path) -> Result<Value, Failed> {
    let store = Arc::new(SqliteKeys::open(folder)?);
    for number in 0..args.keys {
        store.add(record(number, args.tenants)).await?;
    }
    let file_bytes = folder.join("keys.db").metadata()?.len();
    let callers = Callers::new(store, known::Known::always(), Clock::start());
    let before = resident_bytes()?;
    let began = now();
    for number in 0..args.keys {
        if !matches!(callers.resolve(key(number)).await?, Resolved::Known(_)) {
            return Err("a key is not known".into());
        }
    }
    let unknown = each(now().duration_since(began), args.keys);
    let bytes = grown(before)?;
    let last = args.keys.saturating_sub(4_096)..args.keys;
    let (began, count) = (now(), last.len());
    for number in last {
        let _ = callers.resolve(key(number)).await?;
    }
    Ok(json!({
        "file_bytes": file_bytes, "first_lookup_ns": unknown,
        "remembered_lookup_ns": each(now().duration_since(began), count), "resident_bytes": bytes,
    }))
}

/// One worker of a filter, after it has met every key.
fn of_worker(args: &Args, folder: &Path) -> Result<Value, Failed> {
    let host = config::load("host.yaml", HOST).map_err(|errors| format!("{errors:?}"))?.config;
    let of_host = host.snapshot(false);
    let mut principals = Principals::default();
    let before = resident_bytes()?;
    let (mut snapshots, mut spent) = (0_u64, Duration::ZERO);
    for number in 0..args.keys {
        let tenant = number % args.tenants;
        let text = pack(tenant);
        let path = folder.join("x.yaml").display().to_string();
        let loaded = config::load_tenant(&path, &text, &host).map_err(|it| format!("{it:?}"))?;
        let snapshot = loaded.config.snapshot(false);
        let began = now();
        let known = principals.rules(&snapshot.version);
        snapshots += u64::from(known.is_none());
        let rules = match known {
            Some(rules) => rules,
            None => {
                let rules = Rules::of_tenant(snapshot, Some(&of_host));
                rules.ok_or("a chain does not compile")?.into()
            }
        };
        let principal = record(number, args.tenants).principal;
        principals.remember(key(number), Known::of_tenant(principal, rules));
        spent += now().duration_since(began);
    }
    let bytes = grown(before)?;
    let (began, last) = (now(), key(args.keys.saturating_sub(1)));
    let found = (0..100_000).filter(|_| principals.get(&last).is_some()).count();
    Ok(json!({
        "resident_bytes": bytes, "remember_ns": each(spent, args.keys), "snapshots_compiled": snapshots,
        "cached_lookup_ns": each(now().duration_since(began), found),
    }))
}

fn pack(tenant: usize) -> String {
    format!(
        "providers: {{targets: [{{id: openai, secret_key_ref: {{env: KEY_{tenant}}}}}]}}
policies:
  chain: [default, content-policy]
  policy:
    content-policy: {{action: block, terms: ['Project {tenant}', 'Code name {tenant}']}}
"
    )
}

fn record(number: usize, tenants: usize) -> KeyRecord {
    KeyRecord {
        hash: key(number),
        principal: Principal {
            key_id: format!("gk_{number}"),
            lineage: None,
            org: format!("org-{}", number % tenants),
            team: Some("platform".to_owned()),
            user: Some(format!("user-{number}")),
            agent: None,
            group: None,
            codebases: [format!("org-{}/web", number % tenants)].into(),
            entitlements: [].into(),
        },
        created_at: UnixMillis(0),
        revoked_at: None,
        ends_at: None,
        successor: None,
    }
}

fn key(number: usize) -> KeyHash {
    let mut digest = [0; 32];
    // The store's order is by hash, and a real one is random. An odd factor gives each number another.
    let spread = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    digest.iter_mut().zip(spread).for_each(|(place, byte)| *place = byte);
    KeyHash(Digest(digest))
}

fn each(all: Duration, count: usize) -> u128 {
    all.as_nanos() / u128::try_from(count.max(1)).unwrap_or(1)
}

/// What this process holds in memory.
fn resident_bytes() -> Result<u64, Failed> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * 4_096)
}

/// By how much that has grown. `None`: it has not, because what was freed before was used again; that is no measure of
/// what is held.
fn grown(before: u64) -> Result<Option<u64>, Failed> {
    Ok(resident_bytes()?.checked_sub(before).filter(|bytes| *bytes > 0))
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn now() -> Instant {
    Instant::now()
}
