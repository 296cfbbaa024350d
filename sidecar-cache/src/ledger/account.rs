//! Accounts of an organization's book: what they are called, and their counters. Every counter only grows; what
//! is pending is what was set aside less what was cleared.

use std::fmt;

use kt_contract::money::MicroUsd;
use serde::{Deserialize, Serialize};

use super::window::{Period, Window};

/// An account of an organization, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountName {
    /// Where money comes from.
    Bank,
    /// What calls are paid from; may not be reserved below zero.
    Wallet,
    /// A team's purse: part of the wallet's money, for its calls alone. Not below zero either.
    Team(String),
    /// What one scope has spent in one window.
    Budget(Scope, Period, String),
    /// The other side of every budget: budgets count what the wallet pays once more, and hold no money.
    Control,
    /// What went to a provider. Sharded, where rows of the store are locked one by one.
    Spend(String, u8),
    /// What another sidecar may spend on its own.
    Allotment(String),
    /// What was set aside for calls of which nobody knows the end.
    Suspense,
    /// What calls were counted as that passed without a sidecar, whatever provider got it.
    OpenCalls,
}

/// Who pays for a hold, and is given what comes back of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// The organization's wallet.
    #[default]
    Wallet,
    /// A team, from its purse.
    Team(String),
    /// The bank, where nobody has paid in advance. It always has enough.
    Bank,
}

/// Whose spending a budget bounds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole organization.
    Org,
    /// A team.
    Team(String),
    /// A user.
    User(String),
    /// An agent.
    Agent(String),
    /// A workflow.
    Workflow(String),
    /// A policy pack, over all gateways that have it.
    Pack(String),
}

/// One side of an account. Each number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// What was ever set aside.
    pub pended: u64,
    /// How much of that is set aside no more: posted or not.
    pub cleared: u64,
    /// What was ever posted.
    pub posted: u64,
}

/// The counters of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What it gives.
    pub debits: Side,
    /// What it takes.
    pub credits: Side,
}

/// What a transfer does to an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets it aside.
    Pend,
    /// Sets it aside no more.
    Clear,
    /// Posts it.
    Post,
}

// === impl AccountName ===

impl AccountName {
    /// The budget of a scope in a window.
    #[must_use]
    pub fn budget(scope: &Scope, window: &Window) -> Self {
        Self::Budget(scope.clone(), window.period, window.name.clone())
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bank => f.write_str("bank"),
            Self::Wallet => f.write_str("wallet"),
            Self::Team(name) => write!(f, "team:{name}"),
            // Unambiguous whatever a scope is called: kinds hold no colon, and a window is read from the right.
            Self::Budget(scope, period, window) => {
                write!(f, "budget:{scope}:{}:{window}", period.as_str())
            }
            Self::Control => f.write_str("control"),
            Self::Spend(provider, shard) => write!(f, "spend:{provider}:{shard}"),
            Self::Allotment(holder) => write!(f, "allotment:{holder}"),
            Self::Suspense => f.write_str("suspense"),
            Self::OpenCalls => f.write_str("open_calls"),
        }
    }
}

// === impl Payer ===

impl Payer {
    /// What is debited.
    #[must_use]
    pub fn account(&self) -> AccountName {
        match self {
            Self::Wallet => AccountName::Wallet,
            Self::Team(name) => AccountName::Team(name.clone()),
            Self::Bank => AccountName::Bank,
        }
    }
}

// === impl Scope ===

impl Scope {
    /// The word of its kind, whatever it is called.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Team(_) => "team",
            Self::User(_) => "user",
            Self::Agent(_) => "agent",
            Self::Workflow(_) => "workflow",
            Self::Pack(_) => "pack",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Org => f.write_str(self.kind()),
            Self::Team(name)
            | Self::User(name)
            | Self::Agent(name)
            | Self::Workflow(name)
            | Self::Pack(name) => write!(f, "{}:{name}", self.kind()),
        }
    }
}

// === impl Side ===

impl Side {
    /// What is set aside.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.pended.saturating_sub(self.cleared)
    }

    /// What it becomes; nothing where a counter would pass what a store can hold, or more would be cleared
    /// than is pending.
    #[must_use]
    fn stepped(mut self, step: Step, amount: MicroUsd) -> Option<Self> {
        let counter = match step {
            Step::Pend => &mut self.pended,
            Step::Clear => &mut self.cleared,
            Step::Post => &mut self.posted,
        };
        *counter = counter.checked_add(amount.micros())?;
        let is_storable = i64::try_from(*counter).is_ok();
        (is_storable && self.cleared <= self.pended).then_some(self)
    }
}

// === impl Account ===

impl Account {
    /// What may be reserved: posted credits less posted and pending debits. Below zero after an overage.
    #[must_use]
    pub fn available(&self) -> i128 {
        i128::from(self.credits.posted)
            .saturating_sub(i128::from(self.debits.posted))
            .saturating_sub(i128::from(self.debits.pending()))
    }

    /// It, after a debit.
    #[must_use]
    pub fn debited(self, step: Step, amount: MicroUsd) -> Option<Self> {
        Some(Self { debits: self.debits.stepped(step, amount)?, ..self })
    }

    /// It, after a credit.
    #[must_use]
    pub fn credited(self, step: Step, amount: MicroUsd) -> Option<Self> {
        Some(Self { credits: self.credits.stepped(step, amount)?, ..self })
    }
}
