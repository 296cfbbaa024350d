//! Refusals that only a filter sees: a bad key, a request that a policy blocks. It tells of them, and they go on record
//! here.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use kt_contract::limits::REFUSALS_MAX;
use kt_contract::principal::Principal;
use kt_contract::wire::feed::{HitBatch, Refusal};

use crate::audit_log::{Access, Fact, Outcome, Stage};
use crate::service::Sidecar;

/// How much of a text that comes from a client goes on record.
const TEXT_BYTES_MAX: usize = 200;
/// How many findings of policies go on record for a request.
const POLICIES_MAX: usize = 64;

/// The keys of a report: each is looked up once.
struct Names<'a> {
    sidecar: &'a Sidecar,
    known: HashMap<String, Whose>,
    /// The key store has not answered.
    is_away: bool,
}

/// Who stands behind the name of a key.
#[derive(Clone)]
enum Whose {
    Of(Box<Principal>),
    Nobodys,
    /// The key store could not say.
    Unsaid,
}

// === impl Sidecar ===

impl Sidecar {
    /// The refusals of a worker's report, which nobody waits for: not the poll that brings them, either.
    pub(in crate::service) fn hear_of_refusals(self: &Arc<Self>, gateway: &str, batch: &HitBatch) {
        let lost = batch.refusals_lost.map_or(0, NonZeroU64::get);
        if batch.refusals.is_empty() && lost == 0 {
            return;
        }
        let (sidecar, gateway) = (Arc::clone(self), gateway.to_owned());
        let refusals = batch.refusals.clone();
        tokio::spawn(async move { sidecar.note_refused(&gateway, refusals, lost).await });
    }

    /// Puts requests on record that a filter has refused, and how many it could not tell. Those of a key that nobody has
    /// are in the chain of the organization without a name. Nothing waits for them.
    pub async fn note_refused(&self, gateway: &str, refusals: Vec<Refusal>, lost: u64) {
        let Some(log) = self.on_record() else { return };
        log.count_lost(lost);
        let mut names = Names { sidecar: self, known: HashMap::new(), is_away: false };
        for refusal in refusals.into_iter().take(REFUSALS_MAX * 2) {
            let whose = match &refusal.key_id {
                None => Whose::Nobodys,
                Some(name) => names.whose(name).await,
            };
            let (org, access) = access(gateway, refusal, whose);
            log.note(Fact::access(org, log.now(), access));
        }
    }
}

// === impl Names ===

impl Names<'_> {
    async fn whose(&mut self, name: &str) -> Whose {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        // Who does not answer is not waited for once for every key.
        if self.is_away {
            return Whose::Unsaid;
        }
        let Ok(found) = self.sidecar.keys.find_named(name.to_owned()).await else {
            self.is_away = true;
            return Whose::Unsaid;
        };
        let whose = found.map_or(Whose::Nobodys, |record| Whose::Of(Box::new(record.principal)));
        self.known.insert(name.to_owned(), whose.clone());
        whose
    }
}

/// The record of a refusal, and in whose chain it belongs.
fn access(gateway: &str, refusal: Refusal, whose: Whose) -> (String, Access) {
    let Refusal { request_id, key_id: name, model, status, code, policies, times } = refusal;
    let outcome = if code == POLICY_BLOCKED { Outcome::Blocked } else { Outcome::Refused };
    let access = Access {
        stage: Stage::Ended,
        request_id: cut(request_id),
        gateway: cut(gateway.to_owned()),
        model: model.map(cut),
        outcome: Some(outcome),
        status,
        code: Some(cut(code)),
        policies: policies.into_iter().take(POLICIES_MAX).map(cut).collect(),
        times: times.max(1),
        ..Access::default()
    };
    match whose {
        Whose::Of(principal) => {
            let Principal { key_id, team, user, agent, org, .. } = *principal;
            (org, Access { key_id: Some(key_id), team, user, agent, ..access })
        }
        Whose::Nobodys => (String::new(), access),
        // It is on record all the same, by the name that the filter knows.
        Whose::Unsaid => (String::new(), Access { key_id: name.map(cut), ..access }),
    }
}

/// The code of [`kt_contract::problem::Problem::PolicyBlocked`].
pub(in crate::service) const POLICY_BLOCKED: &str = "policy_blocked";

/// At most so much of it, whole characters.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
