//! Requests with an `Idempotency-Key`: which are being answered, and what was remembered of those that were. What
//! is in flight is known to this process alone: after its end there is no such request. Where sidecars share what is
//! remembered, it is claimed there as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kt_contract::hex::Digest;
use kt_contract::idempotency::IdempotencyKey;
use kt_contract::key::RequestDigests;
use tokio::runtime::Handle;
use tokio::sync::RwLock;

use super::admit::Grant;
use super::callers::Caller;
use super::flights::Sent;
use super::lock;
use crate::idempotency::record::{Corrupt, Record};
use crate::idempotency::{Fingerprint, Known, ReplyId};
use crate::store::replies::{ClaimNumber, Claimed, NewClaim, NewReply, ReplyStore};
use crate::store::{Answer, StoreError};

/// All of them.
pub(crate) struct Replies {
    store: Arc<dyn ReplyStore>,
    in_flight: Arc<InFlight>,
    /// Held by whoever remembers a reply; alone, by whoever forgets those of an organization.
    forgetting: Arc<RwLock<()>>,
    /// The last number of a shared claim.
    claims: AtomicU64,
    late: Arc<Late>,
}

/// Shared claims that could not be given up when it was time.
#[derive(Default)]
struct Late(Mutex<Vec<(ReplyId, ClaimNumber)>>);

/// A claim in the store that several sidecars share.
struct Shared {
    store: Arc<dyn ReplyStore>,
    number: ClaimNumber,
    late: Arc<Late>,
}

#[derive(Default)]
struct InFlight(Mutex<HashMap<ReplyId, Asked>>);

/// A request that is being answered.
struct Asked {
    fingerprint: Fingerprint,
    org: String,
    /// Its organization was purged since: what it brings was asked for before, and is not remembered.
    is_void: bool,
}

/// For a digest of gates alone.
const NO_REQUEST: RequestDigests =
    RequestDigests { digest: Digest([0; 32]), check: Digest([0; 32]) };

/// Whose request of which key.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) id: ReplyId,
    pub(super) fingerprint: Fingerprint,
}

/// A key whose request is being answered. Dropped, it is free, or done where that was remembered before.
pub(super) struct Claim {
    pub(super) name: Name,
    in_flight: Arc<InFlight>,
    shared: Option<Shared>,
}

/// What is known of a key, and what goes with it.
pub(super) enum Looked {
    /// It is this request's by now.
    Free(Claim),
    /// It is another one's, or another request.
    InFlight(Fingerprint),
    /// It was answered.
    Done(Record),
}

// === impl Replies ===

impl Replies {
    pub(super) fn new(store: Arc<dyn ReplyStore>) -> Self {
        let (in_flight, forgetting, late) = (Arc::default(), Arc::default(), Arc::default());
        Self { store, in_flight, forgetting, claims: AtomicU64::new(0), late }
    }

    /// Looks a key up, and takes it where it is free. Found before it is taken: those who try again at the same
    /// time all get the reply. And again once it is taken: whoever had it has remembered its answer before it
    /// let go of it.
    pub(super) async fn look(&self, name: Name, caller: &Caller) -> Result<Looked, StoreError> {
        if let Some(Ok(record)) = self.find(name, caller).await? {
            return Ok(Looked::Done(record));
        }
        let claim = match self.in_flight.claim(name, &caller.principal.org) {
            Ok(()) => Claim { name, in_flight: Arc::clone(&self.in_flight), shared: None },
            Err(first) => return Ok(Looked::InFlight(first)),
        };
        if self.are_shared() {
            return self.look_elsewhere(claim, caller).await;
        }
        match self.find(name, caller).await? {
            None => Ok(Looked::Free(claim)),
            Some(Ok(record)) => Ok(Looked::Done(record)),
            Some(Err(corrupt)) => {
                // Nothing that could be told, or compared: the next answer takes its place.
                untellable(caller, corrupt);
                Ok(Looked::Free(claim))
            }
        }
    }

    /// Takes a key that is free here from all other sidecars, too.
    async fn look_elsewhere(
        &self,
        mut claim: Claim,
        caller: &Caller,
    ) -> Result<Looked, StoreError> {
        let Name { id, fingerprint } = claim.name;
        let mut replaces = false;
        loop {
            let number = ClaimNumber(self.claims.fetch_add(1, Ordering::Relaxed) + 1);
            let org = caller.principal.org.clone();
            let new = NewClaim { id, number, fingerprint, org, replaces };
            let (store, late) = (Arc::clone(&self.store), Arc::clone(&self.late));
            // Whoever asks may leave meanwhile: what was claimed for them then is given up once it is known.
            let asked = tokio::spawn(claim.claimed(store, late, new)).await;
            let (asked, claimed) = asked.map_err(|why| StoreError::Transient(why.to_string()))?;
            claim = asked;
            match claimed? {
                Claimed::Taken => return Ok(Looked::Free(claim)),
                Claimed::InFlight(first) => return Ok(Looked::InFlight(first)),
                Claimed::Done(bytes) => match Record::open(id, &caller.keys, &bytes) {
                    Ok(record) => return Ok(Looked::Done(record)),
                    Err(corrupt) => {
                        untellable(caller, corrupt);
                        replaces = true;
                    }
                },
            }
        }
    }

    async fn find(
        &self,
        name: Name,
        caller: &Caller,
    ) -> Result<Option<Result<Record, Corrupt>>, StoreError> {
        let found = self.store.find(name.id).await?;
        Ok(found.map(|bytes| Record::open(name.id, &caller.keys, &bytes)))
    }

    /// Remembers what was said to a request, unless its organization was purged since it was asked.
    /// The key is free or done when this has ended.
    pub(super) fn keep(
        &self,
        claim: Claim,
        caller: &Caller,
        record: &Record,
    ) -> Answer<'static, ()> {
        let name = claim.name;
        let bytes = record.seal(name.id, &caller.keys);
        let org = caller.principal.org.clone();
        let (store, in_flight) = (Arc::clone(&self.store), Arc::clone(&self.in_flight));
        let forgetting = Arc::clone(&self.forgetting);
        Box::pin(async move {
            let _not_meanwhile = forgetting.read().await;
            if in_flight.is_void(name) {
                return Ok(());
            }
            let reply = NewReply { id: name.id, org, bytes };
            match (&claim.shared, store.claims()) {
                (Some(shared), Some(claims)) => {
                    if !claims.fulfil(shared.number, reply).await? {
                        tracing::info!("a reply was forgotten elsewhere before it was kept");
                        return Ok(());
                    }
                    claim.fulfilled();
                    Ok(())
                }
                (None, _) | (Some(_), None) => store.keep(reply).await,
            }
        })
    }

    /// What was asked for by an organization's requests that are in flight will not be remembered.
    pub(super) fn void(&self, org: &str) {
        self.in_flight.void(org);
    }

    /// Whether other sidecars answer to the same keys.
    pub(super) fn are_shared(&self) -> bool {
        self.store.claims().is_some()
    }

    /// Gives up claims for which there was no answer when it was time.
    pub(super) async fn free_late(&self) {
        let late = std::mem::take(&mut *lock(&self.late.0));
        let Some(claims) = self.store.claims().filter(|_| !late.is_empty()) else { return };
        // Who is told that a key is in flight tries again; so do we.
        if claims.free(late.clone()).await.is_err() {
            lock(&self.late.0).extend(late);
        }
    }

    /// Says that this sidecar lives. `false`: nobody has heard it.
    pub(super) async fn renew(&self) -> bool {
        match self.store.claims() {
            None => true,
            Some(claims) => claims.renew().await.is_ok(),
        }
    }

    /// Says that it does not any more.
    pub(super) async fn leave(&self) {
        if let Some(claims) = self.store.claims()
            && let Err(error) = claims.leave().await
        {
            tracing::warn!(%error, "keys in flight here are free a little later");
        }
    }

    /// Removes what has expired.
    pub(super) async fn sweep(&self) {
        if let Some(claims) = self.store.claims()
            && let Err(error) = claims.sweep().await
        {
            tracing::warn!(%error, "expired replies are not removed");
        }
    }

    /// Forgets what was said to an organization's requests, and what will be to those that are in flight.
    pub(super) async fn forget_org(&self, org: &str) -> Result<(), StoreError> {
        let _alone = self.forgetting.write().await;
        self.in_flight.void(org);
        self.store.forget_org(org.to_owned()).await
    }
}

fn untellable(caller: &Caller, corrupt: Corrupt) {
    let key_id = &caller.principal.key_id;
    tracing::error!(security = true, key_id, %corrupt, "a reply cannot be told again");
}

// === impl InFlight ===

impl InFlight {
    /// Takes a free key; or says whose it is.
    fn claim(&self, name: Name, org: &str) -> Result<(), Fingerprint> {
        match lock(&self.0).entry(name.id) {
            std::collections::hash_map::Entry::Occupied(first) => Err(first.get().fingerprint),
            std::collections::hash_map::Entry::Vacant(free) => {
                let (fingerprint, org) = (name.fingerprint, org.to_owned());
                free.insert(Asked { fingerprint, org, is_void: false });
                Ok(())
            }
        }
    }

    fn void(&self, org: &str) {
        for asked in lock(&self.0).values_mut().filter(|asked| asked.org == org) {
            asked.is_void = true;
        }
    }

    fn is_void(&self, name: Name) -> bool {
        lock(&self.0).get(&name.id).is_some_and(|asked| asked.is_void)
    }
}

// === impl Name ===

impl Name {
    /// A key is its caller's own. Who retries with a gateway key that has taken the place of the first one's is the same
    /// caller. What it names is the request with all that is forwarded of it, behind its gates: behind others it is another
    /// request, to which nothing is told that a cache would not tell, and which is not paid for in the first one's place.
    pub(super) fn of(key: &IdempotencyKey, grant: &Grant, sent: &Sent) -> Self {
        let keys = &grant.caller.keys;
        let caller = grant.caller.principal.lineage().as_bytes();
        let model = &grant.gates.model;
        // The key of no request: of the gates alone, and of all that there ever are.
        let gates = keys.cache_key(&grant.gates, &NO_REQUEST).0;
        let body = blake3::hash(&sent.body);
        let mut parts: Vec<&[u8]> =
            vec![&gates.0, model.dialect.as_bytes(), model.path.as_bytes(), body.as_bytes()];
        for (name, value) in &sent.headers {
            parts.extend([name.as_bytes(), value]);
        }
        Self {
            id: ReplyId(keys.reply_digest("id", &[caller, key.as_bytes()])),
            fingerprint: Fingerprint(keys.reply_digest("request", &parts)),
        }
    }
}

// === impl Looked ===

impl Looked {
    pub(super) const fn known(&self) -> Known {
        match self {
            Self::Free(_) => Known::Free,
            Self::InFlight(first) => Known::InFlight(*first),
            Self::Done(record) => Known::Done(record.fingerprint, record.kept),
        }
    }
}

// === impl Claim ===

impl Claim {
    /// The same, taken from all other sidecars too, if it is free there; and what the store says.
    async fn claimed(
        mut self,
        store: Arc<dyn ReplyStore>,
        late: Arc<Late>,
        new: NewClaim,
    ) -> (Self, Result<Claimed, StoreError>) {
        let (id, number) = (new.id, new.number);
        let claimed = match store.claims() {
            Some(claims) => claims.claim(new).await,
            None => Ok(Claimed::Taken),
        };
        match &claimed {
            Ok(Claimed::Taken) => self.shared = Some(Shared { store, number, late }),
            Ok(Claimed::InFlight(_) | Claimed::Done(_)) => {}
            // It may be taken all the same.
            Err(_) => lock(&late.0).push((id, number)),
        }
        (self, claimed)
    }

    /// Its answer is in its place: nothing is left to be given up.
    fn fulfilled(mut self) {
        self.shared = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.in_flight.0).remove(&self.name.id);
        if let Some(shared) = self.shared.take() {
            shared.free(self.name.id);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Gives it up in a moment, or when there is an answer again.
    fn free(self, id: ReplyId) {
        let Self { store, number, late } = self;
        let Ok(runtime) = Handle::try_current() else {
            lock(&late.0).push((id, number));
            return;
        };
        runtime.spawn(async move {
            let Some(claims) = store.claims() else { return };
            if claims.free(vec![(id, number)]).await.is_err() {
                lock(&late.0).push((id, number));
            }
        });
    }
}
