//! The shelf against a naive model, and its cost per entry.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const T0: MonoMillis = MonoMillis(1_000);
const LONG: Millis = Millis(1_000_000);

fn at(key: u8, request: u8) -> Address {
    Address { key: CacheKey(Digest([key; 32])), request: Digest([request; 32]) }
}

fn bytes(length: usize) -> Arc<[u8]> {
    vec![7; length].into()
}

fn bounds(entries_max: u64, bytes_max: u64) -> Bounds {
    Bounds { entries_max, bytes_max }
}

fn is_found(shelf: &mut Shelf, key: u8) -> bool {
    matches!(shelf.lookup(&at(key, 0), T0), Taken::Found { .. })
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut shelf = Shelf::new(bounds(2, 1_000));
    shelf.fill(&at(1, 0), bytes(1), LONG, T0);
    shelf.fill(&at(2, 0), bytes(1), LONG, T0);
    assert!(is_found(&mut shelf, 1));
    shelf.fill(&at(3, 0), bytes(1), LONG, T0);
    assert!(is_found(&mut shelf, 1));
    assert!(!is_found(&mut shelf, 2));
    assert!(is_found(&mut shelf, 3));
    assert_eq!(shelf.held().evicted, 1);
}

#[test]
fn a_large_entry_evicts_as_many_as_it_needs() {
    let mut shelf = Shelf::new(bounds(100, 10));
    for key in 1..=5 {
        shelf.fill(&at(key, 0), bytes(2), LONG, T0);
    }
    shelf.fill(&at(6, 0), bytes(7), LONG, T0);
    assert_eq!(shelf.held(), Held { entries: 2, bytes: 9, evicted: 4, expired: 0 });
    assert!(is_found(&mut shelf, 5));
    assert!(is_found(&mut shelf, 6));
}

#[test]
fn an_entry_beyond_the_bounds_evicts_nothing() {
    let mut shelf = Shelf::new(bounds(100, 10));
    shelf.fill(&at(1, 0), bytes(2), LONG, T0);
    shelf.fill(&at(2, 0), bytes(11), LONG, T0);
    assert!(is_found(&mut shelf, 1));
    assert!(!is_found(&mut shelf, 2));
}

#[test]
fn an_entry_is_found_until_its_time_and_a_lookup_does_not_lengthen_it() {
    let mut shelf = Shelf::new(bounds(9, 99));
    shelf.fill(&at(1, 0), bytes(1), Millis(10), T0);
    for (now, expected) in [
        (1_000, Taken::Found { bytes: bytes(1), age: Millis(0), fresh: Millis(10) }),
        (1_009, Taken::Found { bytes: bytes(1), age: Millis(9), fresh: Millis(1) }),
        (1_010, Taken::Expired),
        (1_011, Taken::Absent),
    ] {
        assert_eq!(shelf.lookup(&at(1, 0), MonoMillis(now)), expected, "now = {now}");
    }
    assert_eq!(shelf.held(), Held { expired: 1, ..Held::default() });
}

#[test]
fn a_key_that_shares_64_bits_is_not_found_and_leaves_nothing_behind() {
    let mut shelf = Shelf::new(bounds(9, 99));
    let mut twin = [1; 32];
    twin[31] = 2;
    let twin = Address { key: CacheKey(Digest(twin)), request: Digest([3; 32]) };
    shelf.fill(&at(1, 0), bytes(1), LONG, T0);
    assert_eq!(shelf.lookup(&twin, T0), Taken::Absent);
    shelf.purge(&twin);
    assert!(is_found(&mut shelf, 1));
    shelf.fill(&twin, bytes(2), LONG, T0);
    assert_eq!(shelf.lookup(&at(1, 0), T0), Taken::Absent);
    assert_eq!(shelf.held().entries, 1);
}

#[test]
fn smaller_bounds_take_effect_at_once() {
    let mut shelf = Shelf::new(bounds(9, 99));
    for key in 1..=5 {
        shelf.fill(&at(key, key), bytes(1), LONG, T0);
    }
    shelf.bound(bounds(2, 99));
    assert_eq!(shelf.held().entries, 2);
    assert!(is_found(&mut shelf, 5));
}

#[test]
fn an_entry_costs_less_than_200_bytes_beside_its_own() {
    let entries = 100_000_u32;
    let mut shelf = Shelf::new(bounds(u64::MAX, u64::MAX));
    for number in 0..entries {
        let digest = Digest(*blake3::hash(&number.to_be_bytes()).as_bytes());
        shelf.fill(&Address { key: CacheKey(digest), request: digest }, bytes(1), LONG, T0);
    }
    // One control byte beside each place of a table; the two counters in front of shared bytes.
    let table = |map: &HashMap<u64, u32>| map.capacity() * 8 / 7 * (size_of::<(u64, u32)>() + 1);
    let whole = shelf.slots.len() * (size_of::<Slot>() + 16)
        + table(&shelf.by_key)
        + table(&shelf.by_request);
    let each = whole / entries as usize;
    assert!(each <= 200, "{each} bytes");
}

/// What a test may do to a shelf.
#[derive(Clone, Debug)]
enum Step {
    Lookup(u8),
    Fill { key: u8, size: usize, fresh: u64 },
    Purge(u8),
    Near(u8),
    Wait(u64),
    Bound(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12_u8).prop_map(Step::Lookup),
        (0..12_u8, 0..12_usize, 1..60_u64).prop_map(|(key, size, fresh)| Step::Fill {
            key,
            size,
            fresh
        }),
        (0..12_u8).prop_map(Step::Purge),
        (0..3_u8).prop_map(Step::Near),
        (0..30_u64).prop_map(Step::Wait),
        (0..8_u64, 0..40_u64).prop_map(|(entries, bytes)| Step::Bound(entries, bytes)),
    ]
}

/// The same in the slowest way: a list, most recently used first, and the order of filling.
#[derive(Default)]
struct Model {
    used: VecDeque<(u8, usize, u64, u64)>,
    bounds: (u64, u64),
    fills: u64,
}

impl Model {
    fn drop_key(&mut self, key: u8) {
        self.used.retain(|(other, ..)| *other != key);
    }

    fn make_room(&mut self) {
        let over = |used: &VecDeque<(u8, usize, u64, u64)>, (entries, bytes): (u64, u64)| {
            used.len() as u64 > entries
                || used.iter().map(|(_, size, ..)| *size as u64).sum::<u64>() > bytes
        };
        while over(&self.used, self.bounds) {
            self.used.pop_back();
        }
    }
}

proptest! {
    /// Key k belongs to request k % 3.
    #[test]
    fn a_shelf_does_what_a_list_does(steps in proptest::collection::vec(step(), 1..120)) {
        let address = |key: u8| at(key, key % 3);
        let mut shelf = Shelf::new(bounds(6, 30));
        let mut model = Model { bounds: (6, 30), ..Model::default() };
        let mut now = 0;
        for step in steps {
            match step {
                Step::Lookup(key) => {
                    let found = model.used.iter().position(|(other, ..)| *other == key);
                    let expected = match found.and_then(|index| model.used.remove(index)) {
                        None => Taken::Absent,
                        Some((_, _, until, _)) if now >= until => Taken::Expired,
                        Some(entry) => {
                            let (_, size, until, _) = entry;
                            model.used.push_front(entry);
                            let taken = shelf.lookup(&address(key), MonoMillis(now));
                            let Taken::Found { bytes, fresh, .. } = taken else {
                                return Err(TestCaseError::fail("not found"));
                            };
                            prop_assert_eq!((bytes.len(), fresh), (size, Millis(until - now)));
                            continue;
                        }
                    };
                    prop_assert_eq!(shelf.lookup(&address(key), MonoMillis(now)), expected);
                }
                Step::Fill { key, size, fresh } => {
                    shelf.fill(&address(key), bytes(size), Millis(fresh), MonoMillis(now));
                    model.drop_key(key);
                    if size as u64 <= model.bounds.1 && model.bounds.0 > 0 {
                        model.fills += 1;
                        model.used.push_front((key, size, now + fresh, model.fills));
                        model.make_room();
                    }
                }
                Step::Purge(key) => {
                    shelf.purge(&address(key));
                    model.drop_key(key);
                }
                Step::Near(request) => {
                    let mut near: Vec<_> = model
                        .used
                        .iter()
                        .filter(|(key, _, until, _)| key % 3 == request && now < *until)
                        .collect();
                    near.sort_by_key(|(.., fill)| std::cmp::Reverse(*fill));
                    let near: Vec<_> = near.iter().take(2).map(|(_, size, ..)| *size).collect();
                    let found = shelf.near(&Digest([request; 32]), 2, MonoMillis(now));
                    prop_assert_eq!(found.iter().map(|bytes| bytes.len()).collect::<Vec<_>>(), near);
                }
                Step::Wait(length) => now += length,
                Step::Bound(entries, bytes) => {
                    shelf.bound(bounds(entries, bytes));
                    model.bounds = (entries, bytes);
                    model.make_room();
                }
            }
            let size: usize = model.used.iter().map(|(_, size, ..)| *size).sum();
            prop_assert_eq!(shelf.held().entries, model.used.len() as u64);
            prop_assert_eq!(shelf.held().bytes, size as u64);
        }
    }
}
