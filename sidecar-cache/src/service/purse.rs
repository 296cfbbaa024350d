//! What people do with wallets: look at them, put money in, correct, give back, freeze. What calls do with them is
//! none of this file's business.

mod budgets;
mod told;

use kt_contract::id::{BadId, check_id};
use kt_contract::wire::admin::wallet::{
    AdjustRequest, AllocateRequest, BalanceReply, Direction as Towards, FreezeRequest, FrozenReply,
    FundRequest, HistoryReply, HoldsReply, IDEMPOTENCY_KEY_CHARS_MAX, NOTE_CHARS_MAX,
    RefundRequest, TRANSFERS_MAX, TransferEntry, TransferReply,
};

use super::{Failure, Sidecar};
use crate::ledger::request::{Adjust, Allocate, Direction, Fund, Refund};
use crate::ledger::{Made, Operation, Refused, TransferId};
use crate::store::ledger::LedgerStore;

/// The name by which somebody tells one movement of money from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovementKey<'a>(&'a str);

// === impl MovementKey ===

impl<'a> MovementKey<'a> {
    /// The key in a header.
    ///
    /// # Errors
    /// There is none, or one that is too long or empty.
    pub fn read(header: Option<&'a str>) -> Result<Self, Failure> {
        header
            .filter(|key| (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()))
            .map(Self)
            .ok_or(Failure::NoIdempotencyKey)
    }

    /// The key itself.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// How an organization stands.
    ///
    /// # Errors
    /// No ledger; a name that is none; a store that cannot say.
    pub async fn balance(&self, org: &str) -> Result<BalanceReply, Failure> {
        let ledger = self.ledger_for(org)?;
        let balance = ledger.balance(org.to_owned()).await?;
        let Some(accounts) = self.feed.settings().accounts.clone() else {
            return Ok(told::balance(org, balance, false, Vec::new()));
        };
        let levels = ledger.levels(org.to_owned()).await?;
        let zone = accounts.zones.of(org);
        let budgets = budgets::current(&accounts, zone, &levels, self.clock.wall());
        Ok(told::balance(org, balance, accounts.is_prepaid, budgets))
    }

    /// Puts money into a wallet.
    ///
    /// # Errors
    /// No ledger; a name that is none; what the ledger refuses; a store that cannot say.
    pub async fn fund(
        &self,
        org: &str,
        key: MovementKey<'_>,
        request: FundRequest,
    ) -> Result<TransferReply, Failure> {
        let id = TransferId::of_key(org, "fund", key.0);
        let operation = Operation::Fund(Fund {
            id,
            org: org.to_owned(),
            amount: request.amount_micro_usd.get(),
            note: checked("note", request.note)?,
        });
        self.move_money(org, id, operation).await
    }

    /// Corrects a wallet by hand.
    ///
    /// # Errors
    /// As [`Self::fund`].
    pub async fn adjust(
        &self,
        org: &str,
        key: MovementKey<'_>,
        request: AdjustRequest,
    ) -> Result<TransferReply, Failure> {
        let id = TransferId::of_key(org, "adjust", key.0);
        let operation = Operation::Adjust(Adjust {
            id,
            org: org.to_owned(),
            amount: request.amount_micro_usd.get(),
            direction: direction(request.direction),
            note: checked("note", request.note)?,
        });
        self.move_money(org, id, operation).await
    }

    /// Moves money between a wallet and the purse of a team.
    ///
    /// # Errors
    /// As [`Self::fund`].
    pub async fn allocate(
        &self,
        org: &str,
        key: MovementKey<'_>,
        request: AllocateRequest,
    ) -> Result<TransferReply, Failure> {
        is_id("team", &request.team)?;
        let id = TransferId::of_key(org, "allocate", key.0);
        let operation = Operation::Allocate(Allocate {
            id,
            org: org.to_owned(),
            team: request.team,
            amount: request.amount_micro_usd.get(),
            direction: direction(request.direction),
            note: checked("note", request.note)?,
        });
        self.move_money(org, id, operation).await
    }

    /// Gives back something of what a call of this organization was charged.
    ///
    /// # Errors
    /// As [`Self::fund`].
    pub async fn refund(
        &self,
        org: &str,
        key: MovementKey<'_>,
        request: RefundRequest,
    ) -> Result<TransferReply, Failure> {
        let hold = TransferId(request.hold);
        // Another organization's hold is not there for this one.
        let found = self.ledger_for(org)?.hold(hold).await?;
        found.filter(|found| found.org == org).ok_or(Refused::NotFound)?;
        let id = TransferId::of_key(org, "refund", key.0);
        let amount = request.amount_micro_usd.get();
        let note = checked("note", request.note)?;
        let operation = Operation::Refund(Refund { id, hold, amount, note });
        self.move_money(org, id, operation).await
    }

    /// Freezes a wallet: nothing more is reserved from it; what runs still ends.
    ///
    /// # Errors
    /// No ledger; a name that is none; no reason; a store that cannot say.
    pub async fn freeze(&self, org: &str, request: FreezeRequest) -> Result<FrozenReply, Failure> {
        let ledger = self.ledger_for(org)?;
        let reason = checked("reason", request.reason)?;
        if reason.is_empty() {
            return Err(Failure::Invalid { field: "reason", what: "must say why" });
        }
        tracing::warn!(org, reason, "wallet frozen by hand");
        ledger.freeze(org.to_owned(), reason).await?;
        self.obeys_freeze(org);
        self.count_frozen(ledger).await?;
        self.frozen(org).await
    }

    /// Lets a wallet go on, unless an audit finds something wrong with it: what froze it would freeze it again.
    ///
    /// # Errors
    /// No ledger; a name that is none; a breach that stands; a store that cannot say.
    pub async fn unfreeze(&self, org: &str) -> Result<FrozenReply, Failure> {
        let ledger = self.ledger_for(org)?;
        self.unfreeze_in_turn(ledger, org).await?;
        tracing::warn!(org, "wallet unfrozen by hand");
        self.count_frozen(ledger).await?;
        self.frozen(org).await
    }

    /// Transfers of an organization, newest first, older than the one numbered `before`.
    ///
    /// # Errors
    /// No ledger; a name that is none; a store that cannot say.
    pub async fn history(
        &self,
        org: &str,
        before: Option<u64>,
        count: usize,
    ) -> Result<HistoryReply, Failure> {
        let ledger = self.ledger_for(org)?;
        let count = count.clamp(1, TRANSFERS_MAX);
        let found = ledger.history(org.to_owned(), before, count).await?;
        let before = found.last().filter(|_| found.len() == count).map(|(number, _)| *number);
        Ok(HistoryReply { transfers: found.into_iter().map(told::transfer).collect(), before })
    }

    /// Transfers of an organization, oldest first, newer than the one numbered `after`.
    ///
    /// # Errors
    /// No ledger; a name that is none; a store that cannot say.
    pub async fn export(
        &self,
        org: &str,
        after: u64,
        count: usize,
    ) -> Result<Vec<TransferEntry>, Failure> {
        let ledger = self.ledger_for(org)?;
        let count = count.clamp(1, TRANSFERS_MAX);
        let found = ledger.transfers(org.to_owned(), after, count).await?;
        Ok(found.into_iter().map(told::transfer).collect())
    }

    /// What is set aside from a wallet and its purses, the next to end by itself first: as many as are told at once,
    /// and how many there are.
    ///
    /// # Errors
    /// No ledger; a name that is none; a store that cannot say.
    pub async fn holds(&self, org: &str) -> Result<HoldsReply, Failure> {
        let (found, total) =
            self.ledger_for(org)?.first_holds(org.to_owned(), TRANSFERS_MAX).await?;
        Ok(HoldsReply { holds: found.iter().filter_map(told::hold).collect(), total })
    }

    async fn move_money(
        &self,
        org: &str,
        id: TransferId,
        operation: Operation,
    ) -> Result<TransferReply, Failure> {
        let receipt = match self.ledger_for(org)?.operate(operation).await? {
            Err(Refused::ExistsDifferent) => return Err(Failure::KeyReused),
            verdict => verdict?,
        };
        let created = receipt.made == Made::Created;
        let (kind, amount) = (receipt.kind.as_str(), receipt.amount.micros());
        tracing::info!(org, kind, amount_micro_usd = amount, created, "money moved by hand");
        let kind = kind.to_owned();
        Ok(TransferReply { created, id: id.0, kind, amount_micro_usd: amount })
    }

    async fn frozen(&self, org: &str) -> Result<FrozenReply, Failure> {
        let balance = self.ledger_for(org)?.balance(org.to_owned()).await?;
        Ok(FrozenReply { org: org.to_owned(), frozen: balance.frozen.map(told::frozen) })
    }

    /// The ledger, for a name that an organization can have.
    fn ledger_for(&self, org: &str) -> Result<&dyn LedgerStore, Failure> {
        check_id("org", org).map_err(|BadId { field, what }| Failure::Invalid { field, what })?;
        self.ledger.as_deref().ok_or(Failure::NoLedger)
    }
}

fn is_id(field: &'static str, text: &str) -> Result<(), Failure> {
    check_id(field, text).map_err(|BadId { field, what }| Failure::Invalid { field, what })
}

const fn direction(towards: Towards) -> Direction {
    match towards {
        Towards::Credit => Direction::Credit,
        Towards::Debit => Direction::Debit,
    }
}

/// A text for people that is short enough to be shown.
fn checked(field: &'static str, text: String) -> Result<String, Failure> {
    if text.chars().count() > NOTE_CHARS_MAX {
        return Err(Failure::Invalid { field, what: "must not be longer than 500 characters" });
    }
    if text.chars().any(char::is_control) {
        return Err(Failure::Invalid {
            field,
            what: "must be one line, without control characters",
        });
    }
    Ok(text)
}
