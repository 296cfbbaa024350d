//! What all logs together keep: counted as it comes, until whatever keeps it lets go of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that all logs keep, and how many they may keep.
#[derive(Debug)]
pub(crate) struct Total {
    kept: AtomicU64,
    kept_max: AtomicU64,
}

/// A part of the total, given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    total: Arc<Total>,
    /// A part of the total that is counted apart.
    part: Option<Arc<Total>>,
    bytes: u64,
}

// === impl Total ===

impl Total {
    pub(crate) const fn new(kept_max: u64) -> Self {
        Self { kept: AtomicU64::new(0), kept_max: AtomicU64::new(kept_max) }
    }

    /// From now on they may keep so much.
    pub(crate) fn bound(&self, kept_max: u64) {
        self.kept_max.store(kept_max, Ordering::Relaxed);
    }

    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    pub(crate) fn kept_max(&self) -> u64 {
        self.kept_max.load(Ordering::Relaxed)
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.kept() > self.kept_max()
    }
}

// === impl Charge ===

impl Charge {
    pub(crate) const fn new(total: Arc<Total>) -> Self {
        Self { total, part: None, bytes: 0 }
    }

    /// Counted in `part` as well.
    pub(crate) fn of(mut self, part: Arc<Total>) -> Self {
        part.kept.fetch_add(self.bytes, Ordering::Relaxed);
        self.part = Some(part);
        self
    }

    /// Another one, of the same total.
    pub(crate) fn beside(&self) -> Self {
        let beside = Self::new(Arc::clone(&self.total));
        match &self.part {
            Some(part) => beside.of(Arc::clone(part)),
            None => beside,
        }
    }

    pub(crate) fn total(&self) -> &Total {
        &self.total
    }

    pub(crate) fn grow(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.total.kept.fetch_add(bytes, Ordering::Relaxed);
        if let Some(part) = &self.part {
            part.kept.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.total.kept.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(part) = &self.part {
            part.kept.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}
