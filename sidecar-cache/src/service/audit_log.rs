//! The audit log at work: what happens to requests is put on record, in groups. Who must be on record before anything
//! is answered waits for the commit; everything else is written behind the answers, waits while the store is away, and
//! is counted where there is no more room for it.

mod look;
mod queue;
mod told;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::time::{Millis, MonoMillis, UnixMillis};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::admit::Grant;
use super::{Sidecar, lock};
use crate::audit_log::{Access, Chain, Fact, Outcome, Stage};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::audit_log::{AuditStore, Expiry};
use queue::{Queue, Waiting};

pub use look::Export;
pub(super) use told::POLICY_BLOCKED;

/// How many share a commit at most.
const GROUP_MAX: usize = 512;
/// How long is waited after a failure before what waits is tried again; who must be on record is tried at once.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the answer to a request waits for its record.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// How long an inline hit waits for it: a part of what a filter gives admit. Beyond it the request takes the lane.
const INLINE_WAIT_MAX: Duration = Duration::from_millis(150);
/// How often what is older than the retention is looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);
/// How far the clock of this machine is believed beyond the newest record that was there at the start, and the time that
/// has passed since: one that is wrong must not wipe the log.
const BELIEVED: Millis = Millis(7 * 86_400_000);
/// How many records are removed in one commit, so that those that come need not wait for all of them.
const EXPIRED_AT_ONCE: usize = 2_000;

/// What goes on record, on its way to the store.
pub(crate) struct AuditLog {
    store: Arc<dyn AuditStore>,
    metrics: Arc<Metrics>,
    clock: Clock,
    queue: std::sync::Mutex<Queue>,
    /// Somebody must be on record: a writer that waits after a failure tries again.
    hurry: Notify,
    /// Nothing waits any more.
    emptied: Notify,
    /// What the clocks said when retention was first looked at: the monotonic one, and the newest record's.
    anchor: OnceLock<(MonoMillis, UnixMillis)>,
}

/// There is no record of a request that must have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unrecorded;

// === impl AuditLog ===

impl AuditLog {
    pub(super) fn new(store: Arc<dyn AuditStore>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let queue = std::sync::Mutex::default();
        let (hurry, emptied, anchor) = (Notify::new(), Notify::new(), OnceLock::new());
        Self { store, metrics, clock, queue, hurry, emptied, anchor }
    }

    /// The moment for a record.
    pub(super) fn now(&self) -> UnixMillis {
        self.clock.wall()
    }

    /// The moment by which retention goes: `wall`, as far as it can be believed.
    async fn believed(&self, chains: &[Chain], wall: UnixMillis) -> Result<UnixMillis, StoreError> {
        let mono = self.clock.mono();
        let (since, newest) = match self.anchor.get() {
            Some(anchor) => *anchor,
            None => {
                let mut newest = None;
                for chain in chains {
                    let before = chain.head.seq.saturating_sub(1);
                    let last = self.store.read(chain.org.clone(), before, 1).await?;
                    newest = newest.max(last.first().map(|link| link.at));
                }
                *self.anchor.get_or_init(|| (mono, newest.unwrap_or(wall)))
            }
        };
        let passed = mono.since(since).0.saturating_add(BELIEVED.0);
        Ok(wall.min(UnixMillis(newest.0.saturating_add(passed))))
    }

    /// Puts something on record behind the answer that it is about.
    pub(super) fn note(self: &Arc<Self>, fact: Fact) {
        self.put(Waiting { fact, reply: None });
    }

    /// Puts something on record, and says when it is there.
    async fn record(self: &Arc<Self>, fact: Fact, wait_max: Duration) -> Result<(), Unrecorded> {
        let (reply, answer) = oneshot::channel();
        self.put(Waiting { fact, reply: Some(reply) });
        self.hurry.notify_one();
        match timeout(wait_max, answer).await {
            Ok(Ok(Ok(()))) => Ok(()),
            // A writer that is gone has written nothing for this one.
            Ok(Ok(Err(Unrecorded)) | Err(_)) | Err(_) => Err(Unrecorded),
        }
    }

    fn put(self: &Arc<Self>, waiting: Waiting) {
        let mut queue = lock(&self.queue);
        let lost = queue.push(waiting);
        self.count_lost(lost);
        if queue.begins_to_write()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // A task of its own: whoever leaves meanwhile leaves the others of its group a writer.
            runtime.spawn(Arc::clone(self).write());
        }
    }

    /// Writes until nothing waits.
    async fn write(self: Arc<Self>) {
        loop {
            let Some(group) = lock(&self.queue).take(GROUP_MAX) else {
                self.emptied.notify_waiters();
                return;
            };
            let facts: Vec<Fact> = group.iter().map(|waiting| waiting.fact.clone()).collect();
            let count = facts.len();
            match self.store.append(facts).await {
                Ok(()) => {
                    self.metrics.audited(count as u64);
                    if let Some(lost) = lock(&self.queue).recover() {
                        tracing::info!(lost, "the audit log is written again");
                    }
                    for Waiting { reply, .. } in group {
                        // Who has left does not want the answer.
                        let _ = reply.map(|reply| reply.send(Ok(())));
                    }
                }
                Err(error) => {
                    let (is_new, lost) =
                        lock(&self.queue).fail(group, &error.to_string(), self.clock.wall());
                    self.count_lost(lost);
                    if is_new {
                        let what = "the audit log cannot be written; what waits is kept for as long as there is room";
                        tracing::error!(%error, "{what}");
                    }
                    // Whichever comes first; then it is tried again.
                    let _ = timeout(RETRY_AFTER, self.hurry.notified()).await;
                }
            }
        }
    }

    fn count_lost(&self, lost: u64) {
        if lost > 0 {
            self.metrics.audit_lost(lost);
        }
    }

    /// Ends when nothing waits.
    async fn flushed(&self) {
        loop {
            let emptied = self.emptied.notified();
            if !lock(&self.queue).is_writing() {
                return;
            }
            emptied.await;
        }
    }

    /// How many records wait.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.queue).len()
    }

    /// That it cannot be written, in a sentence.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.queue).fault()
    }
}

/// Who asks for what, before anything is known of how it ends.
pub(super) fn asked(grant: &Grant) -> Access {
    let (principal, model) = (&grant.caller.principal, &grant.gates.model);
    Access {
        stage: Stage::Asked,
        request_id: grant.request_id.clone(),
        gateway: grant.gateway.clone(),
        key_id: Some(principal.key_id.clone()),
        team: principal.team.clone(),
        user: principal.user.clone(),
        agent: principal.agent.clone(),
        model: Some(model.served_model.clone()),
        provider: Some(model.provider.clone()),
        policies: grant.guardrails.clone(),
        times: 1,
        ..Access::default()
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// The log, where the configuration in use asks for one.
    pub(super) fn on_record(&self) -> Option<&Arc<AuditLog>> {
        self.audit_log.as_ref().filter(|_| self.feed.settings().audit.is_some())
    }

    /// Whether nothing may be answered that is not on record.
    pub(super) fn logs_all_access(&self) -> bool {
        self.feed.settings().audit.is_some_and(|audit| audit.logs_all)
    }

    /// Puts the request on record, where it must be before anything is done for it.
    pub(super) async fn admit_on_record(&self, grant: &Grant) -> Result<(), Unrecorded> {
        let Some(log) = self.must_record() else { return self.unless_all() };
        let fact = Fact::access(grant.caller.principal.org.clone(), log.now(), asked(grant));
        // Apart, so that every request does not carry its record with it.
        Box::pin(log.record(fact, WAIT_MAX)).await
    }

    /// Puts an inline hit on record, where it must be, or where policies have found something in the request. If it must be
    /// and that takes long, it is told on the lane.
    pub(super) async fn hit_on_record(
        &self,
        grant: &Grant,
        reason: &'static str,
    ) -> Result<(), Unrecorded> {
        let is_plain = grant.guardrails.is_empty();
        let Some(log) = self.on_record().filter(|_| !is_plain || self.logs_all_access()) else {
            return self.unless_all();
        };
        let hit = Access {
            stage: Stage::Ended,
            outcome: Some(Outcome::Hit),
            reason: Some(reason.to_owned()),
            status: 200,
            ..asked(grant)
        };
        let fact = Fact::access(grant.caller.principal.org.clone(), log.now(), hit);
        if self.logs_all_access() {
            return Box::pin(log.record(fact, INLINE_WAIT_MAX)).await;
        }
        log.note(fact);
        Ok(())
    }

    /// Only a stored answer was wanted, and admit has none: nothing further comes of the request.
    pub(super) fn note_not_cached(&self, grant: &Grant, reason: Reason) {
        let Some(log) = self.on_record() else { return };
        let problem = Problem::NotCached { reason };
        let access = Access {
            stage: Stage::Ended,
            outcome: Some(Outcome::Refused),
            reason: Some(reason.as_str().to_owned()),
            status: problem.status(),
            code: Some(problem.code().to_owned()),
            ..asked(grant)
        };
        log.note(Fact::access(grant.caller.principal.org.clone(), log.now(), access));
    }

    fn must_record(&self) -> Option<&Arc<AuditLog>> {
        self.audit_log.as_ref().filter(|_| self.logs_all_access())
    }

    /// Where every access must be on record, no log is no excuse.
    fn unless_all(&self) -> Result<(), Unrecorded> {
        if self.logs_all_access() { Err(Unrecorded) } else { Ok(()) }
    }

    /// Ends when everything that waits is on record.
    pub async fn audit_log_flushed(&self) {
        if let Some(log) = &self.audit_log {
            log.flushed().await;
        }
    }

    /// How many records wait to be written.
    #[must_use]
    pub fn audit_log_waiting(&self) -> usize {
        self.audit_log.as_ref().map_or(0, |log| log.waiting())
    }

    /// Removes what is older than the retention, for as long as it is polled.
    pub async fn keep_audit_log(&self) {
        let mut looks = tokio::time::interval(EXPIRE_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.expire_audit_log(self.clock.wall()).await;
        }
    }

    /// Removes what is older than the retention, as of `now` by the wall clock, as far as that can be believed: what it
    /// removes is gone for good.
    pub async fn expire_audit_log(&self, now: UnixMillis) {
        let settings = self.feed.settings();
        let (Some(log), Some(audit)) = (&self.audit_log, settings.audit) else { return };
        let Millis(retention) = audit.retention;
        let found = async {
            let chains = log.store.chains().await?;
            let now = log.believed(&chains, now).await?;
            Ok::<_, StoreError>((chains, now))
        };
        let (chains, now) = match found.await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "what is due in the audit log cannot be removed");
                return;
            }
        };
        let before = UnixMillis(now.0.saturating_sub(retention));
        for chain in chains {
            let count_max = EXPIRED_AT_ONCE;
            let expiry = Expiry { org: chain.org, before, now, count_max };
            loop {
                match log.store.expire(expiry.clone()).await {
                    Ok(removed) => {
                        self.metrics.audit_expired(removed);
                        if usize::try_from(removed).is_ok_and(|removed| removed < count_max) {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, org = expiry.org, "what is due in the audit log cannot be removed");
                        break;
                    }
                }
            }
        }
    }
}
