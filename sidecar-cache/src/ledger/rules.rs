//! What may happen, as one function per operation. Each body is the list of its rules, in order: the first that
//! refuses is the answer. What the rules look at is handed in; what follows from them is handed out and done
//! by [`super::book`].

mod drawn;
mod unasked;

use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;

use super::account::{Account, Payer};
use super::answer::{Made, Receipt, Refused, Short};
use super::clock::Now;
use super::id::TransferId;
use super::request::{Adjust, Allocate, Direction, Extend, Funding, Refund, Reserve};
use super::transfer::{Charge, Hold, Kind, State, Terms, Transfer};
pub use drawn::{Drawing, draw};
pub use unasked::{fund, open_calls};

/// How long the amount of an expired hold lies in suspense.
pub const SUSPENSE: Millis = Millis(24 * 60 * 60 * 1_000);

/// What an id already stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// A hold.
    Hold(Hold),
    /// Any other transfer.
    Transfer(Transfer),
}

/// How somebody stands who is to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub payer: Payer,
    /// Whether the organization is frozen.
    pub is_frozen: bool,
    /// What the payer, unless it has no bounds, and then each budget still has.
    pub free: Vec<(Short, i128)>,
}

/// What is to be done: nothing, where it was done before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The rows to be written, in order.
    pub entries: Vec<Entry>,
    /// The hold as it is then, if it changes.
    pub hold: Option<Hold>,
    /// What is answered.
    pub receipt: Receipt,
}

/// A row to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: TransferId,
    /// What it is.
    pub kind: Kind,
    /// How much.
    pub amount: MicroUsd,
}

/// Corrects a wallet by hand, never to below what is available.
///
/// # Errors
/// The first rule that refuses.
pub fn adjust(asked: &Adjust, known: Option<&Known>, standing: &Standing) -> Result<Plan, Refused> {
    let kind = match asked.direction {
        Direction::Credit => Kind::AdjustCredit,
        Direction::Debit => Kind::AdjustDebit,
    };
    let entry = Entry { id: asked.id, kind, amount: asked.amount };
    if let Some(known) = known {
        return known.same_or_refused((&asked.org, &asked.note), About::Wallet, entry);
    }
    if asked.amount.is_zero() {
        return Err(Refused::BadAmount);
    }
    match asked.direction {
        Direction::Credit => {}
        Direction::Debit => standing.cover(asked.amount)?,
    }
    Ok(Plan::of(vec![entry], None))
}

/// Moves money between a wallet and a team's purse, never more than is available where it comes from.
///
/// # Errors
/// The first rule that refuses.
pub fn allocate(
    asked: &Allocate,
    known: Option<&Known>,
    standing: &Standing,
) -> Result<Plan, Refused> {
    let kind = match asked.direction {
        Direction::Credit => Kind::Allocate,
        Direction::Debit => Kind::Deallocate,
    };
    let entry = Entry { id: asked.id, kind, amount: asked.amount };
    if let Some(known) = known {
        return known.same_or_refused((&asked.org, &asked.note), About::Team(&asked.team), entry);
    }
    if asked.amount.is_zero() {
        return Err(Refused::BadAmount);
    }
    standing.cover(asked.amount)?;
    Ok(Plan::of(vec![entry], None))
}

/// Who gives the money that an allocation moves.
#[must_use]
pub fn giver(asked: &Allocate) -> Payer {
    match asked.direction {
        Direction::Credit => Payer::Wallet,
        Direction::Debit => Payer::Team(asked.team.clone()),
    }
}

/// Who pays for a reserve, given the purse of its team: a team that was ever given a purse pays from it, even when
/// it is empty.
#[must_use]
pub fn payer(asked: &Reserve, purse: &Account) -> Payer {
    match (asked.funding, &asked.team) {
        (Funding::Postpaid, _) => Payer::Bank,
        (Funding::Prepaid, Some(team)) if purse.credits.posted > 0 => Payer::Team(team.clone()),
        (Funding::Prepaid, _) => Payer::Wallet,
    }
}

/// Sets money aside: from who pays and in every budget, or nowhere.
///
/// # Errors
/// The first rule that refuses.
pub fn reserve(
    now: &Now,
    asked: &Reserve,
    known: Option<&Known>,
    standing: &Standing,
) -> Result<Plan, Refused> {
    match known {
        Some(Known::Hold(hold)) if is_same(hold, asked) => {
            return Ok(Plan::exists(Kind::Pending, hold.first));
        }
        Some(Known::Hold(_) | Known::Transfer(_)) => return Err(Refused::ExistsDifferent),
        None => {}
    }
    if standing.is_frozen {
        return Err(Refused::Frozen);
    }
    if now.is_set_back {
        return Err(Refused::ClockSetBack);
    }
    standing.cover(asked.amount)?;
    let hold = Hold {
        id: asked.id,
        org: asked.org.clone(),
        first: asked.amount,
        held: asked.amount,
        refunded: MicroUsd::ZERO,
        terms: Terms {
            purpose: asked.purpose.clone(),
            payer: standing.payer.clone(),
            shard: 0,
            cost_max: asked.cost_max,
            charges: charges(now, asked),
            prices: asked.prices.clone(),
            drawn: None,
        },
        state: State::Open { due_at: now.after(asked.ttl) },
    };
    let entry = Entry { id: asked.id, kind: Kind::Pending, amount: asked.amount };
    Ok(Plan::of(vec![entry], Some(hold)))
}

/// Lets an open hold grow to a total, live longer, or both.
///
/// # Errors
/// The first rule that refuses.
pub fn extend(
    now: &Now,
    asked: &Extend,
    hold: Option<&Hold>,
    standing: &Standing,
) -> Result<Plan, Refused> {
    let hold = hold.ok_or(Refused::NotFound)?;
    let due_at = match hold.state {
        State::Open { due_at } => due_at.max(now.after(asked.ttl)),
        State::Settled { .. } | State::LateSettled { .. } => return Err(Refused::AlreadySettled),
        State::Released | State::LateReleased => return Err(Refused::AlreadyReleased),
        State::Expired { .. } | State::Returned => return Err(Refused::Expired),
    };
    let more = asked.total.less(hold.held);
    let held = hold.held.max(asked.total);
    let receipt = Receipt { made: Made::Exists, kind: Kind::Extend, amount: held };
    let after = Hold { held, state: State::Open { due_at }, ..hold.clone() };
    if more.is_zero() {
        // More time needs no row: it moves no money.
        return Ok(Plan { entries: Vec::new(), hold: Some(after), receipt });
    }
    if standing.is_frozen {
        return Err(Refused::Frozen);
    }
    standing.cover(more)?;
    let id = hold.id.of_step("extend", held.micros());
    let entries = vec![Entry { id, kind: Kind::Extend, amount: more }];
    let receipt = Receipt { made: Made::Created, ..receipt };
    Ok(Plan { entries, hold: Some(after), receipt })
}

/// Ends a hold at what its call has cost, which may be more than it holds.
///
/// # Errors
/// The first rule that refuses.
pub fn settle(hold: Option<&Hold>, actual: MicroUsd) -> Result<Plan, Refused> {
    let hold = hold.ok_or(Refused::NotFound)?;
    match hold.state {
        State::Open { .. } => Ok(hold.end_at_cost("settle", Kind::Post, actual)),
        State::Settled { actual: before } if before == actual => {
            Ok(Plan::exists(Kind::Post, actual))
        }
        State::Settled { .. } => Err(Refused::AlreadySettled),
        State::Released => Err(Refused::AlreadyReleased),
        State::Expired { .. }
        | State::Returned
        | State::LateSettled { .. }
        | State::LateReleased => late_settle(Some(hold), actual),
    }
}

/// Ends an expired hold at what its call has cost after all.
///
/// # Errors
/// The first rule that refuses.
pub fn late_settle(hold: Option<&Hold>, actual: MicroUsd) -> Result<Plan, Refused> {
    let hold = hold.ok_or(Refused::NotFound)?;
    match hold.state {
        State::Open { .. } => Err(Refused::NotExpired),
        State::Settled { .. } => Err(Refused::AlreadySettled),
        State::Released | State::LateReleased => Err(Refused::AlreadyReleased),
        // What was returned for want of evidence is charged when the evidence comes.
        State::Expired { .. } | State::Returned => {
            Ok(hold.end_at_cost("late_settle", Kind::LatePost, actual))
        }
        State::LateSettled { actual: before } if before == actual => {
            Ok(Plan::exists(Kind::LatePost, actual))
        }
        State::LateSettled { .. } => Err(Refused::AlreadySettled),
    }
}

/// Ends a hold whose call has cost nothing; an expired one's amount comes back from suspense.
///
/// # Errors
/// The first rule that refuses.
pub fn release(hold: Option<&Hold>) -> Result<Plan, Refused> {
    let hold = hold.ok_or(Refused::NotFound)?;
    match hold.state {
        State::Open { .. } => Ok(hold.end_without_cost("release", Kind::Void, State::Released)),
        State::Settled { .. } | State::LateSettled { .. } => Err(Refused::AlreadySettled),
        State::Released => Ok(Plan::exists(Kind::Void, hold.held)),
        State::Expired { .. } => {
            Ok(hold.end_without_cost("late_release", Kind::LateVoid, State::LateReleased))
        }
        State::Returned => Ok(Plan::exists(Kind::Return, hold.held)),
        State::LateReleased => Ok(Plan::exists(Kind::LateVoid, hold.held)),
    }
}

/// Puts what a due hold holds into suspense.
///
/// # Errors
/// The first rule that refuses.
pub fn expire(now: &Now, hold: Option<&Hold>) -> Result<Plan, Refused> {
    let hold = hold.ok_or(Refused::NotFound)?;
    match hold.state {
        State::Open { due_at } if due_at > now.at => Err(Refused::NotDue),
        State::Open { .. } => {
            let state = State::Expired { return_at: now.after(SUSPENSE) };
            Ok(hold.end_without_cost("expire", Kind::Expire, state))
        }
        State::Settled { .. } => Err(Refused::AlreadySettled),
        State::Released => Err(Refused::AlreadyReleased),
        State::Expired { .. }
        | State::Returned
        | State::LateSettled { .. }
        | State::LateReleased => Ok(Plan::exists(Kind::Expire, hold.held)),
    }
}

/// Gives back what has lain in suspense for its time.
///
/// # Errors
/// The first rule that refuses.
pub fn give_back(now: &Now, hold: Option<&Hold>) -> Result<Plan, Refused> {
    let hold = hold.ok_or(Refused::NotFound)?;
    match hold.state {
        State::Open { .. } => Err(Refused::NotExpired),
        State::Settled { .. } | State::LateSettled { .. } => Err(Refused::AlreadySettled),
        State::Released | State::LateReleased => Err(Refused::AlreadyReleased),
        State::Expired { return_at } if return_at > now.at => Err(Refused::NotDue),
        State::Expired { .. } => Ok(hold.end_without_cost("return", Kind::Return, State::Returned)),
        State::Returned => Ok(Plan::exists(Kind::Return, hold.held)),
    }
}

/// Gives back something of a charge.
///
/// # Errors
/// The first rule that refuses.
pub fn refund(asked: &Refund, known: Option<&Known>, hold: Option<&Hold>) -> Result<Plan, Refused> {
    let entry = Entry { id: asked.id, kind: Kind::Refund, amount: asked.amount };
    if let Some(known) = known {
        let org = hold.map_or("", |hold| hold.org.as_str());
        return known.same_or_refused((org, &asked.note), About::Hold(asked.hold), entry);
    }
    if asked.amount.is_zero() {
        return Err(Refused::BadAmount);
    }
    let hold = hold.ok_or(Refused::NotFound)?;
    let charged = hold.charged().ok_or(Refused::NotSettled)?;
    let refunded = hold
        .refunded
        .checked_add(asked.amount)
        .filter(|refunded| *refunded <= charged)
        .ok_or(Refused::ExceedsCharge)?;
    Ok(Plan::of(vec![entry], Some(Hold { refunded, ..hold.clone() })))
}

/// The budgets of a reserve with their windows of this moment, in their order. One that is named twice counts
/// once, with the lower limit.
#[must_use]
pub fn charges(now: &Now, asked: &Reserve) -> Vec<Charge> {
    let mut charges: Vec<Charge> = asked
        .budgets
        .iter()
        .map(|budget| {
            let window = asked.zone.window(budget.period, now.calendar);
            Charge {
                scope: budget.scope.clone(),
                period: budget.period,
                window: window.name,
                until: window.until,
                limit: budget.limit,
            }
        })
        .collect();
    charges.sort();
    charges.dedup_by(|next, first| next.scope == first.scope && next.period == first.period);
    charges
}

/// Whether a reserve is the one that made the hold. Limits and the time to live are those of the moment, and no
/// part of what it is.
fn is_same(hold: &Hold, asked: &Reserve) -> bool {
    let mut budgets: Vec<_> =
        asked.budgets.iter().map(|budget| (&budget.scope, budget.period)).collect();
    budgets.sort();
    budgets.dedup();
    let charges = hold.terms.charges.iter().map(|charge| (&charge.scope, charge.period));
    hold.org == asked.org
        && hold.first == asked.amount
        && hold.terms.purpose == asked.purpose
        && hold.terms.prices == asked.prices
        && may_pay(&hold.terms.payer, asked)
        && charges.eq(budgets)
}

/// Whether this one may have been found to pay for a reserve, whatever purses there are by now.
fn may_pay(payer: &Payer, asked: &Reserve) -> bool {
    match (payer, asked.funding) {
        (Payer::Bank, Funding::Postpaid) | (Payer::Wallet, Funding::Prepaid) => true,
        (Payer::Team(team), Funding::Prepaid) => asked.team.as_ref() == Some(team),
        (Payer::Bank, Funding::Prepaid) | (Payer::Wallet | Payer::Team(_), Funding::Postpaid) => {
            false
        }
    }
}

/// What a row is about, apart from whose book it stands in.
#[derive(Clone, Copy, Debug)]
enum About<'a> {
    Wallet,
    Team(&'a str),
    Hold(TransferId),
}

// === impl Known ===

impl Known {
    /// Whether this is the entry again, down to what people were told of it.
    fn same_or_refused(
        &self,
        (org, note): (&str, &str),
        about: About<'_>,
        entry: Entry,
    ) -> Result<Plan, Refused> {
        let (team, hold) = match about {
            About::Wallet => (None, None),
            About::Team(team) => (Some(team), None),
            About::Hold(hold) => (None, Some(hold)),
        };
        match self {
            Self::Transfer(known)
                if known.org == org
                    && known.kind == entry.kind
                    && known.hold == hold
                    && known.team.as_deref() == team
                    && known.amount == entry.amount
                    && known.note == note =>
            {
                Ok(Plan::exists(entry.kind, entry.amount))
            }
            Self::Transfer(_) | Self::Hold(_) => Err(Refused::ExistsDifferent),
        }
    }
}

// === impl Standing ===

impl Standing {
    /// Whether everybody has `amount`. Who is below zero has nothing, not even nothing.
    fn cover(&self, amount: MicroUsd) -> Result<(), Refused> {
        let is_short = |free: i128| free < i128::from(amount.micros());
        match self.free.iter().find(|(_, free)| is_short(*free)) {
            Some((short, _)) => Err(Refused::Insufficient(short.clone())),
            None => Ok(()),
        }
    }
}

// === impl Plan ===

impl Plan {
    fn exists(kind: Kind, amount: MicroUsd) -> Self {
        let receipt = Receipt { made: Made::Exists, kind, amount };
        Self { entries: Vec::new(), hold: None, receipt }
    }

    /// Rows of which the first says what is answered.
    fn of(entries: Vec<Entry>, hold: Option<Hold>) -> Self {
        let (kind, amount) = entries
            .first()
            .map_or((Kind::Extend, MicroUsd::ZERO), |entry| (entry.kind, entry.amount));
        Self { entries, hold, receipt: Receipt { made: Made::Created, kind, amount } }
    }
}

// === impl Hold ===

impl Hold {
    fn end_at_cost(&self, word: &str, kind: Kind, actual: MicroUsd) -> Plan {
        let posted = actual.min(self.held);
        let overage = actual.less(self.held);
        let mut entries = vec![Entry { id: self.id.of_step(word, 0), kind, amount: posted }];
        if !overage.is_zero() {
            let id = self.id.of_step("overage", 0);
            entries.push(Entry { id, kind: Kind::Overage, amount: overage });
        }
        let state = if kind == Kind::LatePost {
            State::LateSettled { actual }
        } else {
            State::Settled { actual }
        };
        let receipt = Receipt { made: Made::Created, kind, amount: actual };
        Plan { entries, hold: Some(Self { state, ..self.clone() }), receipt }
    }

    fn end_without_cost(&self, word: &str, kind: Kind, state: State) -> Plan {
        let entry = Entry { id: self.id.of_step(word, 0), kind, amount: self.held };
        Plan::of(vec![entry], Some(Self { state, ..self.clone() }))
    }
}
