//! What the ledger needs from time to time, whoever asks for what: holds whose time is over are closed, savings noted,
//! budgets looked at.

use std::time::Duration;

use super::Sidecar;
use super::books::{Round, Walk};

/// How often. What is due later than it could be is spendable later, and alerts come as late as that.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many are closed in one step, so that reserves need not wait for all of them.
const AT_ONCE: usize = 256;

// === impl Sidecar ===

impl Sidecar {
    /// Looks after the ledger for as long as it is polled.
    pub async fn keep_ledger(&self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.close_due().await;
            self.give_back_allotments().await;
            self.note_savings().await;
            self.look_at_budgets().await;
        }
    }

    /// Tells the ledger what lies in the spool, for as long as it is polled.
    pub async fn keep_spool(&self) {
        if let Some(books) = &self.books {
            books.keep_telling().await;
        }
    }

    /// Tells the ledger now what lies in the spool, as far as it takes it. Says how much is left that it could be told.
    pub async fn tell_spooled(&self) -> usize {
        let Some(books) = &self.books else { return 0 };
        let mut walk = Walk::default();
        while books.waiting() > 0 && books.tell(&mut walk, true).await == Round::Moved {}
        books.waiting()
    }

    /// How many ends of calls lie in the spool that the ledger could be told.
    #[must_use]
    pub fn waiting_in_spool(&self) -> usize {
        self.books.as_ref().map_or(0, |books| books.waiting())
    }

    /// Gives back what is left of allotments that are not used any more.
    async fn give_back_allotments(&self) {
        if let Some(books) = &self.books {
            books.give_back().await;
        }
    }

    /// Sets nothing aside for itself from now on, and gives back what it has: all of it, once the ledger knows what was
    /// spent.
    pub async fn leave_allotments(&self) {
        if let Some(books) = &self.books {
            books.leave_allotments().await;
        }
    }

    /// Expires holds that are due, and returns what has lain in suspense for its time.
    pub async fn close_due(&self) {
        let Some(ledger) = &self.ledger else { return };
        loop {
            match ledger.expire_due(AT_ONCE).await {
                Ok(closed) => {
                    self.metrics.holds_closed(closed);
                    if closed < AT_ONCE {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "due holds cannot be closed");
                    return;
                }
            }
        }
    }
}
