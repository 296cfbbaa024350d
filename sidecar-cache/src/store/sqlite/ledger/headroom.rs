//! Room that is kept for ending what has begun. While the disk has room, a file beside the ledger, or the spool, takes
//! some of it; when there is none left, that file is emptied, nothing new is reserved, and calls that run can settle.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::store::StoreError;

/// About fifty thousand ends of holds, log and file together.
pub(super) const BYTES: u64 = 32 << 20;
/// The same in pages of the file.
const PAGES: u32 = 4_096;

/// The room, kept or spent.
#[derive(Debug)]
pub(in crate::store::sqlite) struct Headroom {
    file: File,
    bytes: u64,
    pages_max: Option<u32>,
    is_spent: bool,
}

// === impl Headroom ===

impl Headroom {
    pub(in crate::store::sqlite) fn keep(
        path: &Path,
        connection: &Connection,
        bytes: u64,
        pages_max: Option<u32>,
    ) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Permanent(format!("{}: {error}", path.display()));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut headroom = Self { file, bytes, pages_max, is_spent: true };
        headroom.limit(connection, 0)?;
        headroom.recover(connection)?;
        Ok(headroom)
    }

    /// Whether nothing new may begin.
    pub(in crate::store::sqlite) const fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Gives the room to those who end what has begun.
    pub(in crate::store::sqlite) fn spend(
        &mut self,
        connection: &Connection,
    ) -> Result<(), StoreError> {
        self.is_spent = true;
        // Where the file cannot be emptied, there is as little room as before.
        let _ = self.file.set_len(0);
        self.limit(connection, PAGES)
    }

    /// Takes the room again, if there is twice as much: what has just been given back must not begin the next
    /// reserve that finds no room.
    pub(in crate::store::sqlite) fn recover(
        &mut self,
        connection: &Connection,
    ) -> Result<(), StoreError> {
        if !self.is_spent || !self.has_pages(connection)? {
            return Ok(());
        }
        if allocate(&self.file, self.bytes.saturating_mul(2)).is_err() {
            let _ = self.file.set_len(0);
            return Ok(());
        }
        if self.file.set_len(self.bytes).is_ok() {
            self.limit(connection, 0)?;
            self.is_spent = false;
        }
        Ok(())
    }

    fn has_pages(&self, connection: &Connection) -> Result<bool, StoreError> {
        let Some(pages_max) = self.pages_max else { return Ok(true) };
        let used: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        Ok(used < pages_max)
    }

    fn limit(&self, connection: &Connection, more: u32) -> Result<(), StoreError> {
        let Some(pages_max) = self.pages_max else { return Ok(()) };
        let pages = pages_max.saturating_add(more);
        connection.pragma_update(None, "max_page_count", pages)?;
        Ok(())
    }
}

fn allocate(file: &File, bytes: u64) -> Result<(), rustix::io::Errno> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)
}
