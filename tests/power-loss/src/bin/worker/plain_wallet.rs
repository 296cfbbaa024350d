//! The canary of the wallet: a transfer and the accounts that it moves, as the store writes them, on a connection whose
//! `synchronous` is an argument. The store itself has no such knob.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior, params};
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;
use crate::wallet::{Wallet, id, made, usd};

pub(crate) struct PlainWallet {
    /// Makes the file, and reads it.
    store: Wallet,
    connection: Mutex<Connection>,
}

// === impl PlainWallet ===

impl PlainWallet {
    pub(crate) fn open(folder: &Path, synchronous: &str) -> Result<Self, StoreError> {
        let store = Wallet::open(folder)?;
        let connection = Connection::open(folder.join("wallet.db"))?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(Self { store, connection: Mutex::new(connection) })
    }

    fn fund(&self, number: u64) -> Result<String, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute(
            "INSERT INTO transfers (id, org, kind, amount, at, note)
             VALUES (?1, 'acme', 'fund', 10, 0, '')",
            params![id(number).0.0],
        )?;
        change.execute_batch(
            "INSERT INTO accounts VALUES ('acme', 'bank', 0, 0, 10, 0, 0, 0),
                 ('acme', 'wallet', 0, 0, 0, 0, 0, 10)
             ON CONFLICT (org, name) DO UPDATE SET
                 debits_posted = debits_posted + excluded.debits_posted,
                 credits_posted = credits_posted + excluded.credits_posted",
        )?;
        change.commit()?;
        Ok(made(id(number), usd(10)))
    }
}

impl Work for PlainWallet {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move { self.fund(number) })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        self.store.held()
    }

    fn wrong(&self) -> Answer<'_, Vec<String>> {
        self.store.wrong()
    }
}
