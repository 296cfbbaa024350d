//! An audit log that is gone with its process, for tests. It can be lost, as a disk or a database can.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{AuditStore, Expiry};
use crate::audit_log::{Chain, Fact, Head, Link};
use crate::store::{Answer, StoreError};

/// Chains with their records, by organization.
type Chains = BTreeMap<String, (Chain, Vec<Link>)>;

/// An audit log in memory.
#[derive(Debug, Default)]
pub struct MemoryAuditLog {
    chains: Mutex<Chains>,
    is_lost: AtomicBool,
}

// === impl MemoryAuditLog ===

impl MemoryAuditLog {
    /// It answers nobody, or again.
    pub fn lose(&self, is_lost: bool) {
        self.is_lost.store(is_lost, Ordering::SeqCst);
    }

    fn held(&self) -> Result<MutexGuard<'_, Chains>, StoreError> {
        if self.is_lost.load(Ordering::SeqCst) {
            return Err(StoreError::Transient("it is lost".to_owned()));
        }
        Ok(self.chains.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AuditStore for MemoryAuditLog {
    fn append(&self, facts: Vec<Fact>) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut chains = self.held()?;
            for Fact { org, at, event } in facts {
                let new = || (Chain::new(org.clone()), Vec::new());
                let (chain, links) = chains.entry(org.clone()).or_insert_with(new);
                links.push(chain.append(at, event));
            }
            Ok(())
        })
    }

    fn chains(&self) -> Answer<'_, Vec<Chain>> {
        Box::pin(async { Ok(self.held()?.values().map(|(chain, _)| chain.clone()).collect()) })
    }

    fn chain(&self, org: String) -> Answer<'_, Option<Chain>> {
        Box::pin(async move { Ok(self.held()?.get(&org).map(|(chain, _)| chain.clone())) })
    }

    fn read(&self, org: String, after: u64, count_max: usize) -> Answer<'_, Vec<Link>> {
        Box::pin(async move {
            let chains = self.held()?;
            let links = chains.get(&org).into_iter().flat_map(|(_, links)| links);
            Ok(links.filter(|link| link.seq > after).take(count_max).cloned().collect())
        })
    }

    fn expire(&self, expiry: Expiry) -> Answer<'_, u64> {
        Box::pin(async move {
            let Expiry { org, before, now, count_max } = expiry;
            let mut chains = self.held()?;
            let Some((chain, links)) = chains.get_mut(&org) else { return Ok(0) };
            let due = links.iter().take(count_max).take_while(|link| link.at < before).count();
            let Some(Link { seq, hash, .. }) = links.drain(..due).next_back() else {
                return Ok(0);
            };
            links.push(chain.forget(Head { seq, hash }, now));
            Ok(u64::try_from(due).unwrap_or(u64::MAX))
        })
    }
}
