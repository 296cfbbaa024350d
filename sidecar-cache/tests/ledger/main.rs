//! The ledger's suites and its model over the ledger in memory: what they find is wrong with the rules and the rows,
//! not with a disk. Builds without the server, and so within seconds, which mutation tests live on.

#[cfg(test)]
#[path = "../sidecar/ledger_bills.rs"]
mod ledger_bills;
#[cfg(test)]
#[path = "../sidecar/ledger_clocks.rs"]
mod ledger_clocks;
#[cfg(test)]
#[path = "../sidecar/ledger_draws.rs"]
mod ledger_draws;
#[cfg(test)]
#[path = "../sidecar/ledger_levels.rs"]
mod ledger_levels;
#[cfg(test)]
#[path = "../sidecar/ledger_midnight.rs"]
mod ledger_midnight;
#[cfg(test)]
#[path = "../sidecar/ledger_model.rs"]
mod ledger_model;
#[cfg(test)]
#[path = "../sidecar/ledger_open.rs"]
mod ledger_open;
#[cfg(test)]
mod ledger_over;
#[cfg(test)]
#[path = "../sidecar/ledger_payers.rs"]
mod ledger_payers;
#[cfg(test)]
#[path = "../sidecar/ledger_savings.rs"]
mod ledger_savings;
#[cfg(test)]
#[path = "../sidecar/ledger_stores.rs"]
mod ledger_stores;
#[cfg(test)]
#[path = "../sidecar/ledger_support.rs"]
mod ledger_support;
