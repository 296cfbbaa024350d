//! One suite for every store of leases: a failure reads `memory::the_second_who_asks_follows_the_first`.

use std::sync::Arc;

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use sidecar_cache::flight::{
    Acquired, BACKOFF, Cause, Failed, FlightId, HIT_FOR_MISS, Held, LEASE_TTL, Overflow,
    RETRY_AFTER_MAX, TAKEOVERS_MAX, Token,
};
use sidecar_cache::generation::Generation;
use sidecar_cache::store::leases::{AfterFailure, Claim, LeaseStore, Renewed};
use sidecar_cache::store::{Address, EntryStore, Lifetime, Lookup, NewEntry};

/// Stamps the suite over a store: how a test runs, and a way to open an empty one as [`Opened`].
#[macro_export]
macro_rules! lease_store_suite {
    ($name:ident { test: $attribute:meta, open: $open:expr, }) => {
        mod $name {
            $crate::lease_store_suite! { @tests $attribute, $open,
                the_second_who_asks_follows_the_first
                the_same_claim_is_the_same_lease
                the_same_claim_is_the_same_place
                keys_are_leased_apart
                a_lease_that_is_not_renewed_runs_out
                a_lease_that_is_renewed_lives_on_and_says_who_follows
                the_first_who_follows_wakes_whoever_leads
                a_lease_that_has_run_out_still_counts_until_it_is_somebody_elses
                nobody_follows_whoever_cannot_tell
                what_is_filled_is_found_and_ends_the_lease
                a_superseded_token_stores_nothing
                an_entry_that_may_not_be_kept_ends_the_lease_all_the_same
                an_abandoned_key_is_led_anew_with_another_token
                what_cannot_be_stored_is_not_waited_for
                what_cannot_be_stored_is_forgotten_with_its_generation
                a_failed_flight_is_taken_over_after_a_pause
                a_failure_that_is_told_twice_is_told_once
                a_takeover_belongs_to_its_flight
                a_takeover_that_is_claimed_twice_is_one
                nobody_is_waited_for_who_does_not_take_over
                a_flight_is_taken_over_so_often
                a_leader_that_died_counts_as_one_that_failed
                who_could_not_pay_is_followed_at_once
                a_provider_that_asks_for_patience_ends_the_flight
                a_flight_that_nobody_waits_for_is_over
                between_two_attempts_it_can_be_given_up
                so_many_of_a_flight_make_their_own_call
                what_is_voided_fills_nothing
                alone_one_leads_or_does_not
            }
        }
    };
    (@tests $attribute:meta, $open:expr, $($test:ident)*) => {$(
        #[$attribute]
        async fn $test() {
            $crate::lease_suite::$test($open.await).await;
        }
    )*};
}

/// An empty store, the entries that it fills, and how its clock goes on.
pub(crate) struct Opened<L, E> {
    pub(crate) leases: L,
    pub(crate) entries: Arc<E>,
    pub(crate) go_on: Box<dyn Fn(Millis)>,
}

const LATE: Millis = Millis(LEASE_TTL.0 + 1);
const UNDER: Generation = Generation(1);

pub(crate) fn key(key: u8) -> CacheKey {
    CacheKey(Digest([key; 32]))
}

pub(crate) fn entry(of: u8, bytes: &[u8]) -> NewEntry {
    NewEntry {
        at: Address { key: key(of), request: Digest([of; 32]) },
        org: "acme".to_owned(),
        bytes: bytes.to_vec(),
        lifetime: Lifetime { fresh: Millis(60_000), stale: Millis(0) },
    }
}

fn waiting(waiting: usize) -> Failed {
    Failed { waiting, ..Failed::default() }
}

pub(crate) async fn lead(leases: &impl LeaseStore, of: u8, claim: u128) -> (Token, FlightId) {
    match leases.acquire(key(of), Claim(claim)).await.unwrap() {
        Acquired::Lead(token, id) => (token, id),
        other @ (Acquired::Follow(_) | Acquired::HitForMiss | Acquired::Full | Acquired::Mute) => {
            panic!("nobody leads: {other:?}")
        }
    }
}

pub(crate) async fn follow(leases: &impl LeaseStore, of: u8, claim: u128) -> FlightId {
    match leases.acquire(key(of), Claim(claim)).await.unwrap() {
        Acquired::Follow(id) => id,
        other @ (Acquired::Lead(..) | Acquired::HitForMiss | Acquired::Full | Acquired::Mute) => {
            panic!("nobody follows: {other:?}")
        }
    }
}

async fn fail(leases: &impl LeaseStore, token: Token, failed: Failed) -> AfterFailure {
    leases.fail(key(1), token, failed).await.unwrap()
}

async fn is_there(entries: &impl EntryStore, of: u8) -> bool {
    matches!(entries.lookup(entry(of, b"").at).await.unwrap(), Lookup::Found(_))
}

pub(crate) async fn the_second_who_asks_follows_the_first<E>(opened: Opened<impl LeaseStore, E>) {
    let leases = opened.leases;
    let (token, id) = lead(&leases, 1, 1).await;
    assert_eq!(follow(&leases, 1, 2).await, id);
    assert_eq!(follow(&leases, 1, 3).await, id);
    assert!(leases.holds(key(1), token).await.unwrap());
}

pub(crate) async fn the_same_claim_is_the_same_lease<E>(opened: Opened<impl LeaseStore, E>) {
    let leases = opened.leases;
    let first = lead(&leases, 1, 1).await;
    assert_eq!(lead(&leases, 1, 1).await, first);
    let _: FlightId = follow(&leases, 1, 2).await;
    assert_eq!(leases.abandon(key(1), first.0).await.unwrap(), Held::Current);
    assert_ne!(lead(&leases, 1, 1).await.0, first.0, "it has ended");
}

pub(crate) async fn the_same_claim_is_the_same_place<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let (mut token, id) = lead(&leases, 1, 1).await;
    for round in 0_u32..2 {
        let [one, other] = [2, 3].map(|claim| claim + 10 * u128::from(round));
        // The last of them has missed its first answer, while another one came.
        for claim in [one, one, other, other, one] {
            assert_eq!(follow(&leases, 1, claim).await, id);
        }
        let renewed = leases.renew(key(1), token).await.unwrap();
        assert_eq!(renewed, Renewed::Current { followers: 2 }, "{round}");
        leases.leave(key(1), id).await.unwrap();
        // Its flight is the same one when somebody else leads it.
        let _: AfterFailure = fail(&leases, token, waiting(1)).await;
        go_on(Millis(BACKOFF.0 << round));
        token = leases.take_over(key(1), id, Claim(9)).await.unwrap().unwrap();
        assert_eq!(follow(&leases, 1, other).await, id);
        leases.leave(key(1), id).await.unwrap();
        let renewed = leases.renew(key(1), token).await.unwrap();
        assert_eq!(renewed, Renewed::Current { followers: 0 }, "{round}");
    }
}

pub(crate) async fn keys_are_leased_apart<E>(opened: Opened<impl LeaseStore, E>) {
    let leases = opened.leases;
    let (one, _) = lead(&leases, 1, 1).await;
    let (other, _) = lead(&leases, 2, 1).await;
    assert!(!leases.holds(key(1), other).await.unwrap() || one == other);
    assert_eq!(leases.abandon(key(1), one).await.unwrap(), Held::Current);
    assert!(leases.holds(key(2), other).await.unwrap());
}

pub(crate) async fn a_lease_that_is_not_renewed_runs_out<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    go_on(Millis(LEASE_TTL.0 - 1));
    assert_eq!(follow(&leases, 1, 2).await, id);
    go_on(Millis(1));
    assert_eq!(leases.renew(key(1), token).await.unwrap(), Renewed::Superseded);
    let (next, other) = lead(&leases, 1, 3).await;
    assert!(next.counter > token.counter && next.epoch == token.epoch);
    assert_ne!(other, id);
    assert!(!leases.holds(key(1), token).await.unwrap());
}

pub(crate) async fn a_lease_that_is_renewed_lives_on_and_says_who_follows<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    for followers in 0..5 {
        go_on(Millis(LEASE_TTL.0 - 1));
        let renewed = leases.renew(key(1), token).await.unwrap();
        assert_eq!(renewed, Renewed::Current { followers });
        follow(&leases, 1, 9 + u128::from(followers)).await;
    }
    leases.leave(key(1), id).await.unwrap();
    assert_eq!(leases.renew(key(1), token).await.unwrap(), Renewed::Current { followers: 4 });
}

pub(crate) async fn the_first_who_follows_wakes_whoever_leads<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let Opened { leases, .. } = opened;
    let (_, id) = lead(&leases, 1, 1).await;
    let mut woken = leases.followed(key(1), id);
    let mut others = leases.followed(key(2), id);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(woken.as_mut().poll(&mut context).is_pending(), "nobody follows");
    let mut is_woken = false;
    // It may be missed while whoever leads is not listening yet.
    for _ in 0..10_000 {
        tokio::select! {
            biased;
            () = &mut woken => is_woken = true,
            () = async {
                follow(&leases, 1, 9).await;
                leases.leave(key(1), id).await.unwrap();
            } => {}
        }
        if is_woken {
            break;
        }
    }
    assert!(is_woken);
    assert!(others.as_mut().poll(&mut context).is_pending(), "of another key");
}

pub(crate) async fn nobody_follows_whoever_cannot_tell<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    assert_eq!(follow(&leases, 1, 2).await, id);
    assert_eq!(leases.mute(key(1), token).await.unwrap(), Held::Current);
    let renewed = leases.renew(key(1), token).await.unwrap();
    assert_eq!(renewed, Renewed::Current { followers: 1 }, "it is there, and waits for nothing");
    for claim in [2, 2, 3] {
        assert_eq!(leases.acquire(key(1), Claim(claim)).await.unwrap(), Acquired::Mute);
    }
    let renewed = leases.renew(key(1), token).await.unwrap();
    assert_eq!(renewed, Renewed::Current { followers: 0 }, "nobody has heard of that place");
    assert_eq!(lead(&leases, 1, 1).await, (token, id), "whoever leads does");
    // Whoever makes the next attempt can tell of it.
    let _: AfterFailure = fail(&leases, token, waiting(1)).await;
    assert_eq!(follow(&leases, 1, 4).await, id);
    go_on(BACKOFF);
    let next = leases.take_over(key(1), id, Claim(5)).await.unwrap().unwrap();
    assert_eq!(leases.mute(key(1), token).await.unwrap(), Held::Superseded);
    assert_eq!(follow(&leases, 1, 6).await, id);
    assert_eq!(leases.abandon(key(1), next).await.unwrap(), Held::Current);
    assert_eq!(leases.mute(key(1), next).await.unwrap(), Held::Superseded);
}

pub(crate) async fn a_lease_that_has_run_out_still_counts_until_it_is_somebody_elses<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let Opened { leases, go_on, .. } = opened;
    let (token, _) = lead(&leases, 1, 1).await;
    go_on(LATE);
    assert!(leases.holds(key(1), token).await.unwrap());
    assert_eq!(leases.abandon(key(1), token).await.unwrap(), Held::Current);
    assert_eq!(leases.abandon(key(1), token).await.unwrap(), Held::Superseded);
}

pub(crate) async fn what_is_filled_is_found_and_ends_the_lease(
    opened: Opened<impl LeaseStore, impl EntryStore>,
) {
    let Opened { leases, entries, .. } = opened;
    let (token, _) = lead(&leases, 1, 1).await;
    assert_eq!(leases.fill(token, entry(1, b"answer")).await.unwrap(), Held::Current);
    assert!(is_there(&*entries, 1).await);
    assert!(!leases.holds(key(1), token).await.unwrap());
    assert_eq!(entries.near(Digest([1; 32]), 9).await.unwrap(), ["answer"]);
    assert_eq!(entries.purge_org("acme".to_owned()).await.unwrap(), 1);
    assert_eq!(leases.fill(token, entry(1, b"answer")).await.unwrap(), Held::Superseded);
    assert!(!is_there(&*entries, 1).await);
    let _: (Token, FlightId) = lead(&leases, 1, 2).await;
}

pub(crate) async fn a_superseded_token_stores_nothing(
    opened: Opened<impl LeaseStore, impl EntryStore>,
) {
    let Opened { leases, entries, go_on } = opened;
    let (stale, _) = lead(&leases, 1, 1).await;
    go_on(LATE);
    assert_eq!(leases.fill(stale, entry(1, b"late")).await.unwrap(), Held::Superseded, "run out");
    let (current, _) = lead(&leases, 1, 2).await;
    assert_eq!(leases.fill(stale, entry(1, b"stale")).await.unwrap(), Held::Superseded);
    assert_eq!(leases.abandon(key(1), stale).await.unwrap(), Held::Superseded);
    let ended = leases.end_uncacheable(key(1), stale, UNDER).await.unwrap();
    assert_eq!(ended, Held::Superseded);
    assert_eq!(fail(&leases, stale, waiting(1)).await, AfterFailure::Voided);
    let mut forged = current;
    forged.epoch.0 ^= 1;
    assert_eq!(leases.fill(forged, entry(1, b"of another store")).await.unwrap(), Held::Superseded);
    assert!(!is_there(&*entries, 1).await);
    assert!(leases.holds(key(1), current).await.unwrap());
    assert_eq!(leases.fill(current, entry(1, b"current")).await.unwrap(), Held::Current);
}

pub(crate) async fn an_entry_that_may_not_be_kept_ends_the_lease_all_the_same(
    opened: Opened<impl LeaseStore, impl EntryStore>,
) {
    let Opened { leases, entries, .. } = opened;
    let (token, _) = lead(&leases, 1, 1).await;
    let momentary = NewEntry { lifetime: Lifetime::default(), ..entry(1, b"gone") };
    assert_eq!(leases.fill(token, momentary).await.unwrap(), Held::Current);
    assert!(!is_there(&*entries, 1).await);
    let _: (Token, FlightId) = lead(&leases, 1, 2).await;
}

pub(crate) async fn an_abandoned_key_is_led_anew_with_another_token<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let leases = opened.leases;
    let mut last = 0;
    for claim in 0..20 {
        let (token, _) = lead(&leases, 1, claim).await;
        assert!(token.counter > last, "no token twice");
        last = token.counter;
        assert_eq!(leases.abandon(key(1), token).await.unwrap(), Held::Current);
    }
}

pub(crate) async fn what_cannot_be_stored_is_not_waited_for<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    assert_eq!(leases.end_uncacheable(key(1), token, UNDER).await.unwrap(), Held::Current);
    for claim in 2..5 {
        let acquired = leases.acquire(key(1), Claim(claim)).await.unwrap();
        assert_eq!(acquired, Acquired::HitForMiss);
    }
    assert_eq!(leases.acquire_alone(key(1), Claim(9)).await.unwrap(), None);
    leases.leave(key(1), id).await.unwrap();
    assert!(!leases.give_up(key(1), id).await.unwrap());
    go_on(HIT_FOR_MISS);
    let _: (Token, FlightId) = lead(&leases, 1, 9).await;
}

pub(crate) async fn what_cannot_be_stored_is_forgotten_with_its_generation<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let leases = opened.leases;
    // Larger than a double can tell apart.
    for under in [9, u64::MAX - 1] {
        let (token, _) = lead(&leases, 1, 1).await;
        let ended = leases.end_uncacheable(key(1), token, Generation(under)).await.unwrap();
        assert_eq!(ended, Held::Current);
        leases.renewed(key(1), Generation(under)).await.unwrap();
        let acquired = leases.acquire(key(1), Claim(2)).await.unwrap();
        assert_eq!(acquired, Acquired::HitForMiss);
        leases.renewed(key(1), Generation(under + 1)).await.unwrap();
        let (token, _) = lead(&leases, 1, 3).await;
        leases.renewed(key(1), Generation(u64::MAX)).await.unwrap();
        assert_eq!(leases.abandon(key(1), token).await.unwrap(), Held::Current);
    }
}

pub(crate) async fn a_failed_flight_is_taken_over_after_a_pause<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    follow(&leases, 1, 2).await;
    let after = fail(&leases, token, waiting(1)).await;
    assert_eq!(after, AfterFailure::TakeOver { after: BACKOFF });
    assert_eq!(follow(&leases, 1, 3).await, id, "who comes meanwhile waits too");
    assert_eq!(leases.take_over(key(1), id, Claim(2)).await.unwrap(), None, "too early");
    go_on(BACKOFF);
    let next = leases.take_over(key(1), id, Claim(2)).await.unwrap().unwrap();
    assert!(next.counter > token.counter);
    assert_eq!(leases.take_over(key(1), id, Claim(3)).await.unwrap(), None, "taken");
    assert_eq!(leases.renew(key(1), next).await.unwrap(), Renewed::Current { followers: 2 });
}

pub(crate) async fn a_failure_that_is_told_twice_is_told_once<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    let once = fail(&leases, token, waiting(1)).await;
    assert_eq!(fail(&leases, token, waiting(1)).await, once);
    go_on(BACKOFF);
    assert!(leases.take_over(key(1), id, Claim(2)).await.unwrap().is_some());
    assert_eq!(fail(&leases, token, waiting(1)).await, AfterFailure::Voided);
}

pub(crate) async fn a_takeover_belongs_to_its_flight<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    assert_eq!(leases.take_over(key(1), id, Claim(2)).await.unwrap(), None, "it flies");
    let _: AfterFailure = fail(&leases, token, waiting(1)).await;
    go_on(BACKOFF);
    let other = FlightId(id.0 + 1);
    assert_eq!(leases.take_over(key(1), other, Claim(2)).await.unwrap(), None);
    assert!(!leases.give_up(key(1), other).await.unwrap());
}

pub(crate) async fn a_takeover_that_is_claimed_twice_is_one<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    let _: AfterFailure = fail(&leases, token, waiting(1)).await;
    go_on(BACKOFF);
    let next = leases.take_over(key(1), id, Claim(2)).await.unwrap();
    assert!(next.is_some());
    assert_eq!(leases.take_over(key(1), id, Claim(2)).await.unwrap(), next);
}

pub(crate) async fn nobody_is_waited_for_who_does_not_take_over<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    let _: AfterFailure = fail(&leases, token, waiting(1)).await;
    go_on(Millis(BACKOFF.0 + LEASE_TTL.0 - 1));
    assert_eq!(follow(&leases, 1, 2).await, id);
    go_on(Millis(1));
    assert_eq!(leases.take_over(key(1), id, Claim(2)).await.unwrap(), None);
    assert_ne!(lead(&leases, 1, 3).await.1, id);
}

pub(crate) async fn a_leader_that_died_counts_as_one_that_failed<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let Opened { leases, go_on, .. } = opened;
    let (token, id) = lead(&leases, 1, 1).await;
    go_on(LEASE_TTL);
    let next = leases.take_over(key(1), id, Claim(2)).await.unwrap().unwrap();
    assert_eq!(leases.renew(key(1), token).await.unwrap(), Renewed::Superseded);
    assert!(matches!(fail(&leases, next, waiting(1)).await, AfterFailure::TakeOver { .. }));
    go_on(Millis(BACKOFF.0 << 1));
    let last = leases.take_over(key(1), id, Claim(3)).await.unwrap().unwrap();
    go_on(LEASE_TTL);
    assert_eq!(leases.take_over(key(1), id, Claim(4)).await.unwrap(), None, "so often");
    assert_eq!(fail(&leases, last, waiting(1)).await, AfterFailure::Over);
}

pub(crate) async fn a_flight_is_taken_over_so_often<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let (mut token, id) = lead(&leases, 1, 1).await;
    for takeover in 0..TAKEOVERS_MAX {
        let pause = Millis(BACKOFF.0 << takeover);
        assert_eq!(fail(&leases, token, waiting(1)).await, AfterFailure::TakeOver { after: pause });
        go_on(pause);
        token = leases.take_over(key(1), id, Claim(2)).await.unwrap().unwrap();
    }
    assert_eq!(fail(&leases, token, waiting(1)).await, AfterFailure::Over);
    let _: (Token, FlightId) = lead(&leases, 1, 3).await;
}

pub(crate) async fn who_could_not_pay_is_followed_at_once<E>(opened: Opened<impl LeaseStore, E>) {
    let leases = opened.leases;
    let (mut token, id) = lead(&leases, 1, 1).await;
    for claim in 2..9 {
        let failed = Failed { cause: Cause::Unpaid, ..waiting(1) };
        let after = fail(&leases, token, failed).await;
        assert_eq!(after, AfterFailure::TakeOver { after: Millis(0) });
        token = leases.take_over(key(1), id, Claim(claim)).await.unwrap().unwrap();
    }
}

pub(crate) async fn a_provider_that_asks_for_patience_ends_the_flight<E>(
    opened: Opened<impl LeaseStore, E>,
) {
    let leases = opened.leases;
    let (token, id) = lead(&leases, 1, 1).await;
    let patient = |wait| Failed { retry_after: Some(Millis(wait)), ..waiting(1) };
    let after = fail(&leases, token, patient(RETRY_AFTER_MAX.0)).await;
    assert_eq!(after, AfterFailure::TakeOver { after: RETRY_AFTER_MAX });
    assert!(leases.give_up(key(1), id).await.unwrap());
    let (token, _) = lead(&leases, 1, 2).await;
    let hopeless = patient(RETRY_AFTER_MAX.0 + 1);
    assert_eq!(fail(&leases, token, hopeless).await, AfterFailure::Over);
    assert_eq!(fail(&leases, token, hopeless).await, AfterFailure::Over, "whoever has it");
}

pub(crate) async fn a_flight_that_nobody_waits_for_is_over<E>(opened: Opened<impl LeaseStore, E>) {
    let leases = opened.leases;
    let (token, _) = lead(&leases, 1, 1).await;
    assert_eq!(fail(&leases, token, waiting(0)).await, AfterFailure::Over);
    let _: (Token, FlightId) = lead(&leases, 1, 2).await;
}

pub(crate) async fn between_two_attempts_it_can_be_given_up<E>(opened: Opened<impl LeaseStore, E>) {
    let leases = opened.leases;
    let (token, id) = lead(&leases, 1, 1).await;
    assert!(!leases.give_up(key(1), id).await.unwrap(), "it flies");
    let _: AfterFailure = fail(&leases, token, waiting(1)).await;
    assert!(leases.give_up(key(1), id).await.unwrap());
    assert!(!leases.give_up(key(1), id).await.unwrap());
    let _: (Token, FlightId) = lead(&leases, 1, 2).await;
}

pub(crate) async fn so_many_of_a_flight_make_their_own_call<E>(opened: Opened<impl LeaseStore, E>) {
    let leases = opened.leases;
    let (token, id) = lead(&leases, 1, 1).await;
    for expected in [Overflow::Go, Overflow::Go, Overflow::WaitOn] {
        assert_eq!(leases.overflow(key(1), id, Some(2)).await.unwrap(), expected);
    }
    assert_eq!(leases.overflow(key(1), id, None).await.unwrap(), Overflow::Go);
    assert_eq!(leases.abandon(key(1), token).await.unwrap(), Held::Current);
    let ended = leases.overflow(key(1), id, None).await.unwrap();
    assert_eq!(ended, Overflow::WaitOn, "it is about to answer");
}

pub(crate) async fn what_is_voided_fills_nothing(opened: Opened<impl LeaseStore, impl EntryStore>) {
    let Opened { leases, entries, .. } = opened;
    assert!(!leases.void(key(1), FlightId(1)).await.unwrap());
    let (token, id) = lead(&leases, 1, 1).await;
    assert!(leases.void(key(1), id).await.unwrap());
    assert_eq!(leases.fill(token, entry(1, b"old")).await.unwrap(), Held::Superseded);
    assert!(!is_there(&*entries, 1).await);
    let (token, next) = lead(&leases, 1, 2).await;
    assert!(!leases.void(key(1), id).await.unwrap(), "it is another flight");
    assert!(leases.holds(key(1), token).await.unwrap(), "who voids has not seen this one");
    assert_eq!(leases.end_uncacheable(key(1), token, UNDER).await.unwrap(), Held::Current);
    assert!(!leases.void(key(1), next).await.unwrap(), "there was no lease");
    assert_eq!(leases.acquire(key(1), Claim(3)).await.unwrap(), Acquired::HitForMiss);
}

pub(crate) async fn alone_one_leads_or_does_not<E>(opened: Opened<impl LeaseStore, E>) {
    let Opened { leases, go_on, .. } = opened;
    let token = leases.acquire_alone(key(1), Claim(1)).await.unwrap();
    assert!(token.is_some());
    assert_eq!(leases.acquire_alone(key(1), Claim(1)).await.unwrap(), token, "the same claim");
    assert_eq!(leases.acquire_alone(key(1), Claim(2)).await.unwrap(), None);
    go_on(LATE);
    assert_ne!(leases.acquire_alone(key(1), Claim(2)).await.unwrap().unwrap(), token.unwrap());
}
