//! The audit log in Postgres, which several sidecars share. The row of an organization's chain is locked by whoever
//! puts something behind it; all that waits in a sidecar goes there in one transaction.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_contract::hex::Digest;
use kt_contract::time::UnixMillis;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::database::{Database, Purpose, Typed, in_time, until_known};
use super::fault::Fault;
use super::schema;
use crate::audit_log::{Chain, Fact, Head, Link};
use crate::store::audit_log::{AuditStore, Expiry};
use crate::store::{Answer, StoreError};

const CORRUPT: Fault = Fault::Corrupt("the audit log");

const CHAINS: &str = "SELECT org, base, base_hash, head, head_hash FROM audit_chains ORDER BY org";
const CHAIN: &str = "SELECT org, base, base_hash, head, head_hash FROM audit_chains WHERE org = $1";
/// In one order, so that nobody waits for somebody who waits for them.
const LOCK: &str = "SELECT org, base, base_hash, head, head_hash FROM audit_chains
    WHERE org = ANY($1) ORDER BY org FOR UPDATE";
const BEGIN: &str = "INSERT INTO audit_chains (org, base, base_hash, head, head_hash)
    SELECT org, 0, hash, 0, hash FROM unnest($1, $2) AS new (org, hash) ORDER BY org
    ON CONFLICT (org) DO NOTHING";
const SET: &str = "UPDATE audit_chains AS chain
    SET base = new.base, base_hash = new.base_hash, head = new.head, head_hash = new.head_hash
    FROM unnest($1, $2, $3, $4, $5) AS new (org, base, base_hash, head, head_hash)
    WHERE chain.org = new.org";
const PUT: &str = "INSERT INTO audit_records (org, seq, at, bytes, hash)
    SELECT * FROM unnest($1, $2, $3, $4, $5)";
const READ: &str = "SELECT seq, at, bytes, hash FROM audit_records
    WHERE org = $1 AND seq > $2 ORDER BY seq LIMIT $3";
const IS_THERE: &str = "SELECT 1 FROM audit_records WHERE org = $1 AND seq = $2 AND hash = $3";
const REMOVE: &str = "DELETE FROM audit_records WHERE org = $1 AND seq <= $2";

/// The audit log of one database.
#[derive(Debug)]
pub struct PostgresAuditLog {
    database: Arc<Database>,
}

/// What a transaction has written whose end nobody knows: the last record of one of its chains. Its hash stands for
/// all that the transaction has put there.
type Promised = Mutex<Option<(String, Head)>>;

// === impl PostgresAuditLog ===

impl PostgresAuditLog {
    /// That of a database that has its tables.
    ///
    /// # Errors
    /// Where the database cannot be reached or has tables of another version.
    pub async fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        schema::check(&database).await?;
        Ok(Self { database })
    }

    async fn appended(&self, facts: &[Fact], promised: &Promised) -> Result<(), Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let written = write(session.client()?, facts, promised).await;
        session.end(written).await
    }

    async fn expired(&self, expiry: &Expiry) -> Result<u64, Fault> {
        let session = self.database.begin(Purpose::Write).await?;
        let removed = remove(session.client()?, expiry).await;
        session.end(removed).await
    }
}

impl AuditStore for PostgresAuditLog {
    fn append(&self, facts: Vec<Fact>) -> Answer<'_, ()> {
        Box::pin(async move {
            let promised = Promised::default();
            Ok(until_known(Purpose::Write, || self.appended(&facts, &promised)).await?)
        })
    }

    fn chains(&self) -> Answer<'_, Vec<Chain>> {
        Box::pin(async move {
            let rows = in_time(Purpose::Read, self.database.ask(CHAINS, &[])).await?;
            Ok(rows.iter().map(chain).collect::<Result<_, Fault>>()?)
        })
    }

    fn chain(&self, org: String) -> Answer<'_, Option<Chain>> {
        Box::pin(async move {
            let typed: [Typed<'_>; 1] = [(&org.as_bytes(), Type::BYTEA)];
            let rows = in_time(Purpose::Read, self.database.ask(CHAIN, &typed)).await?;
            Ok(rows.first().map(chain).transpose()?)
        })
    }

    fn read(&self, org: String, after: u64, count_max: usize) -> Answer<'_, Vec<Link>> {
        Box::pin(async move {
            let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
            let after = to_row(after);
            let typed: [Typed<'_>; 3] =
                [(&org.as_bytes(), Type::BYTEA), (&after, Type::INT8), (&count_max, Type::INT8)];
            let rows = in_time(Purpose::Read, self.database.ask(READ, &typed)).await?;
            Ok(rows.iter().map(link).collect::<Result<_, Fault>>()?)
        })
    }

    fn expire(&self, expiry: Expiry) -> Answer<'_, u64> {
        // Done twice, it has removed what was still there.
        Box::pin(async move { Ok(until_known(Purpose::Write, || self.expired(&expiry)).await?) })
    }
}

async fn write(client: &Client, facts: &[Fact], promised: &Promised) -> Result<(), Fault> {
    let mut chains = lock_chains(client, facts).await?;
    // The chains are locked: a transaction before this one has ended by now, one way or the other.
    let before = promised_before(promised).clone();
    if let Some((org, Head { seq, hash })) = before {
        let typed: [Typed<'_>; 3] = [
            (&org.as_bytes(), Type::BYTEA),
            (&to_row(seq), Type::INT8),
            (&&hash.0[..], Type::BYTEA),
        ];
        if !client.query_typed(IS_THERE, &typed).await?.is_empty() {
            return Ok(());
        }
    }
    let mut links = Vec::with_capacity(facts.len());
    for Fact { org, at, event } in facts {
        let chain = chains.get_mut(org.as_str()).ok_or(CORRUPT)?;
        links.push((org.as_str(), chain.append(*at, event.clone())));
    }
    put(client, &links).await?;
    set(client, chains.values()).await?;
    let last = links
        .last()
        .map(|(org, link)| ((*org).to_owned(), Head { seq: link.seq, hash: link.hash }));
    *promised_before(promised) = last;
    Ok(())
}

/// The chains of these facts, which nobody else puts anything behind until the transaction ends.
async fn lock_chains(client: &Client, facts: &[Fact]) -> Result<BTreeMap<String, Chain>, Fault> {
    let mut wanted: Vec<&str> = facts.iter().map(|fact| fact.org.as_str()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let found = locked(client, &wanted).await?;
    if found.len() == wanted.len() {
        return Ok(found);
    }
    wanted.retain(|org| !found.contains_key(*org));
    let hashes: Vec<Digest> = wanted.iter().map(|org| Head::genesis(org).hash).collect();
    let orgs: Vec<&[u8]> = wanted.iter().map(|org| org.as_bytes()).collect();
    let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash.0[..]).collect();
    let typed: [Typed<'_>; 2] = [(&orgs, Type::BYTEA_ARRAY), (&hashes, Type::BYTEA_ARRAY)];
    client.query_typed(BEGIN, &typed).await?;
    let mut begun = locked(client, &wanted).await?;
    begun.extend(found);
    Ok(begun)
}

async fn locked(client: &Client, orgs: &[&str]) -> Result<BTreeMap<String, Chain>, Fault> {
    let orgs: Vec<&[u8]> = orgs.iter().map(|org| org.as_bytes()).collect();
    let rows = client.query_typed(LOCK, &[(&orgs, Type::BYTEA_ARRAY)]).await?;
    let chains = rows.iter().map(chain);
    chains.map(|chain| chain.map(|chain| (chain.org.clone(), chain))).collect()
}

async fn put(client: &Client, links: &[(&str, Link)]) -> Result<(), Fault> {
    let orgs: Vec<&[u8]> = links.iter().map(|(org, _)| org.as_bytes()).collect();
    let seqs: Vec<i64> = links.iter().map(|(_, link)| to_row(link.seq)).collect();
    let ats: Vec<i64> = links.iter().map(|(_, link)| to_row(link.at.0)).collect();
    let bytes: Vec<&[u8]> = links.iter().map(|(_, link)| &link.bytes[..]).collect();
    let hashes: Vec<&[u8]> = links.iter().map(|(_, link)| &link.hash.0[..]).collect();
    let typed: [Typed<'_>; 5] = [
        (&orgs, Type::BYTEA_ARRAY),
        (&seqs, Type::INT8_ARRAY),
        (&ats, Type::INT8_ARRAY),
        (&bytes, Type::BYTEA_ARRAY),
        (&hashes, Type::BYTEA_ARRAY),
    ];
    client.query_typed(PUT, &typed).await?;
    Ok(())
}

async fn set<'a>(
    client: &Client,
    chains: impl Iterator<Item = &'a Chain> + Clone,
) -> Result<(), Fault> {
    let orgs: Vec<&[u8]> = chains.clone().map(|chain| chain.org.as_bytes()).collect();
    let bases: Vec<i64> = chains.clone().map(|chain| to_row(chain.base.seq)).collect();
    let base_hashes: Vec<&[u8]> = chains.clone().map(|chain| &chain.base.hash.0[..]).collect();
    let heads: Vec<i64> = chains.clone().map(|chain| to_row(chain.head.seq)).collect();
    let head_hashes: Vec<&[u8]> = chains.map(|chain| &chain.head.hash.0[..]).collect();
    let typed: [Typed<'_>; 5] = [
        (&orgs, Type::BYTEA_ARRAY),
        (&bases, Type::INT8_ARRAY),
        (&base_hashes, Type::BYTEA_ARRAY),
        (&heads, Type::INT8_ARRAY),
        (&head_hashes, Type::BYTEA_ARRAY),
    ];
    client.query_typed(SET, &typed).await?;
    Ok(())
}

async fn remove(client: &Client, expiry: &Expiry) -> Result<u64, Fault> {
    let Expiry { org, before, now, count_max } = expiry;
    let Some(mut chain) = locked(client, &[org]).await?.remove(org) else { return Ok(0) };
    let count_max = i64::try_from(*count_max).unwrap_or(i64::MAX);
    let after = to_row(chain.base.seq);
    let typed: [Typed<'_>; 3] =
        [(&org.as_bytes(), Type::BYTEA), (&after, Type::INT8), (&count_max, Type::INT8)];
    let rows = client.query_typed(READ, &typed).await?;
    let oldest = rows.iter().map(link).collect::<Result<Vec<_>, Fault>>()?;
    let due = oldest.into_iter().take_while(|link| link.at < *before);
    let Some(Link { seq, hash, .. }) = due.last() else { return Ok(0) };
    let removed = seq.saturating_sub(chain.base.seq);
    let checkpoint = chain.forget(Head { seq, hash }, *now);
    put(client, &[(org, checkpoint)]).await?;
    set(client, std::iter::once(&chain)).await?;
    let typed: [Typed<'_>; 2] = [(&org.as_bytes(), Type::BYTEA), (&to_row(seq), Type::INT8)];
    client.query_typed(REMOVE, &typed).await?;
    Ok(removed)
}

fn promised_before(promised: &Promised) -> MutexGuard<'_, Option<(String, Head)>> {
    promised.lock().unwrap_or_else(PoisonError::into_inner)
}

fn chain(row: &Row) -> Result<Chain, Fault> {
    let org = std::str::from_utf8(row.try_get(0)?).map_err(|_| CORRUPT)?.to_owned();
    Ok(Chain { org, base: head(row, 1)?, head: head(row, 3)? })
}

/// The place in two columns.
fn head(row: &Row, first: usize) -> Result<Head, Fault> {
    let seq = from_row(row.try_get(first)?)?;
    Ok(Head { seq, hash: digest(row.try_get(first.saturating_add(1))?)? })
}

fn link(row: &Row) -> Result<Link, Fault> {
    let (seq, at) = (from_row(row.try_get(0)?)?, UnixMillis(from_row(row.try_get(1)?)?));
    Ok(Link { seq, at, bytes: row.try_get(2)?, hash: digest(row.try_get(3)?)? })
}

fn digest(bytes: &[u8]) -> Result<Digest, Fault> {
    bytes.try_into().map(Digest).map_err(|_| CORRUPT)
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_row(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| CORRUPT)
}
