//! Requests with an `Idempotency-Key`: which are being answered, and what was remembered of those that were. What
//! is in flight is known to this process alone: after its end there is no such request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kt_contract::idempotency::IdempotencyKey;

use super::admit::Grant;
use super::callers::Caller;
use super::flights::Sent;
use super::lock;
use crate::idempotency::record::Record;
use crate::idempotency::{Fingerprint, Known, ReplyId};
use crate::store::replies::{NewReply, ReplyStore};
use crate::store::{Answer, StoreError};

/// All of them.
pub(crate) struct Replies {
    store: Arc<dyn ReplyStore>,
    in_flight: Arc<InFlight>,
}

#[derive(Default)]
struct InFlight(Mutex<HashMap<ReplyId, Fingerprint>>);

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
        Self { store, in_flight: Arc::default() }
    }

    /// Looks a key up, and takes it where it is free. In this order: whoever has the key has remembered its
    /// answer before it lets go of it.
    pub(super) async fn look(&self, name: Name, caller: &Caller) -> Result<Looked, StoreError> {
        let claim = match self.in_flight.claim(name) {
            Ok(()) => Claim { name, in_flight: Arc::clone(&self.in_flight) },
            Err(first) => return Ok(Looked::InFlight(first)),
        };
        let Some(bytes) = self.store.find(name.id).await? else {
            return Ok(Looked::Free(claim));
        };
        match Record::open(name.id, &caller.keys, &bytes) {
            Ok(record) => Ok(Looked::Done(record)),
            Err(corrupt) => {
                // Nothing that could be told, or compared: the next answer takes its place.
                let key_id = &caller.principal.key_id;
                tracing::error!(security = true, key_id, %corrupt, "a reply cannot be told again");
                Ok(Looked::Free(claim))
            }
        }
    }

    /// Remembers what was said to a request.
    pub(super) fn keep(&self, name: Name, caller: &Caller, record: &Record) -> Answer<'static, ()> {
        let bytes = record.seal(name.id, &caller.keys);
        let org = caller.principal.org.clone();
        let store = Arc::clone(&self.store);
        Box::pin(async move { store.keep(NewReply { id: name.id, org, bytes }).await })
    }
}

// === impl InFlight ===

impl InFlight {
    /// Takes a free key; or says whose it is.
    fn claim(&self, name: Name) -> Result<(), Fingerprint> {
        match lock(&self.0).entry(name.id) {
            std::collections::hash_map::Entry::Occupied(first) => Err(*first.get()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(name.fingerprint);
                Ok(())
            }
        }
    }
}

// === impl Name ===

impl Name {
    /// A key is its caller's own, of whatever path; what it names is the request with all that is forwarded of it.
    pub(super) fn of(key: &IdempotencyKey, grant: &Grant, sent: &Sent) -> Self {
        let keys = &grant.caller.keys;
        let key_id = grant.caller.principal.key_id.as_bytes();
        let model = &grant.gates.model;
        let body = blake3::hash(&sent.body);
        let mut parts: Vec<&[u8]> =
            vec![model.dialect.as_bytes(), model.path.as_bytes(), body.as_bytes()];
        for (name, value) in &sent.headers {
            parts.extend([name.as_bytes(), value]);
        }
        Self {
            id: ReplyId(keys.reply_digest("id", &[key_id, key.as_bytes()])),
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
