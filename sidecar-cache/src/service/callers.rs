//! Who stands behind a key: a bounded memory over the key store. Only valid keys are remembered, and a
//! revocation, and the end of a key whose place another one took, take effect for the next request.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use kt_contract::key::OrgKeys;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::time::{Millis, UnixMillis};

use super::known::Known;
use super::lock;
use crate::clock::Clock;
use crate::store::{KeyRecord, PrincipalStore, StoreError};

/// How many callers are remembered at most.
const REMEMBERED_MAX: usize = 16_384;

/// A principal and the hashing keys of its organization.
#[derive(Debug)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// The hashing keys of its organization.
    pub keys: OrgKeys,
    /// When its key ends, where another one took its place.
    pub ends_at: Option<UnixMillis>,
    /// When its key was made; `None` of an identity.
    pub made_at: Option<UnixMillis>,
}

/// The answer to "whose key is this?".
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A valid key.
    Known(Arc<Caller>),
    /// It was one.
    Revoked,
    /// It never was one.
    Unknown,
}

/// The callers that have been seen lately.
pub struct Callers {
    store: Arc<dyn PrincipalStore>,
    remembered: Mutex<Remembered>,
    /// Whether who is remembered may be believed to have the same rights.
    known: Known,
    clock: Clock,
    /// The ends of keys that somebody was told of: workers remember them too, and are told when they come.
    ends: Mutex<Ends>,
}

/// When which key ends.
#[derive(Debug, Default)]
struct Ends(BTreeSet<(UnixMillis, KeyHash)>);

/// Two halves: the young one takes what comes, and becomes the old one when it is full. What is asked for
/// moves to the young half, so that what is forgotten has not been asked for in a while.
#[derive(Default)]
struct Remembered {
    young: HashMap<KeyHash, Arc<Caller>>,
    old: HashMap<KeyHash, Arc<Caller>>,
    /// Grows with every revocation: what was read from the store before one is not remembered after it.
    revocations: u64,
}

// === impl Caller ===

impl Caller {
    /// How old its key is. A clock that went back makes it younger, never older than it is.
    #[must_use]
    pub fn key_age(&self, now: UnixMillis) -> Option<Millis> {
        self.made_at.map(|made_at| Millis(now.0.saturating_sub(made_at.0)))
    }
}

// === impl Callers ===

impl Callers {
    /// Remembers nobody.
    #[must_use]
    pub fn new(store: Arc<dyn PrincipalStore>, known: Known, clock: Clock) -> Self {
        Self { store, remembered: Mutex::default(), known, clock, ends: Mutex::default() }
    }

    /// Who stands behind a key.
    ///
    /// # Errors
    /// Where the store cannot say.
    pub async fn resolve(&self, key: KeyHash) -> Result<Resolved, StoreError> {
        let revocations = {
            let mut remembered = lock(&self.remembered);
            if self.known.has_callers()
                && let Some(caller) = remembered.recall(&key)
            {
                return Ok(match caller.ends_at {
                    Some(end) if end <= self.clock.wall() => Resolved::Revoked,
                    Some(_) | None => Resolved::Known(caller),
                });
            }
            remembered.revocations
        };
        if !self.known.is_answering() {
            // Whoever asks does not wait as long as a database may take to say nothing.
            return Err(StoreError::Transient("the shared database does not answer".to_owned()));
        }
        let Some(record) = self.store.find(key).await? else { return Ok(Resolved::Unknown) };
        if record.is_over(self.clock.wall()) {
            return Ok(Resolved::Revoked);
        }
        let KeyRecord { principal, ends_at, created_at, .. } = record;
        if let Some(end) = ends_at {
            lock(&self.ends).0.insert((end, key));
        }
        let keys = OrgKeys::derive(&principal.org);
        let caller = Arc::new(Caller { principal, keys, ends_at, made_at: Some(created_at) });
        let mut remembered = lock(&self.remembered);
        if remembered.revocations == revocations {
            remembered.remember(key, Arc::clone(&caller));
        }
        Ok(Resolved::Known(caller))
    }

    /// The keys that have ended since this was asked for the last time. They are forgotten.
    pub fn ended(&self) -> Vec<KeyHash> {
        if lock(&self.ends).0.is_empty() {
            return Vec::new();
        }
        let ended = lock(&self.ends).due(self.clock.wall());
        ended.iter().for_each(|key| self.forget(key));
        ended
    }

    /// Forgets everybody.
    pub fn forget_all(&self) {
        let mut remembered = lock(&self.remembered);
        let revocations = remembered.revocations + 1;
        *remembered = Remembered { revocations, ..Remembered::default() };
    }

    /// Forgets a key, because it was revoked.
    pub fn forget(&self, key: &KeyHash) {
        let mut remembered = lock(&self.remembered);
        remembered.revocations += 1;
        remembered.young.remove(key);
        remembered.old.remove(key);
    }
}

// === impl Ends ===

impl Ends {
    /// The keys whose end has come, once each.
    fn due(&mut self, now: UnixMillis) -> Vec<KeyHash> {
        let mut due = Vec::new();
        while let Some(next) = self.0.first().copied().filter(|(end, _)| *end <= now) {
            self.0.remove(&next);
            due.push(next.1);
        }
        due
    }
}

// === impl Remembered ===

impl Remembered {
    fn recall(&mut self, key: &KeyHash) -> Option<Arc<Caller>> {
        if let Some(caller) = self.young.get(key) {
            return Some(Arc::clone(caller));
        }
        let caller = self.old.remove(key)?;
        self.remember(*key, Arc::clone(&caller));
        Some(caller)
    }

    fn remember(&mut self, key: KeyHash, caller: Arc<Caller>) {
        if self.young.len() >= REMEMBERED_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, caller);
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;
    use kt_contract::time::UnixMillis;
    use tokio::sync::Notify;

    use super::*;
    use crate::store::{Answer, Revoked, Rotated};

    fn caller() -> Arc<Caller> {
        let principal = Principal {
            key_id: "gk_1".to_owned(),
            lineage: None,
            org: "acme".to_owned(),
            team: None,
            user: None,
            agent: None,
            group: None,
            codebases: Default::default(),
            entitlements: Default::default(),
        };
        let keys = OrgKeys::derive("acme");
        Arc::new(Caller { principal, keys, ends_at: None, made_at: Some(UnixMillis(0)) })
    }

    /// A store that answers when it is told to, with what was true when it was asked.
    #[derive(Default)]
    struct Slow {
        is_asked: Notify,
        may_answer: Notify,
    }

    impl PrincipalStore for Slow {
        fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>> {
            Box::pin(async move {
                self.is_asked.notify_one();
                self.may_answer.notified().await;
                let principal = caller().principal.clone();
                let created_at = UnixMillis(0);
                let (revoked_at, ends_at, successor) = (None, None, None);
                Ok(Some(KeyRecord { hash, principal, created_at, revoked_at, ends_at, successor }))
            })
        }

        fn find_named(&self, _: String) -> Answer<'_, Option<KeyRecord>> {
            Box::pin(std::future::ready(Ok(None)))
        }

        fn add(&self, _: KeyRecord) -> Answer<'_, ()> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn revoke(&self, _: String, _: UnixMillis) -> Answer<'_, Revoked> {
            Box::pin(std::future::ready(Ok(Revoked::Unknown)))
        }

        fn rotate(&self, _: String, _: KeyRecord, _: UnixMillis) -> Answer<'_, Rotated> {
            Box::pin(std::future::ready(Ok(Rotated::Unknown)))
        }

        fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
    }

    #[tokio::test]
    async fn what_was_read_before_a_revocation_is_not_remembered_after_it() {
        let store = Arc::new(Slow::default());
        let callers = Callers::new(
            Arc::clone(&store) as Arc<dyn PrincipalStore>,
            Known::always(),
            Clock::start(),
        );
        let revoke = async {
            store.is_asked.notified().await;
            callers.forget(&key(1));
            store.may_answer.notify_one();
        };
        let (resolved, ()) = tokio::join!(callers.resolve(key(1)), revoke);
        assert!(matches!(resolved, Ok(Resolved::Known(_))), "asked before it was revoked");
        assert!(lock(&callers.remembered).recall(&key(1)).is_none());
    }

    fn key(number: usize) -> KeyHash {
        KeyHash(Digest(*blake3::hash(&number.to_be_bytes()).as_bytes()))
    }

    #[test]
    fn an_end_is_told_when_it_comes_and_once() {
        let mut ends = Ends::default();
        ends.0.extend([(UnixMillis(20), key(2)), (UnixMillis(10), key(1))]);
        ends.0.insert((UnixMillis(20), key(2)));
        for (now, due) in [(9, vec![]), (10, vec![key(1)]), (99, vec![key(2)]), (99, vec![])] {
            assert_eq!(ends.due(UnixMillis(now)), due, "{now}");
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_who_is_asked_for() {
        let mut remembered = Remembered::default();
        let caller = caller();
        remembered.remember(key(0), Arc::clone(&caller));
        for number in 1..5 * REMEMBERED_MAX {
            remembered.remember(key(number), Arc::clone(&caller));
            assert!(remembered.recall(&key(0)).is_some(), "after {number}");
            assert!(remembered.young.len() + remembered.old.len() <= REMEMBERED_MAX);
        }
        assert!(remembered.recall(&key(1)).is_none());
    }
}
