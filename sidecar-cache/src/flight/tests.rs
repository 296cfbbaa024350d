//! Every operation in every state, and the bounds.

use kt_contract::hex::Digest;

use super::*;

mod guarantees;

const KEY: CacheKey = CacheKey(Digest([1; 32]));
const OTHER: CacheKey = CacheKey(Digest([2; 32]));
const T0: MonoMillis = MonoMillis(100);
const UNDER: Generation = Generation(5);
const NEWER: Generation = Generation(6);
const ONE_WAITS: Failed = Failed { waiting: 1, retry_after: None, cause: Cause::Call };

fn flights() -> Flights {
    Flights::new(Epoch(7))
}

fn lead(flights: &mut Flights, key: CacheKey, now: MonoMillis) -> (Token, FlightId) {
    match flights.acquire(key, now) {
        Acquired::Lead(token, id) => (token, id),
        other @ (Acquired::Follow(_) | Acquired::HitForMiss | Acquired::Full | Acquired::Mute) => {
            panic!("nobody leads: {other:?}")
        }
    }
}

/// The states in which a key can be, as seen by the holder of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Leased,
    RunOut,
    LedAnew,
    Filled,
    Abandoned,
    Voided,
    BackingOff,
    BackoffOver,
    BackoffDead,
    TakenOver,
    HitForMiss,
    HitForMissOver,
    OtherEpoch,
}

struct Rig {
    flights: Flights,
    token: Token,
    id: FlightId,
    now: MonoMillis,
}

/// Flights in that state, the holder's token, and the moment at which the next operation comes.
fn in_state(known: Known) -> Rig {
    let mut flights = flights();
    let (token, id) = lead(&mut flights, KEY, T0);
    let end = T0.after(LEASE_TTL);
    let due = T0.after(BACKOFF);
    let backs_off = |flights: &mut Flights| {
        assert_eq!(flights.fail(&KEY, token, T0, ONE_WAITS), AfterFailure::TakeOver { at: due });
    };
    let now = match known {
        Known::Leased => MonoMillis(end.0 - 1),
        Known::RunOut => end,
        Known::LedAnew => {
            assert_ne!(lead(&mut flights, KEY, end).0, token);
            end
        }
        Known::Filled => {
            assert_eq!(flights.fill(&KEY, token, T0), Held::Current);
            T0
        }
        Known::Abandoned => {
            assert_eq!(flights.abandon(&KEY, token), Held::Current);
            T0
        }
        Known::Voided => {
            assert!(flights.void(&KEY, id));
            T0
        }
        Known::BackingOff => {
            backs_off(&mut flights);
            MonoMillis(due.0 - 1)
        }
        Known::BackoffOver => {
            backs_off(&mut flights);
            due
        }
        Known::BackoffDead => {
            backs_off(&mut flights);
            due.after(LEASE_TTL)
        }
        Known::TakenOver => {
            backs_off(&mut flights);
            assert!(flights.take_over(&KEY, id, due).is_some());
            due
        }
        Known::HitForMiss | Known::HitForMissOver => {
            assert_eq!(flights.end_uncacheable(KEY, token, T0, UNDER), Held::Current);
            let over = T0.after(HIT_FOR_MISS).0;
            MonoMillis(if known == Known::HitForMiss { over - 1 } else { over })
        }
        Known::OtherEpoch => {
            let mut restarted = Flights::new(Epoch(8));
            let (same_counter, _) = lead(&mut restarted, KEY, T0);
            assert_eq!(same_counter.counter, token.counter);
            flights = restarted;
            T0
        }
    };
    Rig { flights, token, id, now }
}

/// Whether the next who asks leads because something was invalidated, and would not have.
fn renewed(known: Known, newest: Generation) -> char {
    let leads =
        |flights: &mut Flights, now| matches!(flights.acquire(KEY, now), Acquired::Lead(..));
    let Rig { flights: mut before, now, .. } = in_state(known);
    let Rig { flights: mut after, .. } = in_state(known);
    after.renewed(&KEY, newest);
    if leads(&mut after, now) && !leads(&mut before, now) { 'L' } else { '-' }
}

/// What each operation says, in one letter: what a reader of the table below needs to see at once.
fn answers(known: Known) -> String {
    let rig = || in_state(known);
    let held = |held: Held| if held == Held::Current { 'C' } else { '-' };
    let acquired = {
        let Rig { mut flights, now, .. } = rig();
        match flights.acquire(KEY, now) {
            Acquired::Lead(..) => 'L',
            Acquired::Follow(_) => 'F',
            Acquired::HitForMiss => 'H',
            Acquired::Full => 'X',
            Acquired::Mute => 'M',
        }
    };
    let alone = {
        let Rig { mut flights, now, .. } = rig();
        if flights.acquire_alone(KEY, now).is_some() { 'L' } else { '-' }
    };
    let with_token = |work: fn(&mut Flights, Token, MonoMillis) -> Held| {
        let Rig { mut flights, token, now, .. } = rig();
        held(work(&mut flights, token, now))
    };
    let failed = {
        let Rig { mut flights, token, now, .. } = rig();
        match flights.fail(&KEY, token, now, ONE_WAITS) {
            AfterFailure::TakeOver { .. } => 'T',
            AfterFailure::Over => '-',
            AfterFailure::Voided => 'V',
        }
    };
    let taken_over = {
        let Rig { mut flights, id, now, .. } = rig();
        if flights.take_over(&KEY, id, now).is_some() { 'L' } else { '-' }
    };
    let given_up = {
        let Rig { mut flights, id, .. } = rig();
        if flights.give_up(&KEY, id) { 'C' } else { '-' }
    };
    let overflowed = {
        let Rig { mut flights, id, .. } = rig();
        if flights.overflow(&KEY, id, Some(1)) == Overflow::Go { 'G' } else { '-' }
    };
    let voided = {
        let Rig { mut flights, id, .. } = rig();
        if flights.void(&KEY, id) { 'C' } else { '-' }
    };
    [
        acquired,
        alone,
        with_token(|flights, token, now| flights.renew(&KEY, token, now)),
        with_token(|flights, token, now| flights.fill(&KEY, token, now)),
        with_token(|flights, token, _| flights.abandon(&KEY, token)),
        with_token(|flights, token, now| flights.end_uncacheable(KEY, token, now, UNDER)),
        failed,
        taken_over,
        given_up,
        overflowed,
        voided,
        renewed(known, UNDER),
        renewed(known, NEWER),
    ]
    .iter()
    .collect()
}

#[test]
fn every_operation_in_every_state() {
    for (known, expected) in [
        // acquire, alone | renew, fill, abandon, uncacheable, fail | take over, give up, overflow | void |
        // renewed: nothing was invalidated, something was
        (Known::Leased, "F-CCCCT--GC--"),
        (Known::RunOut, "LL--CCTL-GC--"),
        (Known::LedAnew, "F-----V------"),
        (Known::Filled, "LL----V------"),
        (Known::Abandoned, "LL----V------"),
        (Known::Voided, "LL----V------"),
        (Known::BackingOff, "F-----T-CGC--"),
        (Known::BackoffOver, "F-----TLCGC--"),
        (Known::BackoffDead, "LL----T-CGC--"),
        (Known::TakenOver, "F-----V--GC--"),
        (Known::HitForMiss, "H-----V-----L"),
        (Known::HitForMissOver, "LL----V------"),
        (Known::OtherEpoch, "F-----V--GC--"),
    ] {
        assert_eq!(answers(known), expected, "{known:?}");
    }
}

#[test]
fn a_failure_that_is_told_twice_counts_once() {
    let mut flights = flights();
    let (mut token, id) = lead(&mut flights, KEY, T0);
    let mut now = T0;
    for takeover in 0..TAKEOVERS_MAX {
        let at = now.after(Millis(BACKOFF.0 << takeover));
        for told in 0..3 {
            let after = flights.fail(&KEY, token, now.after(Millis(told)), ONE_WAITS);
            assert_eq!(after, AfterFailure::TakeOver { at });
        }
        now = at;
        token = flights.take_over(&KEY, id, now).unwrap();
    }
    assert_eq!(flights.fail(&KEY, token, now, ONE_WAITS), AfterFailure::Over);
}

#[test]
fn keys_do_not_know_each_other() {
    let mut flights = flights();
    let (token, _) = lead(&mut flights, KEY, T0);
    let (other, _) = lead(&mut flights, OTHER, T0);
    assert_ne!(token, other);
    assert_eq!(flights.fill(&OTHER, token, T0), Held::Superseded);
    assert_eq!(flights.count(), 2);
}

#[test]
fn a_flight_is_taken_over_twice_with_growing_patience() {
    let mut flights = flights();
    let (mut token, id) = lead(&mut flights, KEY, T0);
    let mut now = T0;
    for backoff in [BACKOFF, Millis(2 * BACKOFF.0)] {
        let at = now.after(backoff);
        assert_eq!(flights.fail(&KEY, token, now, ONE_WAITS), AfterFailure::TakeOver { at });
        assert_eq!(flights.acquire(KEY, now), Acquired::Follow(id), "who comes now waits too");
        assert_eq!(flights.take_over(&KEY, id, MonoMillis(at.0 - 1)), None, "too early");
        let next = flights.take_over(&KEY, id, at).unwrap();
        assert_ne!(next, token);
        (token, now) = (next, at);
    }
    assert_eq!(flights.fail(&KEY, token, now, ONE_WAITS), AfterFailure::Over);
    let (_, next) = lead(&mut flights, KEY, now);
    assert_ne!(next, id, "the next who asks begins anew");
}

#[test]
fn nobody_takes_over_where_nobody_waits_or_the_provider_asks_for_patience() {
    let wait = |millis| Some(Millis(millis));
    for (waiting, retry_after, expected) in [
        (0, None, None),
        (1, None, Some(200)),
        (1, wait(0), Some(200)),
        (1, wait(2_000), Some(2_000)),
        (1, wait(2_001), None),
        (1, wait(u64::MAX), None),
    ] {
        let mut flights = flights();
        let (token, _) = lead(&mut flights, KEY, T0);
        let after =
            flights.fail(&KEY, token, T0, Failed { waiting, retry_after, cause: Cause::Call });
        let expected = expected.map_or(AfterFailure::Over, |after| AfterFailure::TakeOver {
            at: T0.after(Millis(after)),
        });
        assert_eq!(after, expected, "{waiting} wait, {retry_after:?}");

        let (token, id) = lead(&mut flights, OTHER, T0);
        assert!(flights.void(&OTHER, id));
        let after =
            flights.fail(&OTHER, token, T0, Failed { waiting, retry_after, cause: Cause::Call });
        let is_hopeless = retry_after > Some(RETRY_AFTER_MAX);
        let expected = if is_hopeless { AfterFailure::Over } else { AfterFailure::Voided };
        assert_eq!(after, expected, "voided: {retry_after:?}");
    }
}

#[test]
fn a_limited_number_of_a_flight_overflow() {
    for (limit, expected) in [(Some(0), 0), (Some(1), 1), (Some(3), 3), (None, 10)] {
        let mut flights = flights();
        let (token, id) = lead(&mut flights, KEY, T0);
        let mut gone = 0;
        for turn in 0..10 {
            if turn == 5 {
                // The limit is a flight's, not an attempt's.
                assert_ne!(flights.fail(&KEY, token, T0, ONE_WAITS), AfterFailure::Over);
                assert!(flights.take_over(&KEY, id, T0.after(BACKOFF)).is_some());
            }
            gone += u32::from(flights.overflow(&KEY, id, limit) == Overflow::Go);
        }
        assert_eq!(gone, expected, "{limit:?}");
    }
}

#[test]
fn a_flight_is_named_by_the_counter_of_its_first_token() {
    let mut flights = flights();
    for key in [KEY, OTHER] {
        let (token, id) = lead(&mut flights, key, T0);
        assert_eq!(id.0, token.counter);
    }
}

#[test]
fn followers_are_bounded_by_flight_and_in_all() {
    let mut flights = flights();
    let (_, id) = lead(&mut flights, KEY, T0);
    for _ in 0..FOLLOWERS_MAX {
        assert_eq!(flights.acquire(KEY, T0), Acquired::Follow(id));
    }
    assert_eq!(flights.acquire(KEY, T0), Acquired::Full);
    assert_eq!(flights.followers_of(&KEY), FOLLOWERS_MAX);
    assert_eq!(flights.followers_of(&OTHER), 0);
    flights.leave(&KEY, id);
    assert_eq!(flights.followers_of(&KEY), FOLLOWERS_MAX - 1);
    assert_eq!(flights.acquire(KEY, T0), Acquired::Follow(id));

    let key = |number: usize| {
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        CacheKey(Digest(bytes))
    };
    let mut number = 0;
    while flights.followers() < FOLLOWERS_IN_ALL_MAX {
        number += 1;
        lead(&mut flights, key(number), T0);
        for _ in 0..FOLLOWERS_MAX.min(100) {
            assert!(matches!(flights.acquire(key(number), T0), Acquired::Follow(_)));
        }
    }
    lead(&mut flights, OTHER, T0);
    assert_eq!(flights.acquire(OTHER, T0), Acquired::Full);
    // A place that was taken in a flight that is over counts until it is given back.
    assert!(flights.void(&KEY, id));
    assert_eq!(flights.acquire(OTHER, T0), Acquired::Full);
    flights.leave(&KEY, id);
    assert!(matches!(flights.acquire(OTHER, T0), Acquired::Follow(_)));
}

#[test]
fn keys_that_cannot_be_stored_are_remembered_within_a_bound() {
    let mut flights = flights();
    let key = |number: u64| {
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        CacheKey(Digest(bytes))
    };
    let most = HIT_FOR_MISS_KEYS_MAX as u64;
    for number in 0..=most {
        let (token, _) = lead(&mut flights, key(number), T0);
        assert_eq!(flights.end_uncacheable(key(number), token, T0, UNDER), Held::Current);
    }
    assert_eq!(flights.states.len(), HIT_FOR_MISS_KEYS_MAX);
    assert!(matches!(flights.acquire(key(0), T0), Acquired::Lead(..)), "the oldest is forgotten");
    assert_eq!(flights.acquire(key(most), T0), Acquired::HitForMiss);
    let later = T0.after(HIT_FOR_MISS);
    let (token, _) = lead(&mut flights, OTHER, later);
    assert_eq!(flights.end_uncacheable(OTHER, token, later, UNDER), Held::Current);
    assert_eq!(flights.states.len(), 2, "what is over, and what was led in the meantime");
}

#[test]
fn who_cannot_pay_hands_on_at_once_and_as_often_as_it_takes() {
    let mut flights = Flights::new(Epoch(1));
    let Acquired::Lead(mut token, id) = flights.acquire(KEY, T0) else { panic!() };
    let unpaid = Failed { cause: Cause::Unpaid, ..ONE_WAITS };
    for _ in 0..100 {
        assert_eq!(flights.fail(&KEY, token, T0, unpaid), AfterFailure::TakeOver { at: T0 });
        token = flights.take_over(&KEY, id, T0).unwrap();
    }
    // What it counts is calls: both takeovers are still to come.
    let mut now = T0;
    for _ in 0..TAKEOVERS_MAX {
        let AfterFailure::TakeOver { at } = flights.fail(&KEY, token, now, ONE_WAITS) else {
            panic!()
        };
        assert!(at > now);
        now = at;
        token = flights.take_over(&KEY, id, now).unwrap();
    }
    assert_eq!(flights.fail(&KEY, token, now, unpaid), AfterFailure::TakeOver { at: now });
    token = flights.take_over(&KEY, id, now).unwrap();
    assert_eq!(flights.fail(&KEY, token, now, ONE_WAITS), AfterFailure::Over);
}
