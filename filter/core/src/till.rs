//! What a gateway lets pass while its sidecar cannot be reached (`wallet.open_with_cap`): counted for all workers of one
//! Envoy together, in data that they share, and kept until the sidecar says that it is booked. Nothing is counted
//! less than it may have cost: whatever cannot be counted does not pass.
//!
//! The shared data is handed in. It lives as long as the process of Envoy, whatever becomes of a worker.

use std::collections::BTreeMap;

use kt_contract::limits::OPEN_ORGS_MAX;
use kt_contract::money::MicroUsd;
use kt_contract::snapshot::OpenWithCap;
use kt_contract::wire::VERSION;
use kt_contract::wire::open_calls::{OpenCalls, OpenCallsReply, OpenCallsRequest};
use serde::{Deserialize, Serialize};

use crate::event::Answer;
use crate::request_id::RequestId;
use crate::sidecar;

/// How often a change is tried that another worker has come before.
const ATTEMPTS: usize = 64;

/// One value that all workers of a process share, changed only by who has seen what it is.
pub trait SharedData {
    /// The value and its version; `Ok(None)` where there never was one.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self) -> Result<Option<(Vec<u8>, u32)>, Broken>;

    /// Replaces the value of version `seen`; `None`: makes the first one.
    ///
    /// # Errors
    /// It cannot be written.
    fn replace(&self, value: &[u8], seen: Option<u32>) -> Result<Replaced, Broken>;
}

/// The shared data cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is made.
    Done,
    /// Another worker has come before.
    Conflict,
}

/// What a call asks for that would pass without the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Whose wallet will pay.
    pub org: String,
    /// What may be spent, and what of it by this call.
    pub cap: OpenWithCap,
}

/// Whether it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It is counted.
    Counted,
    /// It would go beyond the cap, or is of one organization too many.
    CapReached,
    /// It could not be counted.
    Uncountable,
}

/// The value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Till {
    /// The life of the process, in 32 hexadecimal digits.
    epoch: String,
    /// The number of the last batch.
    number: u64,
    /// What is being told, unchanged until it is booked.
    told: BTreeMap<String, Count>,
    /// What has come since.
    untold: BTreeMap<String, Count>,
}

/// Calls of one organization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    calls: u64,
    micro_usd: MicroUsd,
}

/// Counts a call, unless that would go beyond the cap. `random` names the life of the process, if this is its first.
pub fn spend(shared: &impl SharedData, spend: &Spend, random: [u8; 16]) -> Spent {
    let counted = change(shared, |till| {
        let mut till = match till {
            Some(till) => till,
            // Without a name of its own, it could be taken for an earlier life, whose calls are booked already.
            None if random == [0; 16] => return Err(Spent::Uncountable),
            None => Till::new(random),
        };
        if till.count(spend) { Ok(till) } else { Err(Spent::CapReached) }
    });
    match counted {
        Changed::Made(_) => Spent::Counted,
        Changed::Not(why) => why,
        Changed::Failed => Spent::Uncountable,
    }
}

/// What the sidecar of `gateway` is to be told; `None`: nothing, or it cannot be said now.
pub fn tell(shared: &impl SharedData, gateway: &str) -> Option<OpenCallsRequest> {
    let till = match change(shared, |till| till.ok_or(None)?.batched()) {
        Changed::Made(till) | Changed::Not(Some(till)) => till,
        Changed::Not(None) | Changed::Failed => return None,
    };
    let orgs = till.told.into_iter();
    Some(OpenCallsRequest {
        version: VERSION,
        gateway: gateway.to_owned(),
        epoch: till.epoch,
        number: till.number,
        orgs: orgs
            .map(|(org, Count { calls, micro_usd })| OpenCalls { org, calls, micro_usd })
            .collect(),
    })
}

/// The answer to what was told: if the sidecar has booked it, it is forgotten here, and the cap is free again. Says
/// whether it has.
pub fn told(shared: &impl SharedData, answer: Answer<'_>) -> bool {
    let Ok((_, body)) = sidecar::spoken(answer) else { return false };
    let Ok(booked) = serde_json::from_slice::<OpenCallsReply>(body) else { return false };
    // Where it cannot be forgotten now, it is told and acknowledged once more.
    let _ = change(shared, |till| till.ok_or(())?.without(&booked).ok_or(()));
    true
}

/// What came of a change: the value as it is then, or why there is none.
enum Changed<E> {
    Made(Till),
    Not(E),
    Failed,
}

/// Changes the value as it is, whoever else does so meanwhile: decided anew on what they have made of it.
fn change<E>(
    shared: &impl SharedData,
    decide: impl Fn(Option<Till>) -> Result<Till, E>,
) -> Changed<E> {
    for _ in 0..ATTEMPTS {
        let (till, seen) = match shared.read() {
            Ok(None) => (None, None),
            // What cannot be read is another version's, and counts something: it is not overwritten.
            Ok(Some((value, seen))) => match serde_json::from_slice(&value) {
                Ok(till) => (Some(till), Some(seen)),
                Err(_) => return Changed::Failed,
            },
            Err(Broken) => return Changed::Failed,
        };
        let next = match decide(till) {
            Ok(next) => next,
            Err(why) => return Changed::Not(why),
        };
        let Ok(value) = serde_json::to_vec(&next) else { return Changed::Failed };
        match shared.replace(&value, seen) {
            Ok(Replaced::Done) => return Changed::Made(next),
            Ok(Replaced::Conflict) => {}
            Err(Broken) => return Changed::Failed,
        }
    }
    Changed::Failed
}

// === impl Till ===

impl Till {
    fn new(random: [u8; 16]) -> Self {
        let epoch = RequestId::mint(random).as_str().to_owned();
        Self { epoch, number: 0, told: BTreeMap::new(), untold: BTreeMap::new() }
    }

    /// What is counted and not known to be booked.
    fn spent(&self) -> MicroUsd {
        let counts = self.told.values().chain(self.untold.values());
        counts.fold(MicroUsd::ZERO, |sum, count| sum.plus(count.micro_usd))
    }

    /// Counts a call. `false`: it must not pass.
    fn count(&mut self, Spend { org, cap }: &Spend) -> bool {
        let after = self.spent().plus(cap.micro_usd_per_call);
        let has_room = self.untold.len() < OPEN_ORGS_MAX || self.untold.contains_key(org);
        if after > cap.max_micro_usd || !has_room {
            return false;
        }
        let Count { calls, micro_usd } = self.untold.entry(org.clone()).or_default();
        *calls = calls.saturating_add(1);
        *micro_usd = micro_usd.plus(cap.micro_usd_per_call);
        true
    }

    /// With a batch to tell, made of what has come; as an error where there is one already, or nothing for one.
    fn batched(self) -> Result<Self, Option<Self>> {
        match (self.told.is_empty(), self.untold.is_empty()) {
            (false, _) => Err(Some(self)),
            (true, true) => Err(None),
            (true, false) => Ok(Self {
                number: self.number.saturating_add(1),
                told: self.untold,
                untold: BTreeMap::new(),
                ..self
            }),
        }
    }

    /// Without the batch that is booked, if it is the one that is being told.
    fn without(self, booked: &OpenCallsReply) -> Option<Self> {
        let is_it = booked.epoch == self.epoch && booked.number == self.number;
        (is_it && !self.told.is_empty()).then(|| Self { told: BTreeMap::new(), ..self })
    }
}

#[cfg(test)]
#[path = "tests/till.rs"]
mod tests;
