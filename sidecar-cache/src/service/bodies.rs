//! How much memory the bodies of requests take, from the first byte that comes to the last moment at which a call may
//! still be made with it. There is a bound: what does not fit is refused, so that nobody is killed for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kt_contract::problem::{Crowd, Problem};

use super::log::{Charge, Total};

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
    /// What of it is its organization's.
    of_org: Charge,
    of_org_max: Option<u64>,
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

    /// For a body of which nothing has come yet, of an organization that has so much under way and may have
    /// `of_org_max`.
    pub(super) fn room(self: &Arc<Self>, of_org: Arc<Total>, of_org_max: Option<u64>) -> Room {
        Room { bodies: Arc::clone(self), bytes: 0, of_org: Charge::new(of_org), of_org_max }
    }
}

// === impl Room ===

impl Room {
    /// Makes sure that it has room for `bytes` in all.
    ///
    /// # Errors
    /// Why there is not so much.
    pub(super) fn reaches(&mut self, bytes: u64) -> Result<(), Problem> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        if let Some(max) = self.of_org_max
            && self.of_org.total().kept().saturating_add(more) > max
        {
            return Err(Problem::OrganizationFull(Crowd::Bytes { max }));
        }
        let kept_max = self.bodies.kept_max.load(Ordering::Relaxed);
        let with = |kept: u64| kept.checked_add(more).filter(|kept| *kept <= kept_max);
        let (ordering, kept) = (Ordering::Relaxed, &self.bodies.kept);
        if kept.fetch_update(ordering, ordering, with).is_err() {
            return Err(Problem::BodiesFull);
        }
        self.bytes = bytes;
        self.of_org.grow(more);
        Ok(())
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

    fn room(bodies: &Arc<Bodies>) -> Room {
        bodies.room(Arc::new(Total::new(u64::MAX)), None)
    }

    #[test]
    fn what_is_beyond_an_organizations_own_bound_is_refused_to_it_alone() {
        let bodies = Arc::new(Bodies::new(10));
        let (ours, theirs) = (Arc::new(Total::new(u64::MAX)), Arc::new(Total::new(u64::MAX)));
        let mut one = bodies.room(Arc::clone(&ours), Some(6));
        let mut another = bodies.room(Arc::clone(&ours), Some(6));
        assert_eq!(one.reaches(4), Ok(()));
        let full = Problem::OrganizationFull(Crowd::Bytes { max: 6 });
        assert_eq!(another.reaches(3), Err(full));
        assert_eq!(bodies.room(theirs, Some(6)).reaches(6), Ok(()));
        assert_eq!(one.reaches(6), Ok(()));
        drop(one);
        assert_eq!((ours.kept(), bodies.kept()), (0, 0));
        assert_eq!(another.reaches(6), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_told_and_takes_nothing() {
        let bodies = Arc::new(Bodies::new(10));
        let (mut one, mut other) = (room(&bodies), room(&bodies));
        assert!(one.reaches(4).is_ok() && one.reaches(6).is_ok() && one.reaches(2).is_ok());
        assert!(other.reaches(5).is_err());
        assert_eq!(bodies.kept(), 6);
        assert!(other.reaches(4).is_ok() && one.reaches(7).is_err());
        drop(one);
        assert_eq!(bodies.kept(), 4);
        assert!(other.reaches(10).is_ok() && other.reaches(u64::MAX).is_err());
        drop(other);
        assert_eq!(bodies.kept(), 0);
    }

    #[test]
    fn a_smaller_bound_is_for_those_that_come() {
        let bodies = Arc::new(Bodies::new(10));
        let (mut there, mut comes) = (room(&bodies), room(&bodies));
        assert!(there.reaches(8).is_ok());
        bodies.bound(5);
        assert!(there.reaches(8).is_ok() && comes.reaches(1).is_err());
        drop(there);
        assert!(comes.reaches(5).is_ok());
    }
}
