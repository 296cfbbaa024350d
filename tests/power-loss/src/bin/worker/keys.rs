//! Gateway keys: each is added, and revoked by the operation after.

use std::collections::BTreeSet;
use std::path::Path;

use kt_contract::hex::Digest;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::UnixMillis;
use sidecar_cache::store::sqlite::SqliteKeys;
use sidecar_cache::store::{Answer, KeyRecord, PrincipalStore as _, StoreError};

use crate::Work;

pub(crate) struct Keys(SqliteKeys);

// === impl Keys ===

impl Keys {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        SqliteKeys::open(folder).map(Self)
    }
}

impl Work for Keys {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move {
            let record = record(number / 2);
            let name = record.principal.key_id.clone();
            if number.is_multiple_of(2) {
                let promise = added(&record);
                self.0.add(record).await?;
                Ok(promise)
            } else {
                self.0.revoke(name.clone(), UnixMillis(number)).await?;
                Ok(revoked(&name, UnixMillis(number)))
            }
        })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let mut lines = Vec::new();
            for record in self.0.list().await? {
                lines.push(added(&record));
                lines.extend(record.revoked_at.map(|at| revoked(&record.principal.key_id, at)));
            }
            Ok(lines)
        })
    }
}

fn added(record: &KeyRecord) -> String {
    let KeyRecord { hash, principal, created_at, .. } = record;
    format!("{} added at {} as {}", principal.key_id, created_at.0, hash.0.to_hex())
}

fn revoked(name: &str, at: UnixMillis) -> String {
    format!("{name} revoked at {}", at.0)
}

fn record(number: u64) -> KeyRecord {
    let mut hash = [0; 32];
    hash.iter_mut().zip(number.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    KeyRecord {
        hash: KeyHash(Digest(hash)),
        principal: Principal {
            key_id: format!("gk_{number}"),
            lineage: None,
            org: "acme".to_owned(),
            team: None,
            user: None,
            agent: None,
            group: None,
            codebases: BTreeSet::new(),
            entitlements: BTreeSet::new(),
        },
        created_at: UnixMillis(number),
        revoked_at: None,
        ends_at: None,
        successor: None,
    }
}
