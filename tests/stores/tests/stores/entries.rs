//! Entries in Postgres: the suite of all stores, the comparison with a store in memory, what several sidecars on one
//! table could get wrong, and what becomes of them when the database does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use kt_contract::time::Millis;
use kt_contract::wire::admin::StoreKind;
use kt_stores::{Server, connect, open};
use proptest::prelude::*;
use sidecar_cache::cache_backend::{self, Backend, Place};
use sidecar_cache::clock::Clock;
use sidecar_cache::store::layered::Layered;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::postgres::PostgresEntries;
use sidecar_cache::store::postgres::entries::{Made, Table};
use sidecar_cache::store::{Bounds, EntryStore, Lifetime, Lookup, NewEntry, OrgHeld, StoreError};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_postgres::Client;

use crate::database_faults::{process, signal};
use crate::entry_suite::{BOUNDS, LONG, at, fill, fill_of, found};
use crate::ledger_over::SERVER;

const WIDE: Bounds = Bounds { entries_max: 99, bytes_max: 1 << 20, org_bytes_max: 1 << 20 };
const LASTING: Lifetime = Lifetime { fresh: LONG, stale: LONG };

fn table() -> Table {
    Table::named("cache_entries").unwrap()
}

/// The entries in a database that has the table.
fn over(url: &str, bounds: Bounds) -> PostgresEntries {
    PostgresEntries::over(open(url).unwrap(), &table(), bounds)
}

/// The same, for who has the time that a busy machine takes.
fn patient(url: &str, bounds: Bounds) -> PostgresEntries {
    let budget = Duration::from_secs(5);
    PostgresEntries::over_within(open(url).unwrap(), &table(), bounds, budget)
}

/// A database with the table.
async fn prepared(server: &Server) -> String {
    let url = server.migrated().await.unwrap();
    assert_eq!(table().make(&open(&url).unwrap()).await.unwrap(), Made::Now);
    url
}

/// Waits until the shared server's clock has gone on by so long.
async fn wait(time: Duration) {
    static URL: OnceCell<String> = OnceCell::const_new();
    let url = URL.get_or_init(async || SERVER.database().await.unwrap()).await;
    let shell = connect(url).await.unwrap();
    let seconds = time.as_secs_f64();
    let sql = "SELECT extract(epoch FROM clock_timestamp())::float8 + $1";
    let until: f64 = shell.query_one(sql, &[&seconds]).await.unwrap().get(0);
    let sql = "SELECT extract(epoch FROM clock_timestamp())::float8 > $1";
    until_so(async || shell.query_one(sql, &[&until]).await.unwrap().get(0)).await;
}

/// Waits until something holds.
async fn until_so(mut holds: impl AsyncFnMut() -> bool) {
    let mut tries = interval(Duration::from_millis(10));
    let holding = async {
        while !holds().await {
            tries.tick().await;
        }
    };
    timeout(Duration::from_secs(30), holding).await.unwrap();
}

crate::entry_store_suite! {
    direct {
        test: tokio::test,
        open: |bounds| async move {
            crate::entries::patient(&crate::entries::prepared(&crate::ledger_over::SERVER).await, bounds)
        },
        wait: crate::entries::wait,
    }
}

crate::entry_store_suite! {
    pooled {
        test: tokio::test,
        open: |bounds| async move {
            let url = crate::entries::prepared(&crate::ledger_over::SERVER).await;
            crate::entries::patient(&kt_stores::Server::pooled(&url), bounds)
        },
        wait: crate::entries::wait,
    }
}

crate::entry_store_suite! {
    layered {
        test: tokio::test,
        open: |bounds| async move {
            let url = crate::entries::prepared(&crate::ledger_over::SERVER).await;
            let shared = std::sync::Arc::new(crate::entries::patient(&url, bounds));
            let clock = sidecar_cache::clock::Clock::start();
            sidecar_cache::store::layered::Layered::new(clock, bounds, shared, crate::entries::acme)
        },
        wait: crate::entries::wait,
    }
}

fn acme(_: &[u8]) -> Option<String> {
    Some("acme".to_owned())
}

/// What may be done to a store. Nothing expires: of that, the clocks of both would have to agree.
#[derive(Clone, Debug)]
enum Step {
    Fill(u8, Vec<u8>),
    Lookup(u8),
    Purge(u8),
    PurgeSeen(u8),
    PurgeOrg(u8),
    Near(u8),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0_u8..6;
    let step = prop_oneof![
        // Of which organization a request is, is in its key.
        4 => (key(), 0_u8..9, 0_usize..9).prop_map(|(key, byte, more)| {
            Step::Fill(key, [&[key % 3, byte][..], &vec![0; more]].concat())
        }),
        4 => key().prop_map(Step::Lookup),
        1 => key().prop_map(Step::Purge),
        1 => key().prop_map(Step::PurgeSeen),
        1 => (0_u8..3).prop_map(Step::PurgeOrg),
        1 => (0_u8..2).prop_map(Step::Near),
        1 => Just(Step::Sweep),
    ];
    proptest::collection::vec(step, 1..40)
}

fn whose(bytes: &[u8]) -> Option<String> {
    bytes.first().map(|org| format!("org-{org}"))
}

fn bytes(lookup: Lookup) -> String {
    match lookup {
        Lookup::Found(found) => format!("{:?}", found.bytes),
        Lookup::Expired | Lookup::Absent => "none".to_owned(),
    }
}

/// What a store answers to a step, without times, and what it then holds.
async fn answer(store: &dyn EntryStore, step: &Step) -> String {
    let at = |key: u8| at(key, key % 2);
    let answer = match step.clone() {
        Step::Fill(key, bytes) => {
            let (org, at) = (whose(&bytes).unwrap(), at(key));
            format!("{:?}", store.fill(NewEntry { at, org, bytes, lifetime: LASTING }).await)
        }
        Step::Lookup(key) => {
            // In memory a lookup is a use, and what was used goes last; a peek finds the same.
            bytes(store.peek(at(key)).await.unwrap())
        }
        Step::Purge(key) => format!("{:?}", store.purge(at(key).key, None).await),
        Step::PurgeSeen(key) => match store.peek(at(key)).await.unwrap() {
            Lookup::Found(found) => {
                format!("{:?}", store.purge(at(key).key, Some(found.bytes)).await)
            }
            Lookup::Expired | Lookup::Absent => "none".to_owned(),
        },
        Step::PurgeOrg(org) => format!("{:?}", store.purge_org(format!("org-{org}")).await),
        Step::Near(request) => format!("{:?}", store.near(at(request).request, 9).await),
        Step::Sweep => String::new(),
    };
    format!("{answer} {:?} {:?}", store.held(), store.held_by_org())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_a_store_in_memory_does(steps in steps()) {
        static TABLES: AtomicU64 = AtomicU64::new(0);
        static URL: OnceCell<String> = OnceCell::const_new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let url = URL.get_or_init(async || SERVER.migrated().await.unwrap()).await;
            let table = Table::named(&format!("t_{}", TABLES.fetch_add(1, SeqCst))).unwrap();
            let database = open(url).unwrap();
            assert_eq!(table.make(&database).await.unwrap(), Made::Now);
            // Of each organization there is not room for everything.
            let bounds = Bounds { org_bytes_max: 12, ..WIDE };
            let model = MemoryEntries::new(Clock::start(), bounds);
            let budget = Duration::from_secs(5);
            let store = PostgresEntries::over_within(database, &table, bounds, budget);
            for (number, step) in steps.iter().enumerate() {
                if matches!(step, Step::Sweep) {
                    prop_assert_eq!(store.sweep().await.unwrap(), 0);
                    store.measure().await.unwrap();
                }
                let (expected, told) = (answer(&model, step).await, answer(&store, step).await);
                prop_assert_eq!(expected, told, "step {}: {:?}", number, step);
            }
            Ok(())
        })?;
    }
}

async fn sidecar(url: &str) -> Result<Backend, StoreError> {
    let place =
        Place::Postgres { database: open(url).unwrap(), table: table(), org_bytes_max: 1 << 20 };
    cache_backend::open(place, BOUNDS, Clock::start()).await
}

async fn number(shell: &Client, sql: &str) -> i64 {
    shell.query_one(sql, &[]).await.unwrap().get(0)
}

fn entry(key: u8) -> NewEntry {
    NewEntry { at: at(key, key), org: "acme".to_owned(), bytes: vec![key; 9], lifetime: LASTING }
}

async fn is_found(sidecar: &Backend, key: u8) -> bool {
    matches!(sidecar.entries.lookup(at(key, key)).await, Ok(Lookup::Found(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_sidecar_fills_another_serves_and_it_survives_a_crash_of_the_database() {
    let server = Server::start(&[]).unwrap();
    let url = prepared(&server).await;
    let (one, other) = (sidecar(&url).await.unwrap(), sidecar(&url).await.unwrap());
    assert!(one.shared.is_none(), "there are no leases");
    one.entries.fill(entry(1)).await.unwrap();
    one.entries.fill(entry(2)).await.unwrap();
    assert!(is_found(&other, 1).await && is_found(&other, 2).await);
    // A purge waits for the disk, and so for everything before it.
    assert!(other.entries.purge(at(2, 2).key, None).await.unwrap());

    let (shell, witness) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    assert!(signal("-KILL", process(&shell).await.unwrap()));
    // Until the server has seen it, and ended all others, it still serves.
    until_so(async || witness.simple_query("SELECT 1").await.is_err()).await;
    until_so(async || connect(&url).await.is_ok()).await;
    // Who was there before asks again and finds it, as does who comes later.
    until_so(async || is_found(&other, 1).await).await;
    let late = sidecar(&url).await.unwrap();
    assert!(is_found(&late, 1).await && !is_found(&late, 2).await);
    let acme = OrgHeld { org: "acme".to_owned(), entries: 1, bytes: 9 };
    assert_eq!(late.entries.held_by_org(), [acme], "what is there is known from the start");
    late.entries.fill(entry(3)).await.unwrap();
    assert!(is_found(&other, 3).await);
}

#[tokio::test]
async fn what_has_expired_is_swept_by_any_sidecar_and_its_room_is_free_again() {
    let url = prepared(&SERVER).await;
    let (one, other) = (over(&url, WIDE), over(&url, WIDE));
    let shell = connect(&url).await.unwrap();
    let many = "INSERT INTO cache_entries (key, request, org, filled_at, fresh_until, until, bytes)
            SELECT sha256(n::text::bytea), sha256('r'), 'globex', 1, 2, 3, '\\x00'
            FROM generate_series(1, 600) AS n;
        INSERT INTO cache_entries_orgs VALUES ('globex', 600, 600)";
    shell.batch_execute(many).await.unwrap();
    fill(&one, at(1, 1), b"stays".to_vec(), LONG).await;
    // Whoever is at it keeps others from nothing: they leave it alone.
    shell.batch_execute("BEGIN; SELECT 1 FROM cache_entries_orgs FOR UPDATE").await.unwrap();
    assert_eq!(other.sweep().await.unwrap(), 0);
    shell.batch_execute("COMMIT").await.unwrap();
    assert_eq!(other.sweep().await.unwrap(), 600);
    assert_eq!(other.sweep().await.unwrap(), 0);
    assert_eq!((other.held().expired, one.held().expired), (600, 0));
    other.measure().await.unwrap();
    let acme = OrgHeld { org: "acme".to_owned(), entries: 1, bytes: 5 };
    assert_eq!(other.held_by_org(), [acme]);
    assert!(found(&other, at(1, 1)).await.is_some());
}

#[tokio::test]
async fn an_organization_is_purged_in_portions_to_the_last() {
    let url = prepared(&SERVER).await;
    let store = over(&url, WIDE);
    let shell = connect(&url).await.unwrap();
    let many = "INSERT INTO cache_entries (key, request, org, filled_at, fresh_until, until, bytes)
            SELECT sha256(n::text::bytea), sha256('r'), 'globex', 1, 1 << 50, 1 << 50, '\\x00'
            FROM generate_series(1, 501) AS n;
        INSERT INTO cache_entries_orgs VALUES ('globex', 501, 501)";
    shell.batch_execute(&many.replace("1 << 50", "1::bigint << 50")).await.unwrap();
    fill(&store, at(1, 1), b"stays".to_vec(), LONG).await;
    assert_eq!(store.purge_org("globex".to_owned()).await.unwrap(), 501);
    assert_eq!(number(&shell, "SELECT count(*) FROM cache_entries").await, 1);
    assert_eq!(number(&shell, "SELECT sum(entries)::bigint FROM cache_entries_orgs").await, 1);
}

#[tokio::test]
async fn a_table_that_somebody_empties_takes_entries_again_and_counts_them() {
    let url = prepared(&SERVER).await;
    let store = patient(&url, Bounds { org_bytes_max: 60, ..WIDE });
    for key in 1..=6 {
        store.fill(entry(key)).await.unwrap();
    }
    let shell = connect(&url).await.unwrap();
    shell.batch_execute("TRUNCATE cache_entries").await.unwrap();
    for key in 11..=13 {
        store.fill(entry(key)).await.unwrap();
    }
    let Lookup::Found(_) = store.lookup(at(13, 13)).await.unwrap() else { panic!("it is there") };
    let count = "SELECT count(*) FROM cache_entries";
    let counted = "SELECT entries FROM cache_entries_orgs";
    assert_eq!(number(&shell, counted).await, number(&shell, count).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_sidecars_do_at_once_what_is_counted_is_what_is_there() {
    let url = prepared(&SERVER).await;
    let bounds = Bounds { org_bytes_max: 60, ..WIDE };
    let mut callers = JoinSet::new();
    for caller in 0..6_u8 {
        let store = over(&url, bounds);
        callers.spawn(async move {
            for round in 0..40_u8 {
                let key = (caller.wrapping_mul(7) + round) % 8;
                let org = format!("org-{}", key % 2);
                let lifetime = Lifetime { fresh: Millis(u64::from(round % 3)), stale: Millis(5) };
                let bytes = vec![0; usize::from(round % 30)];
                // Whoever waited too long for the others' locks was told so, and nothing was done.
                match round % 8 {
                    0 => drop(store.purge(at(key, key).key, None).await),
                    1 => drop(store.purge_org(org).await),
                    2 => drop(store.sweep().await),
                    _ => {
                        drop(store.fill(NewEntry { at: at(key, key), org, bytes, lifetime }).await)
                    }
                }
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let shell = connect(&url).await.unwrap();
    let wrong = "SELECT count(*) FROM cache_entries_orgs AS held, LATERAL (
            SELECT count(*) AS entries, coalesce(sum(length(bytes)), 0)::bigint AS bytes
            FROM cache_entries WHERE org = held.org) AS there
        WHERE held.entries <> there.entries OR held.bytes <> there.bytes";
    assert_eq!(number(&shell, wrong).await, 0);
    let beyond = "SELECT count(*) FROM cache_entries_orgs WHERE bytes > 60";
    assert_eq!(number(&shell, beyond).await, 0);
    assert!(number(&shell, "SELECT count(*) FROM cache_entries_orgs").await == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_the_table_locked_has_a_miss_in_time_and_leaves_no_pile() {
    let url = prepared(&SERVER).await;
    let store = over(&url, WIDE);
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    let shell = connect(&url).await.unwrap();
    shell.batch_execute("BEGIN; LOCK TABLE cache_entries").await.unwrap();
    let mut asking = JoinSet::new();
    for _ in 0..60 {
        let store = store.clone();
        asking.spawn(async move { store.lookup(at(1, 1)).await });
    }
    while let Some(answer) = timeout(Duration::from_secs(5), asking.join_next()).await.unwrap() {
        let answer = answer.unwrap();
        assert!(matches!(answer, Err(StoreError::Away(_))), "{answer:?}");
    }
    // Who comes then is told at once.
    for _ in 0..60 {
        assert!(store.lookup(at(1, 1)).await.is_err());
    }
    let health = store.health().unwrap();
    assert!(health.away.is_some() && !health.is_asked && health.counts.skipped > 50, "{health:?}");
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'kt' AND datname = current_database()";
    until_so(async || number(&shell, sql).await <= 8).await;
    shell.batch_execute("COMMIT").await.unwrap();
    until_so(async || store.ping().await.is_ok() && store.health().unwrap().away.is_none()).await;
    assert!(found(&store, at(1, 1)).await.is_some());
}

#[tokio::test]
async fn a_copy_in_memory_is_served_while_the_database_is_away() {
    let url = prepared(&SERVER).await;
    let layered = Layered::new(Clock::start(), WIDE, Arc::new(over(&url, WIDE)), acme);
    for key in [1, 2] {
        fill_of("acme", &layered, at(key, key), vec![key], LASTING).await;
    }
    let shell = connect(&url).await.unwrap();
    shell.batch_execute("BEGIN; LOCK TABLE cache_entries").await.unwrap();
    assert!(found(&layered, at(1, 1)).await.is_some());
    assert!(matches!(layered.lookup(at(3, 3)).await, Err(StoreError::Away(_))));
    assert!(matches!(layered.fill(entry(3)).await, Err(StoreError::Away(_))));
    shell.batch_execute("COMMIT").await.unwrap();
    let health = layered.health().unwrap();
    assert_eq!((health.store, health.copies.entries), (StoreKind::Postgres, 2));
    assert!(health.counts.connections > 0 && health.counts.answered >= 2, "{health:?}");
}

#[tokio::test]
async fn a_table_that_is_not_ours_or_not_there_is_refused_by_name() {
    let url = SERVER.migrated().await.unwrap();
    let database = open(&url).unwrap();
    let error = sidecar(&url).await.err().unwrap().to_string();
    let command =
        "has no table 'cache_entries' for entries yet: run `kt db migrate --policy-config FILE`";
    assert!(error.ends_with(command), "{error}");
    let table = table();
    let (a, b) = tokio::join!(table.make(&database), table.make(&database));
    let made = [a.unwrap(), b.unwrap()];
    assert!(made.contains(&Made::Now) && made.contains(&Made::Before), "{made:?}");
    table.check(&database).await.unwrap();
    let others = Table::named("transfers").unwrap();
    for error in
        [others.make(&database).await.err().unwrap(), others.check(&database).await.err().unwrap()]
    {
        assert!(error.to_string().contains("has a table 'transfers' that is not for"), "{error}");
    }
    let shell = connect(&url).await.unwrap();
    shell.batch_execute("COMMENT ON TABLE cache_entries IS 'kt entries 2'").await.unwrap();
    let error = table.check(&database).await.err().unwrap().to_string();
    assert!(error.contains("has entries of another version in 'cache_entries'"), "{error}");
    let named = Table::named("select").unwrap();
    assert_eq!(named.make(&database).await.unwrap(), Made::Now);
    let store = PostgresEntries::over(open(&url).unwrap(), &named, WIDE);
    fill(&store, at(1, 1), b"a".to_vec(), LONG).await;
    assert!(found(&store, at(1, 1)).await.is_some());
}
