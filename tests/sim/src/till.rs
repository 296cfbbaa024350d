//! A second opinion of the money: what was asked and what was answered, added up anew after every operation. It knows
//! nothing of rows, legs and counters; what it has to say about the book is that every account has what it must, that
//! nobody gave what was set aside or not there, and that a movement by hand was made once.

use std::collections::{BTreeMap, BTreeSet};

use kt_contract::money::MicroUsd;
use sidecar_cache::ledger::account::{Account, AccountName};
use sidecar_cache::ledger::request::{Allocate, Direction, Draw, DrawnEnd, Funding, Reserve};
use sidecar_cache::ledger::transfer::Charge;
use sidecar_cache::ledger::{Made, Operation, Receipt, Refused, TransferId};

/// What must not be: by which rule, and what was found.
pub(crate) type Wrong = (&'static str, String);

/// All organizations of a book.
#[derive(Debug, Default)]
pub(crate) struct Till {
    drawers: BTreeMap<String, Drawer>,
    holds: BTreeMap<TransferId, Held>,
    /// What was moved by hand, by its word and its note.
    moved: BTreeSet<(&'static str, String)>,
}

/// An organization's money.
#[derive(Debug, Default)]
struct Drawer {
    /// What each may give: the bank, the wallet, purses, and budgets, which begin at nothing.
    free: BTreeMap<AccountName, i128>,
    suspense: i128,
    spent: i128,
}

#[derive(Debug)]
struct Held {
    org: String,
    /// Who pays first, and then every budget.
    payers: Vec<AccountName>,
    held: i128,
    place: Place,
    charged: i128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open,
    Suspense,
    /// Of those without a charge only what was returned can be charged after all.
    Over,
}

// === impl Till ===

impl Till {
    /// An operation was asked and answered. `charges`: the budgets of a new hold, in their windows.
    pub(crate) fn hears(
        &mut self,
        operation: &Operation,
        answer: &Result<Receipt, Refused>,
        charges: &[Charge],
    ) -> Option<Wrong> {
        let Ok(receipt) = answer else { return None };
        if let Operation::Draw(asked) = operation {
            self.draws(asked, receipt.made);
            return None;
        }
        if receipt.made == Made::Exists {
            return None;
        }
        match operation {
            Operation::Fund(asked) => {
                self.gives(&asked.org, &AccountName::Bank, &AccountName::Wallet, asked.amount);
            }
            Operation::Adjust(asked) => {
                let (from, to) = match asked.direction {
                    Direction::Credit => (AccountName::Bank, AccountName::Wallet),
                    Direction::Debit => (AccountName::Wallet, AccountName::Bank),
                };
                self.gives(&asked.org, &from, &to, asked.amount);
                return self
                    .once("adjust", &asked.note)
                    .or_else(|| self.floor(&asked.org, &[from]));
            }
            Operation::Allocate(asked) => return self.allocates(asked),
            Operation::OpenCalls(asked) => {
                let drawer = self.drawer(&asked.org);
                drawer.add(&AccountName::Wallet, -micros(asked.amount));
                drawer.spent += micros(asked.amount);
            }
            Operation::Reserve(asked) => {
                let payer = self.payer(asked);
                let budgets = charges.iter().map(Charge::account);
                let payers: Vec<AccountName> = std::iter::once(payer).chain(budgets).collect();
                self.holds_back(asked, payers);
                return self.within(&asked.org, asked.id, charges);
            }
            Operation::Extend(asked) => {
                self.grows(asked.hold, micros(receipt.amount));
                let org = self.holds.get(&asked.hold).map(|held| held.org.clone());
                return self.within(&org.unwrap_or_default(), asked.hold, charges);
            }
            Operation::Settle { hold, actual, .. } | Operation::LateSettle { hold, actual, .. } => {
                self.charges(*hold, micros(*actual));
            }
            Operation::Release { hold } | Operation::Return { hold } => self.comes_back(*hold),
            Operation::Expire { hold } => self.suspends(*hold),
            Operation::Refund(asked) => {
                return self
                    .once("refund", &asked.note)
                    .or_else(|| self.refunds(asked.hold, micros(asked.amount)));
            }
            Operation::Draw(_) => {}
        }
        None
    }

    /// Whether the accounts of an organization have what they must.
    pub(crate) fn reckons(
        &self,
        org: &str,
        accounts: &BTreeMap<AccountName, Account>,
    ) -> Option<Wrong> {
        let nothing = Drawer::default();
        let drawer = self.drawers.get(org).unwrap_or(&nothing);
        let posted = |account: &Account| {
            i128::from(account.credits.posted) - i128::from(account.debits.posted)
        };
        let mut set_aside: BTreeMap<&AccountName, i128> = BTreeMap::new();
        for held in self.holds.values().filter(|held| held.org == org && held.place == Place::Open)
        {
            for payer in &held.payers {
                *set_aside.entry(payer).or_default() += held.held;
            }
        }
        let (mut all, mut spent) = (0, 0);
        for (name, account) in accounts {
            all += posted(account);
            let (found, must) = match name {
                AccountName::Bank
                | AccountName::Wallet
                | AccountName::Team(_)
                | AccountName::Budget(..) => {
                    let must = drawer.free.get(name).copied().unwrap_or_default();
                    let pending = i128::from(account.debits.pending());
                    let held = set_aside.get(name).copied().unwrap_or_default();
                    if pending != held {
                        let what = format!(
                            "{name} of {org} has {pending} set aside, and its holds are {held}"
                        );
                        return Some(("money", what));
                    }
                    (account.available(), must)
                }
                AccountName::Suspense => (posted(account), drawer.suspense),
                AccountName::Control => continue,
                AccountName::Spend(..) | AccountName::Allotment(_) | AccountName::OpenCalls => {
                    spent += posted(account);
                    continue;
                }
            };
            if found != must {
                return Some((
                    "money",
                    format!("{name} of {org} has {found}, and must have {must}"),
                ));
            }
        }
        let missing =
            drawer.free.iter().find(|(name, free)| **free != 0 && !accounts.contains_key(name));
        if let Some((name, must)) = missing {
            return Some(("money", format!("{name} of {org} is not there, and must have {must}")));
        }
        if spent != drawer.spent || all != 0 {
            let must = drawer.spent;
            let what =
                format!("{org} has spent {spent}, and must have {must}; {all} is from nowhere");
            return Some(("money", what));
        }
        None
    }

    fn drawer(&mut self, org: &str) -> &mut Drawer {
        self.drawers.entry(org.to_owned()).or_default()
    }

    fn gives(&mut self, org: &str, from: &AccountName, to: &AccountName, amount: MicroUsd) {
        let drawer = self.drawer(org);
        drawer.add(from, -micros(amount));
        drawer.add(to, micros(amount));
    }

    fn allocates(&mut self, asked: &Allocate) -> Option<Wrong> {
        let purse = AccountName::Team(asked.team.clone());
        let (from, to, word) = match asked.direction {
            Direction::Credit => (AccountName::Wallet, purse, "allocate"),
            Direction::Debit => (purse, AccountName::Wallet, "deallocate"),
        };
        self.gives(&asked.org, &from, &to, asked.amount);
        self.once(word, &asked.note).or_else(|| self.floor(&asked.org, &[from]))
    }

    /// Who pays in advance, pays from its team's purse as soon as there was one.
    fn payer(&mut self, asked: &Reserve) -> AccountName {
        let drawer = self.drawer(&asked.org);
        let purse = asked.team.clone().map(AccountName::Team);
        match asked.funding {
            Funding::Postpaid => AccountName::Bank,
            Funding::Prepaid => {
                purse.filter(|purse| drawer.free.contains_key(purse)).unwrap_or(AccountName::Wallet)
            }
        }
    }

    fn holds_back(&mut self, asked: &Reserve, payers: Vec<AccountName>) {
        let held = micros(asked.amount);
        let org = asked.org.clone();
        self.drawer(&org).add_all(&payers, -held);
        let held = Held { org, payers, held, place: Place::Open, charged: 0 };
        self.holds.insert(asked.id, held);
    }

    fn grows(&mut self, hold: TransferId, total: i128) {
        self.changes(hold, |held, drawer| {
            drawer.add_all(&held.payers, held.held - total);
            held.held = total;
        });
    }

    fn charges(&mut self, hold: TransferId, actual: i128) {
        self.changes(hold, |held, drawer| {
            let back = held.leaves(drawer);
            drawer.add_all(&held.payers, back - actual);
            drawer.spent += actual;
            held.charged = actual;
        });
    }

    fn comes_back(&mut self, hold: TransferId) {
        self.changes(hold, |held, drawer| {
            let back = held.leaves(drawer);
            drawer.add_all(&held.payers, back);
        });
    }

    fn suspends(&mut self, hold: TransferId) {
        self.changes(hold, |held, drawer| {
            drawer.suspense += held.held;
            held.place = Place::Suspense;
        });
    }

    fn refunds(&mut self, hold: TransferId, amount: i128) -> Option<Wrong> {
        self.changes(hold, |held, drawer| {
            drawer.add_all(&held.payers, amount);
            drawer.spent -= amount;
            held.charged -= amount;
        });
        let charged = self.holds.get(&hold).map_or(-1, |held| held.charged);
        let is_too_much = charged < 0;
        is_too_much
            .then(|| ("floor", format!("{amount} was given back, {charged} of it uncharged")))
    }

    /// A call was reserved from an allotment: what is taken from there comes back to its payer, who pays for the call.
    fn draws(&mut self, asked: &Draw, made: Made) {
        let (hold, allotment) = (asked.reserve.id, asked.allotment);
        if !self.holds.contains_key(&hold) {
            let mut payers = Vec::new();
            self.changes(allotment, |from, drawer| {
                payers.clone_from(&from.payers);
                let taken = micros(asked.taken()).min(from.held);
                match from.place {
                    Place::Open => {}
                    Place::Suspense => drawer.suspense -= taken,
                    Place::Over => return,
                }
                drawer.add_all(&from.payers, taken);
                from.held -= taken;
            });
            self.holds_back(&asked.reserve, payers);
        }
        match asked.end {
            Some(DrawnEnd::Settle { actual, .. }) if made == Made::Created => {
                self.charges(hold, micros(actual));
            }
            Some(DrawnEnd::Release) if made == Made::Created => self.comes_back(hold),
            Some(_) | None => {}
        }
    }

    fn changes(&mut self, hold: TransferId, change: impl FnOnce(&mut Held, &mut Drawer)) {
        let Some(held) = self.holds.get_mut(&hold) else { return };
        let drawer = self.drawers.entry(held.org.clone()).or_default();
        change(held, drawer);
    }

    /// Who pays for a hold had it, and every budget.
    fn within(&self, org: &str, hold: TransferId, charges: &[Charge]) -> Option<Wrong> {
        let held = self.holds.get(&hold)?;
        let payer = held.payers.first().cloned();
        let drawer = self.drawers.get(org)?;
        let over = charges.iter().find(|charge| {
            let free = drawer.free.get(&charge.account()).copied().unwrap_or_default();
            free + micros(charge.limit) < 0
        });
        if let Some(charge) = over {
            return Some(("floor", format!("{} of {org} is beyond its limit", charge.account())));
        }
        self.floor(org, payer.as_slice())
    }

    fn floor(&self, org: &str, gave: &[AccountName]) -> Option<Wrong> {
        let drawer = self.drawers.get(org)?;
        let short = gave.iter().filter(|name| **name != AccountName::Bank).find_map(|name| {
            let free = drawer.free.get(name).copied().unwrap_or_default();
            (free < 0).then_some((name, free))
        });
        short.map(|(name, free)| ("floor", format!("{name} of {org} gave, and has {free} free")))
    }

    fn once(&mut self, word: &'static str, note: &str) -> Option<Wrong> {
        let is_first = self.moved.insert((word, note.to_owned()));
        (!is_first).then(|| ("moved once", format!("{word} '{note}' is made a second time")))
    }
}

// === impl Drawer ===

impl Drawer {
    fn add(&mut self, name: &AccountName, amount: i128) {
        *self.free.entry(name.clone()).or_default() += amount;
    }

    fn add_all(&mut self, names: &[AccountName], amount: i128) {
        names.iter().for_each(|name| self.add(name, amount));
    }
}

// === impl Held ===

impl Held {
    /// It ends: how much its payer has back before anything is charged.
    fn leaves(&mut self, drawer: &mut Drawer) -> i128 {
        let back = match self.place {
            Place::Open => self.held,
            Place::Suspense => {
                drawer.suspense -= self.held;
                self.held
            }
            Place::Over => 0,
        };
        self.place = Place::Over;
        back
    }
}

fn micros(amount: MicroUsd) -> i128 {
    i128::from(amount.micros())
}
