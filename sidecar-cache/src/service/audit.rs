//! Auditing the ledger: at the start, before anybody is served; then again and again, for a small share of the time;
//! and when a person asks. What an audit finds freezes the wallet that it is about, and no other. Of those that share a
//! ledger, one audits for all ([`turns`]).

mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::time::{Millis, UnixMillis};
use kt_contract::wire::admin::wallet::{AuditReply, BreachEntry};

use super::{Failure, Sidecar, lock};
use crate::ledger::audit::{Breach, Findings};
use crate::store::StoreError;
use crate::store::ledger::LedgerStore;
use crate::store::ledger::turns::Told;
pub use turns::First;

/// The shortest pause between two audits.
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// How many times as long as an audit the pause after it is: audits take a twentieth of the time.
const PAUSE_SHARE: u32 = 19;
/// The most breaches that are told. One is enough to freeze a wallet, and a broken file has as many as rows.
const BREACHES_MAX: usize = 100;

/// What audits have found.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    /// One at a time: each reads everything.
    turn: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last: Option<Audited>,
    /// Why the last one could not be made.
    failure: Option<String>,
    /// How many wallets are frozen, whoever has frozen them.
    frozen: usize,
    /// How long it took to count a ledger that nobody else counts.
    took_alone: Millis,
}

/// An audit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Audited {
    at: UnixMillis,
    took: Millis,
    transfers: u64,
    open: u64,
    suspended: u64,
    /// How many there are, with those that are not listed because somebody else has found them.
    breaches_total: u64,
    breaches: Vec<Breach>,
}

// === impl Audits ===

impl Audits {
    /// How many wallets are frozen.
    pub(crate) fn frozen(&self) -> usize {
        lock(&self.seen).frozen
    }

    /// Whether the last one could not be made.
    pub(crate) fn is_failing(&self) -> bool {
        lock(&self.seen).failure.is_some()
    }

    /// What is wrong, in sentences.
    pub(crate) fn faults(&self) -> Vec<String> {
        let seen = lock(&self.seen);
        let last = seen.last.iter().flat_map(|last| &last.breaches).take(BREACHES_MAX);
        let failure = seen.failure.iter().map(|why| format!("the ledger cannot be audited: {why}"));
        failure.chain(last.map(|breach| format!("audit: {breach}"))).collect()
    }

    /// What the last audit found about one organization.
    pub(super) fn breach_of(&self, org: &str) -> Option<String> {
        let last = self.last()?;
        last.breaches.iter().find(|breach| breach.org == org).map(ToString::to_string)
    }

    /// How long the last one took, of a ledger that nobody else counts. Else nothing: whoever shares one looks every minute
    /// whether it is due, and what somebody else has found.
    fn took_alone(&self) -> Millis {
        lock(&self.seen).took_alone
    }

    fn last(&self) -> Option<Audited> {
        lock(&self.seen).last.clone()
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Audits for as long as it is polled.
    pub async fn keep_audited(&self) {
        if self.ledger.is_none() {
            return;
        }
        let mut took = self.audits.took_alone();
        loop {
            tokio::time::sleep(pause_after(took)).await;
            took = self.audit_or_learn().await;
        }
    }

    /// Counts everything again. Every wallet that something is wrong with is frozen when this returns.
    ///
    /// # Errors
    /// No ledger; a store that cannot say.
    pub async fn audit(&self) -> Result<AuditReply, Failure> {
        let _turn = self.audits.turn.lock().await;
        self.audit_in_turn().await
    }

    /// As [`Self::audit`], to its end even where nobody waits for the answer any more.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub async fn audit_whole(self: &Arc<Self>) -> Result<AuditReply, Failure> {
        let sidecar = Arc::clone(self);
        let audited = tokio::spawn(async move { sidecar.audit().await }).await;
        audited.unwrap_or_else(|error| Err(StoreError::Transient(error.to_string()).into()))
    }

    /// Lets a wallet go on, unless something is wrong with it. No other audit of this sidecar freezes
    /// it in between; one of another sidecar that had begun before the mend may, and it is unfrozen once more.
    pub(super) async fn unfreeze_in_turn(
        &self,
        ledger: &dyn LedgerStore,
        org: &str,
    ) -> Result<(), Failure> {
        let _turn = self.audits.turn.lock().await;
        self.audit_in_turn().await?;
        if let Some(breach) = self.audits.breach_of(org) {
            return Err(Failure::BreachStands(breach));
        }
        Ok(ledger.unfreeze(org.to_owned()).await?)
    }

    /// An audit of whoever's turn it is. Those who share the ledger are told when its wallets are frozen.
    async fn audit_in_turn(&self) -> Result<AuditReply, Failure> {
        let ledger = self.ledger.as_deref().ok_or(Failure::NoLedger)?;
        // What became due while the ledger could not be reached is no fault of it.
        self.close_due().await;
        let began = self.clock.mono();
        let counted = ledger.audit().await;
        let took = self.clock.mono().since(began);
        let again_after = Millis(u64::try_from(pause_after(took).as_millis()).unwrap_or(u64::MAX));
        let findings = match counted {
            Ok(findings) => findings,
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be audited");
                lock(&self.audits.seen).failure = Some(error.to_string());
                let found = Err(error.to_string());
                // Where that fails as well, it is somebody else's turn soon.
                let _ = ledger.audit_told(Told { took, ago: took, found, again_after }).await;
                return Err(error.into());
            }
        };
        let Findings { transfers, open, suspended, mut breaches } = findings.clone();
        let (of_calls, unknown) = self.breaches_of_calls(ledger).await;
        breaches.extend(of_calls);
        let (at, took) = (self.clock.wall(), self.clock.mono().since(began));
        let breaches_total = breaches.len() as u64;
        let audited = Audited { at, took, transfers, open, suspended, breaches_total, breaches };
        self.report(&audited);
        let frozen = self.freeze_for(ledger, &audited.breaches).await;
        if frozen.is_ok() {
            let ago = self.clock.mono().since(began);
            let found = Ok(findings);
            let _ = ledger.audit_told(Told { took, ago, found, again_after }).await;
        }
        let reply = told(&audited);
        self.saw(audited, frozen.err().or(unknown));
        Ok(reply)
    }

    /// What is known from now on.
    fn saw(&self, audited: Audited, amiss: Option<StoreError>) {
        let mut seen = lock(&self.audits.seen);
        seen.failure = amiss.map(|error| error.to_string());
        seen.last = Some(audited);
    }

    /// What is wrong with what the ledger says of the calls that were made, as far as it says anything.
    async fn breaches_of_calls(
        &self,
        ledger: &dyn LedgerStore,
    ) -> (Vec<Breach>, Option<StoreError>) {
        match &self.books {
            Some(books) => books.calls.check(ledger).await,
            None => (Vec::new(), None),
        }
    }

    /// What the last audit found.
    ///
    /// # Errors
    /// No ledger; no audit yet.
    pub fn last_audit(&self) -> Result<AuditReply, Failure> {
        self.ledger.as_ref().ok_or(Failure::NoLedger)?;
        let last = self.audits.last().as_ref().map(told);
        last.ok_or_else(|| Failure::NotFound { what: "audit yet".to_owned() })
    }

    /// Looks again how many wallets are frozen.
    pub(super) async fn count_frozen(&self, ledger: &dyn LedgerStore) -> Result<(), StoreError> {
        let frozen = ledger.frozen().await?.len();
        lock(&self.audits.seen).frozen = frozen;
        Ok(())
    }

    /// Tells operators, once, of every breach that the audit before has not found.
    fn report(&self, audited: &Audited) {
        let before = self.audits.last().map(|last| last.breaches).unwrap_or_default();
        for breach in unknown(&before, &audited.breaches) {
            self.metrics.breached(breach.invariant.number());
            let invariant = breach.invariant.as_str();
            tracing::error!(org = breach.org, invariant, %breach, "the ledger does not add up");
        }
    }

    /// What this sidecar has allotted to itself of a wallet that was frozen is not spent either.
    pub(super) fn obeys_freeze(&self, org: &str) {
        if let Some(books) = &self.books {
            books.retire_allotments(org);
        }
    }

    async fn freeze_for(
        &self,
        ledger: &dyn LedgerStore,
        breaches: &[Breach],
    ) -> Result<(), StoreError> {
        let mut frozen = Ok(());
        for (org, reason) in reasons(breaches) {
            match ledger.freeze(org.to_owned(), reason).await {
                Ok(()) => self.obeys_freeze(org),
                // One that cannot be frozen keeps no other from it.
                Err(error) => {
                    tracing::error!(org, %error, "a wallet that does not add up cannot be frozen");
                    frozen = Err(error);
                }
            }
        }
        let counted = self.count_frozen(ledger).await;
        frozen.and(counted)
    }
}

/// How long to wait after an audit that took so long.
fn pause_after(took: Millis) -> Duration {
    Duration::from_millis(took.0).saturating_mul(PAUSE_SHARE).max(PAUSE_MIN)
}

/// The breaches that were not there before. What is expected and found changes while a breach stands.
fn unknown<'a>(before: &[Breach], now: &'a [Breach]) -> Vec<&'a Breach> {
    let place = |breach: &Breach| (breach.invariant, breach.org.clone(), breach.account.clone());
    let known: BTreeSet<_> = before.iter().map(place).collect();
    now.iter().filter(|breach| !known.contains(&place(breach))).collect()
}

/// Why which wallets are frozen.
fn reasons(breaches: &[Breach]) -> BTreeMap<&str, String> {
    let mut of_org: BTreeMap<&str, Vec<&Breach>> = BTreeMap::new();
    for breach in breaches {
        of_org.entry(&breach.org).or_default().push(breach);
    }
    let reason = |breaches: &[&Breach]| match breaches {
        [] => String::new(),
        [only] => format!("audit: {only}"),
        [first, more @ ..] => format!("audit: {first}, and {} more", more.len()),
    };
    of_org.into_iter().map(|(org, breaches)| (org, reason(&breaches))).collect()
}

fn told(audited: &Audited) -> AuditReply {
    let Audited { at, took, transfers, open, suspended, breaches_total, breaches } = audited;
    AuditReply {
        at: *at,
        took_ms: took.0,
        transfers: *transfers,
        holds_open: *open,
        holds_suspended: *suspended,
        breaches_total: *breaches_total,
        breaches: breaches.iter().take(BREACHES_MAX).map(entry).collect(),
    }
}

fn entry(breach: &Breach) -> BreachEntry {
    let Breach { invariant, org, account, expected, found } = breach.clone();
    let invariant = invariant.as_str().to_owned();
    BreachEntry { invariant, org, account, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::audit::Invariant;

    fn breach(org: &str, account: &str, found: &str) -> Breach {
        Breach {
            invariant: Invariant::BalancesFollow,
            org: org.to_owned(),
            account: account.to_owned(),
            expected: "1".to_owned(),
            found: found.to_owned(),
        }
    }

    #[test]
    fn audits_take_a_twentieth_of_the_time_and_come_once_a_minute_at_most() {
        for (took_ms, pause_s) in [(0, 60), (3_157, 60), (4_000, 76), (60_000, 1_140)] {
            assert_eq!(pause_after(Millis(took_ms)).as_secs(), pause_s, "{took_ms}");
        }
        assert!(pause_after(Millis(u64::MAX)) > PAUSE_MIN, "it does not overflow");
    }

    #[test]
    fn a_breach_that_stands_is_news_once() {
        let before = [breach("acme", "wallet", "2")];
        let now = [breach("acme", "wallet", "3"), breach("acme", "bank", "2")];
        assert_eq!(unknown(&before, &now), [&now[1]]);
        assert_eq!(unknown(&[], &before), [&before[0]]);
    }

    #[test]
    fn each_wallet_is_frozen_for_what_is_wrong_with_it() {
        let found = [
            breach("acme", "wallet", "2"),
            breach("acme", "bank", "2"),
            breach("b", "wallet", "3"),
        ];
        let reasons = reasons(&found);
        assert_eq!(reasons.keys().copied().collect::<Vec<_>>(), ["acme", "b"]);
        assert_eq!(
            reasons["acme"],
            "audit: I2 balances follow from transfers: wallet of acme: expected 1, found 2, and 1 more"
        );
        assert!(reasons["b"].ends_with("wallet of b: expected 1, found 3"), "{}", reasons["b"]);
    }
}
