//! Requests with an `Idempotency-Key`: what is made once, what is told again, and what frees a key.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::config::CompleteOnDisconnect;
use kt_contract::gates::Gates;
use kt_contract::idempotency::IdempotencyKey;
use kt_contract::key::OrgKeys;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::{Problem, Repeated};
use kt_contract::time::Millis;
use kt_contract::wire::admin::InvalidateRequest;
use kt_contract::wire::admit::{AdmitRequest, Control};
use sidecar_cache::freshness::Stale;
use sidecar_cache::idempotency::REPLY_BYTES_MAX;
use sidecar_cache::service::lane::{Refusal, Reply};
use sidecar_cache::service::reader::Piece;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::store::EntryStore as _;
use tokio::time::timeout;

use crate::support::*;

const REPLAYED: (Outcome, Reason) = (Outcome::Hit, Reason::Replayed);
const OTHER: &str =
    r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"something else"}]}"#;

fn repeated(refused: Result<Seen, Refusal>) -> Repeated {
    let problem = refused.unwrap_err().problem;
    let Problem::Repeated(repeated) = problem else { panic!("{problem:?}") };
    repeated
}

/// Sends what was asked for with the key `a`, and reads the answer to its end.
async fn send(group: &Group, ask: AdmitRequest, body: &str) -> Result<Seen, Refusal> {
    let (ticket, _) = group.ticket(AdmitRequest { is_keyed: true, ..ask }).await;
    let name = IdempotencyKey::read([b"a".as_slice()].into_iter()).unwrap();
    let entered = group.sidecar.enter(Some(&ticket), &holder())?.keyed(name);
    let body = Bytes::copy_from_slice(body.as_bytes());
    Ok(read(group.sidecar.serve(entered, Vec::new(), body).await?).await)
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_told_again_byte_for_byte_and_called_for_once() {
    for body in [CHAT, CHAT_STREAM, CHAT_STREAM_USAGE] {
        let group = group().await;
        let key = group.key().await;
        let first = group.fetch_keyed("a", &key, body).await.unwrap();
        assert_eq!(first.head.cache, (Outcome::Miss, Reason::Request));
        // What the cache has does not matter any more.
        group.entries.purge_org("acme".to_owned()).await.unwrap();
        for _ in 0..2 {
            let again = group.fetch_keyed("a", &key, body).await.unwrap();
            assert_eq!(again.head.cache, REPLAYED);
            assert_eq!(again.head.status, 200);
            assert_eq!(again.head.content_type, first.head.content_type);
            assert_eq!(again.head.served_by, first.head.served_by);
            assert_eq!(again.body, first.body, "{body}");
            assert!(again.has_end);
        }
        assert_eq!(group.provider.count(), 1);
        assert_eq!(group.metric("kt_idempotent_requests_total{result=\"made\"}"), "1");
        assert_eq!(group.metric("kt_idempotent_requests_total{result=\"replayed\"}"), "2");
        assert_eq!(group.metric("llm_cache_hits_total"), "0", "told again is not saved");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_is_remembered_like_any_other_answer() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let first = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!(first.head.cache, (Outcome::Hit, Reason::Shared));
    group.entries.purge_org("acme".to_owned()).await.unwrap();
    let again = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!((again.head.cache, again.body), (REPLAYED, first.body));
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_a_request_is_answered_its_key_is_taken() {
    let group = group().await;
    let key = group.key().await;
    let mut slow = answers_json(JSON);
    slow.head_after = Duration::from_secs(10);
    group.provider.next(slow);
    let first = group.fetch_keyed("a", &key, CHAT);
    let meanwhile = async {
        settle().await;
        assert_eq!(repeated(group.fetch_keyed("a", &key, CHAT).await), Repeated::InFlight);
        assert_eq!(repeated(group.fetch_keyed("a", &key, OTHER).await), Repeated::OtherRequest);
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    assert_eq!(first.unwrap().body, JSON.as_bytes());
    assert_eq!(group.fetch_keyed("a", &key, CHAT).await.unwrap().head.cache, REPLAYED);
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_one_requests() {
    let group = group().await;
    let key = group.key().await;
    group.fetch_keyed("a", &key, CHAT).await.unwrap();
    // The same question in another shape, or in other bytes, is another request.
    for other in [OTHER, CHAT_STREAM, &CHAT.replace(':', ": ")] {
        assert_eq!(repeated(group.fetch_keyed("a", &key, other).await), Repeated::OtherRequest);
    }
    assert_eq!(group.fetch_keyed("b", &key, OTHER).await.unwrap().head.cache.0, Outcome::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_its_callers_own() {
    let group = group().await;
    let key = group.key().await;
    group.fetch_keyed("a", &key, CHAT).await.unwrap();
    let colleague = group.key_with(|key| key.user = Some("grace".to_owned())).await;
    let stranger = group.key_with(|key| key.org = "umbrella".to_owned()).await;
    for other in [&colleague, &stranger] {
        let seen = group.fetch_keyed("a", other, OTHER).await.unwrap();
        assert_ne!(seen.head.cache, REPLAYED);
        assert_eq!(group.fetch_keyed("a", other, OTHER).await.unwrap().head.cache, REPLAYED);
    }
    assert_eq!(group.fetch_keyed("a", &key, CHAT).await.unwrap().head.cache, REPLAYED);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_would_come_again_is_told_again_and_others_free_the_key() {
    for (status, comes_again) in
        [(400, true), (404, true), (413, true), (422, true), (408, false), (409, false)]
    {
        let group = group().await;
        let key = group.key().await;
        for _ in 0..4 {
            let words = r#"{"error":{"message":"no"}}"#;
            group.provider.next(Scripted { status, ..answers_json(words) });
        }
        let first = group.fetch_keyed("a", &key, CHAT).await.unwrap();
        assert_eq!(first.head.status, status);
        let calls = group.provider.count();
        let again = group.fetch_keyed("a", &key, CHAT).await.unwrap();
        assert_eq!((again.head.status, &again.body), (status, &first.body));
        assert_eq!(again.head.cache == REPLAYED, comes_again, "{status}");
        assert_eq!(group.provider.count() == calls, comes_again, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_made_again() {
    let broken = || answers_sse(vec![bytes(CHUNKS), Act::Break]);
    // A success by its status alone.
    let faulty = || answers_json(r#"{"error":{"message":"overloaded"}}"#);
    let unable = || Scripted { status: 500, ..answers_json("{}") };
    let scripts: [(&str, &dyn Fn() -> Scripted); 3] =
        [(CHAT_STREAM, &broken), (CHAT, &faulty), (CHAT, &unable)];
    for (body, fails) in scripts {
        let group = group().await;
        let key = group.key().await;
        // As often as a flight tries.
        for _ in 0..3 {
            group.provider.next(fails());
        }
        let first = group.fetch_keyed("a", &key, body).await;
        assert_eq!(group.replies.count(), 0, "{first:?}");
        let mut again = group.fetch_keyed("a", &key, body).await.unwrap();
        while again.head.status != 200 || !again.has_end || again.head.is_faulty {
            again = group.fetch_keyed("a", &key, body).await.unwrap();
        }
        assert_eq!(group.fetch_keyed("a", &key, body).await.unwrap().head.cache, REPLAYED);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_event_comes_when_the_answer_is_on_disk() {
    let group = group().await;
    let key = group.key().await;
    let hour = Duration::from_secs(3_600);
    *group.replies.takes.lock().unwrap() = hour;
    let Reply::Kept(_, mut pieces) = group.lane_keyed("a", &key, CHAT_STREAM).await.unwrap() else {
        panic!("not a stream that is kept");
    };
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(CHUNKS.into())), "live until then");
    assert!(timeout(hour / 2, pieces.recv()).await.is_err());
    assert_eq!(group.replies.count(), 0);
    assert_eq!(repeated(group.fetch_keyed("a", &key, CHAT_STREAM).await), Repeated::InFlight);
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(DONE.into())));
    assert_eq!(group.replies.count(), 1);
    // It leaves without reading on, as SDKs do.
    drop(pieces);
    assert_eq!(
        group.fetch_keyed("a", &key, CHAT_STREAM).await.unwrap().body,
        sse_without_usage().as_bytes()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_one_piece_comes_when_it_is_on_disk_whether_its_client_waits_or_not() {
    let group = group().await;
    let key = group.key().await;
    let hour = Duration::from_secs(3_600);
    *group.replies.takes.lock().unwrap() = hour;
    assert!(timeout(hour / 2, group.fetch_keyed("a", &key, CHAT)).await.is_err());
    assert_eq!(repeated(group.fetch_keyed("a", &key, CHAT).await), Repeated::InFlight);
    pass(hour).await;
    assert_eq!(group.fetch_keyed("a", &key, CHAT).await.unwrap().head.cache, REPLAYED);
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_its_key_and_finds_what_its_flight_brought() {
    for (configured, calls) in [(CompleteOnDisconnect::Always, 1), (CompleteOnDisconnect::Never, 2)]
    {
        let group = group().await;
        let mut settings = settings();
        settings.single_flight.on_disconnect = configured;
        group.sidecar.reconfigure(Ok(settings)).await;
        let key = group.key().await;
        let minute = Duration::from_secs(20);
        let rest = [bytes(USAGE_CHUNK), bytes(DONE)];
        let acts = [bytes(CHUNKS), Act::Wait(minute)].into_iter().chain(rest).collect();
        group.provider.next(answers_sse(acts));
        let reply = group.lane_keyed("a", &key, CHAT_STREAM).await.unwrap();
        let Reply::Kept(_, mut pieces) = reply else { panic!("not a stream that is kept") };
        assert!(pieces.recv().await.is_some());
        drop(pieces);
        settle().await;
        // While the call goes on, it reads along; it does not have to wait for its end.
        let again = group.fetch_keyed("a", &key, CHAT_STREAM).await.unwrap();
        assert_eq!(again.body, sse_without_usage().as_bytes(), "{configured:?}");
        assert_eq!(group.provider.count(), calls, "{configured:?}");
        assert_eq!(group.fetch_keyed("a", &key, CHAT_STREAM).await.unwrap().head.cache, REPLAYED);
        assert_eq!(group.provider.count(), calls, "{configured:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_frees_its_key() {
    let group = group().await;
    let key = group.key().await;
    let mut slow = answers_json(JSON);
    slow.head_after = Duration::from_secs(10);
    group.provider.next(slow);
    let second = Duration::from_secs(1);
    assert!(timeout(second, group.fetch_keyed("a", &key, CHAT)).await.is_err());
    assert_eq!(group.fetch_keyed("a", &key, OTHER).await.unwrap().head.status, 200);
}

#[tokio::test(start_paused = true)]
async fn of_an_answer_that_is_too_large_only_that_is_remembered() {
    let group = group().await;
    let key = group.key().await;
    let long = "x".repeat(9 << 20);
    let huge = JSON.replace("hello", &long);
    group.provider.next(answers_json(&huge));
    let first = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!(first.body.len(), huge.len());
    let bytes = huge.len() as u64;
    assert_eq!(repeated(group.fetch_keyed("a", &key, CHAT).await), Repeated::TooLarge { bytes });
    assert_eq!(repeated(group.fetch_keyed("a", &key, OTHER).await), Repeated::OtherRequest);
    assert_eq!(group.provider.count(), 1);
    assert_eq!(group.metric("kt_flight_log_bytes"), "0");
}

#[tokio::test(start_paused = true)]
async fn the_longest_answer_that_is_remembered_is_told_again_byte_for_byte() {
    let group = group().await;
    let key = group.key().await;
    let length = usize::try_from(REPLY_BYTES_MAX).unwrap() - JSON.replace("hello", "").len();
    let longest = JSON.replace("hello", &"x".repeat(length));
    group.provider.next(answers_json(&longest));
    for cache in [(Outcome::Miss, Reason::Request), REPLAYED] {
        let seen = group.fetch_keyed("a", &key, CHAT).await.unwrap();
        assert_eq!(seen.head.cache, cache);
        assert!(seen.body == longest.as_bytes(), "{} bytes", seen.body.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_takes_nothing_from_who_has_paid() {
    let group = group().await;
    let key = group.key().await;
    group.replies.is_full.store(true, Ordering::SeqCst);
    for body in [CHAT, CHAT_STREAM] {
        let seen = group.fetch_keyed(body, &key, body).await.unwrap();
        assert!(seen.has_end && seen.head.status == 200);
    }
    assert_eq!(group.metric("kt_idempotent_requests_total{result=\"not_kept\"}"), "2");
    assert_eq!(group.fetch_keyed(CHAT, &key, CHAT).await.unwrap().head.status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_made_before_is_not_made_while_nobody_knows() {
    let group = group().await;
    let key = group.key().await;
    group.replies.is_lost.store(true, Ordering::SeqCst);
    assert_eq!(repeated(group.fetch_keyed("a", &key, CHAT).await), Repeated::Unknown);
    assert_eq!(group.provider.count(), 0);
    assert!(group.fetch(&key, CHAT).await.is_ok(), "without a key it is made");
    group.replies.is_lost.store(false, Ordering::SeqCst);
    assert!(group.fetch_keyed("a", &key, CHAT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_what_was_written_is_not_told() {
    let group = group().await;
    let key = group.key().await;
    let first = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    group.replies.corrupt();
    let again = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!((again.head.cache, again.body), ((Outcome::Hit, Reason::Shared), first.body));
    assert_eq!(group.fetch_keyed("a", &key, CHAT).await.unwrap().head.cache, REPLAYED);
}

#[tokio::test(start_paused = true)]
async fn behind_other_gates_it_is_another_request_which_is_told_nothing_and_paid_by_nobody() {
    let group = group().await;
    let both = ["acme/web", "acme/api"].map(str::to_owned);
    let key = group.key_with(|key| key.codebases = both.to_vec()).await;
    let behind = |change: fn(&mut Gates)| {
        let mut ask = group.ask(&key, CHAT);
        change(&mut ask.plan.gates);
        let keys = OrgKeys::derive("acme");
        ask.plan.key = keys.cache_key(&ask.plan.gates, &ask.plan.request);
        ask.plan.check = keys.check_hash(&ask.plan.gates, &ask.plan.request);
        ask
    };
    let others: [fn(&mut Gates); 3] = [
        |gates| drop(gates.codebases.pop_last()),
        |gates| gates.entitlements.clear(),
        |gates| gates.model.version = Some("2".to_owned()),
    ];
    let first = send(&group, behind(|_| {}), CHAT).await.unwrap();
    for other in others {
        assert_eq!(repeated(send(&group, behind(other), CHAT).await), Repeated::OtherRequest);
    }
    let stricter = settings_with("policies: {chain: [pii-detector]}\n");
    group.sidecar.reconfigure(Ok(stricter.clone())).await;
    let ask = ask_by(&stricter.snapshot, &gateway(), &key, CHAT);
    assert_eq!(repeated(send(&group, ask, CHAT).await), Repeated::OtherRequest, "another policy");
    assert_eq!(group.provider.count(), 1);
    let again = send(&group, behind(|_| {}), CHAT).await.unwrap();
    assert_eq!((again.head.cache, again.body), (REPLAYED, first.body));
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_whatever_kind_forgets_its_organizations_replies() {
    let of = |org: &str| InvalidateRequest { org: org.to_owned(), ..InvalidateRequest::default() };
    for purge in [
        InvalidateRequest { all: true, ..of("acme") },
        InvalidateRequest { codebase: Some("acme/web".to_owned()), ..of("acme") },
        InvalidateRequest { model: Some("gpt-4o-mini".to_owned()), ..of("acme") },
        InvalidateRequest { policy: Some("0a".repeat(32)), ..of("acme") },
        InvalidateRequest { key: Some("0a".repeat(32)), ..of("acme") },
    ] {
        let group = group().await;
        let key = group.key().await;
        let stranger = group.key_with(|key| key.org = "globex".to_owned()).await;
        for key in [&key, &stranger] {
            group.fetch_keyed("a", key, CHAT).await.unwrap();
        }
        group.sidecar.invalidate(purge.clone()).await.unwrap();
        let theirs = group.fetch_keyed("a", &stranger, CHAT).await.unwrap();
        assert_eq!(theirs.head.cache, REPLAYED, "{purge:?}");
        let again = group.fetch_keyed("a", &key, CHAT).await.unwrap();
        assert_ne!(again.head.cache, REPLAYED, "{purge:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_purge_the_same_key_makes_a_new_call() {
    let group = group().await;
    let key = group.key().await;
    group.fetch_keyed("a", &key, CHAT).await.unwrap();
    let all =
        || InvalidateRequest { org: "acme".to_owned(), all: true, ..InvalidateRequest::default() };
    group.sidecar.invalidate(all()).await.unwrap();
    // The purge comes while the new call is made: what it brings was asked for before.
    group.provider.next(Scripted {
        head_after: Duration::from_secs(9),
        ..answers_json(&JSON.replace("hello", "older"))
    });
    let purge = async {
        pass(Duration::from_secs(5)).await;
        group.sidecar.invalidate(all()).await.unwrap();
    };
    let (seen, ()) = tokio::join!(group.fetch_keyed("a", &key, CHAT), purge);
    assert_eq!(seen.unwrap().head.cache.0, Outcome::Miss);
    assert_eq!(group.provider.count(), 2);
    let newest = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!((newest.head.cache.0, newest.body), (Outcome::Miss, JSON.as_bytes().to_vec()));
    assert_eq!(group.provider.count(), 3);
    assert_eq!(group.fetch_keyed("a", &key, CHAT).await.unwrap().head.cache, REPLAYED);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_and_is_no_answer_frees_its_key() {
    let group = group().await;
    let key = group.key().await;
    // It never says why it has finished.
    let (beginning, _) = CHUNKS.split_once("\n\n").unwrap();
    group.provider.next(answers_sse(vec![bytes(beginning), bytes("\n\n"), bytes(DONE)]));
    let first = group.fetch_keyed("a", &key, CHAT_STREAM).await.unwrap();
    assert!(first.has_end, "its client has all that came");
    assert_eq!(group.replies.count(), 0);
    let again = group.fetch_keyed("a", &key, CHAT_STREAM).await.unwrap();
    assert_eq!(again.body, sse_without_usage().as_bytes());
    assert_eq!(group.provider.count(), 2);
    assert_eq!(group.fetch_keyed("a", &key, CHAT_STREAM).await.unwrap().head.cache, REPLAYED);
}

#[tokio::test(start_paused = true)]
async fn retries_at_the_same_time_all_get_the_reply() {
    let group = group().await;
    let key = group.key().await;
    group.fetch_keyed("a", &key, CHAT).await.unwrap();
    *group.replies.finds.lock().unwrap() = Duration::from_secs(1);
    let again = || group.fetch_keyed("a", &key, CHAT);
    let (one, two, three) = tokio::join!(again(), again(), again());
    for seen in [one, two, three] {
        assert_eq!(seen.unwrap().head.cache, REPLAYED);
    }
}

#[tokio::test(start_paused = true)]
async fn first_requests_at_the_same_time_are_made_once() {
    let group = group().await;
    let key = group.key().await;
    *group.replies.finds.lock().unwrap() = Duration::from_secs(1);
    let first = || group.fetch_keyed("a", &key, CHAT);
    let (one, two) = tokio::join!(first(), first());
    // Either may be the first to know that the key is free.
    let (made, refused) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(made.unwrap().head.cache.0, Outcome::Miss);
    assert_eq!(repeated(refused), Repeated::InFlight);
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_for_want_of_a_new_one_frees_its_key() {
    let group = group().await;
    let hour = Duration::from_secs(3_600);
    let stale = Stale { while_revalidate: Millis(0), if_error: Millis(1_000_000) };
    group.sidecar.reconfigure(Ok(Settings { stale, ..settings() })).await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    tokio::time::advance(hour).await;
    // As often as a flight tries.
    for _ in 0..3 {
        group.provider.next(Scripted { status: 500, ..answers_json("{}") });
    }
    let mut seen = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    assert_eq!(seen.head.cache, (Outcome::Stale, Reason::UpstreamError));
    assert_eq!(group.replies.count(), 0);
    while seen.head.cache.0 == Outcome::Stale {
        seen = group.fetch_keyed("a", &key, CHAT).await.unwrap();
    }
    assert_eq!(seen.head.cache.0, Outcome::Miss);
    assert_eq!(group.fetch_keyed("a", &key, CHAT).await.unwrap().head.cache, REPLAYED);
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_makes_no_call_where_the_cache_is_bypassed() {
    let group = group().await;
    let key = group.key().await;
    let control = Control { max_age_s: None, only_if_cached: true };
    let wanted = || AdmitRequest { control, ..group.ask(&key, CHAT) };
    let by_client = AdmitRequest { bypass: Some(Reason::ClientNoCache), ..wanted() };
    let mut mismatched = wanted();
    mismatched.plan.key.0.0[0] ^= 1;
    for ask in [by_client, mismatched] {
        let refused = send(&group, ask, CHAT).await.unwrap_err();
        assert!(matches!(refused.problem, Problem::NotCached { .. }), "{:?}", refused.problem);
    }
    assert_eq!(group.provider.count(), 0);
}
