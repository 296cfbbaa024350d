//! What allotments promise: never more is spent than was allotted, what is told is what was spent, whenever the ledger
//! stops answering.

#![expect(clippy::arithmetic_side_effects, reason = "numbers of tests are small")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TTL: Millis = Millis(60_000);

fn usd(micros: u64) -> MicroUsd {
    MicroUsd::new(micros).unwrap()
}

fn id(number: u64) -> TransferId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TransferId::from_128(bytes)
}

fn at(millis: u64) -> MonoMillis {
    MonoMillis(millis)
}

/// A pool of a wallet that is hot at `now` and has an allotment of `amount`, asked for at that time.
fn hot(now: u64, amount: u64) -> Pool {
    let mut pool = Pool::default();
    for _ in 0..HOT_CALLS {
        assert_eq!(pool.reserve(usd(1), at(now)), None);
    }
    assert!(pool.wants(at(now)));
    assert!(pool.granted(id(1), usd(amount), TTL));
    pool
}

/// Reserves from the allotment of this number; says which call it is.
fn call(pool: &mut Pool, from: u64, amount: u64, now: u64) -> TransferId {
    let part = pool.reserve(usd(amount), at(now)).unwrap();
    assert_eq!(part.allotment, id(from));
    part.call
}

#[test]
fn an_allotment_is_a_part_of_what_is_available_and_has_a_most() {
    let size = Size { most: usd(5_000_000), millionths: 10_000, ttl: TTL };
    for (available, amount) in [
        (100_000_000, Some(1_000_000)),
        (5_000_000_000, Some(5_000_000)),
        (i128::MAX / 10_000, Some(5_000_000)),
        (99, None),
        (0, None),
        (-7, None),
    ] {
        assert_eq!(size.of(available, usd(0)), amount.map(usd), "{available}");
    }
    // One that is too small for a single call is of no use.
    assert_eq!(size.of(100_000, usd(1_000)), Some(usd(1_000)));
    assert_eq!(size.of(100_000, usd(1_001)), None);
}

#[test]
fn a_wallet_is_hot_when_calls_come_close_together() {
    let mut pool = Pool::default();
    for nth in 0..100 {
        pool.reserve(usd(1), at(nth * 2_000));
        assert!(!pool.wants(at(nth * 2_000)), "{nth}");
    }
    for _ in 0..HOT_CALLS {
        assert!(!pool.wants(at(1_000_000)));
        pool.reserve(usd(1), at(1_000_000));
    }
    assert!(pool.wants(at(1_000_000)));
    assert!(!pool.wants(at(1_000_000)), "it is asked for once");
    pool.not_granted(at(1_000_100));
    assert!(!pool.wants(at(1_005_099)));
    assert!(pool.wants(at(1_005_100)));
}

#[test]
fn a_wallet_stays_hot_through_a_window_with_few_calls_and_not_through_an_empty_one() {
    for (calls, next, is_hot) in [
        (HOT_CALLS, 19_999, true),
        (HOT_CALLS, 20_000, false),
        (HOT_CALLS - 1, 9_999, true),
        // In a window of its own.
        (HOT_CALLS - 1, 10_000, false),
    ] {
        let mut pool = Pool::default();
        for _ in 0..calls {
            pool.reserve(usd(1), at(0));
        }
        pool.reserve(usd(1), at(next));
        assert_eq!(pool.wants(at(next)), is_hot, "{calls} calls, and one at {next} ms");
    }
}

#[test]
fn an_allotment_is_for_so_many_calls_and_no_more() {
    let mut pool = hot(0, 100);
    for _ in 0..CALLS_MAX {
        call(&mut pool, 1, 0, 1);
    }
    assert_eq!(pool.reserve(usd(0), at(1)), None);
    assert!(pool.wants(at(1)));
}

#[test]
fn a_pool_is_forgotten_when_nothing_of_it_is_used_and_nobody_has_called_of_late() {
    let mut pool = Pool::default();
    pool.reserve(usd(1), at(0));
    assert!(!pool.is_idle(at(10_000)));
    assert!(pool.is_idle(at(10_001)));

    let mut pool = Pool::default();
    for _ in 0..HOT_CALLS {
        pool.reserve(usd(1), at(0));
    }
    assert!(pool.wants(at(0)));
    assert!(!pool.is_idle(at(10_001)), "somebody asks for it");
    pool.not_granted(at(0));
    assert!(pool.is_idle(at(10_001)));

    let mut pool = hot(0, 100);
    assert!(!pool.is_idle(at(10_001)), "it has an allotment");
    let last = call(&mut pool, 1, 80, 0);
    pool.retire();
    assert!(!pool.is_idle(at(10_001)), "a call runs out of one that is used no longer");
    pool.ended(last, usd(80));
    pool.told(last);
    assert!(!pool.is_idle(at(10_001)), "it is to be given back");
    assert_eq!(pool.to_give_back(at(10_001)), [id(1)]);
    assert!(pool.is_idle(at(10_001)));
}

#[test]
fn it_is_used_for_half_of_its_time_from_before_it_was_asked_for() {
    let mut pool = hot(10_000, 100);
    let first = call(&mut pool, 1, 40, 39_999);
    assert_eq!(pool.reserve(usd(40), at(40_000)), None);
    assert_eq!(pool.to_give_back(at(40_000)), [], "a call runs out of it");
    pool.ended(first, usd(30));
    assert_eq!(pool.to_give_back(at(90_000)), [], "and the ledger does not know what it has cost");
    pool.told(first);
    assert_eq!(pool.to_give_back(at(90_000)), [id(1)]);
    assert_eq!(pool.to_give_back(at(90_000)), []);
}

#[test]
fn what_does_not_fit_is_not_refused_here_and_what_was_not_spent_is_there_again() {
    let mut pool = hot(0, 100);
    assert_eq!(pool.reserve(usd(101), at(1)), None);
    let first = call(&mut pool, 1, 80, 1);
    assert_eq!(pool.reserve(usd(30), at(1)), None);
    pool.ended(first, usd(5));
    let second = call(&mut pool, 1, 95, 1);
    assert_ne!(first, second);
    // A cost beyond what was held is the wallet's.
    pool.ended(second, usd(1_000));
    assert_eq!(pool.reserve(usd(1), at(1)), None);
    assert_eq!(pool.exposure(), usd(100));
    pool.told(first);
    pool.told(first);
    assert_eq!(pool.exposure(), usd(95));
}

#[test]
fn the_next_one_is_asked_for_before_the_last_is_used_up_and_takes_its_place() {
    let mut pool = hot(0, 100);
    let first = call(&mut pool, 1, 75, 1);
    assert!(!pool.wants(at(1)));
    let second = call(&mut pool, 1, 1, 1);
    assert!(pool.wants(at(1)));
    assert!(pool.granted(id(2), usd(50), TTL));
    call(&mut pool, 2, 10, 1);
    assert_eq!(pool.exposure(), usd(150));
    // What was reserved from the first one is that one's still.
    pool.ended(first, usd(75));
    pool.ended(second, usd(0));
    pool.told(first);
    pool.told(second);
    assert_eq!(pool.to_give_back(at(1)), [id(1)]);
    assert_eq!(pool.exposure(), usd(50));
}

#[test]
fn no_more_than_a_few_wait_for_their_calls() {
    let mut pool = hot(0, 4);
    let mut calls = Vec::new();
    for nth in 0..RETIRED_MAX as u64 {
        calls.push(call(&mut pool, 1 + nth, 4, 1));
        assert!(pool.wants(at(1)), "{nth}");
        assert!(pool.granted(id(2 + nth), usd(4), TTL));
    }
    pool.reserve(usd(4), at(1));
    assert!(!pool.wants(at(1)));
    pool.ended(calls[0], usd(4));
    pool.told(calls[0]);
    assert_eq!(pool.to_give_back(at(1)), [id(1)]);
    assert!(pool.wants(at(1)));
}

#[test]
fn a_call_that_was_handed_over_is_the_ledgers() {
    let mut pool = hot(0, 100);
    let long = call(&mut pool, 1, 60, 1);
    pool.handed_over(long);
    pool.ended(long, usd(10));
    pool.told(long);
    assert_eq!(pool.exposure(), usd(40));
    assert_eq!(pool.reserve(usd(41), at(1)), None);
    pool.retire();
    assert_eq!(pool.to_give_back(at(1)), [id(1)]);
}

#[test]
fn what_a_lost_call_may_have_spent_is_left_to_time() {
    let mut pool = hot(0, 100);
    let (lost, other) = (call(&mut pool, 1, 60, 1), call(&mut pool, 1, 10, 1));
    pool.lost(lost);
    assert_eq!(pool.reserve(usd(40), at(1)), None);
    pool.ended(other, usd(1));
    pool.retire();
    pool.told(other);
    assert_eq!(pool.to_give_back(at(1)), []);
    assert_eq!(pool.exposure(), usd(0), "time has it");
}

#[test]
fn an_allotment_whose_calls_the_ledger_refuses_is_used_no_longer_and_makes_room_for_the_next() {
    let mut pool = hot(0, 100);
    let (refused, other) = (call(&mut pool, 1, 60, 1), call(&mut pool, 1, 10, 1));
    pool.ended(refused, usd(60));
    pool.refused(refused);
    pool.refused(refused);
    assert_eq!(pool.reserve(usd(1), at(1)), None);
    pool.ended(other, usd(1));
    assert_eq!(pool.exposure(), usd(40));
    pool.refused(other);
    assert_eq!(pool.to_give_back(at(1)), []);
    assert_eq!(pool.exposure(), usd(0));
    for nth in 0..=RETIRED_MAX as u64 {
        assert!(pool.wants(at(1)), "{nth}");
        assert!(pool.granted(id(2 + nth), usd(4), TTL));
        let refused = call(&mut pool, 2 + nth, 4, 1);
        pool.ended(refused, usd(4));
        pool.refused(refused);
        assert_eq!(pool.to_give_back(at(1)), [], "{nth}");
    }
}

#[test]
fn what_was_asked_for_before_its_wallet_changed_goes_back_and_the_next_does_not() {
    let mut pool = hot(0, 100);
    call(&mut pool, 1, 80, 1);
    assert!(pool.wants(at(1)));
    pool.retire();
    assert!(!pool.granted(id(2), usd(50), TTL), "it is of a wallet that was another one");
    assert_eq!(pool.reserve(usd(1), at(1)), None);
    assert!(pool.wants(at(1)));
    assert!(pool.granted(id(3), usd(50), TTL));
    assert!(pool.reserve(usd(1), at(1)).is_some());
}

#[test]
fn a_closed_pool_gives_all_back_and_takes_nothing() {
    let mut pool = hot(0, 100);
    let last = call(&mut pool, 1, 80, 1);
    assert!(pool.wants(at(1)));
    pool.close();
    assert!(!pool.granted(id(2), usd(50), TTL), "it goes back at once");
    assert_eq!(pool.reserve(usd(1), at(1)), None);
    assert!(!pool.wants(at(1)));
    pool.ended(last, usd(80));
    pool.told(last);
    assert_eq!(pool.to_give_back(at(1)), [id(1)]);
    assert!(pool.is_idle(at(20_000)));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve(u64),
    End { nth: usize, cost: u64 },
    Tell(usize),
    HandOver(usize),
    Ask { is_granted: bool, amount: u64 },
    Look,
    Retire,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u64..40).prop_map(Step::Reserve),
        6 => (any::<prop::sample::Index>(), 0_u64..60)
            .prop_map(|(nth, cost)| Step::End { nth: nth.index(64), cost }),
        4 => (0_usize..64).prop_map(Step::Tell),
        1 => (0_usize..64).prop_map(Step::HandOver),
        2 => (any::<bool>(), 1_u64..200)
            .prop_map(|(is_granted, amount)| Step::Ask { is_granted, amount }),
        2 => Just(Step::Look),
        1 => Just(Step::Retire),
        2 => (0_u64..20_000).prop_map(Step::Pass),
    ]
}

/// What a call is for a model that keeps no sums.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Running,
    Ended(u64),
    Told(u64),
}

/// An allotment, when it was asked for, whether it went back, and its calls: what each held and has become.
#[derive(Debug)]
struct Naive {
    amount: u64,
    asked: u64,
    is_back: bool,
    calls: BTreeMap<TransferId, (u64, Is)>,
}

impl Naive {
    fn spent_at_most(&self) -> u64 {
        let of = |(held, is): &(u64, Is)| match is {
            Is::Running => *held,
            Is::Ended(taken) | Is::Told(taken) => *taken,
        };
        self.calls.values().map(of).sum()
    }

    fn told(&self) -> u64 {
        let of = |(_, is): &(u64, Is)| if let Is::Told(taken) = is { *taken } else { 0 };
        self.calls.values().map(of).sum()
    }

    fn is_told(&self) -> bool {
        self.calls.values().all(|(_, is)| matches!(is, Is::Told(_)))
    }
}

/// The calls of all allotments that have become so.
fn those(all: &BTreeMap<TransferId, Naive>, is: fn(&Is) -> bool) -> Vec<(TransferId, TransferId)> {
    all.iter()
        .flat_map(|(of, naive)| naive.calls.iter().map(move |(call, known)| (*of, *call, known.1)))
        .filter(|(.., known)| is(known))
        .map(|(of, call, _)| (of, call))
        .collect()
}

proptest! {
    #[test]
    fn never_more_is_spent_than_was_allotted_and_what_was_spent_is_told(
        steps in proptest::collection::vec(step(), 1..200),
        // From here on the ledger does not answer any more.
        cut in 0_usize..200,
    ) {
        let (mut pool, mut all, mut now) = (Pool::default(), BTreeMap::new(), 0_u64);
        for (nth, step) in steps.iter().enumerate() {
            let is_cut = nth >= cut;
            match *step {
                Step::Reserve(amount) => {
                    if let Some(Part { allotment, call }) = pool.reserve(usd(amount), at(now)) {
                        let naive: &mut Naive = all.get_mut(&allotment).unwrap();
                        prop_assert!(!naive.is_back && now < naive.asked + TTL.0 / 2);
                        let before = naive.calls.insert(call, (amount, Is::Running));
                        prop_assert_eq!(before, None);
                    }
                }
                Step::End { nth, cost } => {
                    let running = those(&all, |is| *is == Is::Running);
                    if let Some((of, call)) = running.get(nth % running.len().max(1)).copied() {
                        pool.ended(call, usd(cost));
                        let known = all.get_mut(&of).unwrap().calls.get_mut(&call).unwrap();
                        known.1 = Is::Ended(cost.min(known.0));
                    }
                }
                Step::Tell(nth) if !is_cut => {
                    let ended = those(&all, |is| matches!(is, Is::Ended(_)));
                    if let Some((of, call)) = ended.get(nth % ended.len().max(1)).copied() {
                        pool.told(call);
                        let known = all.get_mut(&of).unwrap().calls.get_mut(&call).unwrap();
                        if let Is::Ended(taken) = known.1 {
                            known.1 = Is::Told(taken);
                        }
                    }
                }
                Step::HandOver(nth) if !is_cut => {
                    let running = those(&all, |is| *is == Is::Running);
                    if let Some((of, call)) = running.get(nth % running.len().max(1)).copied() {
                        pool.handed_over(call);
                        let known = all.get_mut(&of).unwrap().calls.get_mut(&call).unwrap();
                        known.1 = Is::Told(known.0);
                    }
                }
                Step::Ask { is_granted, amount } => {
                    if pool.wants(at(now)) {
                        if is_granted && !is_cut {
                            let of = id(1 + nth as u64);
                            prop_assert!(pool.granted(of, usd(amount), TTL));
                            let calls = BTreeMap::new();
                            all.insert(of, Naive { amount, asked: now, is_back: false, calls });
                        } else {
                            pool.not_granted(at(now));
                        }
                    }
                }
                Step::Look => {
                    for of in pool.to_give_back(at(now)) {
                        let naive = all.get_mut(&of).unwrap();
                        prop_assert!(naive.is_told() && !naive.is_back);
                        naive.is_back = true;
                    }
                }
                Step::Retire => pool.retire(),
                Step::Pass(millis) => now += millis,
                Step::Tell(_) | Step::HandOver(_) => {}
            }
            for naive in all.values() {
                prop_assert!(naive.spent_at_most() <= naive.amount, "{:?}", naive);
            }
            let exposure = all.values().filter(|naive| !naive.is_back);
            let exposure: u64 = exposure.map(|naive| naive.amount - naive.told()).sum();
            prop_assert_eq!(pool.exposure(), usd(exposure));
        }
        // When all have ended and the ledger takes it, all goes back, once.
        for (_, call) in those(&all, |is| *is == Is::Running) {
            pool.ended(call, usd(0));
        }
        for (_, call) in those(&all, |_| true) {
            pool.told(call);
        }
        pool.close();
        let mut back = pool.to_give_back(at(now));
        back.sort();
        let left: Vec<_> = all.iter().filter(|(_, of)| !of.is_back).map(|(of, _)| *of).collect();
        prop_assert_eq!(back, left);
        prop_assert_eq!(pool.exposure(), MicroUsd::ZERO);
    }
}
