//! How much memory the bodies of requests take, from the first byte that comes to the last moment at which a call may
//! still be made with it. There is a bound: what does not fit is refused, so that nobody is killed for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    kept: AtomicU64,
    kept_max: AtomicU64,
}

/// The room of one body, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    bodies: Arc<Bodies>,
    bytes: u64,
}

// === impl Bodies ===

impl Bodies {
    pub(super) fn new(kept_max: u64) -> Self {
        Self { kept: AtomicU64::new(0), kept_max: AtomicU64::new(kept_max) }
    }

    /// From now on they may take so much. What is there stays.
    pub(super) fn bound(&self, kept_max: u64) {
        self.kept_max.store(kept_max, Ordering::Relaxed);
    }

    /// How many bytes they take.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// For a body of which nothing has come yet.
    pub(super) fn room(self: &Arc<Self>) -> Room {
        Room { bodies: Arc::clone(self), bytes: 0 }
    }
}

// === impl Room ===

impl Room {
    /// Makes sure that it has room for `bytes` in all. `false`: there is not so much.
    pub(super) fn reaches(&mut self, bytes: u64) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        let kept_max = self.bodies.kept_max.load(Ordering::Relaxed);
        let with = |kept: u64| kept.checked_add(more).filter(|kept| *kept <= kept_max);
        let (ordering, kept) = (Ordering::Relaxed, &self.bodies.kept);
        let has_room = kept.fetch_update(ordering, ordering, with).is_ok();
        if has_room {
            self.bytes = bytes;
        }
        has_room
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bodies.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_and_takes_nothing() {
        let bodies = Arc::new(Bodies::new(10));
        let (mut one, mut other) = (bodies.room(), bodies.room());
        assert!(one.reaches(4) && one.reaches(6) && one.reaches(2));
        assert!(!other.reaches(5));
        assert_eq!(bodies.kept(), 6);
        assert!(other.reaches(4) && !one.reaches(7));
        drop(one);
        assert_eq!(bodies.kept(), 4);
        assert!(other.reaches(10) && !other.reaches(u64::MAX));
        drop(other);
        assert_eq!(bodies.kept(), 0);
    }

    #[test]
    fn a_smaller_bound_is_for_those_that_come() {
        let bodies = Arc::new(Bodies::new(10));
        let (mut there, mut comes) = (bodies.room(), bodies.room());
        assert!(there.reaches(8));
        bodies.bound(5);
        assert!(there.reaches(8) && !comes.reaches(1));
        drop(there);
        assert!(comes.reaches(5));
    }
}
