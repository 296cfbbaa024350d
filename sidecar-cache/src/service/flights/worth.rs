//! What the call of a flight has taken: its money and its tokens, for whoever is told of it or has saved as much.

use kt_contract::money::MicroUsd;
use kt_providers::Usage;

use super::super::lock;
use super::Flight;

// === impl Flight ===

impl Flight {
    /// What the call of the attempt has cost: known before anybody learns how it ended.
    pub(in crate::service) fn has_cost(&self, cost: Option<MicroUsd>) {
        *lock(&self.cost) = cost;
    }

    /// What the provider has told of the tokens of the attempt: known before anybody learns how it ended, like its cost.
    pub(in crate::service) fn has_usage(&self, usage: Option<Usage>) {
        *lock(&self.usage) = usage;
    }

    /// The usage of the call whose answer has come to its end.
    pub(in crate::service) fn usage(&self) -> Option<Usage> {
        *lock(&self.usage)
    }

    /// What the call has cost whose answer has come to its end.
    pub(in crate::service) fn cost(&self) -> Option<MicroUsd> {
        *lock(&self.cost)
    }
}
