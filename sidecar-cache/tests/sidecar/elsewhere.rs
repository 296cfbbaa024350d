//! Several sidecars on one database: what is done at one is so at the others within a second, and what each remembers
//! holds for so long, and no longer, while the database does not answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::{Problem, Repeated};
use kt_contract::wire::admin::{Condition, InvalidateRequest};
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest};
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use sidecar_cache::clock::Clock;
use sidecar_cache::entry::Entry;
use sidecar_cache::generation::Tag;
use sidecar_cache::service::lane::Refusal;
use sidecar_cache::store::layered::Layered;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{EntryStore, StoreError};

use tokio::time::Instant;

use crate::distant::Distant;
use crate::shared_database::{Away, Database};
use crate::support::*;

/// As long as anything may take to be known everywhere.
const SOON: Duration = Duration::from_secs(1);

const BOTH: [Away; 2] = [Away::Refuses, Away::Hangs];

async fn pair() -> (Arc<Database>, Group, Group) {
    let database = Arc::new(Database::default());
    let (one, other) = (database.group().await, database.group().await);
    (database, one, other)
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn all_of(org: &str) -> InvalidateRequest {
    InvalidateRequest { org: org.to_owned(), all: true, ..InvalidateRequest::default() }
}

/// What a worker is told that has heard everything up to `last`.
async fn told(group: &Group, last: Option<&FeedReply>) -> FeedReply {
    let poll = FeedRequest {
        version: kt_contract::wire::VERSION,
        worker: None,
        gateway: gateway(),
        epoch: last.map(|last| last.epoch.clone()),
        seq: last.map_or(0, |last| last.seq),
        snapshot: Some(group.snapshot().version),
        hits: None,
    };
    group.sidecar.poll_feed(&poll).await.unwrap()
}

async fn reason(group: &Group, key: &Key, body: &str) -> Reason {
    group.ticket(group.ask(key, body)).await.1
}

fn repeated(refused: Result<Seen, Refusal>) -> Repeated {
    let problem = refused.unwrap_err().problem;
    let Problem::Repeated(repeated) = problem else { panic!("{problem:?}") };
    repeated
}

#[tokio::test(start_paused = true)]
async fn what_is_purged_at_one_is_served_by_none_a_second_later() {
    let (_database, one, other) = pair().await;
    let key = one.key().await;
    for (tag, told_reason) in [
        (Tag::Org, Reason::Request),
        (Tag::Entry(one.ask(&key, CHAT).plan.key), Reason::Request),
        (Tag::Codebase("acme/web".to_owned()), Reason::Generation),
        (Tag::Model("gpt-4o-mini".to_owned()), Reason::Generation),
        (Tag::Policy(one.ask(&key, CHAT).plan.gates.policy), Reason::Generation),
    ] {
        other.fetch(&key, CHAT).await.unwrap();
        assert!(other.is_cached(&key, CHAT).await, "{tag:?}");
        let heard = told(&other, None).await;
        one.sidecar.bump("acme", tag.clone()).await.unwrap();
        pass(SOON).await;
        assert_eq!(reason(&other, &key, CHAT).await, told_reason, "{tag:?}");
        let news = told(&other, Some(&heard)).await;
        assert_eq!((news.reset, news.events), (false, vec![Event::Purged]), "{tag:?}");
    }
    // Who has purged hears nothing new of it: it has told its own gateways already.
    let heard = told(&one, None).await;
    pass(SOON).await;
    assert_eq!(told(&one, Some(&heard)).await.events, []);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_made_at_one_works_at_once_at_the_other_and_is_refused_when_revoked() {
    let (_database, one, other) = pair().await;
    let key = one.key().await;
    assert!(matches!(other.admit(other.ask(&key, CHAT)).await, Admitted::Lane { .. }));
    let heard = told(&other, None).await;
    one.sidecar.revoke_key(&key.principal.key_id).await.unwrap();
    pass(SOON).await;
    assert_eq!(
        other.admit(other.ask(&key, CHAT)).await,
        Admitted::Unauthenticated { revoked: true }
    );
    assert_eq!(told(&other, Some(&heard)).await.events, [Event::Principal { key: key.hash }]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_under_way_at_a_purge_elsewhere_is_joined_by_nobody_and_not_stored() {
    let (_database, one, other) = pair().await;
    let key = one.key().await;
    other.provider.next(Scripted { head_after: Duration::from_secs(9), ..answers_json(JSON) });
    let purge = async {
        pass(Duration::from_secs(2)).await;
        one.sidecar.invalidate(all_of("acme")).await.unwrap();
        pass(SOON).await;
        other.fetch(&key, CHAT).await.unwrap()
    };
    let (first, second) = tokio::join!(other.fetch(&key, CHAT), purge);
    assert_eq!(first.unwrap().head.cache.0, Outcome::Miss);
    assert_eq!(second.head.cache.0, Outcome::Miss);
    assert_eq!(other.provider.count(), 2);
    assert_eq!(other.metric("kt_not_stored_total{reason=\"superseded\"}"), "1");
}

/// Two sidecars that share a database and entries.
async fn two_over_one_store() -> (Group, Group, Arc<dyn EntryStore>) {
    let database = Arc::new(Database::default());
    let shared: Arc<dyn EntryStore> =
        Arc::new(MemoryEntries::new(Clock::start(), settings().memory));
    let (one, _) = database.group_over(settings(), Some(Arc::clone(&shared))).await;
    let (other, _) = database.group_over(settings(), Some(Arc::clone(&shared))).await;
    (one, other, shared)
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_somebody_who_knows_more_is_a_miss_and_stays() {
    let (one, other, shared) = two_over_one_store().await;
    let key = one.key().await;
    one.sidecar.bump("acme", Tag::Org).await.unwrap();
    one.fetch(&key, CHAT).await.unwrap();
    assert_eq!(reason(&other, &key, CHAT).await, Reason::Generation);
    assert_eq!(shared.held().entries, 1);
    // What hears of a purge of the whole organization gives the room back, too, where the store is its own.
    other.sidecar.look_elsewhere().await.unwrap();
    settle().await;
    one.fetch(&key, CHAT).await.unwrap();
    assert!(other.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_filled_before_a_purge_is_heard_of_is_a_miss_for_who_has_heard() {
    let (one, other, shared) = two_over_one_store().await;
    let key = one.key().await;
    one.sidecar.bump("acme", Tag::Org).await.unwrap();
    other.fetch(&key, CHAT).await.unwrap();
    assert!(other.is_cached(&key, CHAT).await, "it has not heard of the purge");
    assert_eq!(reason(&one, &key, CHAT).await, Reason::Generation);
    assert_eq!(shared.held().entries, 0, "and nobody keeps it");
    // Who has heard by the end of a call keeps nothing in the first place.
    other.provider.next(Scripted { head_after: SOON, ..answers_json(JSON) });
    let hears = async {
        settle().await;
        one.sidecar.bump("acme", Tag::Org).await.unwrap();
        other.sidecar.look_elsewhere().await.unwrap();
    };
    let (fetched, ()) = tokio::join!(other.fetch(&key, CHAT), hears);
    assert_eq!(fetched.unwrap().head.status, 200);
    assert_eq!(shared.held().entries, 0);
    one.fetch(&key, CHAT).await.unwrap();
    assert!(other.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_purged_elsewhere_gives_its_room_back_here() {
    let (_database, one, other) = pair().await;
    let key = one.key().await;
    for tag in [Tag::Org, Tag::Entry(one.ask(&key, CHAT).plan.key)] {
        other.fetch(&key, CHAT).await.unwrap();
        assert_eq!(other.sidecar.cache_stats().entries, 1);
        one.sidecar.bump("acme", tag.clone()).await.unwrap();
        pass(SOON).await;
        assert_eq!(other.sidecar.cache_stats().entries, 0, "{tag:?}");
    }
    // Whose key it is not, has nothing removed.
    other.fetch(&key, CHAT).await.unwrap();
    one.sidecar.bump("globex", Tag::Entry(one.ask(&key, CHAT).plan.key)).await.unwrap();
    pass(SOON).await;
    assert!(other.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn of_a_shared_store_who_hears_of_a_purge_removes_copies_only() {
    let (database, clock) = (Arc::new(Database::default()), Clock::start());
    let shared = Arc::new(Distant::new(clock, settings().memory));
    let layered = || {
        let inner = Arc::clone(&shared) as Arc<dyn EntryStore>;
        Arc::new(Layered::new(clock, settings().memory, inner, Entry::whose))
    };
    let (here, there) = (layered(), layered());
    let (one, _) = database.group_over(settings(), Some(here)).await;
    let (other, _) = database.group_over(settings(), Some(Arc::clone(&there) as _)).await;
    let key = one.key().await;
    one.fetch(&key, CHAT).await.unwrap();
    for tag in [Tag::Org, Tag::Entry(one.ask(&key, CHAT).plan.key)] {
        assert!(other.is_cached(&key, CHAT).await);
        assert_eq!(there.copies().entries, 1);
        // Purged and made anew by one, before the other has heard of the purge.
        one.sidecar.bump("acme", tag.clone()).await.unwrap();
        one.fetch(&key, CHAT).await.unwrap();
        other.sidecar.look_elsewhere().await.unwrap();
        settle().await;
        assert_eq!(there.copies().entries, 0, "{tag:?}");
        assert_eq!(shared.held().entries, 1, "{tag:?}");
        assert!(other.is_cached(&key, CHAT).await, "{tag:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_look_waits_for_what_was_purged_elsewhere_to_be_removed() {
    let database = Arc::new(Database::default());
    let slow = Arc::new(Distant::new(Clock::start(), settings().memory));
    slow.delay_purges();
    let (group, _) = database.group_over(settings(), Some(Arc::clone(&slow) as _)).await;
    let other = database.group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let looking = Arc::clone(&group.sidecar);
    tokio::spawn(async move { looking.keep_looking().await });
    other.sidecar.bump("acme", Tag::Org).await.unwrap();
    slow.purging.notified().await;
    pass(Duration::from_secs(10)).await;
    group.fetch(&key, OTHER).await.unwrap();
    assert!(group.is_cached(&key, OTHER).await, "it knows what was purged");
    assert_eq!(group.sidecar.status().database_errors, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_request_is_made_once_whichever_sidecar_it_comes_to() {
    let (database, one, other) = pair().await;
    let key = one.key().await;
    let mut slow = answers_json(JSON);
    slow.head_after = Duration::from_secs(10);
    one.provider.next(slow);
    let meanwhile = async {
        settle().await;
        assert_eq!(repeated(other.fetch_keyed("a", &key, CHAT).await), Repeated::InFlight);
        let another = other.fetch_keyed("a", &key, CHAT_STREAM).await;
        assert_eq!(repeated(another), Repeated::OtherRequest);
    };
    let (first, ()) = tokio::join!(one.fetch_keyed("a", &key, CHAT), meanwhile);
    let first = first.unwrap();
    for group in [&other, &one] {
        let again = group.fetch_keyed("a", &key, CHAT).await.unwrap();
        assert_eq!(again.head.cache, (Outcome::Hit, Reason::Replayed));
        assert_eq!(again.body, first.body);
    }
    assert_eq!((one.provider.count(), other.provider.count()), (1, 0));
    assert_eq!(database.replies(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_many_who_ask_with_one_key_at_two_sidecars_one_is_answered() {
    let (_database, one, other) = pair().await;
    let key = one.key().await;
    let asked = (0..20).map(|n| [&one, &other][n % 2].fetch_keyed("a", &key, CHAT));
    let answers = futures_util::future::join_all(asked).await;
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(made >= 1);
    assert_eq!(one.provider.count() + other.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_request_fails_at_one_is_free_at_the_other() {
    let (database, one, other) = pair().await;
    let key = one.key().await;
    one.provider.next(Scripted { status: 400, ..answers_json("{}") });
    one.provider.next(Scripted { status: 500, ..answers_json("{}") });
    // A refusal that would come again is remembered; a failure is not.
    assert_eq!(one.fetch_keyed("a", &key, CHAT).await.unwrap().head.status, 400);
    assert_eq!(other.fetch_keyed("a", &key, CHAT).await.unwrap().head.status, 400);
    assert_eq!(one.fetch_keyed("b", &key, CHAT).await.unwrap().head.status, 500);
    settle().await;
    assert_eq!(other.fetch_keyed("b", &key, CHAT).await.unwrap().head.status, 200);
    assert_eq!((other.provider.count(), database.replies()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_a_keyed_request_is_not_remembered_when_another_sidecar_has_purged() {
    let (database, one, other) = pair().await;
    let key = one.key().await;
    one.provider.next(Scripted { head_after: Duration::from_secs(1), ..answers_json(JSON) });
    let purge = async {
        // So late that its own sidecar has not heard of it.
        pass(milliseconds(999)).await;
        other.sidecar.invalidate(all_of("acme")).await.unwrap();
    };
    let (first, ()) = tokio::join!(one.fetch_keyed("a", &key, CHAT), purge);
    assert!(first.unwrap().has_end);
    settle().await;
    assert_eq!(database.replies(), 0);
    other.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!(other.provider.count(), 1, "its key is free");
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_given_up_and_the_request_refused() {
    let database = Arc::new(Database::default());
    let (one, link) = database.group_over(settings(), None).await;
    let other = database.group().await;
    let key = one.key().await;
    one.admit(one.ask(&key, CHAT)).await;
    let claiming = Arc::clone(&one.sidecar);
    link.loses_next_claim.store(true, SeqCst);
    assert_eq!(repeated(one.fetch_keyed("a", &key, CHAT).await), Repeated::Unknown);
    assert_eq!(repeated(other.fetch_keyed("a", &key, CHAT).await), Repeated::InFlight);
    tokio::spawn(async move { claiming.keep_claims().await });
    pass(SOON).await;
    other.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!((one.provider.count(), other.provider.count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_client_leaves_before_its_answer_is_given_up() {
    let database = Arc::new(Database::default());
    let (one, link) = database.group_over(settings(), None).await;
    let other = database.group().await;
    let key = one.key().await;
    one.admit(one.ask(&key, CHAT)).await;
    link.is_slow_to_answer.store(true, SeqCst);
    let asking = one.fetch_keyed("a", &key, CHAT);
    assert!(tokio::time::timeout(milliseconds(100), asking).await.is_err(), "it has left");
    assert_eq!(repeated(other.fetch_keyed("a", &key, CHAT).await), Repeated::InFlight);
    pass(Duration::from_secs(2)).await;
    settle().await;
    other.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!((one.provider.count(), other.provider.count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_kept_is_not_given_up_as_well() {
    let database = Arc::new(Database::default());
    let (one, link) = database.group_over(settings(), None).await;
    let key = one.key().await;
    one.provider.next(Scripted { status: 500, ..answers_json("{}") });
    for (name, status, frees) in [("a", 500, 1), ("b", 200, 1)] {
        assert_eq!(one.fetch_keyed(name, &key, CHAT).await.unwrap().head.status, status);
        settle().await;
        assert_eq!(link.frees.load(SeqCst), frees, "{name}");
    }
    assert_eq!(database.replies(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_may_hold_claims_says_that_it_lives_and_removes_what_has_expired() {
    let database = Arc::new(Database::default());
    let (one, link) = database.group_over(settings(), None).await;
    let counted = || (link.renews.load(SeqCst), link.sweeps.load(SeqCst));
    let claiming = Arc::clone(&one.sidecar);
    tokio::spawn(async move { claiming.keep_claims().await });
    pass(Duration::from_secs(62)).await;
    assert_eq!(counted(), (12, 1));
    // While nobody hears it, it says so with every look.
    database.is(Away::Refuses);
    pass(Duration::from_secs(10)).await;
    assert!(counted().0 >= 12 + 20, "{:?}", counted());
}

#[tokio::test(start_paused = true)]
async fn without_a_shared_database_there_are_no_claims_to_look_after() {
    let group = group().await;
    let kept = tokio::time::timeout(Duration::from_secs(60), group.sidecar.keep_claims()).await;
    assert_eq!(kept, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_a_sidecar_that_ends_was_answering_may_be_asked_elsewhere_at_once() {
    let (_database, one, other) = pair().await;
    let one: &'static Group = Box::leak(Box::new(one));
    let key = one.key().await;
    one.provider.next(Scripted { head_after: Duration::from_secs(60), ..answers_json(JSON) });
    let asking = tokio::spawn({
        let key = key.clone();
        async move { one.fetch_keyed("a", &key, CHAT).await.is_ok() }
    });
    settle().await;
    assert_eq!(repeated(other.fetch_keyed("a", &key, CHAT).await), Repeated::InFlight);
    one.sidecar.leave_claims().await;
    assert!(other.fetch_keyed("a", &key, CHAT).await.unwrap().has_end);
    asking.abort();
}

#[tokio::test(start_paused = true)]
async fn a_keyed_request_is_refused_at_once_while_the_database_does_not_answer() {
    let (database, one, _other) = pair().await;
    let key = one.key().await;
    one.fetch(&key, CHAT).await.unwrap();
    let calls = one.provider.count();
    database.is(Away::Hangs);
    pass(Duration::from_secs(3)).await;
    let start = Instant::now();
    assert_eq!(repeated(one.fetch_keyed("a", &key, CHAT).await), Repeated::Unknown);
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for what does not answer");
    database.is(None);
    pass(Duration::from_secs(2)).await;
    one.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!(one.provider.count(), calls);
}

#[tokio::test(start_paused = true)]
async fn hits_are_served_for_five_seconds_without_the_database_and_then_none_until_it_answers() {
    for away in BOTH {
        let (database, one, _other) = pair().await;
        let key = one.key().await;
        one.fetch(&key, CHAT).await.unwrap();
        let heard = told(&one, None).await;
        pass(SOON).await;
        database.is(away);
        pass(milliseconds(4_500)).await;
        assert!(one.is_cached(&key, CHAT).await, "{away:?}");
        assert_eq!(one.sidecar.status().status, Condition::Ok);
        pass(milliseconds(800)).await;
        assert_eq!(reason(&one, &key, CHAT).await, Reason::GenerationsUnknown, "{away:?}");
        let news = told(&one, Some(&heard)).await;
        assert_eq!(news.events, [Event::Purged], "workers serve nothing either");
        let status = one.sidecar.status();
        assert_eq!(status.status, Condition::Degraded);
        assert_eq!(
            status.database_errors,
            ["database: it has not answered for 5 s: the cache is closed until it does"]
        );
        let age: f64 = one.metric("kt_database_look_age_seconds").parse().unwrap();
        assert!((5.0..6.0).contains(&age), "{age}");
        assert_ne!(one.metric("kt_database_look_failures_total"), "0");
        // It serves, and keeps nothing.
        let seen = one.fetch(&key, OTHER).await.unwrap();
        assert_eq!(seen.head.cache, (Outcome::Miss, Reason::GenerationsUnknown));
        assert_eq!(one.metric("kt_not_stored_total{reason=\"generations-unknown\"}"), "1");
        database.is(None);
        pass(Duration::from_secs(2)).await;
        assert!(one.is_cached(&key, CHAT).await, "{away:?}: what was there is there");
        assert!(!one.is_cached(&key, OTHER).await);
        assert_eq!(one.sidecar.status().database_errors, [""; 0]);
    }
}

const OTHER: &str =
    r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"something else"}]}"#;

#[tokio::test(start_paused = true)]
async fn what_was_purged_while_nobody_could_look_is_known_before_it_serves_again() {
    let (database, one, other) = pair().await;
    let key = one.key().await;
    one.fetch(&key, CHAT).await.unwrap();
    other.admit(other.ask(&key, CHAT)).await;
    let (bystander, _) = database.group_over(settings(), None).await;
    database.is(Away::Hangs);
    pass(Duration::from_secs(10)).await;
    database.is(None);
    // Before anybody has looked again.
    bystander.sidecar.bump("acme", Tag::Model("gpt-4o-mini".to_owned())).await.unwrap();
    bystander.sidecar.revoke_key(&key.principal.key_id).await.unwrap();
    pass(Duration::from_secs(2)).await;
    for group in [&one, &other] {
        let answer = group.admit(group.ask(&key, CHAT)).await;
        assert_eq!(answer, Admitted::Unauthenticated { revoked: true });
    }
    let colleague = one.key().await;
    assert_eq!(reason(&one, &colleague, CHAT).await, Reason::Generation);
}

#[tokio::test(start_paused = true)]
async fn who_was_seen_is_served_for_a_minute_without_the_database_and_then_nobody_until_it_answers()
{
    for away in BOTH {
        let (database, one, _other) = pair().await;
        let (key, stranger) = (one.key().await, one.key().await);
        one.fetch(&key, CHAT).await.unwrap();
        pass(SOON).await;
        database.is(away);
        pass(Duration::from_secs(59)).await;
        let heard = told(&one, None).await;
        assert_eq!(one.fetch(&key, CHAT).await.unwrap().head.status, 200, "{away:?}");
        let asks = async |key: &Key| {
            let request = PrincipalRequest {
                version: kt_contract::wire::VERSION,
                key: key.hash,
                identity: None,
            };
            one.sidecar.principal(&request).await.unwrap()
        };
        let start = Instant::now();
        assert_eq!(asks(&stranger).await, PrincipalReply::Unavailable, "{away:?}");
        assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for what does not answer");
        pass(Duration::from_secs(2)).await;
        assert_eq!(asks(&key).await, PrincipalReply::Unavailable, "{away:?}");
        assert!(told(&one, Some(&heard)).await.reset, "workers know nobody either");
        let [said] = &one.sidecar.status().database_errors[..] else { panic!("nothing is said") };
        assert!(said.ends_with("s: nobody is served until it does"), "{said}");
        database.is(None);
        pass(Duration::from_secs(2)).await;
        assert!(matches!(asks(&key).await, PrincipalReply::Known { .. }), "{away:?}");
        assert!(one.is_cached(&key, CHAT).await);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_database_a_call_is_joined_while_it_is_younger_than_five_seconds() {
    let (database, one, _other) = pair().await;
    let key = one.key().await;
    one.admit(one.ask(&key, CHAT)).await;
    database.is(Away::Refuses);
    pass(Duration::from_secs(10)).await;
    for _ in 0..2 {
        let slow = Scripted { head_after: Duration::from_secs(20), ..answers_json(JSON) };
        one.provider.next(slow);
    }
    let after = async |seconds: u64| {
        pass(Duration::from_secs(seconds)).await;
        one.fetch(&key, CHAT).await.unwrap().head.cache
    };
    let (first, at_once, later, too_late, with_that) =
        tokio::join!(after(0), after(0), after(4), after(6), after(7));
    assert_eq!(first, (Outcome::Miss, Reason::GenerationsUnknown));
    assert_eq!(at_once, (Outcome::Coalesced, Reason::InFlight));
    assert_eq!(later, (Outcome::Coalesced, Reason::InFlight));
    assert_eq!(too_late, (Outcome::Miss, Reason::GenerationsUnknown));
    assert_eq!(with_that, (Outcome::Coalesced, Reason::InFlight));
    assert_eq!(one.provider.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_all_is_known_a_call_of_any_age_is_joined() {
    let (_database, one, _other) = pair().await;
    let key = one.key().await;
    one.provider.next(Scripted { head_after: Duration::from_secs(20), ..answers_json(JSON) });
    let late = async {
        pass(Duration::from_secs(15)).await;
        one.fetch(&key, CHAT).await.unwrap().head.cache
    };
    let (_, late) = tokio::join!(one.fetch(&key, CHAT), late);
    assert_eq!(late, (Outcome::Coalesced, Reason::InFlight));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_does_not_serve_on_errors_while_nobody_knows_whether_it_was_purged() {
    let database = Arc::new(Database::default());
    let stale = settings_with("  stale_if_error_seconds: 100000\n");
    let (group, _) = database.group_over(stale, None).await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    pass(Duration::from_secs(3_700)).await;
    // It fails once the time is over in which what was known at the lookup holds.
    group.sidecar.look_elsewhere().await.unwrap();
    let failing = |head_after| Scripted { head_after, status: 503, ..answers_json("{}") };
    for seconds in [1, 9] {
        group.provider.next(failing(Duration::from_secs(seconds)));
        let seen = group.fetch(&key, CHAT).await.unwrap();
        let expected = if seconds < 5 { Outcome::Stale } else { Outcome::Miss };
        assert_eq!(seen.head.cache.0, expected, "after {seconds} s");
        group.sidecar.look_elsewhere().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_has_forgotten_what_it_told_voids_what_is_remembered_of_it() {
    let (database, one, other) = pair().await;
    let key = one.key().await;
    one.fetch(&key, CHAT).await.unwrap();
    other.sidecar.bump("acme", Tag::Model("gpt-4o".to_owned())).await.unwrap();
    pass(SOON).await;
    let heard = told(&one, None).await;
    database.goes_back_to(0);
    pass(SOON).await;
    assert!(told(&one, Some(&heard)).await.reset);
    let answer = one.admit(one.ask(&key, CHAT)).await;
    assert_eq!(answer, Admitted::Unauthenticated { revoked: false }, "nobody knows this key");
    // No number is given twice, so that a purge voids what is there.
    let bumped = one.sidecar.bump("acme", Tag::Model("gpt-4o".to_owned())).await.unwrap();
    assert!(bumped.0 > 2, "{bumped:?}");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_is_given_twice_is_no_invalidation() {
    let database = Arc::new(Database::default());
    let (group, _) = database.group_over(settings(), None).await;
    group.sidecar.bump("acme", Tag::Org).await.unwrap();
    database.goes_back_to(0);
    let error = group.sidecar.bump("acme", Tag::Org).await.unwrap_err();
    assert!(matches!(error, StoreError::Transient(_)), "{error}");
    group.sidecar.look_elsewhere().await.unwrap();
    group.sidecar.bump("acme", Tag::Org).await.unwrap();
}
