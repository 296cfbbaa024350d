//! The canary: what the store of generations does, on a connection whose `synchronous` is an argument. The store
//! itself has no such knob.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior, params};
use sidecar_cache::generation::Generation;
use sidecar_cache::store::{Answer, StoreError};

use crate::Work;
use crate::generations::{Generations, line, named};

pub(crate) struct Plain {
    /// Makes the file, and reads it.
    store: Generations,
    connection: Mutex<Connection>,
}

// === impl Plain ===

impl Plain {
    pub(crate) fn open(folder: &Path, synchronous: &str) -> Result<Self, StoreError> {
        let store = Generations::open(folder)?;
        let connection = Connection::open(folder.join("generations.db"))?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(Self { store, connection: Mutex::new(connection) })
    }

    fn bump(&self, number: u64) -> Result<String, StoreError> {
        // Every sixth is a model, whose name is its number.
        let number = number * 6 + 3;
        let (org, tag) = named(number);
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let given: i64 =
            change.query_row("UPDATE given SET last = last + 1 RETURNING last", [], |row| {
                row.get(0)
            })?;
        change.execute(
            "INSERT INTO generations (org, kind, name, generation) VALUES (?1, 'model', ?2, ?3)",
            params![org, number.to_string().as_bytes(), given],
        )?;
        change.commit()?;
        let given = u64::try_from(given).map_err(|_| StoreError::Corrupt("a generation"))?;
        Ok(line(&org, &tag, Generation(given)))
    }
}

impl Work for Plain {
    fn make(&self, number: u64) -> Answer<'_, String> {
        Box::pin(async move { self.bump(number) })
    }

    fn held(&self) -> Answer<'_, Vec<String>> {
        self.store.held()
    }
}
