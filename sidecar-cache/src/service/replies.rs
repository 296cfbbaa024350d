//! Requests with an `Idempotency-Key`: which are being answered, and what was remembered of those that were. What
//! is in flight is known to this process alone: after its end there is no such request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kt_contract::hex::Digest;
use kt_contract::idempotency::IdempotencyKey;
use kt_contract::key::RequestDigests;
use tokio::sync::RwLock;

use super::admit::Grant;
use super::callers::Caller;
use super::flights::Sent;
use super::lock;
use crate::idempotency::record::{Corrupt, Record};
use crate::idempotency::{Fingerprint, Known, ReplyId};
use crate::store::replies::{NewReply, ReplyStore};
use crate::store::{Answer, StoreError};

/// All of them.
pub(crate) struct Replies {
    store: Arc<dyn ReplyStore>,
    in_flight: Arc<InFlight>,
    /// Held by whoever remembers a reply; alone, by whoever forgets those of an organization.
    forgetting: Arc<RwLock<()>>,
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
        Self { store, in_flight: Arc::default(), forgetting: Arc::default() }
    }

    /// Looks a key up, and takes it where it is free. Found before it is taken: those who try again at the same
    /// time all get the reply. And again once it is taken: whoever had it has remembered its answer before it
    /// let go of it.
    pub(super) async fn look(&self, name: Name, caller: &Caller) -> Result<Looked, StoreError> {
        if let Some(Ok(record)) = self.find(name, caller).await? {
            return Ok(Looked::Done(record));
        }
        let claim = match self.in_flight.claim(name, &caller.principal.org) {
            Ok(()) => Claim { name, in_flight: Arc::clone(&self.in_flight) },
            Err(first) => return Ok(Looked::InFlight(first)),
        };
        match self.find(name, caller).await? {
            None => Ok(Looked::Free(claim)),
            Some(Ok(record)) => Ok(Looked::Done(record)),
            Some(Err(corrupt)) => {
                // Nothing that could be told, or compared: the next answer takes its place.
                let key_id = &caller.principal.key_id;
                tracing::error!(security = true, key_id, %corrupt, "a reply cannot be told again");
                Ok(Looked::Free(claim))
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
    pub(super) fn keep(&self, name: Name, caller: &Caller, record: &Record) -> Answer<'static, ()> {
        let bytes = record.seal(name.id, &caller.keys);
        let org = caller.principal.org.clone();
        let (store, in_flight) = (Arc::clone(&self.store), Arc::clone(&self.in_flight));
        let forgetting = Arc::clone(&self.forgetting);
        Box::pin(async move {
            let _not_meanwhile = forgetting.read().await;
            match in_flight.is_void(name) {
                true => Ok(()),
                false => store.keep(NewReply { id: name.id, org, bytes }).await,
            }
        })
    }

    /// Forgets what was said to an organization's requests, and what will be to those that are in flight.
    pub(super) async fn forget_org(&self, org: &str) -> Result<(), StoreError> {
        let _alone = self.forgetting.write().await;
        self.in_flight.void(org);
        self.store.forget_org(org.to_owned()).await
    }
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
    /// A key is its caller's own, behind the gates of its request: behind others it is another key, so that
    /// nothing is told there that a cache would not tell. What it names is the request with all that is
    /// forwarded of it.
    pub(super) fn of(key: &IdempotencyKey, grant: &Grant, sent: &Sent) -> Self {
        let keys = &grant.caller.keys;
        let key_id = grant.caller.principal.key_id.as_bytes();
        let model = &grant.gates.model;
        // The key of no request: of the gates alone, and of all that there ever are.
        let gates = keys.cache_key(&grant.gates, &NO_REQUEST).0;
        let body = blake3::hash(&sent.body);
        let mut parts: Vec<&[u8]> =
            vec![model.dialect.as_bytes(), model.path.as_bytes(), body.as_bytes()];
        for (name, value) in &sent.headers {
            parts.extend([name.as_bytes(), value]);
        }
        Self {
            id: ReplyId(keys.reply_digest("id", &[key_id, &gates.0, key.as_bytes()])),
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

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.in_flight.0).remove(&self.name.id);
    }
}
