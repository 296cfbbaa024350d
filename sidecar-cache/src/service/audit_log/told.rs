//! Refusals that only a filter sees: a bad key, a request that a policy blocks. It tells of them, and they go on record
//! here.

use crate::audit_log::{Access, Fact, Outcome, Stage};
use crate::service::Sidecar;

/// How much of a text that comes from a client goes on record.
const TEXT_BYTES_MAX: usize = 200;
/// How many findings of policies go on record for a request.
const POLICIES_MAX: usize = 64;

/// A request that a filter has refused, as it tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedByFilter {
    /// The request's id.
    pub request_id: String,
    /// The gateway.
    pub gateway: String,
    /// The public name of its key; `None` where it had no good one. Who stands behind it, the key store says.
    pub key_id: Option<String>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The status of the refusal.
    pub status: u16,
    /// Its code.
    pub code: String,
    /// What policies found: `policy:entity:action`.
    pub policies: Vec<String>,
    /// How many requests it stands for: those without a good key are told together, since anybody can send them.
    pub times: u64,
}

// === impl Sidecar ===

impl Sidecar {
    /// Puts a request on record that a filter has refused. One of a key that nobody has is in the chain of the
    /// organization without a name. Nothing waits for it.
    pub async fn note_refused(&self, refused: RefusedByFilter) {
        let Some(log) = self.on_record() else { return };
        let RefusedByFilter { request_id, gateway, key_id, model, status, code, .. } = refused;
        let named = match key_id {
            None => None,
            Some(name) => self.keys.find_named(name).await.ok().flatten(),
        };
        let principal = named.map(|record| record.principal);
        let of = |text: fn(&kt_contract::principal::Principal) -> Option<String>| {
            principal.as_ref().and_then(text)
        };
        let outcome = if code == POLICY_BLOCKED { Outcome::Blocked } else { Outcome::Refused };
        let access = Access {
            stage: Stage::Ended,
            request_id: cut(request_id),
            gateway: cut(gateway),
            key_id: of(|principal| Some(principal.key_id.clone())),
            team: of(|principal| principal.team.clone()),
            user: of(|principal| principal.user.clone()),
            agent: of(|principal| principal.agent.clone()),
            model: model.map(cut),
            outcome: Some(outcome),
            status,
            code: Some(cut(code)),
            policies: refused.policies.into_iter().take(POLICIES_MAX).map(cut).collect(),
            times: refused.times.max(1),
            ..Access::default()
        };
        let org = principal.map(|principal| principal.org).unwrap_or_default();
        log.note(Fact::access(org, log.now(), access));
    }
}

/// The code of [`kt_contract::problem::Problem::PolicyBlocked`].
pub(in crate::service) const POLICY_BLOCKED: &str = "policy_blocked";

/// At most so much of it, whole characters.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
