//! Counts everything again from the raw rows, with code of its own: what the rules and the postings compute must
//! come out here as well, and a mistake in them must not be repeated.
//!
//! Rows come in their order, then the accounts and the list of holds that are open or in suspense. What a call
//! costs twice or not at all is found by whoever knows the calls (I6), not here.

mod drawn;
mod raw;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use drawn::Drawn;
use raw::{Cover, Pledge, Stage, read_terms};
pub use raw::{RawAccount, RawLive, RawTransfer};

/// How long a hold may lie in suspense: a day, and an hour for whoever has to return it.
const SUSPENSE_MS_MAX: i64 = 25 * 60 * 60 * 1_000;

/// What must hold of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What was given is what was taken.
    DebitsEqualCredits,
    /// A balance is what its transfers come to.
    BalancesFollow,
    /// What is pending is what open holds hold.
    PendingIsOpen,
    /// A hold ends once.
    OneEnd,
    /// Nothing was reserved that was not there.
    NeverOverdrawn,
    /// Each upstream call has one hold, ended as it was said to.
    EveryCallOnce,
    /// What lies in suspense leaves it in time.
    SuspenseDrains,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub invariant: Invariant,
    /// Whose book.
    pub org: String,
    /// Which account, or hold.
    pub account: String,
    /// What there should be.
    pub expected: String,
    /// What there is.
    pub found: String,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many transfers it counted.
    pub transfers: u64,
    /// How many holds are open.
    pub open: u64,
    /// How many lie in suspense.
    pub suspended: u64,
    /// What does not hold.
    pub breaches: Vec<Breach>,
}

/// An audit that goes on.
#[derive(Debug, Default)]
pub struct Auditor {
    accounts: BTreeMap<(String, String), Tally>,
    stored: BTreeSet<(String, String)>,
    sums: BTreeMap<String, [i128; 2]>,
    /// What is set aside in each account that pays.
    pending: BTreeMap<(String, String), i128>,
    holds: HashMap<[u8; 32], Pledge>,
    just_ended: Option<([u8; 32], Pledge)>,
    /// What was taken out of an allotment, until the next row, which is the call's.
    just_drawn: Option<Drawn>,
    listed: HashMap<[u8; 32], RawLive>,
    findings: Findings,
}

/// Both sides of an account, as [`RawAccount`] has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    debits: [i128; 3],
    credits: [i128; 3],
}

/// A number of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Pended,
    Cleared,
    Posted,
}

// === impl Invariant ===

impl Invariant {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::DebitsEqualCredits,
        Self::BalancesFollow,
        Self::PendingIsOpen,
        Self::OneEnd,
        Self::NeverOverdrawn,
        Self::EveryCallOnce,
        Self::SuspenseDrains,
    ];

    /// Its number, as in metrics.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::DebitsEqualCredits => "I1",
            Self::BalancesFollow => "I2",
            Self::PendingIsOpen => "I3",
            Self::OneEnd => "I4",
            Self::NeverOverdrawn => "I5",
            Self::EveryCallOnce => "I6",
            Self::SuspenseDrains => "I7",
        }
    }

    /// Its number and name, as in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DebitsEqualCredits => "I1 debits equal credits",
            Self::BalancesFollow => "I2 balances follow from transfers",
            Self::PendingIsOpen => "I3 pending is what open holds hold",
            Self::OneEnd => "I4 a hold ends once",
            Self::NeverOverdrawn => "I5 nothing is reserved that is not there",
            Self::EveryCallOnce => "I6 each call has one hold and one end",
            Self::SuspenseDrains => "I7 suspense drains",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, org, account, expected, found } = self;
        let name = invariant.as_str();
        write!(f, "{name}: {account} of {org}: expected {expected}, found {found}")
    }
}

// === impl Auditor ===

impl Auditor {
    /// Counts the next transfer.
    pub fn transfer(&mut self, row: &RawTransfer) {
        self.findings.transfers = self.findings.transfers.saturating_add(1);
        let amount = i128::from(row.amount);
        let mut drawn = self.just_drawn.take();
        if row.kind != "pending" {
            self.not_followed(drawn.take());
        }
        match (row.kind.as_str(), row.hold) {
            ("fund" | "adjust_credit", None) => self.moved(&row.org, "bank", "wallet", amount),
            ("adjust_debit", None) => {
                self.moved(&row.org, "wallet", "bank", amount);
                self.must_cover(&row.org, "wallet", &[]);
            }
            // They were made before anybody could say that the wallet has too little.
            ("open_calls", None) => self.moved(&row.org, "wallet", "open_calls", amount),
            ("allocate" | "deallocate", None) => self.allocated(row),
            ("pending", None) => self.pledge(row, drawn),
            ("draw", Some(allotment)) => self.draw(row, allotment),
            ("refund", Some(_)) => match read_terms(row) {
                Some(terms) => self.gave_back(&terms, &terms.payee, amount),
                None => self.unreadable(row),
            },
            (kind, Some(hold)) => self.follow(row, kind, hold),
            (_, None) => self.unreadable(row),
        }
    }

    /// Compares an account with what its transfers came to.
    pub fn account(&mut self, stored: &RawAccount) {
        let at = (stored.org.clone(), stored.name.clone());
        let counted = self.accounts.get(&at).copied().unwrap_or_default();
        let [debits, credits] = [stored.debits, stored.credits].map(|side| side.map(i128::from));
        if (counted.debits, counted.credits) != (debits, credits) {
            self.breach(
                Invariant::BalancesFollow,
                (&stored.org, &stored.name),
                format!("debits {:?}, credits {:?}", counted.debits, counted.credits),
                format!("debits {debits:?}, credits {credits:?}"),
            );
        }
        let sums = self.sums.entry(stored.org.clone()).or_default();
        let [given, taken] = sums;
        *given = debits.iter().fold(*given, |sum, part| sum.saturating_add(*part));
        *taken = credits.iter().fold(*taken, |sum, part| sum.saturating_add(*part));
        let [pended, cleared, _] = debits;
        if ["wallet", "bank"].contains(&&*stored.name) || stored.name.starts_with("team:") {
            self.pending.insert(at.clone(), pended.saturating_sub(cleared));
        }
        self.stored.insert(at);
    }

    /// Takes note of a hold that is listed as open or in suspense.
    pub fn live(&mut self, live: &RawLive) {
        self.listed.insert(live.hold, live.clone());
    }

    /// What was found, given what time it is in the book of an organization.
    #[must_use]
    pub fn finish(mut self, now_of: impl Fn(&str) -> i64) -> Findings {
        let drawn = self.just_drawn.take();
        self.not_followed(drawn);
        self.compare_sums();
        self.compare_pending();
        self.compare_lists(now_of);
        let missing: Vec<_> = self
            .accounts
            .iter()
            .filter(|(at, tally)| **tally != Tally::default() && !self.stored.contains(*at))
            .map(|(at, _)| at.clone())
            .collect();
        for (org, name) in missing {
            let (expected, found) = ("a balance".to_owned(), "no account".to_owned());
            self.breach(Invariant::BalancesFollow, (&org, &name), expected, found);
        }
        self.findings
    }

    fn compare_sums(&mut self) {
        for (org, [given, taken]) in std::mem::take(&mut self.sums) {
            if given != taken {
                let at = (org.as_str(), "all accounts");
                let (expected, found) = (given.to_string(), taken.to_string());
                self.breach(Invariant::DebitsEqualCredits, at, expected, found);
            }
        }
    }

    fn compare_pending(&mut self) {
        let mut open: BTreeMap<(String, String), i128> = BTreeMap::new();
        for pledge in self.holds.values().filter(|pledge| pledge.stage == Stage::Open) {
            let sum = open.entry((pledge.org.clone(), pledge.payer.clone())).or_default();
            *sum = sum.saturating_add(pledge.held);
        }
        for ((org, name), pending) in std::mem::take(&mut self.pending) {
            let at = (org, name);
            let open = open.get(&at).copied().unwrap_or_default();
            if pending != open {
                let (expected, found) = (open.to_string(), pending.to_string());
                self.breach(Invariant::PendingIsOpen, (&at.0, &at.1), expected, found);
            }
        }
    }

    fn compare_lists(&mut self, now_of: impl Fn(&str) -> i64) {
        let mut listed = std::mem::take(&mut self.listed);
        let holds = std::mem::take(&mut self.holds);
        let count = |is_so: fn(&Stage) -> bool| {
            holds.values().filter(|pledge| is_so(&pledge.stage)).count() as u64
        };
        self.findings.open = count(|stage| matches!(stage, Stage::Open));
        self.findings.suspended = count(|stage| matches!(stage, Stage::Suspended { .. }));
        for (id, pledge) in &holds {
            let expected = match pledge.stage {
                Stage::Open => Some(false),
                Stage::Suspended { .. } => Some(true),
                Stage::Returned => None,
            };
            let found = listed.remove(id).map(|live| live.is_suspended);
            if expected != found {
                let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
                self.breach(Invariant::PendingIsOpen, (&pledge.org, &hex(id)), expected, found);
            }
            if let Stage::Suspended { since } = pledge.stage
                && since.saturating_add(SUSPENSE_MS_MAX) < now_of(&pledge.org)
            {
                let (expected, found) = ("a day".to_owned(), format!("since {since}"));
                self.breach(Invariant::SuspenseDrains, (&pledge.org, &hex(id)), expected, found);
            }
        }
        for (id, live) in listed {
            let (expected, found) = ("ended".to_owned(), "listed".to_owned());
            self.breach(Invariant::PendingIsOpen, (&live.org, &hex(&id)), expected, found);
        }
    }

    fn allocated(&mut self, row: &RawTransfer) {
        let Some(team) = &row.team else { return self.unreadable(row) };
        let purse = format!("team:{team}");
        let (from, to) =
            if row.kind == "allocate" { ("wallet", &*purse) } else { (&*purse, "wallet") };
        self.moved(&row.org, from, to, i128::from(row.amount));
        self.must_cover(&row.org, from, &[]);
    }

    fn pledge(&mut self, row: &RawTransfer, drawn: Option<Drawn>) {
        let Some(mut pledge) = read_terms(row) else { return self.unreadable(row) };
        pledge.held = i128::from(row.amount);
        self.paid(&pledge, &pledge.payee, Part::Pended, pledge.held);
        pledge.cover = self.cover_of(&pledge, drawn);
        if pledge.cover == Cover::Payer {
            self.must_cover(&row.org, &pledge.payer, &pledge.budgets);
        }
        if self.holds.insert(row.id, pledge).is_some() {
            self.not_once(row, "one hold of this id", "two");
        }
    }

    /// A row that does something to a hold.
    fn follow(&mut self, row: &RawTransfer, kind: &str, hold: [u8; 32]) {
        let amount = i128::from(row.amount);
        let just_ended = self.just_ended.take().filter(|(ended, _)| *ended == hold);
        if let ("overage", Some((_, pledge))) = (kind, just_ended) {
            return self.paid(&pledge, &pledge.payee, Part::Posted, amount);
        }
        // Only what has not ended for good is kept.
        let Some(mut pledge) = self.holds.remove(&hold) else {
            return self.not_once(row, "a hold that has not ended", kind);
        };
        let held = pledge.held;
        self.must_be_drawn(row, &pledge);
        if ["void", "expire", "late_void", "return"].contains(&kind) && amount != held {
            let (expected, found) = (held.to_string(), amount.to_string());
            self.breach(Invariant::BalancesFollow, (&row.org, &hex(&row.id)), expected, found);
        }
        let stage = match (kind, pledge.stage) {
            ("extend", Stage::Open) => {
                pledge.held = held.saturating_add(amount);
                pledge.cover.grow(amount);
                self.paid(&pledge, &pledge.payee, Part::Pended, amount);
                self.must_cover(&row.org, &pledge.payer, &pledge.budgets);
                Some(Stage::Open)
            }
            ("post", Stage::Open) => {
                self.paid(&pledge, &pledge.payee, Part::Cleared, held);
                self.paid(&pledge, &pledge.payee, Part::Posted, amount);
                None
            }
            ("void", Stage::Open) => {
                self.paid(&pledge, &pledge.payee, Part::Cleared, held);
                None
            }
            ("expire", Stage::Open) => {
                self.paid(&pledge, &pledge.payee, Part::Cleared, held);
                self.paid(&pledge, "suspense", Part::Posted, held);
                Some(Stage::Suspended { since: row.at })
            }
            ("late_post", Stage::Suspended { .. }) => {
                self.moved(&pledge.org, "suspense", &pledge.payee, amount);
                let rest = held.saturating_sub(amount);
                self.gave_back(&pledge, "suspense", rest);
                None
            }
            ("late_post", Stage::Returned) => {
                self.paid(&pledge, &pledge.payee, Part::Posted, amount);
                None
            }
            ("late_void", Stage::Suspended { .. }) => {
                self.gave_back(&pledge, "suspense", held);
                None
            }
            ("return", Stage::Suspended { .. }) => {
                self.gave_back(&pledge, "suspense", held);
                Some(Stage::Returned)
            }
            (_, stage) => {
                self.not_once(row, "a row that fits the hold", kind);
                Some(stage)
            }
        };
        match stage {
            Some(stage) => _ = self.holds.insert(hold, Pledge { stage, ..pledge }),
            None => self.just_ended = Some((hold, pledge)),
        }
    }

    /// What who pays gives to somebody, counted in every budget.
    fn paid(&mut self, pledge: &Pledge, to: &str, part: Part, amount: i128) {
        self.count(&pledge.org, (&pledge.payer, to), part, amount);
        for (budget, _) in &pledge.budgets {
            self.count(&pledge.org, (budget, "control"), part, amount);
        }
    }

    /// What comes back to who has paid and into every budget.
    fn gave_back(&mut self, pledge: &Pledge, from: &str, amount: i128) {
        self.count(&pledge.org, (from, &pledge.payer), Part::Posted, amount);
        for (budget, _) in &pledge.budgets {
            self.count(&pledge.org, ("control", budget), Part::Posted, amount);
        }
    }

    fn moved(&mut self, org: &str, from: &str, to: &str, amount: i128) {
        self.count(org, (from, to), Part::Posted, amount);
    }

    fn count(&mut self, org: &str, (from, to): (&str, &str), part: Part, amount: i128) {
        bump(&mut self.tally(org, from).debits, part, amount);
        bump(&mut self.tally(org, to).credits, part, amount);
    }

    fn tally(&mut self, org: &str, name: &str) -> &mut Tally {
        self.accounts.entry((org.to_owned(), name.to_owned())).or_default()
    }

    /// After something was set aside, nobody has less than nothing, but for the bank.
    fn must_cover(&mut self, org: &str, payer: &str, budgets: &[(String, i128)]) {
        let payer = (payer != "bank").then(|| (payer.to_owned(), 0));
        for (name, limit) in payer.iter().chain(budgets) {
            let left = self.tally(org, name).left().saturating_add(*limit);
            if left < 0 {
                let expected = "nothing or more".to_owned();
                self.breach(Invariant::NeverOverdrawn, (org, name), expected, left.to_string());
            }
        }
    }

    fn not_once(&mut self, row: &RawTransfer, expected: &str, found: &str) {
        let hold = hex(&row.hold.unwrap_or(row.id));
        let (expected, found) = (expected.to_owned(), found.to_owned());
        self.breach(Invariant::OneEnd, (&row.org, &hold), expected, found);
    }

    fn unreadable(&mut self, row: &RawTransfer) {
        let (expected, found) = ("a transfer".to_owned(), format!("{} without sense", row.kind));
        self.breach(Invariant::BalancesFollow, (&row.org, &hex(&row.id)), expected, found);
    }

    fn breach(
        &mut self,
        invariant: Invariant,
        (org, account): (&str, &str),
        expected: String,
        found: String,
    ) {
        let (org, account) = (org.to_owned(), account.to_owned());
        self.findings.breaches.push(Breach { invariant, org, account, expected, found });
    }
}

// === impl Tally ===

impl Tally {
    fn left(&self) -> i128 {
        let [pended, cleared, posted] = self.debits;
        let [_, _, taken] = self.credits;
        taken.saturating_sub(posted).saturating_sub(pended).saturating_add(cleared)
    }
}

fn bump(side: &mut [i128; 3], part: Part, amount: i128) {
    let [pended, cleared, posted] = side;
    let number = match part {
        Part::Pended => pended,
        Part::Cleared => cleared,
        Part::Posted => posted,
    };
    *number = number.saturating_add(amount);
}

fn hex(id: &[u8; 32]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
