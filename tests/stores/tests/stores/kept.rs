//! Keys, generations and replies in Postgres: the suites that the stores of one sidecar pass, and what several sidecars
//! on one database could get wrong.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use kt_contract::hex::Digest;
use kt_contract::time::UnixMillis;
use kt_stores::{Server, connect, open};
use sidecar_cache::generation::{Generation, Tag};
use sidecar_cache::idempotency::{Fingerprint, KEPT};
use sidecar_cache::store::changes::{ChangeStore, Changes};
use sidecar_cache::store::postgres::{
    Database, PostgresChanges, PostgresGenerations, PostgresKeys, PostgresReplies,
};
use sidecar_cache::store::replies::{ClaimNumber, ClaimStore, Claimed, NewClaim, ReplyStore};
use sidecar_cache::store::{GenerationStore, PrincipalStore, Revoked, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::database_faults::kill;
use crate::key_suite::{hash, record};
use crate::ledger_over::SERVER;
use crate::reply_suite::{BOUNDS, id, numbers, reply};

fn reach(url: &str) -> Arc<Database> {
    Arc::new(open(url).unwrap())
}

fn generations(url: &str) -> PostgresGenerations {
    PostgresGenerations::over(reach(url))
}

fn keys(url: &str) -> PostgresKeys {
    PostgresKeys::over(reach(url))
}

fn changes(url: &str) -> PostgresChanges {
    PostgresChanges::over(open(url).unwrap())
}

async fn replies(url: &str) -> PostgresReplies {
    PostgresReplies::open_bounded(reach(url), BOUNDS).await.unwrap()
}

/// Stamps the suites over one database for each test, reached directly and through a pooler.
macro_rules! suites {
    ($($way:ident: $url:expr;)*) => {$(
        mod $way {
            suites! { @generations $url,
                numbers_grow_across_tags_and_organizations
                every_kind_of_tag_comes_back_as_it_was
                a_tag_has_its_newest_number_only
                an_organizations_number_covers_its_narrower_ones
                names_are_bytes_and_never_statements
                what_was_answered_survives_a_restart
            }
            suites! { @keys $url,
                a_key_survives_a_restart
                a_revoked_key_stays_known_with_its_first_moment
                names_and_hashes_are_unique
                keys_are_listed_from_the_oldest_on
                a_name_is_bytes_and_never_a_statement
    a_rotation_adds_a_key_and_gives_the_old_one_an_end
    the_place_of_a_key_is_taken_once_unless_its_successor_is_revoked
    a_key_that_is_over_has_no_place_to_take
            }
            suites! { @replies $url,
                what_was_kept_survives_a_restart
                a_keys_newer_answer_takes_the_place_of_the_older_and_is_counted_once
                an_organization_beyond_its_bounds_loses_its_own_oldest
                an_organization_is_forgotten_for_good_and_has_all_of_its_room_again
            }
        }
    )*};
    (@generations $url:expr, $($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            let url = $url(&super::SERVER.migrated().await.unwrap());
            crate::generation_suite::$test(|| super::generations(&url), true).await;
        }
    )*};
    (@keys $url:expr, $($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            let url = $url(&super::SERVER.migrated().await.unwrap());
            crate::key_suite::$test(|| super::keys(&url)).await;
        }
    )*};
    (@replies $url:expr, $($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            let url = $url(&super::SERVER.migrated().await.unwrap());
            crate::reply_suite::$test(async || super::replies(&url).await).await;
        }
    )*};
}

suites! {
    direct: str::to_owned;
    pooled: super::Server::pooled;
}

fn codebase(name: impl ToString) -> Tag {
    Tag::Codebase(name.to_string())
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint(Digest([number; 32]))
}

fn claim(key: u8, number: u64) -> NewClaim {
    let (id, number, org) = (id(key), ClaimNumber(number), "acme".to_owned());
    NewClaim { id, number, fingerprint: fingerprint(key), org, replaces: false }
}

async fn bump(store: &PostgresGenerations, org: &str, tag: Tag) -> Generation {
    store.bump(org.to_owned(), tag).await.unwrap()
}

#[tokio::test]
async fn what_has_changed_is_told_to_whoever_asks_what_is_new() {
    let url = SERVER.migrated().await.unwrap();
    let (generations, keys, changes) = (generations(&url), keys(&url), changes(&url));
    let none = changes.since(0).await.unwrap();
    assert_eq!(none, Changes { at: none.at, ..Changes::default() });
    let first = bump(&generations, "acme", codebase("a")).await;
    keys.add(record("gk_1", 1)).await.unwrap();
    keys.add(record("gk_2", 2)).await.unwrap();
    let seen = changes.newest().await.unwrap();
    let news = changes.since(0).await.unwrap();
    assert_eq!(news.generations, [("acme".to_owned(), codebase("a"), first)]);
    assert_eq!((news.upto, news.keys), (seen, vec![]), "nobody remembers a key that is new");
    keys.revoke("gk_2".to_owned(), UnixMillis(9)).await.unwrap();
    let second = bump(&generations, "globex", Tag::Org).await;
    let news = changes.since(seen).await.unwrap();
    assert_eq!(news.generations, [("globex".to_owned(), Tag::Org, second)]);
    assert_eq!((news.upto, news.keys), (second.0, vec![hash(2)]));
    // What was revoked before is no news.
    keys.revoke("gk_2".to_owned(), UnixMillis(10)).await.unwrap();
    let news = changes.since(second.0).await.unwrap();
    assert_eq!(news, Changes { upto: second.0, at: news.at, ..Changes::default() });
}

#[tokio::test]
async fn no_change_overtakes_one_that_is_not_committed() {
    let url = SERVER.migrated().await.unwrap();
    let (generations, keys) = (generations(&url), keys(&url));
    keys.add(record("gk_1", 1)).await.unwrap();
    let shell = connect(&url).await.unwrap();
    shell.batch_execute("BEGIN; UPDATE changes SET last = last + 1").await.unwrap();
    for error in [
        generations.bump("acme".to_owned(), Tag::Org).await.unwrap_err(),
        keys.add(record("gk_2", 2)).await.unwrap_err(),
        keys.revoke("gk_1".to_owned(), UnixMillis(1)).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Transient(_)), "{error:?}");
    }
    shell.batch_execute("COMMIT").await.unwrap();
    let committed = changes(&url).newest().await.unwrap();
    let bumped = bump(&generations, "acme", Tag::Org).await;
    assert!(bumped > Generation(committed), "{bumped:?} after {committed}");
    assert_eq!(generations.all().await.unwrap(), [("acme".to_owned(), Tag::Org, bumped)]);
}

/// Makes a change in a process that is frozen within its transaction, and stays so until `told` is dropped.
fn frozen(url: String, freeze: Arc<Notify>, told: mpsc::Receiver<()>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = generations(&url);
        let mut bump = store.bump("acme".to_owned(), Tag::Org);
        runtime.block_on(async {
            tokio::select! {
                bumped = &mut bump => panic!("{bumped:?}"),
                () = freeze.notified() => {}
            }
        });
        // Nobody drives its connection, which stays open.
        told.recv().unwrap_err();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_frozen_within_a_change_does_not_keep_others_from_theirs() {
    let url = SERVER.migrated().await.unwrap();
    let (mut shell, freeze) = (connect(&url).await.unwrap(), Arc::new(Notify::new()));
    let is = async |state: &str| {
        let sql = format!(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'kt' AND {state}"
        );
        let shell = connect(&url).await.unwrap();
        !shell.query(&sql, &[]).await.unwrap().is_empty()
    };
    // It has its number, and waits for the table.
    let blocking = shell.transaction().await.unwrap();
    blocking.batch_execute("LOCK TABLE generations IN EXCLUSIVE MODE").await.unwrap();
    let (thaw, told) = mpsc::channel();
    let frozen = frozen(url.clone(), Arc::clone(&freeze), told);
    while !is("wait_event_type = 'Lock'").await {}
    freeze.notify_one();
    blocking.rollback().await.unwrap();
    while !is("state = 'idle in transaction'").await {}
    let bump = async || generations(&url).bump("acme".to_owned(), Tag::Org).await;
    let error = bump().await.unwrap_err();
    assert!(matches!(error, StoreError::Transient(_)), "{error:?}");
    let ended = async { while is("state = 'idle in transaction'").await {} };
    timeout(Duration::from_secs(20), ended).await.unwrap();
    let bumped = bump().await.unwrap();
    let all = generations(&url).all().await.unwrap();
    assert_eq!(all, [("acme".to_owned(), Tag::Org, bumped)], "and nothing of the frozen one's");
    drop(thaw);
    frozen.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_looks_while_many_change_something_misses_nothing() {
    const EACH: u64 = 40;
    let url = SERVER.migrated().await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let looking = {
        let (changes, is_over) = (changes(&url), Arc::clone(&is_over));
        tokio::spawn(async move {
            let (mut seen, mut told, mut revoked, mut looks) = (0, Vec::new(), Vec::new(), 0);
            loop {
                // Asked before the last look, so that this one comes after all of them.
                let is_last = is_over.load(SeqCst);
                let news = changes.since(seen).await.unwrap();
                seen = news.upto;
                told.extend(news.generations.into_iter().map(|(_, _, generation)| generation.0));
                revoked.extend(news.keys);
                looks += 1;
                if is_last {
                    return (told, revoked, looks);
                }
            }
        })
    };
    let mut changing = JoinSet::new();
    for sidecar in 0..4_u8 {
        let (generations, keys) = (generations(&url), keys(&url));
        changing.spawn(async move {
            for n in 0..EACH {
                bump(&generations, "acme", codebase(format!("{sidecar}-{n}"))).await;
            }
            keys.add(record(&format!("gk_{sidecar}"), sidecar)).await.unwrap();
            keys.revoke(format!("gk_{sidecar}"), UnixMillis(1)).await.unwrap();
        });
    }
    changing.join_all().await;
    is_over.store(true, SeqCst);
    let (told, mut revoked, looks) = looking.await.unwrap();
    assert_eq!(u64::try_from(told.len()).unwrap(), 4 * EACH, "in {looks} looks");
    assert!(told.is_sorted(), "in the order in which they were given");
    revoked.sort_by_key(|key| key.0.0);
    assert_eq!(revoked, (0..4).map(hash).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_number_is_given_twice_by_a_database_that_was_restored() {
    let url = SERVER.migrated().await.unwrap();
    let (generations, changes) = (generations(&url), changes(&url));
    let Generation(seen) = bump(&generations, "acme", Tag::Org).await;
    let shell = connect(&url).await.unwrap();
    shell.batch_execute("DELETE FROM generations; UPDATE changes SET last = 2").await.unwrap();
    let news = changes.since(seen).await.unwrap();
    assert_eq!(news, Changes { upto: seen, went_back: true, at: news.at, ..Changes::default() });
    let later = changes.since(seen).await.unwrap();
    assert_eq!(later, Changes { upto: seen, at: later.at, ..Changes::default() });
    assert!(news.at.is_some() && news.at <= later.at, "its clock is told with each answer");
    assert!(bump(&generations, "acme", Tag::Org).await > Generation(seen));
    // However far the clock that gave it was ahead.
    let ahead = "UPDATE changes SET last = 8000000000000000000";
    shell.batch_execute(ahead).await.unwrap();
    let next = bump(&generations, "acme", Tag::Org).await;
    assert_eq!(next, Generation(8_000_000_000_000_000_001));
}

#[tokio::test]
async fn what_a_database_changes_that_has_lost_its_last_changes_is_told_all_the_same() {
    let url = SERVER.migrated().await.unwrap();
    let (generations, changes) = (generations(&url), changes(&url));
    let kept = bump(&generations, "acme", Tag::Org).await;
    let mut lost = kept;
    for _ in 0..5 {
        lost = bump(&generations, "acme", Tag::Org).await;
    }
    let shell = connect(&url).await.unwrap();
    let back =
        format!("UPDATE generations SET generation = {0}; UPDATE changes SET last = {0}", kept.0);
    shell.batch_execute(&back).await.unwrap();
    // Before anybody has looked.
    let next = bump(&generations, "globex", Tag::Org).await;
    let news = changes.since(lost.0).await.unwrap();
    assert_eq!(news.generations, [("globex".to_owned(), Tag::Org, next)]);
    assert_eq!(news.upto, next.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_sidecars_that_make_one_name_one_does() {
    let url = SERVER.migrated().await.unwrap();
    let (one, other) = (keys(&url), keys(&url));
    for number in 0..20 {
        let name = format!("gk_{number}");
        let ours = record(&name, number);
        let theirs = record(&name, number + 100);
        let (a, b) = tokio::join!(one.add(ours.clone()), other.add(theirs.clone()));
        assert_ne!(a.is_ok(), b.is_ok(), "{a:?} {b:?}");
        let found = one.find_named(name).await.unwrap().unwrap();
        assert_eq!(found, if a.is_ok() { ours } else { theirs });
    }
    // The same key, asked for again because the answer was lost, is made once.
    let (a, b) = tokio::join!(one.add(record("gk", 50)), other.add(record("gk", 50)));
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_sidecars_that_claim_one_key_one_has_it() {
    let url = SERVER.migrated().await.unwrap();
    let (one, other) = (replies(&url).await, replies(&url).await);
    for key in 0..20 {
        let (a, b) = tokio::join!(one.claim(claim(key, 1)), other.claim(claim(key, 1)));
        let in_flight = Claimed::InFlight(fingerprint(key));
        let (winner, loser) = match (a.unwrap(), b.unwrap()) {
            (Claimed::Taken, refused) if refused == in_flight => (&one, &other),
            (refused, Claimed::Taken) if refused == in_flight => (&other, &one),
            both => panic!("{both:?}"),
        };
        assert_eq!(loser.find(id(key)).await.unwrap(), None, "it is not answered yet");
        // The other's number is the same, and is not it.
        assert!(!loser.fulfil(ClaimNumber(1), reply(key, "acme", b"no")).await.unwrap());
        assert!(winner.fulfil(ClaimNumber(1), reply(key, "acme", b"yes")).await.unwrap());
        let done = Claimed::Done(b"yes".to_vec());
        assert_eq!(loser.claim(claim(key, 2)).await.unwrap(), done);
        assert_eq!(winner.claim(claim(key, 2)).await.unwrap(), done);
    }
}

#[tokio::test]
async fn a_claim_that_is_given_up_frees_its_key_and_no_later_one() {
    let url = SERVER.migrated().await.unwrap();
    let (one, other) = (replies(&url).await, replies(&url).await);
    assert_eq!(one.claim(claim(1, 1)).await.unwrap(), Claimed::Taken);
    // In one process nobody else answers: what is left of an earlier request is in nobody's way.
    assert_eq!(one.claim(claim(1, 2)).await.unwrap(), Claimed::Taken);
    one.free(vec![(id(1), ClaimNumber(1))]).await.unwrap();
    assert!(matches!(other.claim(claim(1, 1)).await.unwrap(), Claimed::InFlight(_)));
    other.free(vec![(id(1), ClaimNumber(2))]).await.unwrap();
    assert!(matches!(other.claim(claim(1, 1)).await.unwrap(), Claimed::InFlight(_)));
    one.free(vec![(id(2), ClaimNumber(9)), (id(1), ClaimNumber(2))]).await.unwrap();
    assert_eq!(other.claim(claim(1, 1)).await.unwrap(), Claimed::Taken);
    // What was answered stays so.
    assert!(other.fulfil(ClaimNumber(1), reply(1, "acme", b"x")).await.unwrap());
    other.free(vec![(id(1), ClaimNumber(1))]).await.unwrap();
    assert_eq!(numbers(&one).await, [1]);
    // And asked a second time, because the answer was lost, it was and is counted once.
    assert!(other.fulfil(ClaimNumber(1), reply(1, "acme", b"x")).await.unwrap());
    for key in 2..=3 {
        one.keep(reply(key, "acme", b"x")).await.unwrap();
    }
    assert_eq!(numbers(&one).await, [1, 2, 3]);
}

/// Lets the time pass in which a holder is taken to live.
async fn forget_holders(url: &str) {
    let shell = connect(url).await.unwrap();
    shell.batch_execute("UPDATE reply_holders SET until = until - 60000").await.unwrap();
}

#[tokio::test]
async fn the_claims_of_a_sidecar_that_is_gone_are_anybodys_and_fence_it_off() {
    let url = SERVER.migrated().await.unwrap();
    let (one, other) = (replies(&url).await, replies(&url).await);
    assert_eq!(one.claim(claim(1, 1)).await.unwrap(), Claimed::Taken);
    assert_eq!(one.claim(claim(2, 2)).await.unwrap(), Claimed::Taken);
    forget_holders(&url).await;
    one.renew().await.unwrap();
    assert!(matches!(other.claim(claim(1, 1)).await.unwrap(), Claimed::InFlight(_)), "it lives");
    forget_holders(&url).await;
    assert_eq!(other.claim(claim(1, 1)).await.unwrap(), Claimed::Taken);
    // It was only slow. What it brings comes too late; what nobody has taken is still its own.
    assert!(!one.fulfil(ClaimNumber(1), reply(1, "acme", b"late")).await.unwrap());
    assert!(one.fulfil(ClaimNumber(2), reply(2, "acme", b"in time")).await.unwrap());
    assert!(other.fulfil(ClaimNumber(1), reply(1, "acme", b"theirs")).await.unwrap());
    assert_eq!(one.find(id(1)).await.unwrap().unwrap(), b"theirs");
    // The claim itself has said that its holder lives.
    assert_eq!(other.claim(claim(3, 3)).await.unwrap(), Claimed::Taken);
    assert!(matches!(one.claim(claim(3, 3)).await.unwrap(), Claimed::InFlight(_)));
    other.leave().await.unwrap();
    assert_eq!(one.claim(claim(3, 3)).await.unwrap(), Claimed::Taken, "it has said that it ends");
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_answered_is_not_kept_and_stays_taken_until_then() {
    let url = SERVER.migrated().await.unwrap();
    let (one, other) = (replies(&url).await, replies(&url).await);
    one.keep(reply(2, "acme", b"x")).await.unwrap();
    one.keep(reply(3, "globex", b"x")).await.unwrap();
    assert_eq!(one.claim(claim(1, 1)).await.unwrap(), Claimed::Taken);
    other.forget_org("acme".to_owned()).await.unwrap();
    assert!(matches!(other.claim(claim(1, 1)).await.unwrap(), Claimed::InFlight(_)));
    assert!(!one.fulfil(ClaimNumber(1), reply(1, "acme", b"x")).await.unwrap());
    one.free(vec![(id(1), ClaimNumber(1))]).await.unwrap();
    assert_eq!(numbers(&one).await, [3]);
    assert_eq!(other.claim(claim(1, 1)).await.unwrap(), Claimed::Taken);
    assert!(other.fulfil(ClaimNumber(1), reply(1, "acme", b"x")).await.unwrap(), "asked after it");
}

#[tokio::test]
async fn an_answer_that_cannot_be_told_is_replaced_and_counted_once() {
    let url = SERVER.migrated().await.unwrap();
    let store = replies(&url).await;
    store.keep(reply(1, "acme", &[0; 90])).await.unwrap();
    let replacing = NewClaim { replaces: true, ..claim(1, 1) };
    assert_eq!(store.claim(replacing).await.unwrap(), Claimed::Taken);
    assert!(store.fulfil(ClaimNumber(1), reply(1, "acme", &[1; 60])).await.unwrap());
    store.keep(reply(2, "acme", &[0; 40])).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 2]);
}

/// Lets the time pass for which answers are told again, less so many milliseconds.
async fn a_day_passes(url: &str, less: u64) {
    let shell = connect(url).await.unwrap();
    let sql = format!("UPDATE replies SET at = at - {}", KEPT.0 - less);
    shell.batch_execute(&sql).await.unwrap();
}

async fn rows(url: &str, table: &str) -> i64 {
    let shell = connect(url).await.unwrap();
    shell.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_answer_is_told_for_a_day_and_then_makes_room() {
    let url = SERVER.migrated().await.unwrap();
    let store = replies(&url).await;
    for number in 1..=3 {
        store.keep(reply(number, "acme", b"x")).await.unwrap();
    }
    a_day_passes(&url, 60_000).await;
    assert_eq!(numbers(&store).await, [1, 2, 3]);
    a_day_passes(&url, KEPT.0 - 60_000).await;
    assert_eq!(numbers(&store).await, [0_u8; 0]);
    // Its key is free, and its room too.
    assert_eq!(store.claim(claim(1, 1)).await.unwrap(), Claimed::Taken);
    assert!(store.fulfil(ClaimNumber(1), reply(1, "acme", b"y")).await.unwrap());
    for number in 4..=5 {
        store.keep(reply(number, "acme", b"x")).await.unwrap();
    }
    assert_eq!(numbers(&store).await, [1, 4, 5]);
    assert_eq!(rows(&url, "replies").await, 3);
}

#[tokio::test]
async fn a_sweep_removes_what_nobody_asks_for_any_more() {
    let url = SERVER.migrated().await.unwrap();
    let (one, other) = (replies(&url).await, replies(&url).await);
    for (number, org) in [(1, "acme"), (2, "globex"), (3, "umbrella")] {
        one.keep(reply(number, org, b"x")).await.unwrap();
    }
    a_day_passes(&url, 0).await;
    one.keep(reply(4, "acme", b"x")).await.unwrap();
    one.claim(claim(5, 1)).await.unwrap();
    forget_holders(&url).await;
    other.renew().await.unwrap();
    other.claim(claim(6, 1)).await.unwrap();
    other.sweep().await.unwrap();
    assert_eq!(numbers(&other).await, [4]);
    assert_eq!((rows(&url, "replies").await, rows(&url, "reply_holders").await), (2, 1));
    assert!(matches!(one.claim(claim(6, 1)).await.unwrap(), Claimed::InFlight(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_while_connections_are_killed() {
    const EACH: u8 = 40;
    let url = SERVER.migrated().await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let mut working = JoinSet::new();
    for sidecar in 0..4_u8 {
        let (generations, keys) = (generations(&url), keys(&url));
        let replies = PostgresReplies::open(reach(&url)).await.unwrap();
        let done = Arc::clone(&done);
        working.spawn(async move {
            for n in 0..EACH {
                let number = sidecar * EACH + n;
                let name = format!("gk_{number}");
                until_known(|| keys.add(record(&name, number))).await;
                let revoked = until_known(|| keys.revoke(name.clone(), UnixMillis(7))).await;
                assert_eq!(revoked, Revoked::Done(hash(number)));
                until_known(|| generations.bump("acme".to_owned(), codebase(number))).await;
                let claimed = until_known(|| replies.claim(claim(number, 1))).await;
                assert_eq!(claimed, Claimed::Taken, "{number}");
                let kept = || replies.fulfil(ClaimNumber(1), reply(number, "acme", &[number]));
                assert!(until_known(kept).await, "{number}");
                done.fetch_add(1, SeqCst);
            }
        });
    }
    // After each third round of answers, so that there is something to kill and something gets done.
    let (killer, mut killed, mut next) = (connect(&url).await.unwrap(), 0, 0);
    while !working.is_empty() {
        if done.load(SeqCst) >= next {
            killed += kill(&killer, 2).await;
            next += 3;
        }
        if let Some(ended) = working.try_join_next() {
            ended.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert!(killed > 20, "{killed}");
    let count = usize::from(4 * EACH);
    assert_eq!(keys(&url).list().await.unwrap().len(), count);
    assert_eq!(generations(&url).all().await.unwrap().len(), count);
    let shell = connect(&url).await.unwrap();
    let held = shell.query_one("SELECT replies, bytes FROM reply_orgs", &[]).await.unwrap();
    assert_eq!((held.get::<_, i64>(0), held.get::<_, i64>(1)), (160, 160));
}

/// Asks again as long as nobody knows.
async fn until_known<'a, T>(ask: impl Fn() -> sidecar_cache::store::Answer<'a, T>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Transient(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
