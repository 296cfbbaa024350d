//! The shelf against a naive model, and its cost per entry.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const T0: MonoMillis = MonoMillis(1_000);
const LONG: Lifetime = fresh(1_000_000);

fn at(key: u8, request: u8) -> Address {
    Address { key: CacheKey(Digest([key; 32])), request: Digest([request; 32]) }
}

fn bytes(length: usize) -> Arc<[u8]> {
    vec![7; length].into()
}

fn new(at: Address, org: &str, bytes: Arc<[u8]>, lifetime: Lifetime) -> New<'_> {
    New { at, org, bytes, lifetime }
}

fn bounds(entries_max: u64, bytes_max: u64) -> Bounds {
    Bounds { entries_max, bytes_max, org_bytes_max: u64::MAX }
}

const fn fresh(millis: u64) -> Lifetime {
    Lifetime { fresh: Millis(millis), stale: Millis(0) }
}

fn is_found(shelf: &mut Shelf, key: u8) -> bool {
    matches!(shelf.lookup(&at(key, 0), T0), Taken::Found { .. })
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut shelf = Shelf::new(bounds(2, 1_000));
    shelf.fill(new(at(1, 0), "acme", bytes(1), LONG), T0);
    shelf.fill(new(at(2, 0), "acme", bytes(1), LONG), T0);
    assert!(is_found(&mut shelf, 1));
    shelf.fill(new(at(3, 0), "acme", bytes(1), LONG), T0);
    assert!(is_found(&mut shelf, 1));
    assert!(!is_found(&mut shelf, 2));
    assert!(is_found(&mut shelf, 3));
    assert_eq!(shelf.held().evicted, 1);
}

#[test]
fn a_large_entry_evicts_as_many_as_it_needs() {
    let mut shelf = Shelf::new(bounds(100, 10));
    for key in 1..=5 {
        shelf.fill(new(at(key, 0), "acme", bytes(2), LONG), T0);
    }
    shelf.fill(new(at(6, 0), "acme", bytes(7), LONG), T0);
    assert_eq!(shelf.held(), Held { entries: 2, bytes: 9, evicted: 4, expired: 0 });
    assert!(is_found(&mut shelf, 5));
    assert!(is_found(&mut shelf, 6));
}

#[test]
fn an_entry_beyond_the_bounds_evicts_nothing() {
    let mut shelf = Shelf::new(bounds(100, 10));
    shelf.fill(new(at(1, 0), "acme", bytes(2), LONG), T0);
    shelf.fill(new(at(2, 0), "acme", bytes(11), LONG), T0);
    assert!(is_found(&mut shelf, 1));
    assert!(!is_found(&mut shelf, 2));
}

#[test]
fn an_entry_is_found_until_its_time_and_a_lookup_does_not_lengthen_it() {
    let mut shelf = Shelf::new(bounds(9, 99));
    shelf.fill(new(at(1, 0), "acme", bytes(1), fresh(10)), T0);
    for (now, expected) in [
        (
            1_000,
            Taken::Found { bytes: bytes(1), age: Millis(0), fresh: Millis(10), stale: Millis(0) },
        ),
        (
            1_009,
            Taken::Found { bytes: bytes(1), age: Millis(9), fresh: Millis(1), stale: Millis(0) },
        ),
        (1_010, Taken::Expired),
        (1_011, Taken::Absent),
    ] {
        assert_eq!(shelf.lookup(&at(1, 0), MonoMillis(now)), expected, "now = {now}");
    }
    assert_eq!(shelf.held(), Held { expired: 1, ..Held::default() });
}

#[test]
fn a_key_that_shares_64_bits_is_another_key() {
    let mut shelf = Shelf::new(bounds(9, 99));
    let mut twin = [1; 32];
    twin[31] = 2;
    let twin = Address { key: CacheKey(Digest(twin)), request: Digest([3; 32]) };
    shelf.fill(new(at(1, 0), "acme", bytes(1), LONG), T0);
    assert_eq!(shelf.lookup(&twin, T0), Taken::Absent);
    assert!(!shelf.purge(&twin.key, None));
    shelf.fill(new(twin, "acme", bytes(2), LONG), T0);
    assert!(is_found(&mut shelf, 1));
    assert!(shelf.purge(&twin.key, None));
    assert!(is_found(&mut shelf, 1));
    assert_eq!(shelf.held().entries, 1);
}

#[test]
fn smaller_bounds_take_effect_at_once() {
    let mut shelf = Shelf::new(bounds(9, 99));
    for key in 1..=5 {
        shelf.fill(new(at(key, key), "acme", bytes(1), LONG), T0);
    }
    shelf.bound(bounds(2, 99));
    assert_eq!(shelf.held().entries, 2);
    assert!(is_found(&mut shelf, 5));
}

/// What a test may do to a shelf.
#[derive(Clone, Debug)]
enum Step {
    Lookup(u8),
    Peek(u8),
    Fill { key: u8, size: usize, fresh: u64, stale: u64 },
    Purge(u8),
    PurgeOrg(u8),
    Near(u8),
    Wait(u64),
    Sweep,
    Bound(u64, u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..12_u8).prop_map(Step::Lookup),
        1 => (0..12_u8).prop_map(Step::Peek),
        4 => (0..12_u8, 0..12_usize, 1..60_u64, 0..20_u64)
            .prop_map(|(key, size, fresh, stale)| Step::Fill { key, size, fresh, stale }),
        1 => (0..12_u8).prop_map(Step::Purge),
        1 => (0..4_u8).prop_map(Step::PurgeOrg),
        1 => (0..3_u8).prop_map(Step::Near),
        1 => (0..30_u64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
        1 => (0..8_u64, 0..40_u64, 0..40_u64)
            .prop_map(|(entries, bytes, org)| Step::Bound(entries, bytes, org)),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    key: u8,
    size: usize,
    fresh_until: u64,
    until: u64,
    fill: u64,
}

/// The same in the slowest way: a list, most recently used first.
struct Model {
    used: VecDeque<Kept>,
    bounds: Bounds,
    fills: u64,
}

/// Key k belongs to request k % 3 and organization k % 4.
fn org(key: u8) -> String {
    format!("org-{}", key % 4)
}

impl Model {
    fn drop_key(&mut self, key: u8) {
        self.used.retain(|kept| kept.key != key);
    }

    /// What each organization holds: bytes and entries.
    fn held(&self) -> BTreeMap<String, (u64, u64)> {
        let mut held = BTreeMap::new();
        for kept in &self.used {
            let (bytes, entries) = held.entry(org(kept.key)).or_insert((0, 0));
            *bytes += kept.size as u64;
            *entries += 1;
        }
        held
    }

    fn make_room(&mut self) {
        loop {
            let held = self.held();
            let most = |measure: fn(&(u64, u64)) -> u64| {
                held.iter().map(|(org, held)| (measure(held), org)).max().unwrap()
            };
            let all = |measure: fn(&(u64, u64)) -> u64| held.values().map(measure).sum::<u64>();
            let Bounds { entries_max, bytes_max, org_bytes_max } = self.bounds;
            let gives_way = if held.is_empty() {
                return;
            } else if most(|held| held.0).0 > org_bytes_max || all(|held| held.0) > bytes_max {
                most(|held| held.0).1
            } else if all(|held| held.1) > entries_max {
                most(|held| held.1).1
            } else {
                return;
            };
            let oldest = self.used.iter().rposition(|kept| org(kept.key) == *gives_way).unwrap();
            self.used.remove(oldest);
        }
    }

    fn taken(&self, key: u8, now: u64) -> (Option<usize>, Taken) {
        let Some(at) = self.used.iter().position(|kept| kept.key == key) else {
            return (None, Taken::Absent);
        };
        let Kept { size, fresh_until, until, .. } = self.used[at];
        if now >= until {
            return (Some(at), Taken::Expired);
        }
        let (fresh, stale) = (fresh_until.saturating_sub(now), now.saturating_sub(fresh_until));
        let taken = Taken::Found {
            bytes: bytes(size),
            age: Millis(0),
            fresh: Millis(fresh),
            stale: Millis(stale),
        };
        (Some(at), taken)
    }
}

/// Ages are told apart from the rest: the model does not keep them.
fn without_age(taken: Taken) -> Taken {
    match taken {
        Taken::Found { bytes, age: _, fresh, stale } => {
            Taken::Found { bytes, age: Millis(0), fresh, stale }
        }
        Taken::Expired => Taken::Expired,
        Taken::Absent => Taken::Absent,
    }
}

proptest! {
    #[test]
    fn a_shelf_does_what_a_list_does(steps in proptest::collection::vec(step(), 1..160)) {
        let address = |key: u8| at(key, key % 3);
        let first = Bounds { entries_max: 6, bytes_max: 30, org_bytes_max: 20 };
        let mut shelf = Shelf::new(first);
        let mut model = Model { used: VecDeque::new(), bounds: first, fills: 0 };
        let mut now = 0;
        for step in steps {
            match step {
                Step::Lookup(key) => {
                    let (found, expected) = model.taken(key, now);
                    if let Some(kept) = found.and_then(|at| model.used.remove(at))
                        && expected != Taken::Expired
                    {
                        model.used.push_front(kept);
                    }
                    prop_assert_eq!(without_age(shelf.lookup(&address(key), MonoMillis(now))), expected);
                }
                Step::Peek(key) => {
                    let (_, expected) = model.taken(key, now);
                    prop_assert_eq!(without_age(shelf.peek(&address(key), MonoMillis(now))), expected);
                }
                Step::Fill { key, size, fresh, stale } => {
                    let lifetime = Lifetime { fresh: Millis(fresh), stale: Millis(stale) };
                    shelf.fill(new(address(key), &org(key), bytes(size), lifetime), MonoMillis(now));
                    model.drop_key(key);
                    let Bounds { entries_max, bytes_max, org_bytes_max } = model.bounds;
                    if size as u64 <= bytes_max.min(org_bytes_max) && entries_max > 0 {
                        model.fills += 1;
                        let (fresh_until, until) = (now + fresh, now + fresh + stale);
                        let fill = model.fills;
                        model.used.push_front(Kept { key, size, fresh_until, until, fill });
                        model.make_room();
                    }
                }
                Step::Purge(key) => {
                    let was_there = model.taken(key, now).0.is_some();
                    prop_assert_eq!(shelf.purge(&address(key).key, None), was_there);
                    model.drop_key(key);
                }
                Step::PurgeOrg(number) => {
                    let before = model.used.len();
                    model.used.retain(|kept| kept.key % 4 != number);
                    let gone = (before - model.used.len()) as u64;
                    prop_assert_eq!(shelf.purge_org(&org(number)), gone);
                }
                Step::Near(request) => {
                    let is_near = |kept: &&Kept| kept.key % 3 == request && now < kept.fresh_until;
                    let mut near: Vec<_> = model.used.iter().filter(is_near).collect();
                    near.sort_by_key(|kept| std::cmp::Reverse(kept.fill));
                    let near: Vec<_> = near.iter().take(2).map(|kept| kept.size).collect();
                    let found = shelf.near(&Digest([request; 32]), 2, MonoMillis(now));
                    prop_assert_eq!(found.iter().map(|bytes| bytes.len()).collect::<Vec<_>>(), near);
                }
                Step::Wait(length) => now += length,
                Step::Sweep => {
                    shelf.sweep(99, MonoMillis(now));
                    model.used.retain(|kept| now < kept.until);
                }
                Step::Bound(entries_max, bytes_max, org_bytes_max) => {
                    model.bounds = Bounds { entries_max, bytes_max, org_bytes_max };
                    shelf.bound(model.bounds);
                    model.make_room();
                }
            }
            let held: Vec<_> = model
                .held()
                .into_iter()
                .map(|(org, (bytes, entries))| OrgHeld { org, entries, bytes })
                .collect();
            prop_assert_eq!(shelf.held().entries, model.used.len() as u64);
            prop_assert_eq!(shelf.held().bytes, held.iter().map(|held| held.bytes).sum::<u64>());
            prop_assert_eq!(shelf.held_by_org(), held);
        }
    }
}

#[test]
fn tables_grow_and_lose_nothing() {
    let mut shelf = Shelf::new(bounds(u64::MAX, u64::MAX));
    let digest = |number: u32| Digest(*blake3::hash(&number.to_be_bytes()).as_bytes());
    for number in 0..5_000 {
        let at = Address { key: CacheKey(digest(number)), request: digest(number % 50) };
        let length = usize::try_from(number).unwrap();
        shelf.fill(new(at, "acme", bytes(length), LONG), T0);
    }
    for number in 0..5_000 {
        let at = Address { key: CacheKey(digest(number)), request: digest(0) };
        assert!(matches!(shelf.peek(&at, T0), Taken::Found { .. }), "{number}");
    }
    for request in 0..50 {
        let near = shelf.near(&digest(request), 9_999, T0);
        let lengths: Vec<_> = near.iter().map(|bytes| bytes.len()).collect();
        let expected: Vec<_> = (0..100).rev().map(|at| at * 50 + request as usize).collect();
        assert_eq!(lengths, expected, "newest first");
    }
}

#[test]
fn what_expired_unasked_goes_with_the_fills_that_follow() {
    let mut shelf = Shelf::new(bounds(u64::MAX, u64::MAX));
    for key in 0..100 {
        shelf.fill(new(at(key, key), "quiet", bytes(1), fresh(10)), T0);
    }
    for key in 100..150 {
        shelf.sweep(2, MonoMillis(T0.0 + 10));
        shelf.fill(new(at(key, key), "noisy", bytes(1), LONG), MonoMillis(T0.0 + 10));
    }
    assert_eq!((shelf.held().entries, shelf.held().expired), (50, 100));
}

#[test]
fn an_entry_costs_less_than_200_bytes_beside_its_own() {
    for entries in [1_000_u32, 65_537, 100_000] {
        let mut shelf = Shelf::new(bounds(u64::MAX, u64::MAX));
        for number in 0..entries {
            let digest = Digest(*blake3::hash(&number.to_be_bytes()).as_bytes());
            let at = Address { key: CacheKey(digest), request: digest };
            shelf.fill(new(at, "acme", bytes(1), LONG), T0);
        }
        // Two counters in front of shared bytes, and what an allocator takes for itself.
        let whole = shelf.slots.capacity() * size_of::<Slot>()
            + entries as usize * (16 + 16)
            + shelf.by_key.bytes()
            + shelf.by_request.bytes();
        let each = whole / entries as usize;
        assert!(each <= 170, "{each} bytes at {entries}");
    }
}

#[test]
fn neighbours_behind_many_that_have_expired_are_not_looked_for() {
    for (expired, expected) in [(NEAR_PASSED_MAX - 1, 1), (NEAR_PASSED_MAX, 0)] {
        let mut shelf = Shelf::new(bounds(1_000_000, 1_000_000));
        shelf.fill(new(at(1, 7), "acme", bytes(1), LONG), T0);
        for number in 0..expired {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            let at = Address { key: CacheKey(Digest(key)), ..at(0, 7) };
            shelf.fill(new(at, "acme", bytes(2), fresh(10)), T0);
        }
        let now = MonoMillis(T0.0 + 10);
        assert_eq!(shelf.near(&at(1, 7).request, 8, now).len(), expected, "{expired}");
    }
}
