//! The wallet's ledger: double entry, immutable transfers, and one function per operation. Pure: what time it is
//! and what the books say is handed in.
//!
//! An organization's money is set aside before a call ([`Operation::Reserve`]) and ends in one of three ways: at
//! the call's cost, without one, or, where nobody tells, in suspense. [`rules`] holds what may happen,
//! [`posting`] what it does to the accounts, [`book`] puts both together, and [`audit`] counts everything again
//! without them, [`bill`] by whose calls they were. [`spooled`] is how ends are written down that the ledger has not
//! taken yet. What keeps the rows is a [`crate::store::ledger::LedgerStore`].

#![deny(clippy::arithmetic_side_effects)]

pub mod account;
pub mod answer;
pub mod audit;
pub mod bill;
pub mod book;
pub mod clock;
pub mod id;
pub mod posting;
pub mod request;
pub mod rules;
pub mod spooled;
pub mod transfer;
pub mod window;
pub mod zones;

pub use answer::{Made, Receipt, Refused, Short};
pub use id::TransferId;
pub use request::Operation;
pub use transfer::{Hold, Kind, State, Transfer};
