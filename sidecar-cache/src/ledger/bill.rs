//! What was charged, by whose calls and of which model: sums over rows, exact to the micro-dollar.

use std::collections::BTreeMap;

use kt_contract::money::MicroUsd;

use super::request::{CallOf, Purpose};
use super::transfer::Kind;

/// What the calls of one set of labels were charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billed {
    /// Whose book.
    pub org: String,
    /// The provider that was paid.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The callers' team.
    pub team: Option<String>,
    /// The caller.
    pub user: Option<String>,
    /// The codebase.
    pub codebase: Option<String>,
    /// How many calls were charged.
    pub calls: u64,
    /// What they were charged, in micro-dollars, less what was given back: below zero where that was more, of
    /// charges from before.
    pub charged: i128,
    /// How much was charged by usage that was counted here, whatever of it was given back.
    pub estimated: u128,
}

/// A row that a bill counts, with the purpose of its hold.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'a> {
    /// Whose book it stands in.
    pub org: &'a str,
    /// What it is.
    pub kind: Kind,
    /// How much.
    pub amount: MicroUsd,
    /// Whether its usage was counted here.
    pub is_estimated: bool,
    /// What the hold was made for.
    pub purpose: &'a Purpose,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    org: String,
    provider: String,
    model: String,
    team: Option<String>,
    user: Option<String>,
    codebase: Option<String>,
}

#[derive(Debug, Default)]
struct Sums {
    calls: u64,
    charged: i128,
    estimated: u128,
}

/// A bill that goes on.
#[derive(Debug, Default)]
pub struct Bill {
    lines: BTreeMap<Labels, Sums>,
}

// === impl Bill ===

impl Bill {
    /// Counts a row, if it is a charge or a refund. What an allotment's holder has spent, its own calls tell.
    pub fn count(&mut self, row: Charged<'_>) {
        let Purpose::Call(call) = row.purpose else { return };
        let amount = i128::from(row.amount.micros());
        let (calls, charged) = match row.kind {
            Kind::Post | Kind::LatePost => (1, amount),
            Kind::Overage => (0, amount),
            Kind::Refund => (0, amount.saturating_neg()),
            Kind::Fund
            | Kind::Pending
            | Kind::Extend
            | Kind::Void
            | Kind::Expire
            | Kind::LateVoid
            | Kind::Return
            | Kind::AdjustCredit
            | Kind::AdjustDebit
            | Kind::Allocate
            | Kind::Deallocate
            | Kind::Draw
            | Kind::OpenCalls => return,
        };
        let estimated = if row.is_estimated { row.amount.micros().into() } else { 0 };
        let sums = self.sums(row.org, call);
        sums.calls = sums.calls.saturating_add(calls);
        sums.charged = sums.charged.saturating_add(charged);
        sums.estimated = sums.estimated.saturating_add(estimated);
    }

    /// Its lines, by organization, provider, model, team, user and codebase.
    #[must_use]
    pub fn lines(self) -> Vec<Billed> {
        let line = |(labels, sums)| {
            let Labels { org, provider, model, team, user, codebase } = labels;
            let Sums { calls, charged, estimated } = sums;
            Billed { org, provider, model, team, user, codebase, calls, charged, estimated }
        };
        self.lines.into_iter().map(line).collect()
    }

    fn sums(&mut self, org: &str, call: &CallOf) -> &mut Sums {
        let CallOf { provider, model, team, user, codebase, agent: _, key_id: _, request_id: _ } =
            call;
        let labels = Labels {
            org: org.to_owned(),
            provider: provider.clone(),
            model: model.clone(),
            team: team.clone(),
            user: user.clone(),
            codebase: codebase.clone(),
        };
        self.lines.entry(labels).or_default()
    }
}
