//! Records of the audit log: each operation puts one into the chain of one of three organizations, and sometimes the
//! oldest go.

use std::collections::BTreeMap;
use std::path::Path;

use kt_contract::time::UnixMillis;
use sidecar_cache::audit_log::{Access, Event, Fact, Record, verify};
use sidecar_cache::store::audit_log::{AuditStore as _, Expiry};
use sidecar_cache::store::sqlite::SqliteAuditLog;
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;

/// How often it is looked for what is too old.
const EXPIRES_EVERY: u64 = 50;
/// What is before this is too old: each organization has one, and it is no promise.
const KEPT_SINCE: u64 = 3;

/// What is promised of those.
const BEGUN: &str = "it has begun";

pub(crate) struct AuditLog(SqliteAuditLog);

// === impl AuditLog ===

impl AuditLog {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        SqliteAuditLog::open(folder).map(Self)
    }

    /// The numbers of the requests on record.
    async fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let mut numbers = Vec::new();
        for chain in self.0.chains().await? {
            for link in self.0.read(chain.org, 0, usize::MAX).await? {
                if let Some(record) = Record::from_bytes(&link.bytes)
                    && let Event::Access(access) = record.fact.event
                {
                    numbers.extend(access.request_id.parse::<u64>());
                }
            }
        }
        Ok(numbers)
    }
}

impl Work for AuditLog {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move {
            let org = format!("org-{}", number % 3);
            let at = UnixMillis(number);
            if number.is_multiple_of(EXPIRES_EVERY) {
                let (before, now) = (UnixMillis(KEPT_SINCE), at);
                self.0.expire(Expiry { org: org.clone(), before, now, count_max: 10 }).await?;
            }
            let request_id = number.to_string();
            let access = Access { request_id, times: 1, ..Access::default() };
            self.0.append(vec![Fact::access(org, at, access)]).await?;
            Ok(if number < KEPT_SINCE { BEGUN.to_owned() } else { line(number) })
        })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let mut held: Vec<_> = self.numbers().await?.into_iter().map(line).collect();
            held.push(BEGUN.to_owned());
            Ok(held)
        })
    }

    fn wrong(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            let mut wrong = Vec::new();
            for chain in self.0.chains().await? {
                let links = self.0.read(chain.org.clone(), 0, usize::MAX).await?;
                if let Err(broken) = verify(chain, BTreeMap::new(), links) {
                    wrong.push(broken.to_string());
                }
            }
            Ok(wrong)
        })
    }
}

fn line(number: u64) -> String {
    format!("{number} is on record")
}
