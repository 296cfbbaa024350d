//! What buckets promise: never more than the limit and what has come back of it, whatever comes in which order.

use proptest::prelude::*;

use super::*;

fn charge(who: &str, per_minute: u64, count: u64) -> Charge {
    let (scope, measure) = (Scope::Key, Measure::Requests);
    Charge { name: Name::new(scope, measure, "acme", who), scope, measure, per_minute, count }
}

fn at(millis: u64) -> MonoMillis {
    MonoMillis(millis)
}

fn refused(taken: Taken) -> RateLimited {
    match taken {
        Taken::None(limited) => limited,
        taken @ (Taken::All | Taken::Some(_)) => panic!("{taken:?}"),
    }
}

#[test]
fn a_minutes_worth_may_come_at_once_and_the_rest_comes_back_evenly() {
    let mut buckets = Buckets::default();
    let one = [charge("k", 60, 1)];
    for nth in 0..60 {
        assert_eq!(buckets.take(&one, at(5)), Taken::All, "{nth}");
    }
    let limited = refused(buckets.take(&one, at(5)));
    assert_eq!((limited.wait, limited.remaining), (Millis(1_000), 0));
    assert_eq!((limited.reset, limited.retry_after_s()), (Millis(60_000), 1));
    assert_eq!(refused(buckets.take(&one, at(1_004))).wait, Millis(1));
    assert_eq!(buckets.take(&one, at(1_005)), Taken::All);
    assert_eq!(refused(buckets.take(&one, at(1_005))).wait, Millis(1_000));
    for nth in 0..60 {
        assert_eq!(buckets.take(&one, at(61_005)), Taken::All, "{nth}");
    }
    assert_eq!(refused(buckets.take(&one, at(61_005))).remaining, 0);
}

#[test]
fn a_refused_request_costs_nothing_in_any_bucket() {
    let mut buckets = Buckets::default();
    let (wide, narrow) = (charge("team", 10, 1), charge("key", 1, 1));
    assert_eq!(buckets.take(&[wide, narrow], at(0)), Taken::All);
    for _ in 0..100 {
        assert_eq!(refused(buckets.take(&[wide, narrow], at(0))).per_minute, 1);
    }
    for nth in 0..9 {
        assert_eq!(buckets.take(&[wide], at(0)), Taken::All, "{nth}");
    }
    assert_eq!(refused(buckets.take(&[wide], at(0))).per_minute, 10);
}

#[test]
fn of_several_limits_the_one_is_named_that_makes_wait_longest() {
    let mut buckets = Buckets::default();
    let both = [charge("fast", 60, 1), charge("slow", 1, 1)];
    assert_eq!(buckets.take(&[charge("fast", 60, 60), both[1]], at(0)), Taken::All);
    let limited = refused(buckets.take(&both, at(0)));
    assert_eq!((limited.per_minute, limited.wait), (1, Millis(60_000)));
}

#[test]
fn what_is_larger_than_the_whole_bucket_passes_when_nothing_is_used_and_is_paid_off_by_waiting() {
    let mut buckets = Buckets::default();
    assert_eq!(buckets.take(&[charge("k", 100, 250)], at(0)), Taken::All);
    // 250 are used of 100: one fits when 151 have come back.
    assert_eq!(refused(buckets.take(&[charge("k", 100, 1)], at(0))).wait, Millis(90_600));
    assert_eq!(buckets.take(&[charge("k", 100, 1)], at(90_600)), Taken::All);
    let again = refused(buckets.take(&[charge("k", 100, 250)], at(90_600)));
    assert_eq!(again.wait, Millis(60_000), "only when it is full");
}

#[test]
fn what_was_used_beyond_the_estimate_is_waited_for_and_what_was_not_used_is_given_back() {
    let mut buckets = Buckets::default();
    let estimate = [charge("k", 100, 20)];
    assert_eq!(buckets.take(&estimate, at(0)), Taken::All);
    buckets.correct(&estimate, 130, at(0), at(0));
    assert_eq!(refused(buckets.take(&[charge("k", 100, 1)], at(0))).wait, Millis(18_600));
    assert_eq!(buckets.take(&[charge("other", 100, 100)], at(0)), Taken::All);
    buckets.correct(&[charge("other", 100, 100)], 0, at(0), at(0));
    assert_eq!(buckets.take(&[charge("other", 100, 100)], at(0)), Taken::All);
}

#[test]
fn what_has_come_back_by_itself_is_not_given_back_again() {
    let mut buckets = Buckets::default();
    let slow = [charge("k", 60, 60)];
    assert_eq!(buckets.take(&slow, at(0)), Taken::All);
    assert_eq!(buckets.take(&[charge("k", 60, 60)], at(60_000)), Taken::All);
    buckets.correct(&slow, 0, at(0), at(60_000));
    assert_eq!(refused(buckets.take(&[charge("k", 60, 1)], at(60_000))).wait, Millis(1_000));
}

#[test]
fn another_limit_counts_from_its_moment_on_and_forgets_nothing() {
    let mut buckets = Buckets::default();
    assert_eq!(buckets.take(&[charge("k", 60, 60)], at(0)), Taken::All);
    assert_eq!(buckets.take(&[charge("k", 120, 60)], at(0)), Taken::All);
    assert_eq!(refused(buckets.take(&[charge("k", 120, 1)], at(0))).wait, Millis(500));
    let narrower = refused(buckets.take(&[charge("k", 30, 1)], at(0)));
    assert_eq!((narrower.wait, narrower.remaining), (Millis(182_000), 0));
}

#[test]
fn what_was_taken_by_an_older_limit_brings_it_not_back() {
    let mut buckets = Buckets::default();
    let wide = [charge("k", 6_000, 10)];
    assert_eq!(buckets.take(&wide, at(0)), Taken::All);
    assert_eq!(buckets.take(&[charge("k", 60, 20)], at(0)), Taken::All);
    buckets.correct(&wide, 40, at(0), at(0));
    assert_eq!(refused(buckets.take(&[charge("k", 60, 1)], at(0))).wait, Millis(1_000));
}

#[test]
fn an_absurd_count_keeps_nobody_out_for_longer_than_an_hour() {
    let mut buckets = Buckets::default();
    let call = [charge("k", 60, 1)];
    assert_eq!(buckets.take(&call, at(0)), Taken::All);
    buckets.correct(&call, u64::MAX, at(0), at(0));
    assert_eq!(refused(buckets.take(&call, at(0))).wait, Millis(59 * 60_000 + 1_000));
}

#[test]
fn a_clock_that_goes_back_gives_nothing_back() {
    let mut buckets = Buckets::default();
    assert_eq!(buckets.take(&[charge("k", 60, 60)], at(10_000)), Taken::All);
    assert_eq!(refused(buckets.take(&[charge("k", 60, 1)], at(1))).wait, Millis(1_000));
    assert_eq!(refused(buckets.take(&[charge("k", 60, 1)], at(10_999))).wait, Millis(1));
}

#[test]
fn there_are_never_more_buckets_than_may_be_and_the_idle_ones_give_way() {
    let mut buckets = Buckets::new(2);
    for (who, millis) in [("a", 0), ("b", 500)] {
        assert_eq!(buckets.take(&[charge(who, 60, 1)], at(millis)), Taken::All);
    }
    let of_both = [charge("c", 60, 1), charge("a", 60, 1)];
    assert_eq!(buckets.take(&of_both, at(500)), Taken::Some(vec![of_both[1]]));
    buckets.correct(&of_both[1..], 0, at(500), at(500));
    assert_eq!(buckets.count(), 2);
    assert_eq!(buckets.take(&[charge("c", 60, 1)], at(1_500)), Taken::All, "both are full again");
    assert_eq!(buckets.count(), 1);
    // Those that are there are counted on.
    assert_eq!(buckets.take(&[charge("c", 60, 59)], at(1_500)), Taken::All);
    let _ = refused(buckets.take(&[charge("c", 60, 1)], at(1_500)));
}

#[test]
fn scopes_measures_and_organizations_have_buckets_of_their_own() {
    let names = [
        Name::new(Scope::Key, Measure::Requests, "a", "x"),
        Name::new(Scope::User, Measure::Requests, "a", "x"),
        Name::new(Scope::Key, Measure::Tokens, "a", "x"),
        Name::new(Scope::Key, Measure::Requests, "b", "x"),
        Name::new(Scope::Key, Measure::Requests, "a", "y"),
        Name::new(Scope::Key, Measure::Requests, "ax", ""),
    ];
    let distinct: std::collections::BTreeSet<_> = names.into_iter().collect();
    assert_eq!(distinct.len(), names.len());
}

/// A step of somebody who uses a bucket: after so long, so much, and of that so much in the end, so much later.
fn steps() -> impl Strategy<Value = Vec<(u64, u64, u64, u64)>> {
    proptest::collection::vec((0_u64..8_000, 1_u64..12, 0_u64..12, 0_u64..90_000), 1..60)
}

proptest! {
    #[test]
    fn in_no_span_passes_more_than_the_limit_and_what_comes_back_in_it(
        per_minute in 1_u64..40, steps in steps(),
    ) {
        let mut buckets = Buckets::default();
        // What passed, and what is still to be corrected: when, what was taken when, what it is.
        let mut passed: Vec<(u64, u64)> = Vec::new();
        let mut later: Vec<(u64, usize, u64)> = Vec::new();
        let mut now = 0;
        for (after, count, is, correct_after) in steps {
            now += after;
            later.sort_unstable();
            while let Some((due, index, is)) = later.first().copied().filter(|(due, ..)| *due <= now) {
                later.remove(0);
                let (taken, count) = passed[index];
                buckets.correct(&[charge("k", per_minute, count)], is, at(taken), at(due));
                passed[index].1 = is;
            }
            let count = count.min(per_minute);
            let wanted = [charge("k", per_minute, count)];
            match buckets.take(&wanted, at(now)) {
                Taken::All => {
                    if is < count {
                        later.push((now + correct_after, passed.len(), is));
                    }
                    passed.push((now, count));
                }
                Taken::None(limited) => {
                    prop_assert!(limited.wait > Millis(0));
                    // Not a millisecond before, and then.
                    let just_before = at(now + limited.wait.0 - 1);
                    let mut same = Buckets { all: buckets.all.clone(), ..Buckets::default() };
                    prop_assert!(matches!(same.take(&wanted, just_before), Taken::None(_)));
                    prop_assert_eq!(same.take(&wanted, at(now + limited.wait.0)), Taken::All);
                }
                Taken::Some(_) => prop_assert!(false),
            }
        }
        // What is to be given back later may stay taken for good: only what was corrected is less.
        for (from, (begin, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (end, count) in &passed[from..] {
                sum += count * UNITS;
                prop_assert!(sum <= per_minute * UNITS + (end - begin) * per_minute);
            }
        }
    }
}
