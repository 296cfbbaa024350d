//! What each organization has under way on the lane: requests, streams, and bytes of both directions. Each may be
//! bounded, so that one which asks without end leaves room for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kt_contract::config::PerOrg;
use kt_contract::problem::Crowd;

use super::lock;
use super::log::Total;

/// Below so many, nobody looks for organizations that have nothing under way any more.
const SWEEP_MIN: usize = 64;

/// All organizations that have something under way.
#[derive(Debug, Default)]
pub(crate) struct Crowds {
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    by_name: HashMap<String, Org>,
    /// How many there are when those without anything are looked for.
    sweep_at: usize,
}

#[derive(Debug)]
struct Org {
    requests: u64,
    streams: u64,
    bytes: Arc<Total>,
}

/// The place of a request among those of its organization, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowds: Arc<Crowds>,
    org: String,
    is_stream: bool,
}

// === impl Crowds ===

impl Crowds {
    /// A request comes, which wants a stream or not.
    pub(super) fn enter(
        self: &Arc<Self>,
        org: &str,
        is_stream: bool,
        bounds: PerOrg,
    ) -> Result<Place, Crowd> {
        let PerOrg { max_requests, max_streams, max_bytes } = bounds;
        let mut all = lock(&self.all);
        let there = all.of(org);
        if let Some(max) = max_requests.filter(|max| there.requests >= *max) {
            return Err(Crowd::Requests { max });
        }
        if let Some(max) = max_streams.filter(|max| is_stream && there.streams >= *max) {
            return Err(Crowd::Streams { max });
        }
        if let Some(max) = max_bytes.filter(|max| there.bytes.kept() >= *max) {
            return Err(Crowd::Bytes { max });
        }
        there.requests += 1;
        there.streams += u64::from(is_stream);
        drop(all);
        Ok(Place { crowds: Arc::clone(self), org: org.to_owned(), is_stream })
    }

    /// What counts the bytes that an organization has under way.
    pub(super) fn bytes_of(&self, org: &str) -> Arc<Total> {
        Arc::clone(&lock(&self.all).of(org).bytes)
    }

    /// How many requests the organization has under way that has the most.
    pub(super) fn most(&self) -> u64 {
        lock(&self.all).by_name.values().map(|org| org.requests).max().unwrap_or(0)
    }
}

// === impl All ===

impl All {
    fn of(&mut self, org: &str) -> &mut Org {
        if !self.by_name.contains_key(org) && self.by_name.len() >= self.sweep_at {
            self.by_name.retain(|_, org| !org.is_idle());
            self.sweep_at = SWEEP_MIN.max(2 * self.by_name.len());
        }
        self.by_name.entry(org.to_owned()).or_insert_with(|| Org {
            requests: 0,
            streams: 0,
            bytes: Arc::new(Total::new(u64::MAX)),
        })
    }
}

// === impl Org ===

impl Org {
    /// Nothing is under way, and nobody counts anything for it.
    fn is_idle(&self) -> bool {
        self.requests == 0 && Arc::strong_count(&self.bytes) == 1
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.crowds.all);
        let Some(org) = all.by_name.get_mut(&self.org) else { return };
        org.requests = org.requests.saturating_sub(1);
        org.streams = org.streams.saturating_sub(u64::from(self.is_stream));
        if org.is_idle() {
            all.by_name.remove(&self.org);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(max_requests: u64, max_streams: u64) -> PerOrg {
        let mut bounds = PerOrg::default();
        (bounds.max_requests, bounds.max_streams) = (Some(max_requests), Some(max_streams));
        bounds
    }

    #[test]
    fn who_is_at_its_bound_waits_for_its_own_and_others_do_not() {
        let crowds = Arc::new(Crowds::default());
        let bounds = bounds(2, 1);
        let stream = crowds.enter("a", true, bounds).unwrap();
        assert_eq!(crowds.enter("a", true, bounds).unwrap_err(), Crowd::Streams { max: 1 });
        let whole = crowds.enter("a", false, bounds).unwrap();
        assert_eq!(crowds.enter("a", false, bounds).unwrap_err(), Crowd::Requests { max: 2 });
        let other = crowds.enter("b", true, bounds).unwrap();
        assert_eq!(crowds.most(), 2);
        drop(stream);
        let stream = crowds.enter("a", true, bounds).unwrap();
        drop((stream, whole, other));
        assert_eq!(crowds.most(), 0);
        assert!(lock(&crowds.all).by_name.is_empty());
    }

    #[test]
    fn organizations_without_anything_under_way_are_forgotten() {
        let crowds = Arc::new(Crowds::default());
        for number in 0..10_000 {
            let _counted = crowds.bytes_of(&format!("org {number}"));
        }
        assert!(lock(&crowds.all).by_name.len() <= SWEEP_MIN);
        let kept: Vec<_> = (0..100).map(|number| crowds.bytes_of(&format!("{number}"))).collect();
        assert!(lock(&crowds.all).by_name.len() >= kept.len());
    }
}
