//! A store that is somewhere else: it can go away, and an answer of it can be held back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use kt_contract::wire::admin::StoreKind;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::health::{Copies, Counts, Health};
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{
    Address, Answer, Bounds, EntryStore, Held, Lookup, NewEntry, OrgHeld, StoreError,
};
use tokio::sync::Notify;

/// What is in it is reached at `inner`, as another sidecar would.
pub(crate) struct Distant {
    pub(crate) inner: MemoryEntries,
    is_away: AtomicBool,
    lookups: AtomicUsize,
    holds_next: AtomicBool,
    held: Notify,
    released: Notify,
    delays_purges: AtomicBool,
    pub(crate) purging: Notify,
    pub(crate) purge: Notify,
}

// === impl Distant ===

impl Distant {
    pub(crate) fn new(clock: Clock, bounds: Bounds) -> Self {
        Self {
            inner: MemoryEntries::new(clock, bounds),
            is_away: AtomicBool::new(false),
            lookups: AtomicUsize::new(0),
            holds_next: AtomicBool::new(false),
            held: Notify::new(),
            released: Notify::new(),
            delays_purges: AtomicBool::new(false),
            purging: Notify::new(),
            purge: Notify::new(),
        }
    }

    pub(crate) fn goes_away(&self) {
        self.is_away.store(true, Ordering::SeqCst);
    }

    pub(crate) fn comes_back(&self) {
        self.is_away.store(false, Ordering::SeqCst);
    }

    /// How many lookups have come so far, answered or not.
    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }

    /// Purges tell `purging` that they have come, and are done when `purge` says so.
    pub(crate) fn delay_purges(&self) {
        self.delays_purges.store(true, Ordering::SeqCst);
    }

    /// The next lookup or fill is done at once, and its answer is held back.
    pub(crate) fn hold_next(&self) {
        self.holds_next.store(true, Ordering::SeqCst);
    }

    /// The answer of the next lookup is made at once, and comes only after `work`.
    pub(crate) async fn while_answering<T>(
        &self,
        lookup: impl Future<Output = T>,
        work: impl Future<Output = ()>,
    ) -> T {
        self.hold_next();
        let working = async {
            self.held.notified().await;
            work.await;
            self.released.notify_one();
        };
        tokio::join!(lookup, working).0
    }

    async fn delay(&self) {
        if self.delays_purges.load(Ordering::SeqCst) {
            self.purging.notify_one();
            self.purge.notified().await;
        }
    }

    async fn hold(&self) {
        if self.holds_next.swap(false, Ordering::SeqCst) {
            self.held.notify_one();
            self.released.notified().await;
        }
    }

    fn is_there(&self) -> Result<(), StoreError> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(StoreError::Away("it has gone".to_owned())),
            false => Ok(()),
        }
    }
}

impl EntryStore for Distant {
    fn lookup(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move {
            self.lookups.fetch_add(1, Ordering::SeqCst);
            self.is_there()?;
            let answer = self.inner.lookup(at).await;
            self.hold().await;
            answer
        })
    }

    fn peek(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move {
            self.is_there()?;
            self.inner.peek(at).await
        })
    }

    fn fill(&self, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(async move {
            self.is_there()?;
            let answer = self.inner.fill(entry).await;
            self.hold().await;
            answer
        })
    }

    fn purge(&self, key: CacheKey, seen: Option<Bytes>) -> Answer<'_, bool> {
        Box::pin(async move {
            self.is_there()?;
            self.delay().await;
            self.inner.purge(key, seen).await
        })
    }

    fn purge_org(&self, org: String) -> Answer<'_, u64> {
        Box::pin(async move {
            self.is_there()?;
            self.delay().await;
            self.inner.purge_org(org).await
        })
    }

    fn near(&self, request: Digest, count: usize) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move {
            self.is_there()?;
            self.inner.near(request, count).await
        })
    }

    fn bound(&self, bounds: Bounds) -> Answer<'_, ()> {
        self.inner.bound(bounds)
    }

    fn held(&self) -> Held {
        self.inner.held()
    }

    fn held_by_org(&self) -> Vec<OrgHeld> {
        self.inner.held_by_org()
    }

    fn health(&self) -> Option<Health> {
        let is_away = self.is_away.load(Ordering::SeqCst);
        Some(Health {
            store: StoreKind::Redis,
            place: "redis at cache:6379".to_owned(),
            away: is_away.then(|| (Millis(7_000), "it has gone".to_owned())),
            unfit: None,
            says: Some("version 7.0.15, maxmemory 1024 bytes, noeviction".to_owned()),
            advice: Some("it evicts nothing"),
            away_total: Millis(8_500),
            is_asked: !is_away,
            counts: Counts { answered: 5, late: 3, opened: 2, ..Counts::default() },
            copies: Copies::default(),
        })
    }
}
