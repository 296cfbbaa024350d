//! The end of a hold: the ledger is asked until it has answered. Where it does not at once, the end is put into the
//! spool meanwhile, if there is one, and what is there outlives this process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::bill::HOLD_TTL;
use super::super::drain::Served;
use super::spool::{Room, Spool};
use super::{ANSWER_MAX, Books};
use crate::ledger::{Operation, Refused, TransferId};
use crate::store::ledger::Verdict;
use crate::store::{Answer, StoreError};

/// How long is waited before the ledger is asked again, at first and at last.
pub(super) const AGAIN: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10));

/// How many operations are asked again at once from memory alone; what is beyond that, time closes.
pub(super) const AGAIN_MAX: usize = 4_096;

/// How long the ledger has to take an end before it is put into the spool: while all is well, nothing is.
const SPOOL_AFTER: Duration = Duration::from_millis(100);

/// The end of a hold that the ledger has not taken at once.
struct Ending {
    operation: Operation,
    /// The ledger, while it is still being asked.
    asking: Option<Answer<'static, Verdict>>,
    room: Room,
    /// How long the ledger is asked from memory where the spool has not taken it; for ever, if there is no limit.
    within: Option<Duration>,
}

// === impl Books ===

impl Books {
    /// Ends a hold. `true`: the ledger has it, or it lies in the spool and the ledger will. `false`: neither is so
    /// yet, and the ledger is asked on.
    pub(in crate::service) async fn end(self: &Arc<Self>, operation: Operation) -> bool {
        let mut asking = self.asking(operation.clone());
        let patience = if self.spool.is_some() { SPOOL_AFTER } else { ANSWER_MAX };
        let is_asked = match timeout(patience, &mut asking).await {
            Ok(Ok(verdict)) => {
                self.ended(&operation, &verdict);
                self.keep_charge(&operation, &verdict).await;
                return verdict.is_ok();
            }
            Ok(Err(_)) => false,
            Err(_) => true,
        };
        let Some(spool) = self.spool.clone() else {
            self.ask_until_answered(operation, None);
            return false;
        };
        let asking = is_asked.then_some(asking);
        let ending = Ending { operation, asking, room: Room::Whole, within: None };
        let (says, mut said) = mpsc::channel(2);
        tokio::spawn(Arc::clone(self).keep_and_ask(spool, ending, says, self.drain.enter()));
        let said = timeout(ANSWER_MAX.saturating_sub(patience), said.recv()).await;
        said.ok().flatten().unwrap_or(false)
    }

    /// A charge whose hold the ledger does not know, as after a failover that has lost it, is not forgotten for that.
    async fn keep_charge(&self, operation: &Operation, verdict: &Verdict) {
        let is_lost = matches!(verdict, Err(Refused::NotFound)) && !operation.is_release();
        let Some(spool) = self.spool.as_ref().filter(|_| is_lost) else { return };
        if let Some(kept) = spool.keep(operation, Room::Whole).await {
            kept.answered(operation, verdict).await;
        }
    }

    /// Releases what may have been set aside for a call that is not made.
    pub(super) fn give_up(self: &Arc<Self>, hold: TransferId) {
        let operation = Operation::Release { hold };
        // Time would close the hold as well.
        let within = Some(Duration::from_millis(HOLD_TTL.0));
        let Some(spool) = self.spool.clone() else {
            return self.ask_until_answered(operation, within);
        };
        let (books, asked) = (Arc::clone(self), operation.clone());
        let permit = Arc::clone(&self.again).try_acquire_owned().ok();
        let asking = permit.map(|permit| -> Answer<'static, Verdict> {
            Box::pin(async move {
                // Not ahead of the reserve.
                sleep(AGAIN.0).await;
                let answer = books.ask(asked).await;
                drop(permit);
                answer
            })
        });
        // There may be many of them, and each may be for nothing: an end of a call has room beside them.
        let ending = Ending { operation, asking, room: Room::Half, within };
        let (says, _) = mpsc::channel(2);
        tokio::spawn(Arc::clone(self).keep_and_ask(spool, ending, says, self.drain.enter()));
    }

    /// Puts an end into the spool while the ledger is asked, and says what comes first: that it is there, or what
    /// the ledger says.
    async fn keep_and_ask(
        self: Arc<Self>,
        spool: Arc<Spool>,
        ending: Ending,
        says: mpsc::Sender<bool>,
        served: Served,
    ) {
        let Ending { operation, asking, room, within } = ending;
        let mut served = Some(served);
        let keeping = async {
            let kept = spool.keep(&operation, room).await;
            if kept.is_some() {
                // Nobody waits any more where the ledger was first; and a stop need not wait for what lies there.
                let _ = says.try_send(true);
                served = None;
            }
            kept
        };
        let asking = async {
            let verdict = timeout(AGAIN.1, asking?).await.ok()?.ok()?;
            self.ended(&operation, &verdict);
            let _ = says.try_send(verdict.is_ok());
            Some(verdict)
        };
        match tokio::join!(keeping, asking) {
            (Some(kept), Some(verdict)) => kept.answered(&operation, &verdict).await,
            // Whoever tells the ledger what lies in the spool will.
            (Some(kept), None) => drop(kept),
            (None, Some(_)) => {}
            (None, None) => self.ask_until_answered(operation, within),
        }
        drop(served);
    }

    /// Asks again, with the same ids, until the ledger has answered, or for so long. Should that not come to an end,
    /// time closes the hold.
    fn ask_until_answered(self: &Arc<Self>, operation: Operation, within: Option<Duration>) {
        let Ok(permit) = Arc::clone(&self.again).try_acquire_owned() else {
            tracing::error!(?operation, "too much waits for the ledger already");
            return;
        };
        let books = Arc::clone(self);
        let served = self.drain.enter();
        tokio::spawn(async move {
            let asking = books.ask_again(operation);
            match within {
                Some(within) => drop(timeout(within, asking).await),
                None => asking.await,
            }
            drop((permit, served));
        });
    }

    async fn ask_again(&self, operation: Operation) {
        let (mut pause, longest) = AGAIN;
        loop {
            sleep(pause).await;
            match timeout(longest, self.ask(operation.clone())).await {
                Ok(Ok(verdict)) => return self.ended(&operation, &verdict),
                Ok(Err(error @ (StoreError::Permanent(_) | StoreError::Corrupt(_)))) => {
                    tracing::error!(%error, ?operation, "a hold is not ended: its time will end it");
                    return;
                }
                Ok(Err(StoreError::Transient(_) | StoreError::Away(_))) | Err(_) => {}
            }
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// The ledger has answered to the end of a hold. It is refused only where somebody has ended it otherwise.
    pub(super) fn ended(&self, operation: &Operation, verdict: &Verdict) {
        match verdict {
            Ok(_) => {
                self.is_booked(operation);
                self.calls.ended(operation);
            }
            // Of a reserve nobody knew whether it was done, and it was not: nothing is held.
            Err(Refused::NotFound) if operation.is_release() => {
                self.is_not_booked(operation);
                tracing::debug!(?operation, "there is no hold to release");
            }
            Err(refused) => {
                self.is_not_booked(operation);
                let why = refused.code();
                tracing::error!(why, ?operation, "the ledger refuses the end of a hold");
            }
        }
    }

    /// The question, which may outlive whoever asks it.
    fn asking(self: &Arc<Self>, operation: Operation) -> Answer<'static, Verdict> {
        let books = Arc::clone(self);
        Box::pin(async move { books.ask(operation).await })
    }
}
