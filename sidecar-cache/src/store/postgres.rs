//! What must not get lost, in Postgres, where several sidecars share it. Everything here works through a pooler that
//! hands out connections per transaction: no prepared statement and no setting outlives its transaction.
//!
//! [`database`] is the way to it, [`schema`] its tables, [`ledger`] the wallet; keys, generations, replies and the [`audit_log`]
//! are what else the sidecars of a group share, and [`changes`] tells each of them what the others have done. [`entries`] may get
//! lost; they are here for those who want them to stay.

pub mod audit_log;
pub mod changes;
pub mod database;
pub mod entries;
mod fault;
mod generations;
mod keys;
pub mod ledger;
mod reach;
pub mod replies;
pub mod schema;

pub use audit_log::PostgresAuditLog;
pub use changes::PostgresChanges;
pub use database::{Address, Database};
pub use entries::PostgresEntries;
pub use generations::PostgresGenerations;
pub use keys::PostgresKeys;
pub use replies::PostgresReplies;
