//! What is said to the database about entries. Moments are milliseconds by its own clock, asked once in a statement.
//!
//! An organization's entries change only while its row in the second table is locked, before they are looked at: so
//! its count is right, and nobody waits for two who wait for each other.

use std::time::Duration;

use super::table::Table;

/// How many entries go in one step.
pub(super) const PORTION: i64 = 250;

/// How a transaction begins. Rows are looked for by the indexes, in their order, whatever the statistics of a young
/// table say; and where that is not possible, the server is not to compile what it then takes to be expensive.
macro_rules! begin {
    ($($more:literal)*) => {
        concat!(
            "BEGIN;",
            $($more, ";",)*
            "SET LOCAL jit = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
            SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
        )
    };
}

/// Whoever waits for a lock longer than this has no use for the answer.
const BEGIN_READ: &str = begin! {
    "SET TRANSACTION READ ONLY" "SET LOCAL statement_timeout = {budget}" "SET LOCAL lock_timeout = {budget}"
};
/// A fill that is lost with a server that crashes is a miss.
pub(super) const BEGIN_FILL: &str = begin! {
    "SET LOCAL statement_timeout = '1s'" "SET LOCAL lock_timeout = '500ms'"
    "SET LOCAL synchronous_commit = off"
};
/// What was purged does not come back.
pub(super) const BEGIN_PURGE: &str = begin! {
    "SET LOCAL statement_timeout = '1s'" "SET LOCAL lock_timeout = '500ms'"
    "SET LOCAL synchronous_commit = on"
};

const NOW: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms";

const LOOKUP: &str = r#"WITH now AS ({now})
    SELECT CASE WHEN until > ms THEN bytes END, ms - filled_at, fresh_until - ms
    FROM "{table}", now WHERE key = $1"#;
/// Of those that are passed over, so many.
const NEAR: &str = r#"SELECT bytes FROM (SELECT bytes, nth, fresh_until FROM "{table}"
        WHERE request = $1 ORDER BY nth DESC LIMIT 256) AS newest
    WHERE fresh_until > ({now}) ORDER BY nth DESC LIMIT $2"#;
const LOCK: &str = r#"INSERT INTO "{table}_orgs" AS held (org, entries, bytes) VALUES ($1, 0, 0)
    ON CONFLICT (org) DO UPDATE SET entries = held.entries"#;
const PUT: &str = r#"WITH now AS ({now}), put AS (
        INSERT INTO "{table}" (key, request, org, filled_at, fresh_until, until, bytes)
        SELECT $1, $2, $3, ms, ms + $4, ms + $4 + $5, $6 FROM now
        RETURNING org, octet_length(bytes)::bigint AS size)
    UPDATE "{table}_orgs" AS held SET entries = held.entries + 1, bytes = held.bytes + put.size
    FROM put WHERE held.org = put.org RETURNING held.org, held.entries, held.bytes, 1::bigint"#;
/// Removes what a condition names, and counts it.
const REMOVE: &str = r#"WITH gone AS (
        DELETE FROM "{table}" WHERE {which} RETURNING org, octet_length(bytes)::bigint AS size),
    less AS (SELECT org, count(*) AS entries, sum(size)::bigint AS bytes FROM gone GROUP BY org)
    UPDATE "{table}_orgs" AS held
    SET entries = held.entries - less.entries, bytes = held.bytes - less.bytes
    FROM less WHERE held.org = less.org
    RETURNING held.org, held.entries, held.bytes, less.entries"#;
const THE_ONE: &str = "key = $1 AND ($2::bytea IS NULL OR bytes = $2)";
/// Counts what is there of an organization, as after somebody with a shell has emptied the table.
const RECOUNT: &str = r#"UPDATE "{table}_orgs" AS held SET entries = there.entries, bytes = there.bytes
    FROM (SELECT count(*) AS entries, coalesce(sum(octet_length(bytes)), 0)::bigint AS bytes
        FROM "{table}" WHERE org = $1) AS there
    WHERE held.org = $1 RETURNING held.org, held.entries, held.bytes, 0::bigint"#;
/// The oldest, until the others are `$2` bytes less; not the one that room is made for, which has room where nothing else is.
const OLDEST: &str = r#"key IN (SELECT key FROM (
        SELECT key, sum(size) OVER (ORDER BY nth) - size AS before
        FROM (SELECT key, nth, octet_length(bytes)::bigint AS size FROM "{table}"
            WHERE org = $1 AND key <> $3 ORDER BY nth LIMIT {portion}) AS oldest) AS counted
    WHERE before < $2)"#;
const UP_TO: &str = r#"key IN (SELECT key FROM "{table}" WHERE org = $1 AND nth <= $2
    ORDER BY nth LIMIT {portion})"#;
/// By their keys: the sum keeps another index out of it.
const OVER: &str = "key = ANY($1) AND until + 0 <= ({now})";
const NEWEST: &str = r#"SELECT max(nth) FROM "{table}" WHERE org = $1"#;
const OWNER: &str = r#"SELECT org FROM "{table}" WHERE key = $1"#;
const DUE: &str = r#"SELECT key, org FROM "{table}" WHERE until <= ({now})
    ORDER BY until LIMIT {portion}"#;
const LOCK_SOME: &str = r#"SELECT org FROM "{table}_orgs" WHERE org = ANY($1) ORDER BY org
    FOR UPDATE SKIP LOCKED"#;
const HELD: &str = r#"SELECT org, entries, bytes FROM "{table}_orgs" WHERE entries > 0
    ORDER BY bytes DESC LIMIT 10000"#;

/// The statements about one table.
#[derive(Debug)]
pub(super) struct Statements {
    /// Begins a transaction that reads.
    pub(super) begin_read: String,
    /// `$1`: the key. The bytes, where it has not expired; how long ago it was filled; how long it is fresh.
    pub(super) lookup: String,
    /// `$1`: the request, `$2`: how many.
    pub(super) near: String,
    /// `$1`: the organization.
    pub(super) lock: String,
    /// `$1` to `$6`: key, request, organization, how long it is fresh and then stale, bytes. As `remove`.
    pub(super) put: String,
    /// `$1`: the key, `$2`: the bytes that are meant, or null. Of each organization what it now holds, and how many
    /// have gone.
    pub(super) remove: String,
    /// `$1`: the organization, `$2`: how many bytes too many, `$3`: the key that stays. As `remove`.
    pub(super) evict: String,
    /// `$1`: the organization. As `remove`, of which none has gone.
    pub(super) recount: String,
    /// `$1`: the organization, `$2`: the newest that is meant. As `remove`.
    pub(super) remove_up_to: String,
    /// `$1`: keys. As `remove`.
    pub(super) remove_expired: String,
    /// `$1`: the organization.
    pub(super) newest: String,
    /// `$1`: the key.
    pub(super) owner: String,
    /// Some that have expired, with their organizations.
    pub(super) due: String,
    /// `$1`: organizations. Those that nobody else has locked.
    pub(super) lock_some: String,
    /// What each organization holds.
    pub(super) held: String,
}

// === impl Statements ===

impl Statements {
    pub(super) fn about(table: &Table, read: Duration) -> Self {
        let said = |sql: &str| {
            let portion = PORTION.to_string();
            table.fill_in(&sql.replace("{now}", NOW).replace("{portion}", &portion))
        };
        let remove = |which: &str| said(&REMOVE.replace("{which}", which));
        Self {
            begin_read: BEGIN_READ.replace("{budget}", &read.as_millis().to_string()),
            lookup: said(LOOKUP),
            near: said(NEAR),
            lock: said(LOCK),
            put: said(PUT),
            remove: remove(THE_ONE),
            evict: remove(OLDEST),
            recount: said(RECOUNT),
            remove_up_to: remove(UP_TO),
            remove_expired: remove(OVER),
            newest: said(NEWEST),
            owner: said(OWNER),
            due: said(DUE),
            lock_some: said(LOCK_SOME),
            held: said(HELD),
        }
    }
}
