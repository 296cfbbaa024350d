//! Stores that need a service: the suites that every store has to pass, from where those that need none run them,
//! and what only several writers of one database can get wrong.

#[cfg(test)]
mod allotments;
#[cfg(test)]
mod audit_log;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/audit_suite.rs"]
mod audit_suite;
#[cfg(test)]
mod clock_ahead;
#[cfg(test)]
mod crowded;
#[cfg(test)]
mod database_faults;
#[cfg(test)]
mod draws;
#[cfg(test)]
mod entries;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/entry_suite.rs"]
mod entry_suite;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/generation_suite.rs"]
mod generation_suite;
#[cfg(test)]
mod kept;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/key_suite.rs"]
mod key_suite;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_bills.rs"]
mod ledger_bills;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_draws.rs"]
mod ledger_draws;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_levels.rs"]
mod ledger_levels;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_midnight.rs"]
mod ledger_midnight;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_model.rs"]
mod ledger_model;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_open.rs"]
mod ledger_open;
#[cfg(test)]
mod ledger_over;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_payers.rs"]
mod ledger_payers;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_savings.rs"]
mod ledger_savings;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_stores.rs"]
mod ledger_stores;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/ledger_support.rs"]
mod ledger_support;
#[cfg(test)]
mod programs;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/reply_suite.rs"]
mod reply_suite;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod shared_ledger;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/support.rs"]
#[expect(dead_code, reason = "most of it is for the tests of the sidecar alone")]
mod support;
#[cfg(test)]
mod turns;
