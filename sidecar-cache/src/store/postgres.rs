//! What must not get lost, in Postgres, where several sidecars share it. Everything here works through a pooler that
//! hands out connections per transaction: no prepared statement and no setting outlives its transaction.
//!
//! [`database`] is the way to it, [`schema`] its tables, [`ledger`] the wallet.

pub mod database;
mod fault;
pub mod ledger;
pub mod schema;

pub use database::{Address, Database};
