//! One audit for all who share a ledger: whoever has the turn counts, the others learn what was found. What each of them
//! has called, each looks up for itself.

use std::time::Duration;

use kt_contract::time::Millis;
use kt_contract::wire::admin::wallet::AuditReply;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::{Audited, Failure, Sidecar, lock, told};
use crate::store::ledger::LedgerStore;
use crate::store::ledger::turns::{Counted, Known, Turn};

/// How often whoever counts says that it still does.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long is waited before it is asked again whether somebody has counted.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is known of the ledger before anybody is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// It was counted here.
    Counted(AuditReply),
    /// Somebody else has counted it, and it is not due again.
    Learned(AuditReply),
    /// It was not counted, and why; that is tried again.
    NotCounted(String),
}

/// Who counts a ledger.
enum Owners {
    One,
    Several,
}

/// What has come of a round.
enum Round {
    /// It was counted here.
    Counted(AuditReply, Owners),
    /// Others have counted it, or tried to.
    Known(First),
    /// It is due, and somebody else is at it.
    Waits,
}

// === impl Sidecar ===

impl Sidecar {
    /// Audits before anybody is served, unless somebody else has, and waits where somebody is at it. A ledger that has no
    /// answer in time keeps nobody from being served: what it said before is still frozen, and that it has none is told.
    ///
    /// # Errors
    /// No ledger; one that cannot be read.
    pub async fn audit_first(&self) -> Result<First, Failure> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            match self.round(true).await {
                Ok(Round::Counted(reply, _)) => return Ok(First::Counted(reply)),
                Ok(Round::Known(first)) => return Ok(first),
                Ok(Round::Waits) => {}
                Err(Failure::Store(error)) if error.may_pass() => {
                    return Ok(First::NotCounted(error.to_string()));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Audits if it is time, or learns what was found. Says how long that took which is done again the next time. What is
    /// wrong is logged, and told to whoever asks.
    pub(super) async fn audit_or_learn(&self) -> Millis {
        let began = self.clock.mono();
        match self.round(false).await {
            // Others look whether it is due, and so does this one, however long it has looked its own calls up for.
            Ok(Round::Counted(_, Owners::Several) | Round::Known(_) | Round::Waits) => Millis(0),
            Ok(Round::Counted(_, Owners::One)) | Err(_) => self.clock.mono().since(began),
        }
    }

    async fn round(&self, waits: bool) -> Result<Round, Failure> {
        let ledger = self.ledger.as_deref().ok_or(Failure::NoLedger)?;
        let _turn = self.audits.turn.lock().await;
        let turn = ledger.audit_turn().await.inspect_err(|error| {
            lock(&self.audits.seen).failure = Some(error.to_string());
        })?;
        let known = match turn {
            Turn::Always => {
                let began = self.clock.mono();
                let counted = self.audit_in_turn().await?;
                lock(&self.audits.seen).took_alone = self.clock.mono().since(began);
                return Ok(Round::Counted(counted, Owners::One));
            }
            Turn::Mine => {
                return tokio::select! {
                    counted = self.audit_in_turn() => Ok(Round::Counted(counted?, Owners::Several)),
                    never = renewed(ledger) => match never {},
                };
            }
            Turn::Others { is_due: true, .. } if waits => return Ok(Round::Waits),
            Turn::Others { known, .. } if known == Known::default() => return Ok(Round::Waits),
            Turn::Others { known, .. } => known,
        };
        self.learn(ledger, known).await.map(Round::Known)
    }

    /// What somebody else has found is known here too. The wallets that it is about were frozen before it was told.
    async fn learn(&self, ledger: &dyn LedgerStore, known: Known) -> Result<First, Failure> {
        let Known { last, failure } = known;
        let (of_calls, unknown) = self.breaches_of_calls(ledger).await;
        let frozen = self.freeze_for(ledger, &of_calls).await;
        let counted = last.map(|Counted { at, took, findings, breaches_total }| {
            for breach in &findings.breaches {
                self.obeys_freeze(&breach.org);
            }
            let breaches_total = breaches_total.saturating_add(of_calls.len() as u64);
            let breaches = [findings.breaches, of_calls].concat();
            let (open, suspended) = (findings.open, findings.suspended);
            let transfers = findings.transfers;
            Audited { at, took, transfers, open, suspended, breaches_total, breaches }
        });
        let reply = counted.as_ref().map(told);
        if let Some(audited) = counted {
            self.report(&audited);
            self.saw(audited, frozen.err().or(unknown));
        }
        match (failure, reply) {
            (None, Some(reply)) => Ok(First::Learned(reply)),
            (failure, _) => {
                let why = failure.unwrap_or_else(|| "nobody has counted it yet".to_owned());
                lock(&self.audits.seen).failure = Some(why.clone());
                Ok(First::NotCounted(why))
            }
        }
    }
}

/// Keeps a turn for as long as it is polled. Where that fails, somebody else may count as well.
async fn renewed(ledger: &dyn LedgerStore) -> std::convert::Infallible {
    // It has just been taken: the first time is one period from now.
    let mut times = interval_at(Instant::now() + RENEW_EVERY, RENEW_EVERY);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let _ = ledger.audit_turn().await;
    }
}
