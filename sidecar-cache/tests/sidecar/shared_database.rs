//! What several sidecars share, in memory: generations, keys, replies and claims, and a database that can be away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::principal::KeyHash;
use kt_contract::time::UnixMillis;
use sidecar_cache::clock::Clock;
use sidecar_cache::generation::{Generation, Tag};
use sidecar_cache::idempotency::{Fingerprint, ReplyId};
use sidecar_cache::service::generations::Generations;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::service::upstream::{Timeouts, Upstream};
use sidecar_cache::service::{Parts, Shared, Sidecar};
use sidecar_cache::store::changes::{ChangeStore, Changes};
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::replies::{
    ClaimNumber, ClaimStore, Claimed, NewClaim, NewReply, ReplyStore,
};
use sidecar_cache::store::{
    Answer, EntryStore, GenerationStore, KeyRecord, PrincipalStore, Revoked, Rotated, StoreError,
};

use crate::support::*;

/// How the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// It says at once that it cannot answer.
    Refuses,
    /// It says nothing.
    Hangs,
}

/// One database.
#[derive(Default)]
pub(crate) struct Database {
    state: Mutex<State>,
    away: Mutex<Option<Away>>,
}

#[derive(Default)]
struct State {
    last: u64,
    generations: Vec<(String, Tag, Generation)>,
    keys: Vec<(KeyRecord, u64)>,
    replies: HashMap<ReplyId, Row>,
}

struct Row {
    org: String,
    holder: u64,
    number: ClaimNumber,
    fingerprint: Option<Fingerprint>,
    is_void: bool,
    bytes: Option<Vec<u8>>,
}

/// A sidecar's own way to it.
pub(crate) struct Link {
    database: Arc<Database>,
    holder: u64,
    /// The connection breaks after the next claim was made, and before its answer.
    pub(crate) loses_next_claim: AtomicBool,
    /// The answer to the next claim comes a second after it was made.
    pub(crate) is_slow_to_answer: AtomicBool,
    /// How often it was asked to free claims, was told that this sidecar lives, and was asked to remove what has expired.
    pub(crate) frees: AtomicUsize,
    pub(crate) renews: AtomicUsize,
    pub(crate) sweeps: AtomicUsize,
}

static HOLDERS: AtomicU64 = AtomicU64::new(0);

// === impl Database ===

impl Database {
    pub(crate) fn is(&self, away: impl Into<Option<Away>>) {
        *self.away.lock().unwrap() = away.into();
    }

    pub(crate) fn link(self: &Arc<Self>) -> Arc<Link> {
        let holder = HOLDERS.fetch_add(1, SeqCst) + 1;
        let (loses_next_claim, is_slow_to_answer) = Default::default();
        Arc::new(Link {
            database: Arc::clone(self),
            holder,
            loses_next_claim,
            is_slow_to_answer,
            frees: AtomicUsize::new(0),
            renews: AtomicUsize::new(0),
            sweeps: AtomicUsize::new(0),
        })
    }

    /// It is restored from a copy that was made when only so many changes had been.
    pub(crate) fn goes_back_to(&self, last: u64) {
        let mut state = self.state.lock().unwrap();
        state.last = last;
        state.generations.retain(|(_, _, generation)| generation.0 <= last);
        state.keys.retain(|(_, changed)| *changed <= last);
    }

    /// How many keys are being answered or were.
    pub(crate) fn replies(&self) -> usize {
        self.state.lock().unwrap().replies.len()
    }

    /// A sidecar over it, with a gateway, entries of its own or these, and without a task that looks.
    pub(crate) async fn group_over(
        self: &Arc<Self>,
        settings: Settings,
        entries: Option<Arc<dyn EntryStore>>,
    ) -> (Group, Arc<Link>) {
        self.group_sharing(settings, entries, None).await
    }

    /// The same, whose flights are shared, too.
    pub(crate) async fn group_sharing(
        self: &Arc<Self>,
        settings: Settings,
        entries: Option<Arc<dyn EntryStore>>,
        shared: Option<Shared>,
    ) -> (Group, Arc<Link>) {
        let (clock, link) = (Clock::start(), self.link());
        let own = || Arc::new(MemoryEntries::new(clock, settings.memory)) as Arc<dyn EntryStore>;
        let entries = entries.unwrap_or_else(own);
        let provider = Arc::new(Provider::default());
        let (generations, changes) = (Arc::clone(&link), Arc::clone(&link));
        let sidecar = Sidecar::new(Parts {
            tenants: None,
            versions: None,
            shared,
            clock,
            settings,
            entries,
            generations: Generations::load_shared(generations, changes, clock).await.unwrap(),
            keys: Arc::clone(&link) as Arc<dyn PrincipalStore>,
            ledger: None,
            spool: None,
            replies: Arc::clone(&link) as Arc<dyn ReplyStore>,
            savings: None,
            upstream: Arc::clone(&provider) as Arc<dyn Upstream>,
            audit_log: None,
            timeouts: Timeouts::default(),
        });
        let group = Group { provider, ..Group::around(sidecar.unwrap()) };
        group.poll().await;
        (group, link)
    }

    /// The same, that looks.
    pub(crate) async fn group(self: &Arc<Self>) -> Group {
        let (group, _) = self.group_over(settings(), None).await;
        let (looking, claiming) = (Arc::clone(&group.sidecar), Arc::clone(&group.sidecar));
        tokio::spawn(async move { looking.keep_looking().await });
        tokio::spawn(async move { claiming.keep_claims().await });
        group
    }
}

// === impl Link ===

impl Link {
    fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut State) -> T + Send) -> Answer<'_, T> {
        let away = *self.database.away.lock().unwrap();
        let done = match away {
            None => Ok(work(&mut self.database.state.lock().unwrap())),
            Some(_) => Err(StoreError::Transient("it is away".to_owned())),
        };
        Box::pin(async move {
            if away == Some(Away::Hangs) {
                std::future::pending::<()>().await;
            }
            done
        })
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn row(&mut self, id: ReplyId, holder: u64, number: ClaimNumber) -> Option<&mut Row> {
        let row = self.replies.get_mut(&id)?;
        (row.holder == holder && row.number == number).then_some(row)
    }
}

impl GenerationStore for Link {
    fn bump(&self, org: String, tag: Tag) -> Answer<'_, Generation> {
        self.ask(move |state| {
            let generation = Generation(state.next());
            state
                .generations
                .retain(|(of, other, _)| *of != org || (tag != Tag::Org && *other != tag));
            state.generations.push((org, tag, generation));
            generation
        })
    }

    fn all(&self) -> Answer<'_, Vec<(String, Tag, Generation)>> {
        self.ask(|state| state.generations.clone())
    }
}

impl ChangeStore for Link {
    fn newest(&self) -> Answer<'_, u64> {
        self.ask(|state| state.last)
    }

    fn since(&self, seen: u64) -> Answer<'_, Changes> {
        self.ask(move |state| {
            let went_back = state.last < seen;
            state.last = state.last.max(seen);
            let newer = state.generations.iter().filter(|(_, _, generation)| generation.0 > seen);
            let keys = state.keys.iter().filter(|(record, changed)| {
                *changed > seen && (record.revoked_at.is_some() || record.ends_at.is_some())
            });
            Changes {
                upto: state.last,
                generations: newer.cloned().collect(),
                keys: keys.map(|(record, _)| record.hash).collect(),
                went_back,
                at: None,
            }
        })
    }
}

impl PrincipalStore for Link {
    fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>> {
        self.ask(move |state| {
            let found = state.keys.iter().find(|(record, _)| record.hash == hash);
            found.map(|(record, _)| record.clone())
        })
    }

    fn find_named(&self, key_id: String) -> Answer<'_, Option<KeyRecord>> {
        self.ask(move |state| {
            let found = state.keys.iter().find(|(record, _)| record.principal.key_id == key_id);
            found.map(|(record, _)| record.clone())
        })
    }

    fn add(&self, record: KeyRecord) -> Answer<'_, ()> {
        self.ask(move |state| {
            let changed = state.next();
            state.keys.push((record, changed));
        })
    }

    fn revoke(&self, key_id: String, at: UnixMillis) -> Answer<'_, Revoked> {
        self.ask(move |state| {
            let number = state.next();
            let mut keys = state.keys.iter_mut();
            let found = keys.find(|(record, _)| record.principal.key_id == key_id);
            found.map_or(Revoked::Unknown, |(record, changed)| {
                record.revoked_at.get_or_insert(at);
                *changed = number;
                Revoked::Done(record.hash)
            })
        })
    }

    fn rotate(&self, key_id: String, new: KeyRecord, ends_at: UnixMillis) -> Answer<'_, Rotated> {
        self.ask(move |state| {
            let number = state.next();
            let mut records: Vec<_> = state.keys.iter_mut().map(|(record, _)| record).collect();
            let rotated = rotate(&mut records, &key_id, &new, ends_at);
            if let Rotated::Done(old) = rotated {
                let mut keys = state.keys.iter_mut();
                if let Some((_, changed)) = keys.find(|(record, _)| record.hash == old) {
                    *changed = number;
                }
                state.keys.push((new, number));
            }
            rotated
        })
    }

    fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
        self.ask(|state| state.keys.iter().map(|(record, _)| record.clone()).collect())
    }
}

impl ReplyStore for Link {
    fn claims(&self) -> Option<&dyn ClaimStore> {
        Some(self)
    }

    fn find(&self, id: ReplyId) -> Answer<'_, Option<Vec<u8>>> {
        self.ask(move |state| state.replies.get(&id).and_then(|row| row.bytes.clone()))
    }

    fn keep(&self, _: NewReply) -> Answer<'_, ()> {
        panic!("kept without a claim")
    }

    fn forget_org(&self, org: String) -> Answer<'_, ()> {
        self.ask(move |state| {
            state.replies.retain(|_, row| row.org != org || row.bytes.is_none());
            for row in state.replies.values_mut().filter(|row| row.org == org) {
                row.is_void = true;
            }
        })
    }
}

impl ClaimStore for Link {
    fn claim(&self, new: NewClaim) -> Answer<'_, Claimed> {
        let holder = self.holder;
        let claimed = self.ask(move |state| {
            let NewClaim { id, number, fingerprint, org, replaces } = new;
            match state.replies.get(&id) {
                Some(Row { bytes: Some(bytes), .. }) if !replaces => {
                    return Claimed::Done(bytes.clone());
                }
                Some(row) if row.bytes.is_none() && row.holder != holder => {
                    return Claimed::InFlight(row.fingerprint.unwrap());
                }
                Some(_) | None => {}
            }
            let fingerprint = Some(fingerprint);
            let row = Row { org, holder, number, fingerprint, is_void: false, bytes: None };
            state.replies.insert(id, row);
            Claimed::Taken
        });
        Box::pin(async move {
            if self.loses_next_claim.swap(false, SeqCst) {
                return Err(StoreError::Transient("the answer is lost".to_owned()));
            }
            if self.is_slow_to_answer.swap(false, SeqCst) {
                pass(Duration::from_secs(1)).await;
            }
            claimed.await
        })
    }

    fn fulfil(&self, number: ClaimNumber, reply: NewReply) -> Answer<'_, bool> {
        let holder = self.holder;
        self.ask(move |state| {
            let Some(row) = state.row(reply.id, holder, number) else { return false };
            if !row.is_void {
                row.bytes = Some(reply.bytes);
            }
            !row.is_void
        })
    }

    fn free(&self, claims: Vec<(ReplyId, ClaimNumber)>) -> Answer<'_, ()> {
        let holder = self.holder;
        self.frees.fetch_add(1, SeqCst);
        self.ask(move |state| {
            for (id, number) in claims {
                if state.row(id, holder, number).is_some_and(|row| row.bytes.is_none()) {
                    state.replies.remove(&id);
                }
            }
        })
    }

    fn renew(&self) -> Answer<'_, ()> {
        self.renews.fetch_add(1, SeqCst);
        self.ask(|_| ())
    }

    fn leave(&self) -> Answer<'_, ()> {
        let holder = self.holder;
        self.ask(move |state| {
            state.replies.retain(|_, row| row.holder != holder || row.bytes.is_some());
        })
    }

    fn sweep(&self) -> Answer<'_, ()> {
        self.sweeps.fetch_add(1, SeqCst);
        self.ask(|_| ())
    }
}
