//! From the configuration to stores that can be used: all that is opened before anybody is served, in the data folder, or
//! where sidecars share it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kt_contract::config::{self, Ledger, RedisUrl, SecretRef, Wallet};
use sidecar_cache::cache_backend::{self, Backend, Place};
use sidecar_cache::clock::Clock;
use sidecar_cache::http::egress::Egress;
use sidecar_cache::service::generations::Generations;
use sidecar_cache::service::reload::Watched;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::service::tenants::Tenants;
use sidecar_cache::service::upstream::Timeouts;
use sidecar_cache::service::versions::Versions;
use sidecar_cache::service::{Parts, Sidecar};
use sidecar_cache::store::audit_log::AuditStore;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::postgres::entries::Table;
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use sidecar_cache::store::postgres::{
    Database, PostgresAuditLog, PostgresChanges, PostgresGenerations, PostgresKeys,
    PostgresReplies, schema,
};
use sidecar_cache::store::redis::Servers;
use sidecar_cache::store::replies::ReplyStore;
use sidecar_cache::store::savings::SavingsStore;
use sidecar_cache::store::spool::SpoolStore;
use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};
use sidecar_cache::store::sqlite::{
    SqliteAuditLog, SqliteGenerations, SqliteKeys, SqliteReplies, SqliteSpool, SqliteVersions,
};
use sidecar_cache::store::{PrincipalStore, StoreError};

use crate::args::Args;
use crate::run::{Faults, one};
use crate::secret;

/// How many connections to a ledger's database a sidecar has at most: half of them to write, half to read.
const LEDGER_CONNECTIONS_MAX: usize = 8;
/// How many for keys, generations and replies.
const SHARED_CONNECTIONS_MAX: usize = 4;
/// How many for entries: half of them to change some.
const ENTRY_CONNECTIONS_MAX: usize = 8;
/// How many for the audit log: one to write, one to read.
const AUDIT_CONNECTIONS_MAX: usize = 2;
/// And one to ask what is new, which waits for no other.
const LOOKING_CONNECTIONS_MAX: usize = 1;

/// The ledger, and what was saved beside it.
type Books = (Arc<dyn LedgerStore>, Arc<dyn SavingsStore>);

/// What sidecars share, or each has for itself.
struct Kept {
    generations: Generations,
    keys: Arc<dyn PrincipalStore>,
    replies: Arc<dyn ReplyStore>,
    audit_log: Option<Arc<dyn AuditStore>>,
}

/// Opens all that is kept. What has to be looked after is from now on.
pub(crate) async fn open(
    args: &Args,
    watched: Watched,
    settings: Settings,
    clock: Clock,
) -> Result<Arc<Sidecar>, Faults> {
    // What is read costs nothing; who has mistyped an address need not wait for a database.
    let place = place(watched.backend(), watched.database().as_ref(), args.local, clock)?;
    let kept = match watched.database() {
        Some(database) => open_shared(&database, watched.has_audit_log(), clock).await?,
        None => open_own(&args.data_dir, watched.has_audit_log(), clock).await.map_err(one)?,
    };
    let Kept { generations, keys, replies, audit_log } = kept;
    let spool = open_spool(watched.ledger().as_ref(), &args.data_dir)?;
    let (ledger, savings) = open_ledger(watched.ledger(), &args.data_dir, clock).await?.unzip();
    let opened = cache_backend::open(place, settings.memory, clock).await;
    let backend = watched.backend();
    let Backend { entries, shared, keeper } =
        opened.map_err(|error| one(format!("workflow_cache.{}: {error}", backend.name())))?;
    if let Some(keeper) = keeper {
        tokio::spawn(keeper.keep());
    }
    let versions = Arc::new(SqliteVersions::open(&args.data_dir).map_err(one)?);
    let tenants = watched.tenants().map(|folder| {
        let secrets = |field: &str, secret: &SecretRef| Ok(secret::read(field, secret)?.0);
        Tenants::load(folder, watched.config().clone(), args.local, secrets)
    });
    let sidecar = Sidecar::new(Parts {
        clock,
        tenants,
        versions: Some(Versions::new(watched, versions)),
        entries,
        settings,
        shared,
        generations,
        keys,
        ledger,
        spool,
        savings,
        replies,
        audit_log,
        upstream: Arc::new(Egress::default()),
        timeouts: Timeouts::default(),
    });
    let sidecar = sidecar.map_err(one)?;
    sidecar.note_start().await;
    Ok(sidecar)
}

async fn open_own(data_dir: &Path, has_audit_log: bool, clock: Clock) -> Result<Kept, StoreError> {
    let audit_log = match has_audit_log {
        true => Some(Arc::new(SqliteAuditLog::open(data_dir)?) as Arc<dyn AuditStore>),
        false => None,
    };
    let generations = Arc::new(SqliteGenerations::open(data_dir)?);
    Ok(Kept {
        generations: Generations::load(generations).await?,
        keys: Arc::new(SqliteKeys::open(data_dir)?),
        replies: Arc::new(SqliteReplies::open(data_dir, clock)?),
        audit_log,
    })
}

async fn open_shared(
    shared: &config::Database,
    has_audit_log: bool,
    clock: Clock,
) -> Result<Kept, Faults> {
    let reach = |connections_max| reach("database.url", &shared.url, connections_max, clock);
    let database = Arc::new(reach(SHARED_CONNECTIONS_MAX)?);
    let failed = |error: StoreError| one(format!("the database: {error}"));
    schema::check(&database).await.map_err(failed)?;
    let audit_log = match has_audit_log {
        true => {
            // Apart from the others: a log that is behind keeps nobody's key from being found.
            let database = Arc::new(reach(AUDIT_CONNECTIONS_MAX)?);
            let log = PostgresAuditLog::open(database).await.map_err(failed)?;
            Some(Arc::new(log) as Arc<dyn AuditStore>)
        }
        false => None,
    };
    tracing::info!(%database, "keys, generations and replies are shared");
    let changes = Arc::new(PostgresChanges::over(reach(LOOKING_CONNECTIONS_MAX)?));
    let generations = Arc::new(PostgresGenerations::over(Arc::clone(&database)));
    let replies = PostgresReplies::open(Arc::clone(&database)).await.map_err(failed)?;
    Ok(Kept {
        generations: Generations::load_shared(generations, changes, clock).await.map_err(failed)?,
        keys: Arc::new(PostgresKeys::over(database)),
        replies: Arc::new(replies),
        audit_log,
    })
}

fn reach(
    field: &str,
    url: &SecretRef,
    connections_max: usize,
    clock: Clock,
) -> Result<Database, Faults> {
    let address = secret::database(field, url).map_err(one)?;
    Database::at(address, connections_max, clock).map_err(one)
}

/// Where entries are to be. A local sidecar shares them with nobody.
fn place(
    backend: &config::Backend,
    database: Option<&config::Database>,
    is_local: bool,
    clock: Clock,
) -> Result<Place, Faults> {
    match (backend, database) {
        (config::Backend::Redis(redis), _) if !is_local => in_redis(redis),
        (config::Backend::Postgres(postgres), Some(database)) if !is_local => Ok(Place::Postgres {
            database: reach("database.url", &database.url, ENTRY_CONNECTIONS_MAX, clock)?,
            table: Table::named(&postgres.table)
                .map_err(|error| one(format!("workflow_cache.postgres.table: {error}")))?,
            org_bytes_max: postgres.max_bytes_per_org,
        }),
        (config::Backend::Postgres(_), None) if !is_local => {
            // The configuration is refused before.
            Err(one("workflow_cache.backend: 'postgres' needs 'database'"))
        }
        (config::Backend::Memory | config::Backend::Redis(_) | config::Backend::Postgres(_), _) => {
            Ok(Place::Memory)
        }
    }
}

fn in_redis(redis: &config::Redis) -> Result<Place, Faults> {
    let field = "workflow_cache.redis.url";
    let (url, from) = match &redis.url {
        RedisUrl::Written(url) => (url.clone(), String::new()),
        RedisUrl::Kept(secret) => {
            let (url, from) = secret::read(field, secret).map_err(one)?;
            (url, format!(", in {from}"))
        }
    };
    let servers = Servers::parse(url.trim()).and_then(Servers::verifiable);
    Ok(Place::Redis {
        servers: servers.map_err(|error| one(format!("{field}{from}: {error}")))?,
        prefix: redis.prefix.clone(),
        org_bytes_max: redis.max_bytes_per_org,
    })
}

/// Opens the ledger, if the configuration asks for one. What it holds is checked before it is used.
async fn open_ledger(
    wallet: Option<Wallet>,
    data_dir: &Path,
    clock: Clock,
) -> Result<Option<Books>, Faults> {
    Ok(match wallet.map(|wallet| wallet.ledger) {
        None => None,
        Some(Ledger::File(path)) => {
            let ledger = Arc::new(open_file(data_dir.join(path), clock).await?);
            Some((Arc::clone(&ledger) as Arc<dyn LedgerStore>, ledger))
        }
        Some(Ledger::Database(url)) => {
            let database = reach("wallet.url", &url, LEDGER_CONNECTIONS_MAX, clock)?;
            let opened = PostgresLedger::open(database, None).await;
            let ledger = Arc::new(opened.map_err(|error| one(format!("the wallet: {error}")))?);
            Some((Arc::clone(&ledger) as Arc<dyn LedgerStore>, ledger))
        }
    })
}

/// Opens what keeps ends of calls that a database does not take. A file of the sidecar's own takes them or has no
/// room for a spool either.
fn open_spool(
    wallet: Option<&Wallet>,
    data_dir: &Path,
) -> Result<Option<Arc<dyn SpoolStore>>, Faults> {
    match wallet.map(|wallet| &wallet.ledger) {
        None | Some(Ledger::File(_)) => {
            // What a database has not been told is not told to something else, nor left unsaid.
            let is_there = data_dir.join("spool.db").exists();
            let count = if is_there { spool_in(data_dir)?.count() } else { 0 };
            if count == 0 {
                return Ok(None);
            }
            Err(one(format!(
                "the wallet's spool, spool.db in {}, holds {count} ends of calls for a database, and wallet.url \
                 names none. They have been spent: start once with the wallet as it was, or move the file away \
                 and keep it",
                data_dir.display()
            )))
        }
        Some(Ledger::Database(_)) => {
            let spool = spool_in(data_dir)?;
            let waiting = spool.count();
            let what = "what the wallet's database does not take at once is kept in spool.db";
            tracing::info!(folder = %data_dir.display(), waiting, "{what}");
            Ok(Some(Arc::new(spool)))
        }
    }
}

fn spool_in(data_dir: &Path) -> Result<SqliteSpool, Faults> {
    SqliteSpool::open(data_dir).map_err(|error| {
        one(format!(
            "the wallet's spool, spool.db in {}: {error}. What lies in it has been spent and is not in the \
             database yet: mend it, or move it away and keep it",
            data_dir.display()
        ))
    })
}

async fn open_file(path: PathBuf, clock: Clock) -> Result<SqliteLedger, Faults> {
    let at = path.clone();
    let options = Options { path, timepiece: Box::new(move || clock.reading()), pages_max: None };
    // Every page of the file is read.
    let opened = tokio::task::spawn_blocking(move || SqliteLedger::open(options));
    let opened = opened.await.map_err(one)?;
    opened.map_err(|error| one(format!("the wallet in {}: {error}", at.display())))
}
