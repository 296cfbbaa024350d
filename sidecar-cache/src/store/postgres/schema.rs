//! The tables in Postgres, by version, and what brings a database to the current one.
//!
//! Text is kept as bytes wherever somebody else has chosen it: Postgres refuses a NUL in `text`, and sorts it by rules
//! that differ from host to host. Every organization counts its transfers for itself, under the lock of its row in
//! `orgs`; so a number is known before its row is written, and what stands together is read together. Transfers never
//! change and never go, and what a hold ends with, it ends with once: the database itself says so, whoever writes.
//!
//! A reference by a foreign key would lock and write the row of the hold a second time for every end of one; the
//! audit finds a row whose hold is not there.

use super::Database;
use super::database::{Purpose, in_time};
use super::fault::Fault;
use crate::store::StoreError;

/// What each version adds to the one before.
const MIGRATIONS: [&str; 7] = [LEDGER, SHARED, AUDIT_LOG, ROTATION, DRAWS, OPEN_CALLS, AUDIT_TURN];

/// What calls take out of allotments. Rows from before are of narrower kinds, and are not read for it. A sidecar that was
/// started before this does not see such rows: it would close an allotment with all that was ever in it, and with what
/// others hold.
const DRAWS: &str = "
    ALTER TABLE transfers DROP CONSTRAINT transfers_kind_check,
        ADD CONSTRAINT transfers_kind_check CHECK (kind IN ('fund', 'pending', 'extend', 'post',
            'overage', 'void', 'expire', 'late_post', 'late_void', 'return', 'refund',
            'adjust_credit', 'adjust_debit', 'allocate', 'deallocate', 'draw')) NOT VALID;
    CREATE INDEX transfers_draws ON transfers (org, hold) WHERE kind = 'draw';

    CREATE FUNCTION transfers_know_draws() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE drawn numeric; held numeric; BEGIN
            SELECT sum(amount) INTO drawn FROM transfers
                WHERE org = NEW.org AND hold = NEW.hold AND kind = 'draw';
            IF drawn IS NULL THEN RETURN NEW; END IF;
            SELECT amount INTO held FROM transfers WHERE org = NEW.org AND seq = NEW.hold;
            IF NEW.amount <> held - drawn THEN
                RAISE EXCEPTION 'only what was not drawn of an allotment ends by time: this sidecar is too old';
            END IF;
            RETURN NEW;
        END $$;
    CREATE TRIGGER transfers_know_draws BEFORE INSERT ON transfers FOR EACH ROW
        WHEN (NEW.kind IN ('expire', 'return')) EXECUTE FUNCTION transfers_know_draws();
";

/// One more kind of row. The conditions that list the kinds are found by what they say: Postgres has named them.
const OPEN_CALLS: &str = "
    DO $$ DECLARE named text; BEGIN
        FOR named IN SELECT conname FROM pg_constraint
            WHERE conrelid = 'transfers'::regclass AND contype = 'c'
                AND pg_get_constraintdef(oid) LIKE '%adjust_debit%'
        LOOP EXECUTE format('ALTER TABLE transfers DROP CONSTRAINT %I', named); END LOOP;
    END $$;
    ALTER TABLE transfers
        ADD CONSTRAINT transfers_kinds CHECK (kind IN ('fund', 'pending', 'extend', 'post', 'overage',
            'void', 'expire', 'late_post', 'late_void', 'return', 'refund', 'adjust_credit',
            'adjust_debit', 'allocate', 'deallocate', 'draw', 'open_calls')),
        ADD CONSTRAINT transfers_of_holds CHECK ((hold IS NULL) = (kind IN ('fund', 'pending',
            'adjust_credit', 'adjust_debit', 'allocate', 'deallocate', 'open_calls')));
    DROP INDEX transfers_by_id;
    CREATE UNIQUE INDEX transfers_by_id ON transfers (id)
        WHERE kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit', 'allocate',
                       'deallocate', 'open_calls');
";

/// One row, which says whose turn it is to count the ledger, when it is due, and what was found last. A sidecar from
/// before this counts it for itself.
const AUDIT_TURN: &str = "
    CREATE TABLE audit_turn (
        one        boolean PRIMARY KEY DEFAULT true CHECK (one),
        holder     bytea CHECK (length(holder) = 16),
        until      bigint NOT NULL,
        next_at    bigint NOT NULL,
        counted_at bigint,
        took_ms    bigint CHECK ((took_ms IS NULL) = (counted_at IS NULL)),
        findings   text CHECK ((findings IS NULL) = (counted_at IS NULL)),
        failure    text
    );
    INSERT INTO audit_turn (until, next_at) VALUES (0, 0);
";

/// Of a key whose place another one takes: when it ends, and which one that is.
const ROTATION: &str = "
    ALTER TABLE keys ADD COLUMN ends_at bigint, ADD COLUMN successor bytea;
";

const LEDGER: &str = "
    CREATE TABLE orgs (
        org           bytea PRIMARY KEY,
        last          bigint NOT NULL CHECK (last >= 0),
        at            bigint NOT NULL,
        calendar      bigint NOT NULL,
        frozen_since  bigint,
        frozen_reason bytea CHECK ((frozen_reason IS NULL) = (frozen_since IS NULL))
    ) WITH (fillfactor = 20);

    CREATE TABLE transfers (
        org    bytea NOT NULL,
        seq    bigint NOT NULL CHECK (seq > 0),
        id     bytea NOT NULL CHECK (length(id) = 32),
        kind   text NOT NULL CHECK (kind IN ('fund', 'pending', 'extend', 'post', 'overage', 'void',
                   'expire', 'late_post', 'late_void', 'return', 'refund', 'adjust_credit',
                   'adjust_debit', 'allocate', 'deallocate')),
        hold   bigint CHECK ((hold IS NULL) = (kind IN ('fund', 'pending', 'adjust_credit',
                   'adjust_debit', 'allocate', 'deallocate'))),
        team   bytea CHECK (team IS NOT NULL OR kind NOT IN ('allocate', 'deallocate')),
        amount bigint NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
        at     bigint NOT NULL,
        note   bytea NOT NULL,
        terms  text CHECK (terms IS NOT NULL OR kind NOT IN ('pending', 'refund')),
        PRIMARY KEY (org, seq)
    );
    CREATE UNIQUE INDEX transfers_by_id ON transfers (id)
        WHERE kind IN ('fund', 'pending', 'refund', 'adjust_credit', 'adjust_debit', 'allocate',
                       'deallocate');
    CREATE UNIQUE INDEX transfers_one_end ON transfers (org, hold)
        WHERE kind IN ('post', 'void', 'expire');
    CREATE UNIQUE INDEX transfers_one_late_end ON transfers (org, hold)
        WHERE kind IN ('late_post', 'late_void');
    CREATE UNIQUE INDEX transfers_one_return ON transfers (org, hold) WHERE kind = 'return';
    CREATE INDEX transfers_of_hold ON transfers (org, hold)
        WHERE kind IN ('extend', 'overage', 'refund');
    CREATE INDEX transfers_by_time ON transfers USING brin (at) WITH (pages_per_range = 32);

    CREATE FUNCTION transfers_stay() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'transfers are immutable and never removed'; END $$;
    CREATE TRIGGER transfers_stay BEFORE UPDATE OR DELETE ON transfers
        FOR EACH ROW EXECUTE FUNCTION transfers_stay();
    CREATE TRIGGER transfers_stay_all BEFORE TRUNCATE ON transfers
        FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();

    -- Of a budget, also the last charge under it, and when its window ends.
    CREATE TABLE accounts (
        org              bytea NOT NULL,
        name             bytea NOT NULL,
        debits_pended    bigint NOT NULL CHECK (debits_pended >= 0),
        debits_cleared   bigint NOT NULL CHECK (debits_cleared BETWEEN 0 AND debits_pended),
        debits_posted    bigint NOT NULL CHECK (debits_posted >= 0),
        credits_pended   bigint NOT NULL CHECK (credits_pended >= 0),
        credits_cleared  bigint NOT NULL CHECK (credits_cleared BETWEEN 0 AND credits_pended),
        credits_posted   bigint NOT NULL CHECK (credits_posted >= 0),
        until            bigint,
        charge           text CHECK ((charge IS NULL) = (until IS NULL)),
        PRIMARY KEY (org, name)
    ) WITH (fillfactor = 20);
    CREATE INDEX accounts_by_end ON accounts (org, until) WHERE until IS NOT NULL;

    CREATE TABLE live_holds (
        org          bytea NOT NULL,
        seq          bigint NOT NULL,
        is_suspended boolean NOT NULL,
        is_grown     boolean NOT NULL,
        next_at      bigint NOT NULL,
        PRIMARY KEY (org, seq)
    );
    CREATE INDEX live_holds_by_time ON live_holds (next_at);

    CREATE TABLE alerted (
        org  bytea NOT NULL,
        name bytea NOT NULL,
        PRIMARY KEY (org, name)
    );

    CREATE TABLE savings (
        day      text NOT NULL,
        org      bytea NOT NULL,
        team     bytea NOT NULL,
        caller   bytea NOT NULL,
        model    bytea NOT NULL,
        codebase bytea NOT NULL,
        basis    text NOT NULL CHECK (basis IN ('hit', 'coalesced')),
        answers  bigint NOT NULL CHECK (answers BETWEEN 0 AND 9007199254740991),
        avoided  bigint NOT NULL CHECK (avoided BETWEEN 0 AND 9007199254740991),
        PRIMARY KEY (day, org, team, caller, model, codebase, basis)
    );
";

/// What the sidecars of a group share beside the ledger. Every change of a generation or a key takes the next number
/// under the lock of the one row in `changes`, and holds it until it is committed: whoever sees a number sees all
/// smaller ones. An answer to an `Idempotency-Key` is no such change.
const SHARED: &str = "
    CREATE TABLE changes (
        one  boolean PRIMARY KEY DEFAULT true CHECK (one),
        last bigint NOT NULL CHECK (last >= 0)
    );
    INSERT INTO changes (last) VALUES (0);

    CREATE TABLE generations (
        org        bytea NOT NULL,
        kind       text NOT NULL CHECK (kind IN ('org', 'codebase', 'fabric', 'model', 'policy', 'entry')),
        name       bytea NOT NULL,
        generation bigint NOT NULL UNIQUE CHECK (generation > 0),
        PRIMARY KEY (org, kind, name)
    );

    CREATE TABLE keys (
        key_id     bytea PRIMARY KEY,
        hash       bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
        principal  bytea NOT NULL,
        created_at bigint NOT NULL,
        revoked_at bigint,
        changed    bigint NOT NULL UNIQUE CHECK (changed > 0)
    );

    -- Sidecars that answer to keys, and until when they are taken to live.
    CREATE TABLE reply_holders (
        id    bytea PRIMARY KEY CHECK (length(id) = 16),
        until bigint NOT NULL
    );

    -- Without bytes, a key that its holder is answering; with them, one that was answered.
    CREATE TABLE replies (
        id          bytea PRIMARY KEY CHECK (length(id) = 32),
        nth         bigint GENERATED ALWAYS AS IDENTITY,
        org         bytea NOT NULL,
        holder      bytea NOT NULL,
        claim       bigint NOT NULL,
        fingerprint bytea CHECK (length(fingerprint) = 32),
        is_void     boolean NOT NULL DEFAULT false,
        at          bigint NOT NULL,
        bytes       bytea CHECK (bytes IS NOT NULL OR fingerprint IS NOT NULL)
    );
    CREATE INDEX replies_by_org ON replies (org, nth) WHERE bytes IS NOT NULL;
    CREATE INDEX replies_by_age ON replies (at) WHERE bytes IS NOT NULL;
    CREATE INDEX replies_in_flight ON replies (org) WHERE bytes IS NULL;

    CREATE TABLE reply_orgs (
        org     bytea PRIMARY KEY,
        replies bigint NOT NULL CHECK (replies >= 0),
        bytes   bigint NOT NULL CHECK (bytes >= 0)
    );
";

/// The audit log: a chain for each organization. A record never changes; one is removed only after the row of its chain
/// says that retention has removed it, which a record behind it says as well.
const AUDIT_LOG: &str = "
    CREATE TABLE audit_chains (
        org       bytea PRIMARY KEY,
        base      bigint NOT NULL CHECK (base >= 0),
        base_hash bytea NOT NULL CHECK (length(base_hash) = 32),
        head      bigint NOT NULL CHECK (head >= base),
        head_hash bytea NOT NULL CHECK (length(head_hash) = 32)
    ) WITH (fillfactor = 20);

    CREATE TABLE audit_records (
        org   bytea NOT NULL,
        seq   bigint NOT NULL CHECK (seq > 0),
        at    bigint NOT NULL,
        bytes bytea NOT NULL,
        hash  bytea NOT NULL CHECK (length(hash) = 32),
        PRIMARY KEY (org, seq)
    );

    CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the audit log is never changed, and only retention removes records'; END $$;
    CREATE FUNCTION audit_record_goes() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.seq > coalesce((SELECT base FROM audit_chains WHERE org = OLD.org), 0) THEN
                RAISE EXCEPTION 'the audit log is never changed, and only retention removes records';
            END IF;
            RETURN OLD;
        END $$;
    CREATE TRIGGER audit_records_stay BEFORE UPDATE ON audit_records
        FOR EACH ROW EXECUTE FUNCTION audit_stays();
    CREATE TRIGGER audit_records_go BEFORE DELETE ON audit_records
        FOR EACH ROW EXECUTE FUNCTION audit_record_goes();
    CREATE TRIGGER audit_records_stay_all BEFORE TRUNCATE ON audit_records
        FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
    CREATE TRIGGER audit_chains_only_grow BEFORE UPDATE ON audit_chains FOR EACH ROW
        WHEN (NEW.org <> OLD.org OR NEW.base < OLD.base OR NEW.head < OLD.head)
        EXECUTE FUNCTION audit_stays();
    CREATE TRIGGER audit_chains_stay BEFORE DELETE ON audit_chains
        FOR EACH ROW EXECUTE FUNCTION audit_stays();
    CREATE TRIGGER audit_chains_stay_all BEFORE TRUNCATE ON audit_chains
        FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
";

/// One row, which says what was made.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS kt_schema (
        one     boolean PRIMARY KEY DEFAULT true CHECK (one),
        version bigint NOT NULL
    );
    INSERT INTO kt_schema (version) VALUES (0) ON CONFLICT DO NOTHING";

/// From one version to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// What was there.
    pub from: u64,
    /// What is there.
    pub to: u64,
}

/// The version that this program works with.
#[must_use]
pub fn version() -> u64 {
    u64::try_from(MIGRATIONS.len()).unwrap_or(u64::MAX)
}

/// Brings a database to the current version, all of it or nothing. Two at once wait for each other.
///
/// # Errors
/// Where it cannot be reached or changed, or is of a newer version.
pub async fn migrate(database: &Database) -> Result<Migrated, StoreError> {
    match in_time(Purpose::Count, run(database)).await {
        // Two that make the first table at once: the one that comes second finds it now.
        Err(Fault::Again(_)) => Ok(in_time(Purpose::Count, run(database)).await?),
        done => Ok(done?),
    }
}

/// Makes sure that a database has the current version.
///
/// # Errors
/// Where it cannot be reached or has another one, with the command that mends it.
pub async fn check(database: &Database) -> Result<(), StoreError> {
    let found = in_time(Purpose::Read, found(database)).await?;
    let known = version();
    match found {
        Some(found) if found == known => Ok(()),
        Some(found) if found > known => Err(StoreError::from(newer(database, found))),
        Some(found) => Err(StoreError::Permanent(format!(
            "{database} has schema version {found} and this sidecar needs {known}: run \
             `kt db migrate`"
        ))),
        None => Err(StoreError::Permanent(format!(
            "{database} has no tables of kt yet: run `kt db migrate`"
        ))),
    }
}

fn newer(database: &Database, found: u64) -> Fault {
    let known = version();
    Fault::Never(format!(
        "{database} has schema version {found} and this program knows {known}: install the newer \
         one that made it"
    ))
}

async fn run(database: &Database) -> Result<Migrated, Fault> {
    let session = database.session().await?;
    let client = session.client()?;
    client.batch_execute("BEGIN; SET LOCAL lock_timeout = '10s'").await?;
    if let Err(error) = client.batch_execute(VERSIONS).await {
        return Err(session.undo_after(error.into()).await);
    }
    let row = client.query_typed("SELECT version FROM kt_schema FOR UPDATE", &[]).await?;
    let from = row.first().map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or_default();
    let from = u64::try_from(from).map_err(|_| Fault::Corrupt("the schema's version"))?;
    if from > version() {
        return Err(newer(database, from));
    }
    for (number, migration) in (1..).zip(MIGRATIONS) {
        if number > from {
            client.batch_execute(migration).await?;
        }
    }
    client.batch_execute(&format!("UPDATE kt_schema SET version = {}", version())).await?;
    client.batch_execute("COMMIT").await?;
    session.ended();
    Ok(Migrated { from, to: version() })
}

async fn found(database: &Database) -> Result<Option<u64>, Fault> {
    let session = database.begin(Purpose::Read).await?;
    let client = session.client()?;
    let there = client.query_typed("SELECT to_regclass('kt_schema') IS NOT NULL", &[]).await?;
    if !there.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false) {
        session.done().await?;
        return Ok(None);
    }
    let row = client.query_typed("SELECT version FROM kt_schema", &[]).await?;
    let version = row.first().map(|row| row.try_get::<_, i64>(0)).transpose()?;
    session.done().await?;
    Ok(version.and_then(|version| u64::try_from(version).ok()))
}
