//! One operation from its question to its rows: look up what the rules ask for, let them decide, compute all that
//! changes, and only then write. What is kept where is the business of [`Rows`].

use std::collections::BTreeMap;

use super::account::{Account, AccountName, Payer};
use super::answer::{Made, Receipt, Refused, Short};
use super::clock::Now;
use super::id::TransferId;
use super::posting;
use super::request::{Draw, DrawnEnd, Operation, Reserve};
use super::rules::{self, Drawing, Entry, Known, Plan, Standing};
use super::transfer::{Charge, ESTIMATED, Hold, Kind, Transfer};

/// What a book is kept in.
pub trait Rows {
    /// Why it cannot be read or written.
    type Error;

    /// Whether an organization is frozen.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn is_frozen(&mut self, org: &str) -> Result<bool, Self::Error>;

    /// The counters of an account; all zero where it is new.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn account(&mut self, org: &str, name: &AccountName) -> Result<Account, Self::Error>;

    /// What an id stands for.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn known(&mut self, id: TransferId) -> Result<Option<Known>, Self::Error>;

    /// Writes all of a change, or nothing of it.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn write(&mut self, change: Change) -> Result<(), Self::Error>;
}

/// What an operation changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose book.
    pub org: String,
    /// New rows, in order.
    pub transfers: Vec<Transfer>,
    /// Accounts as they are then.
    pub accounts: BTreeMap<AccountName, Account>,
    /// The hold as it is then.
    pub hold: Option<Hold>,
}

/// Does an operation, or says which rule refuses it.
///
/// # Errors
/// Where the rows cannot be read or written; then nothing was written.
pub fn perform<R: Rows>(
    rows: &mut R,
    now: &Now,
    operation: &Operation,
) -> Result<Result<Receipt, Refused>, R::Error> {
    let (origin, decision) = match operation {
        Operation::Fund(asked) => {
            let known = rows.known(asked.id)?;
            (Origin::new(&asked.org, &asked.note, None), rules::fund(asked, known.as_ref()))
        }
        Operation::OpenCalls(asked) => {
            let known = rows.known(asked.id)?;
            let decision = rules::open_calls(asked, known.as_ref());
            (Origin::new(&asked.org, &asked.note, None), decision)
        }
        Operation::Adjust(asked) => {
            let known = rows.known(asked.id)?;
            let standing = standing(rows, &asked.org, Payer::Wallet, &[])?;
            let decision = rules::adjust(asked, known.as_ref(), &standing);
            (Origin::new(&asked.org, &asked.note, None), decision)
        }
        Operation::Allocate(asked) => {
            let known = rows.known(asked.id)?;
            let standing = standing(rows, &asked.org, rules::giver(asked), &[])?;
            let decision = rules::allocate(asked, known.as_ref(), &standing);
            let origin = Origin::new(&asked.org, &asked.note, None);
            (Origin { team: Some(asked.team.clone()), ..origin }, decision)
        }
        Operation::Reserve(asked) => return reserve(rows, now, asked),
        Operation::Draw(asked) => return draw(rows, now, asked),
        Operation::Extend(asked) => {
            let hold = hold(rows, asked.hold)?;
            let standing = match &hold {
                Some(Hold { org, terms, .. }) => {
                    standing(rows, org, terms.payer.clone(), &terms.charges)?
                }
                None => Standing { payer: Payer::Wallet, is_frozen: false, free: Vec::new() },
            };
            let decision = rules::extend(now, asked, hold.as_ref(), &standing);
            (Origin::of(hold, ""), decision)
        }
        Operation::Refund(asked) => {
            let known = rows.known(asked.id)?;
            let hold = hold(rows, asked.hold)?;
            let decision = rules::refund(asked, known.as_ref(), hold.as_ref());
            (Origin::of(hold, &asked.note), decision)
        }
        Operation::Settle { hold: id, actual, estimated } => {
            let hold = hold(rows, *id)?;
            let decision = rules::settle(hold.as_ref(), *actual);
            (Origin::of(hold, note_of_charge(*estimated)), decision)
        }
        Operation::LateSettle { hold: id, actual, estimated } => {
            let hold = hold(rows, *id)?;
            let decision = rules::late_settle(hold.as_ref(), *actual);
            (Origin::of(hold, note_of_charge(*estimated)), decision)
        }
        Operation::Release { hold: id } => {
            let hold = hold(rows, *id)?;
            let decision = rules::release(hold.as_ref());
            (Origin::of(hold, ""), decision)
        }
        Operation::Expire { hold: id } => {
            let hold = hold(rows, *id)?;
            let decision = rules::expire(now, hold.as_ref());
            (Origin::of(hold, ""), decision)
        }
        Operation::Return { hold: id } => {
            let hold = hold(rows, *id)?;
            let decision = rules::give_back(now, hold.as_ref());
            (Origin::of(hold, ""), decision)
        }
    };
    carry_out(rows, now, origin, decision)
}

/// Where an operation's rows belong.
struct Origin {
    org: String,
    note: String,
    /// Whose purse is filled or emptied.
    team: Option<String>,
    /// The hold as it was before.
    before: Option<Hold>,
}

fn reserve<R: Rows>(
    rows: &mut R,
    now: &Now,
    asked: &Reserve,
) -> Result<Result<Receipt, Refused>, R::Error> {
    let known = rows.known(asked.id)?;
    let charges = if known.is_none() { rules::charges(now, asked) } else { Vec::new() };
    let purse = match &asked.team {
        Some(team) => rows.account(&asked.org, &AccountName::Team(team.clone()))?,
        None => Account::default(),
    };
    let standing = standing(rows, &asked.org, rules::payer(asked, &purse), &charges)?;
    let decision = rules::reserve(now, asked, known.as_ref(), &standing);
    // A new hold is its own origin: nothing of it was there before.
    let before = match &decision {
        Ok(plan) => plan.hold.clone(),
        Err(_) => None,
    };
    carry_out(rows, now, Origin::new(&asked.org, "", before), decision)
}

/// In up to three changes, of which none can be refused once the first is written: together they are one step, which
/// the store's transaction makes of them.
fn draw<R: Rows>(
    rows: &mut R,
    now: &Now,
    asked: &Draw,
) -> Result<Result<Receipt, Refused>, R::Error> {
    let known = rows.known(asked.reserve.id)?;
    let allotment = hold(rows, asked.allotment)?;
    let drawing = match rules::draw(now, asked, known.as_ref(), allotment.as_ref()) {
        Ok(drawing) => drawing,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut receipt =
        Receipt { made: Made::Exists, kind: Kind::Pending, amount: asked.reserve.amount };
    if let Some(Drawing { taken, pledged }) = drawing {
        let steps = taken.map(|plan| (Origin::of(allotment, ""), plan)).into_iter();
        let call = Origin::new(&asked.reserve.org, "", pledged.hold.clone());
        for (origin, plan) in steps.chain([(call, pledged)]) {
            receipt = match carry_out(rows, now, origin, Ok(plan))? {
                Ok(receipt) => receipt,
                Err(refused) => return Ok(Err(refused)),
            };
        }
    }
    let hold = asked.reserve.id;
    match asked.end {
        None => Ok(Ok(receipt)),
        Some(DrawnEnd::Settle { actual, estimated }) => {
            perform(rows, now, &Operation::Settle { hold, actual, estimated })
        }
        Some(DrawnEnd::Release) => perform(rows, now, &Operation::Release { hold }),
    }
}

fn carry_out<R: Rows>(
    rows: &mut R,
    now: &Now,
    origin: Origin,
    decision: Result<Plan, Refused>,
) -> Result<Result<Receipt, Refused>, R::Error> {
    let plan = match decision {
        Ok(plan) if plan.entries.is_empty() && plan.hold.is_none() => return Ok(Ok(plan.receipt)),
        Ok(plan) => plan,
        Err(refused) => return Ok(Err(refused)),
    };
    let receipt = plan.receipt;
    let Some(accounts) = accounts(rows, &origin, &plan)? else {
        return Ok(Err(Refused::BadAmount));
    };
    let transfers = plan.entries.iter().map(|entry| transfer(now, &origin, *entry)).collect();
    rows.write(Change { org: origin.org, transfers, accounts, hold: plan.hold })?;
    Ok(Ok(receipt))
}

const fn note_of_charge(estimated: bool) -> &'static str {
    if estimated { ESTIMATED } else { "" }
}

fn transfer(now: &Now, origin: &Origin, entry: Entry) -> Transfer {
    let before = origin.before.as_ref();
    // A refund's hold has long ended: whoever counts all rows again need not keep it for that.
    let has_terms = matches!(entry.kind, Kind::Pending | Kind::Refund);
    Transfer {
        id: entry.id,
        org: origin.org.clone(),
        kind: entry.kind,
        hold: before.map(|hold| hold.id).filter(|hold| *hold != entry.id),
        team: origin.team.clone(),
        amount: entry.amount,
        at: now.at,
        note: origin.note.clone(),
        terms: before.filter(|_| has_terms).map(|hold| hold.terms.clone()),
    }
}

/// The accounts after a plan; nothing where one of them would count beyond what it can.
fn accounts<R: Rows>(
    rows: &mut R,
    origin: &Origin,
    plan: &Plan,
) -> Result<Option<BTreeMap<AccountName, Account>>, R::Error> {
    let mut accounts: BTreeMap<AccountName, Account> = BTreeMap::new();
    for entry in &plan.entries {
        let legs = match &origin.before {
            Some(hold) => posting::legs_of_hold(hold, entry),
            None => posting::legs(entry, origin.team.as_deref()),
        };
        for leg in legs {
            if leg.amount.is_zero() {
                continue;
            }
            for (name, is_debit) in [(leg.debit, true), (leg.credit, false)] {
                let account = match accounts.get(&name) {
                    Some(account) => *account,
                    None => rows.account(&origin.org, &name)?,
                };
                let moved = if is_debit {
                    account.debited(leg.step, leg.amount)
                } else {
                    account.credited(leg.step, leg.amount)
                };
                let Some(moved) = moved else { return Ok(None) };
                accounts.insert(name, moved);
            }
        }
    }
    Ok(Some(accounts))
}

fn standing<R: Rows>(
    rows: &mut R,
    org: &str,
    payer: Payer,
    charges: &[Charge],
) -> Result<Standing, R::Error> {
    let mut free = Vec::new();
    if let Some(short) = Short::of_payer(&payer) {
        free.push((short, rows.account(org, &payer.account())?.available()));
    }
    for charge in charges {
        // A budget's credits are what came back into it; what it may spend is the limit's to say.
        let available = rows.account(org, &charge.account())?.available();
        let limit = i128::from(charge.limit.micros());
        free.push((Short::of_budget(charge), available.saturating_add(limit)));
    }
    Ok(Standing { payer, is_frozen: rows.is_frozen(org)?, free })
}

fn hold<R: Rows>(rows: &mut R, id: TransferId) -> Result<Option<Hold>, R::Error> {
    Ok(match rows.known(id)? {
        Some(Known::Hold(hold)) => Some(hold),
        Some(Known::Transfer(_)) | None => None,
    })
}

// === impl Change ===

impl Change {
    /// The budgets that something new is reserved under.
    pub fn charges(&self) -> impl Iterator<Item = &Charge> {
        let reserves = self.transfers.iter().filter(|transfer| transfer.kind == Kind::Pending);
        reserves.filter_map(|transfer| transfer.terms.as_ref()).flat_map(|terms| &terms.charges)
    }
}

// === impl Origin ===

impl Origin {
    fn new(org: &str, note: &str, before: Option<Hold>) -> Self {
        Self { org: org.to_owned(), note: note.to_owned(), team: None, before }
    }

    fn of(before: Option<Hold>, note: &str) -> Self {
        let org = before.as_ref().map_or_else(String::new, |hold| hold.org.clone());
        Self::new(&org, note, before)
    }
}
