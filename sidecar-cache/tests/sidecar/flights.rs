//! Many clients, one upstream call: who shares what, live or at the end, and how each ending of a flight
//! looks to those who lead, read and wait.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use kt_contract::config::Overflow;
use kt_contract::outcome::{Outcome, Reason};
use sidecar_cache::service::lane::{Refusal, Reply};
use sidecar_cache::service::reader::Piece;
use sidecar_cache::service::settings::{Settings, SingleFlight};
use tokio::task::JoinHandle;

const MANY: usize = 200;

const COALESCED: (Outcome, Reason) = (Outcome::Coalesced, Reason::InFlight);
const LED: (Outcome, Reason) = (Outcome::Miss, Reason::Request);
const TOOK_OVER: (Outcome, Reason) = (Outcome::Miss, Reason::Takeover);

fn wait(seconds: u64) -> Act {
    Act::Wait(Duration::from_secs(seconds))
}

type Fetching = JoinHandle<Result<Seen, Refusal>>;

/// So many clients that ask the same, one after the other, and wait.
async fn ask(group: &'static Group, key: &Key, body: &'static str, count: usize) -> Vec<Fetching> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let (ticket, _) = group.ticket(group.ask(key, body)).await;
        clients.push(tokio::spawn(async move { Ok(read(group.lane(&ticket, body).await?).await) }));
        tokio::task::yield_now().await;
    }
    clients
}

async fn all(clients: Vec<Fetching>) -> Vec<Result<Seen, Refusal>> {
    let mut seen = Vec::new();
    for client in clients {
        seen.push(client.await.unwrap());
    }
    seen
}

/// A group for as long as the test runs, so that its clients can be tasks.
async fn lasting_group() -> &'static Group {
    Box::leak(Box::new(group().await))
}

fn count(seen: &[Result<Seen, Refusal>], cache: (Outcome, Reason)) -> usize {
    let of = |seen: &Result<Seen, Refusal>| match seen {
        Ok(seen) => Some(seen.head.cache),
        Err(refusal) => refusal.cache,
    };
    seen.iter().filter(|seen| of(seen) == Some(cache)).count()
}

fn slow(scripted: Scripted) -> Scripted {
    Scripted { head_after: Duration::from_secs(3), ..scripted }
}

fn ending(group: &Group, word: &str) -> String {
    group.metric(&format!("kt_flight_endings_total{{ending=\"{word}\"}}"))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_identical_requests_are_one_call() {
    for (body, scripted, answer) in [
        (CHAT, answers_json(JSON), JSON.to_owned()),
        (CHAT_STREAM, answers_sse(vec![bytes(&sse())]), sse_without_usage()),
    ] {
        let group = lasting_group().await;
        let key = group.key().await;
        group.provider.next(slow(scripted));
        let clients = ask(group, &key, body, 1_000).await;
        assert_eq!(group.metric("kt_flight_followers"), "999");
        assert_eq!(group.metric("kt_flights"), "1");
        let seen = all(clients).await;
        assert_eq!((count(&seen, LED), count(&seen, COALESCED)), (1, 999));
        for seen in seen {
            let seen = seen.unwrap();
            assert!(seen.has_end && seen.body == answer.as_bytes());
        }
        assert_eq!(group.provider.count(), 1);
        assert!(group.is_cached(&key, body).await);
        settle().await;
        assert_eq!(group.metric("kt_flight_followers"), "0");
        assert_eq!(group.metric("kt_flights"), "0");
        assert_eq!(group.metric("kt_flight_leads_total"), "1");
        assert_eq!(group.metric("kt_flight_follows_total"), "999");
        assert_eq!(ending(group, "filled"), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_catches_up_at_once_and_reads_on_live() {
    let group = lasting_group().await;
    let key = group.key().await;
    let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    group.provider.next(answers_sse(vec![
        bytes(first),
        wait(10),
        bytes(second),
        wait(10),
        bytes(USAGE_CHUNK),
        bytes(DONE),
    ]));
    let leader = ask(group, &key, CHAT_STREAM, 1).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM_USAGE)).await;
    let start = tokio::time::Instant::now();
    let Reply::Stream(head, mut pieces) = group.lane(&ticket, CHAT_STREAM_USAGE).await.unwrap()
    else {
        panic!("not a stream");
    };
    assert_eq!(head.cache, COALESCED);
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(first.to_owned().into())));
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(second.to_owned().into())));
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
    let mut rest = Vec::new();
    assert!(read_on(&mut pieces, &mut rest).await);
    assert_eq!(
        String::from_utf8(rest).unwrap(),
        [USAGE_CHUNK, DONE].concat(),
        "it asked for usage"
    );
    let leader = all(leader).await.remove(0).unwrap();
    assert_eq!(leader.body, sse_without_usage().as_bytes(), "the leader did not");
}

#[tokio::test(start_paused = true)]
async fn everybody_reads_in_the_shape_that_was_asked_for() {
    for (first, second) in [(CHAT, CHAT_STREAM), (CHAT_STREAM, CHAT), (CHAT, CHAT_STREAM_USAGE)] {
        let group = lasting_group().await;
        let key = group.key().await;
        let scripted = if first == CHAT {
            answers_json(JSON)
        } else {
            answers_sse(vec![bytes(CHUNKS), wait(3), bytes(USAGE_CHUNK), bytes(DONE)])
        };
        group.provider.next(slow(scripted));
        let leader = ask(group, &key, first, 1).await;
        let followers = ask(group, &key, second, 3).await;
        assert!(all(leader).await.remove(0).unwrap().has_end);
        for seen in all(followers).await {
            let seen = seen.unwrap();
            assert_eq!(seen.head.cache, COALESCED);
            let text = String::from_utf8(seen.body).unwrap();
            assert!(text.contains("hello"), "{text}");
            assert_eq!(text.ends_with(DONE), second != CHAT, "{text}");
            assert_eq!(text.contains("prompt_tokens"), second != CHAT_STREAM, "{text}");
            let is_json = seen.head.content_type.as_deref() == Some("application/json");
            assert_eq!(is_json, second == CHAT);
        }
        assert_eq!(group.provider.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_read_by_those_who_are_there_and_then_nobody_waits() {
    let filtered = JSON.replace(r#""finish_reason":"stop""#, r#""finish_reason":"content_filter""#);
    let large = JSON.replace("hello", &"x".repeat(9 << 20));
    let tokens = JSON.replace(r#""completion_tokens":7"#, r#""completion_tokens":1001"#);
    let html = Scripted { content_type: "text/html", ..answers_json("<html>") };
    for (what, scripted) in [
        ("an ending that is not stored", answers_json(&filtered)),
        ("too large", answers_json(&large)),
        ("too many tokens", answers_json(&tokens)),
        ("no-store", Scripted { cache_control: Some("no-store"), ..answers_json(JSON) }),
        ("no answer that can be judged", html),
    ] {
        let group = lasting_group().await;
        let key = group.key().await;
        group.provider.next(slow(scripted));
        let seen = all(ask(group, &key, CHAT, MANY).await).await;
        assert_eq!((count(&seen, LED), count(&seen, COALESCED)), (1, MANY - 1), "{what}");
        assert!(seen.iter().all(|seen| seen.as_ref().is_ok_and(|seen| seen.has_end)), "{what}");
        assert_eq!(group.provider.count(), 1, "{what}");
        assert!(!group.is_cached(&key, CHAT).await, "{what}");

        for _ in 0..MANY {
            group.provider.next(slow(answers_json(JSON)));
        }
        let start = tokio::time::Instant::now();
        let seen = all(ask(group, &key, CHAT, MANY).await).await;
        assert_eq!(count(&seen, (Outcome::Miss, Reason::HitForMiss)), MANY, "{what}");
        assert!(start.elapsed() < Duration::from_secs(4), "{what}: in parallel");
        assert_eq!(group.provider.count(), 1 + MANY, "{what}");
        assert_eq!(group.metric("kt_flight_hit_for_misses_total"), MANY.to_string(), "{what}");
        assert_eq!(ending(group, "uncacheable"), "1", "{what}");

        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(group.fetch(&key, CHAT).await.unwrap().head.cache, LED, "{what}: for a while");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_would_come_again_is_shared_and_not_stored() {
    for status in [400, 404, 413, 422] {
        let group = lasting_group().await;
        let key = group.key().await;
        let said = r#"{"error":{"message":"no such thing"}}"#;
        group.provider.next(slow(Scripted { status, ..answers_json(said) }));
        for seen in all(ask(group, &key, CHAT, MANY).await).await {
            let seen = seen.unwrap();
            assert_eq!((seen.head.status, seen.body.as_slice()), (status, said.as_bytes()));
        }
        assert_eq!(group.provider.count(), 1);
        assert_eq!(ending(group, "refused"), "1");
        assert_eq!(group.fetch(&key, CHAT).await.unwrap().head.status, 200, "the next one leads");
        assert_eq!(group.provider.count(), 2);
    }
}

/// Failures of an attempt that nobody has read anything of.
fn failures() -> Vec<(&'static str, Scripted)> {
    let status = |status| Scripted { status, ..answers_json("{}") };
    let fails = |failed| Scripted { fails: Some(failed), ..answers_json("") };
    let cut = &JSON[..JSON.len() / 2];
    vec![
        ("401", status(401)),
        ("408", status(408)),
        ("409", status(409)),
        ("429", Scripted { retry_after: Some("1"), ..status(429) }),
        ("500", status(500)),
        ("no egress", fails(sidecar_cache::service::upstream::CallFailed::NoEgress)),
        ("broken", fails(sidecar_cache::service::upstream::CallFailed::Broken)),
        ("cut", Scripted { acts: vec![bytes(cut), Act::Break], ..answers_json("") }),
        ("truncated", answers_json(cut)),
        ("an error inside", answers_json(r#"{"error":{"message":"no"}}"#)),
        ("silent", Scripted { acts: vec![bytes("{"), wait(60)], ..answers_json("") }),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_the_leaders_alone_and_one_of_those_who_wait_leads_the_next() {
    for (what, scripted) in failures() {
        let group = lasting_group().await;
        let key = group.key().await;
        group.provider.next(slow(scripted));
        group.provider.next(slow(answers_json(JSON)));
        let mut clients = ask(group, &key, CHAT, MANY).await;
        let followers = clients.split_off(1);
        let leader = all(clients).await;
        assert_eq!(count(&leader, LED), 1, "{what}");
        assert!(leader[0].as_ref().map_or(true, |seen| seen.body != JSON.as_bytes()), "{what}");
        assert_eq!(group.provider.count(), 1, "{what}: the leader does not wait for the next one");
        let seen = all(followers).await;
        assert_eq!((count(&seen, TOOK_OVER), count(&seen, COALESCED)), (1, MANY - 2), "{what}");
        for seen in seen {
            assert_eq!(seen.unwrap().body, JSON.as_bytes(), "{what}");
        }
        assert_eq!(group.provider.count(), 2, "{what}");
        assert!(group.is_cached(&key, CHAT).await, "{what}");
        assert_eq!(group.metric("kt_flight_takeovers_total"), "1", "{what}");
        assert_eq!((ending(group, "failed"), ending(group, "filled")), ("1".into(), "1".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn after_two_takeovers_everybody_gets_the_error_at_once() {
    for (what, scripted) in failures() {
        let group = lasting_group().await;
        let key = group.key().await;
        for _ in 0..3 {
            group.provider.next(slow(scripted.clone()));
        }
        let seen = all(ask(group, &key, CHAT, MANY).await).await;
        assert_eq!(group.provider.count(), 3, "{what}");
        let is_error = |seen: &Result<Seen, Refusal>| match seen {
            Ok(seen) => seen.body != JSON.as_bytes(),
            Err(refusal) => refusal.problem.status() >= 500,
        };
        assert!(seen.iter().all(is_error), "{what}");
        assert_eq!((count(&seen, LED), count(&seen, TOOK_OVER)), (1, 2), "{what}");
        settle().await;
        assert_eq!(group.metric("kt_flights"), "0", "{what}");
        assert!(group.fetch(&key, CHAT).await.unwrap().has_end, "{what}: the next who asks leads");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_nothing_is_waited_for_as_long_as_its_target_says() {
    // Three calls; before two of them no gateway is found, for two seconds each.
    for (patience, calls_took) in [(5, 19), (600, 1_804)] {
        for silent in [
            Scripted { head_after: Duration::from_secs(601), ..answers_json(JSON) },
            Scripted { acts: vec![wait(601)], ..answers_json("") },
            answers_sse(vec![wait(601)]),
        ] {
            let group = lasting_group().await;
            let key = group.key().await;
            let patience = Duration::from_secs(patience);
            let of_target = settings().first_byte.into_keys().map(|target| (target, patience));
            let first_byte = of_target.collect();
            let single_flight =
                SingleFlight { overflow: Overflow::Count(0), ..settings().single_flight };
            let changed = Settings { first_byte, single_flight, ..settings() };
            group.sidecar.reconfigure(Ok(changed)).await;
            for _ in 0..3 {
                group.provider.next(silent.clone());
            }
            let began = tokio::time::Instant::now();
            let seen = all(ask(group, &key, CHAT, MANY).await).await;
            assert_eq!(began.elapsed().as_secs(), calls_took, "but for two backoffs");
            assert_eq!(group.provider.count(), 3);
            assert_eq!((count(&seen, LED), count(&seen, TOOK_OVER)), (1, 2));
            for seen in seen {
                assert_eq!(seen.unwrap_err().problem.code(), "upstream_cut_short");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_for_patience_is_not_asked_again() {
    let group = lasting_group().await;
    let key = group.key().await;
    let busy = Scripted { status: 429, retry_after: Some("30"), ..answers_json("busy") };
    group.provider.next(slow(busy));
    for seen in all(ask(group, &key, CHAT, MANY).await).await {
        let seen = seen.unwrap();
        assert_eq!((seen.head.status, seen.head.advice.after.as_deref()), (429, Some("30")));
    }
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_read_something_of_a_failed_stream_gets_an_error_event_and_no_end() {
    let group = lasting_group().await;
    let key = group.key().await;
    group.provider.next(answers_sse(vec![bytes(CHUNKS), wait(3), Act::Break]));
    group.provider.next(slow(answers_sse(vec![bytes(&sse())])));
    let readers = ask(group, &key, CHAT_STREAM, MANY).await;
    // It wants the other shape, so it has read nothing.
    let waiter = ask(group, &key, CHAT, 1).await;
    for seen in all(readers).await {
        let seen = seen.unwrap();
        assert!(!seen.has_end);
        let text = String::from_utf8(seen.body).unwrap();
        let error = text.strip_prefix(CHUNKS).unwrap();
        assert!(error.contains("upstream_cut_short"), "{error}");
    }
    let waiter = all(waiter).await.remove(0).unwrap();
    assert_eq!(waiter.head.cache, TOOK_OVER);
    assert!(String::from_utf8(waiter.body).unwrap().contains("\"chat.completion\""));
    assert_eq!(group.provider.count(), 2);
    let llm = "llm_errors_total{error_type=\"upstream_cut_short\",provider=\"openai\"}";
    assert_eq!(group.metric(llm), MANY.to_string());
}

#[tokio::test(start_paused = true)]
async fn who_comes_during_a_backoff_waits_with_the_others() {
    let group = lasting_group().await;
    let key = group.key().await;
    group.provider.next(slow(Scripted { status: 500, ..answers_json("{}") }));
    group.provider.next(slow(answers_json(JSON)));
    let early = ask(group, &key, CHAT, 2).await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(group.provider.count(), 1, "it backs off");
    let late = ask(group, &key, CHAT, 2).await;
    let seen = all(late).await;
    assert_eq!(count(&seen, COALESCED), 2);
    assert_eq!(count(&all(early).await, TOOK_OVER), 1, "who has waited longest leads");
    assert_eq!(group.provider.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_of_those_who_have_waited_too_long_makes_its_own_call() {
    let group = lasting_group().await;
    let key = group.key().await;
    group.provider.next(Scripted { head_after: Duration::from_secs(100), ..answers_json(JSON) });
    group.provider.next(answers_json(JSON));
    let clients = ask(group, &key, CHAT, MANY).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(group.provider.count(), 2);
    let seen = all(clients).await;
    assert_eq!(count(&seen, (Outcome::Miss, Reason::Overflow)), 1);
    assert_eq!(count(&seen, COALESCED), MANY - 2);
    assert!(seen.iter().all(|seen| seen.as_ref().is_ok_and(|seen| seen.body == JSON.as_bytes())));
    assert_eq!(group.metric("kt_flight_overflows_total"), "1");
    let answered = |status| {
        let labels = format!("model=\"gpt-4o-mini\",provider=\"openai\",status=\"{status}\"");
        group.metric(&format!("llm_requests_total{{{labels}}}"))
    };
    assert_eq!((answered(200), answered(499)), (MANY.to_string(), "0".to_owned()));
    assert_eq!(group.metric("kt_not_stored_total{reason=\"overflow\"}"), "1");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_on_its_way_is_waited_for() {
    for (what, body, scripted) in [
        ("json", CHAT, Scripted { acts: vec![bytes("{"), wait(20)], ..answers_json("") }),
        ("another shape", CHAT, answers_sse(vec![bytes(CHUNKS), wait(20)])),
    ] {
        let group = lasting_group().await;
        let key = group.key().await;
        let is_stream = what != "json";
        let mut acts = scripted.acts.clone();
        acts.push(wait(20));
        acts.push(if is_stream { bytes(USAGE_CHUNK) } else { bytes(&JSON[1..]) });
        if is_stream {
            acts.push(bytes(DONE));
        } else {
            // Something within the idle time.
            acts.insert(2, bytes(" "));
        }
        if is_stream {
            acts.insert(2, bytes(": still there\n\n"));
        }
        group.provider.next(Scripted { acts, ..scripted });
        let leader = ask(group, &key, if is_stream { CHAT_STREAM } else { CHAT }, 1).await;
        let followers = ask(group, &key, body, 3).await;
        assert_eq!(count(&all(followers).await, COALESCED), 3, "{what}");
        assert!(all(leader).await[0].is_ok(), "{what}");
        assert_eq!(group.provider.count(), 1, "{what}: 40 s, paid once");
    }
}

#[tokio::test(start_paused = true)]
async fn followers_are_bounded() {
    let group = lasting_group().await;
    let key = group.key().await;
    group.provider.next(slow(answers_json(JSON)));
    let clients = ask(group, &key, CHAT, 1_001).await;
    let refused = group.fetch(&key, CHAT).await.unwrap_err();
    let problem = refused.problem;
    assert_eq!((problem.status(), problem.code()), (503, "flight_full"));
    assert_eq!(problem.retry_after_s(), Some(1));
    assert!(all(clients).await.iter().all(Result::is_ok));
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_goes_on_while_anybody_follows_and_fills() {
    for (leader_shape, events) in [(CHAT_STREAM, 0), (CHAT_STREAM, 1), (CHAT, 0)] {
        let group = lasting_group().await;
        let key = group.key().await;
        let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
        let scripted = if leader_shape == CHAT {
            answers_json(JSON)
        } else {
            answers_sse(vec![bytes(first), wait(5), bytes(second), bytes(USAGE_CHUNK), bytes(DONE)])
        };
        group.provider.next(slow(scripted));
        let leader = ask(group, &key, leader_shape, 1).await;
        let followers = ask(group, &key, leader_shape, 3).await;
        tokio::time::sleep(Duration::from_secs(1 + 4 * events)).await;
        leader[0].abort();
        for seen in all(followers).await {
            let seen = seen.unwrap();
            assert!(seen.has_end && seen.head.cache == COALESCED);
        }
        assert_eq!((group.provider.count(), group.provider.cancelled()), (1, 0));
        assert!(group.is_cached(&key, leader_shape).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_nobody_reads_goes_on_where_half_of_it_is_there() {
    let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    for (what, limit, is_stored) in [("half", 2, true), ("less than half", 3, false)] {
        let group = lasting_group().await;
        let key = group.key().await;
        let body = CHAT_STREAM.replacen('{', &format!(r#"{{"max_tokens":{limit},"#), 1);
        let rest = [second, USAGE_CHUNK, DONE].concat();
        group.provider.next(answers_sse(vec![bytes(first), wait(20), bytes(&rest)]));
        let (ticket, _) = group.ticket(group.ask(&key, &body)).await;
        let reply = group.lane(&ticket, &body).await.unwrap();
        drop(reply);
        group.sidecar.drained().await;
        assert_eq!(group.provider.cancelled(), usize::from(!is_stored), "{what}");
        assert_eq!(group.entries.is_filled(), is_stored, "{what}");
        let word = if is_stored { "filled" } else { "cancelled" };
        assert_eq!(ending(group, word), "1", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_an_answer_is_half_of_what_answers_of_its_kind_are_long() {
    let text = "w".repeat(2_000);
    let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    let stream = [first.replace("hello", &text), [second, USAGE_CHUNK, DONE].concat()];
    let json = JSON.replace("hello", &text);
    let json = [json[..1_800].to_owned(), json[1_800..].to_owned()];
    for (body, parts) in [(CHAT_STREAM, stream), (CHAT, json)] {
        let group = lasting_group().await;
        let key = group.key().await;
        // Those of the other kind are so long that nothing of this one is half of them.
        for kind in [CHAT_STREAM, CHAT] {
            let text = if kind == body { text.clone() } else { "w".repeat(50_000) };
            let answer = |whole: &str| whole.replace("hello", &text);
            let scripted = match kind {
                CHAT => answers_json(&answer(JSON)),
                _ => answers_sse(vec![bytes(&answer(&sse()))]),
            };
            group.provider.next(scripted);
            let asked = kind.replace("\"hi\"", &format!("\"{}\"", kind.len()));
            assert!(group.fetch(&key, &asked).await.unwrap().has_end);
        }
        let acts = vec![bytes(&parts[0]), wait(20), bytes(&parts[1])];
        let kind = if body == CHAT { answers_json("") } else { answers_sse(vec![]) };
        group.provider.next(Scripted { acts, ..kind });
        let client = ask(group, &key, body, 1).await.remove(0);
        pass(Duration::from_secs(1)).await;
        client.abort();
        group.sidecar.drained().await;
        assert_eq!((group.provider.cancelled(), &*ending(group, "filled")), (0, "3"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_nobody_reads_does_not_go_on_for_ever() {
    let group = lasting_group().await;
    let key = group.key().await;
    let body = CHAT_STREAM.replacen('{', r#"{"max_tokens":1,"#, 1);
    let mut acts = vec![bytes(CHUNKS)];
    acts.extend((0..100).flat_map(|_| [wait(5), bytes(": still there\n\n")]));
    group.provider.next(answers_sse(acts));
    let (ticket, _) = group.ticket(group.ask(&key, &body)).await;
    drop(group.lane(&ticket, &body).await.unwrap());
    let start = tokio::time::Instant::now();
    group.sidecar.drained().await;
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!(group.provider.cancelled(), 1);
    assert_eq!(group.metric("kt_not_stored_total{reason=\"client-left\"}"), "1");
    assert_eq!(["cancelled", "failed"].map(|word| ending(group, word)), ["1", "0"], "it ends once");
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_flight_that_nobody_reads_is_served_by_it() {
    let group = lasting_group().await;
    let key = group.key().await;
    let body: &'static str =
        Box::leak(CHAT_STREAM.replacen('{', r#"{"max_tokens":2,"#, 1).into_boxed_str());
    group.provider.next(answers_sse(vec![
        bytes(CHUNKS),
        wait(20),
        bytes(USAGE_CHUNK),
        bytes(DONE),
    ]));
    let (ticket, _) = group.ticket(group.ask(&key, body)).await;
    drop(group.lane(&ticket, body).await.unwrap());
    settle().await;
    let seen = all(ask(group, &key, body, 2).await).await;
    assert_eq!(count(&seen, COALESCED), 2);
    assert_eq!((group.provider.count(), group.provider.cancelled()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_never_reads_holds_back_nobody() {
    let group = lasting_group().await;
    let key = group.key().await;
    // Far more than is kept.
    let mut acts: Vec<_> = (0..20).map(|_| bytes(&": 234567\n\n".repeat(100_000))).collect();
    acts.push(bytes(&sse()));
    group.provider.next(Scripted { head_after: Duration::from_secs(1), ..answers_sse(acts) });
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let idle = tokio::spawn(async move { group.lane(&ticket, CHAT_STREAM).await });
    settle().await;
    let readers = ask(group, &key, CHAT_STREAM, 3).await;
    let start = tokio::time::Instant::now();
    for seen in all(readers).await {
        assert!(seen.unwrap().has_end);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let mut idle = idle.await.unwrap();
    let Ok(Reply::Stream(_, pieces)) = &mut idle else { panic!("not a stream") };
    let mut body = Vec::new();
    assert!(!read_on(pieces, &mut body).await, "what it has not read is not kept");
    assert!(String::from_utf8(body).unwrap().contains("upstream_cut_short"));
}

#[tokio::test(start_paused = true)]
async fn without_single_flight_everybody_calls_and_one_stores() {
    let group = lasting_group().await;
    let mut settings = settings();
    settings.single_flight.is_enabled = false;
    group.sidecar.reconfigure(Ok(settings)).await;
    let key = group.key().await;
    for _ in 0..MANY {
        group.provider.next(slow(answers_json(JSON)));
    }
    let seen = all(ask(group, &key, CHAT, MANY).await).await;
    assert_eq!(group.provider.count(), MANY);
    assert_eq!(count(&seen, LED), 1);
    assert_eq!(count(&seen, (Outcome::Miss, Reason::SingleFlightOff)), MANY - 1);
    assert_eq!(group.metric("kt_fills_total"), "1");
}

#[tokio::test(start_paused = true)]
async fn keys_of_two_organizations_share_no_flight() {
    let group = lasting_group().await;
    let (ours, theirs) =
        (group.key().await, group.key_with(|key| key.org = "globex".to_owned()).await);
    group.provider.next(slow(answers_json(JSON)));
    group.provider.next(slow(answers_json(JSON)));
    let first = ask(group, &ours, CHAT, 1).await;
    let second = ask(group, &theirs, CHAT, 1).await;
    assert_eq!(count(&all(first).await, LED) + count(&all(second).await, LED), 2);
    assert_eq!(group.provider.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_a_flight_that_began_before_an_invalidation_and_it_stores_nothing() {
    let group = lasting_group().await;
    let key = group.key().await;
    group.provider.next(slow(answers_json(JSON)));
    let anew = answers_json(&JSON.replace("hello", "anew"));
    group.provider.next(Scripted { head_after: Duration::from_secs(5), ..anew });
    let attached = ask(group, &key, CHAT, 3).await;
    group.sidecar.bump("acme", sidecar_cache::generation::Tag::Org).await.unwrap();
    let later = ask(group, &key, CHAT, 3).await;
    for seen in all(attached).await {
        assert_eq!(seen.unwrap().body, JSON.as_bytes(), "those who are attached read on");
    }
    assert!(!group.is_cached(&key, CHAT).await);
    let seen = all(later).await;
    assert_eq!(count(&seen, COALESCED), 2);
    assert!(seen.iter().all(|seen| {
        seen.as_ref().is_ok_and(|seen| String::from_utf8_lossy(&seen.body).contains("anew"))
    }));
    assert!(group.is_cached(&key, CHAT).await);
    assert_eq!(group.provider.count(), 2);
    assert_eq!(ending(group, "not-stored"), "1");
}

#[tokio::test(start_paused = true)]
async fn after_an_invalidation_those_who_ask_wait_for_each_other_again() {
    let group = lasting_group().await;
    let key = group.key().await;
    let uncacheable = || {
        group
            .provider
            .next(slow(Scripted { cache_control: Some("no-store"), ..answers_json(JSON) }));
    };
    uncacheable();
    group.fetch(&key, CHAT).await.unwrap();
    uncacheable();
    let seen = group.fetch(&key, CHAT).await.unwrap();
    assert_eq!(seen.head.cache, (Outcome::Miss, Reason::HitForMiss));
    group.sidecar.bump("acme", sidecar_cache::generation::Tag::Org).await.unwrap();
    let before = group.provider.count();
    group.provider.next(slow(answers_json(JSON)));
    let seen = all(ask(group, &key, CHAT, MANY).await).await;
    assert_eq!((count(&seen, LED), count(&seen, COALESCED)), (1, MANY - 1));
    assert_eq!(group.provider.count(), before + 1);
    assert!(group.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_cannot_have_the_answer_in_their_shape_one_calls_for_all() {
    let group = lasting_group().await;
    let key = group.key().await;
    // Without usage, which a JSON answer would have to have.
    group.provider.next(slow(answers_sse(vec![bytes(CHUNKS), bytes(DONE)])));
    group.provider.next(slow(answers_json(JSON)));
    let leader = ask(group, &key, CHAT_STREAM, 1).await;
    let followers = ask(group, &key, CHAT, MANY).await;
    assert!(all(leader).await.remove(0).unwrap().has_end);
    let seen = all(followers).await;
    assert_eq!(group.provider.count(), 2);
    assert_eq!(count(&seen, (Outcome::Miss, Reason::Shape)), 1);
    assert_eq!(count(&seen, COALESCED), MANY - 1);
    for seen in seen {
        assert_eq!(seen.unwrap().body, JSON.as_bytes());
    }
    assert_eq!(group.metric("kt_flight_followers"), "0");
}

#[tokio::test(start_paused = true)]
async fn who_has_taken_over_in_another_shape_makes_no_call_beyond_the_three() {
    let group = lasting_group().await;
    let key = group.key().await;
    // It ends as it should, and without a reason for it.
    let faulty = [&CHUNKS[..CHUNKS.find("\n\n").unwrap() + 2], DONE].concat();
    for _ in 0..3 {
        group.provider.next(slow(answers_sse(vec![bytes(&faulty)])));
    }
    let leader = ask(group, &key, CHAT_STREAM, 1).await;
    let seen = all(ask(group, &key, CHAT, MANY).await).await;
    assert!(all(leader).await.remove(0).unwrap().has_end);
    assert_eq!(group.provider.count(), 3);
    assert_eq!(count(&seen, TOOK_OVER), 2);
    assert!(seen.iter().all(|seen| {
        seen.as_ref().is_err_and(|refusal| refusal.problem.code() == "upstream_cut_short")
    }));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_flight_that_was_voided_and_fails_asks_anew() {
    // Voided while the call is made, or between two of them.
    for (what, bump_after) in [("call", 1_000), ("backoff", 3_100)] {
        let group = lasting_group().await;
        let key = group.key().await;
        group.provider.next(slow(Scripted { status: 500, ..answers_json("{}") }));
        group.provider.next(slow(answers_json(JSON)));
        let mut attached = ask(group, &key, CHAT, MANY).await;
        tokio::time::sleep(Duration::from_millis(bump_after)).await;
        group.sidecar.bump("acme", sidecar_cache::generation::Tag::Org).await.unwrap();
        let later = ask(group, &key, CHAT, 1).await;
        let waiting = attached.split_off(1);
        assert_eq!(all(attached).await.remove(0).unwrap().head.status, 500, "{what}");
        for seen in all(waiting).await {
            let seen = seen.unwrap();
            assert_eq!((seen.head.cache, seen.body), (COALESCED, JSON.into()), "{what}");
        }
        assert_eq!(count(&all(later).await, LED), 1, "{what}");
        assert_eq!(group.provider.count(), 2, "{what}");
        settle().await;
        assert_eq!(group.metric("kt_flight_followers"), "0", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_sent_away_twice_is_not_sent_away_for_ever() {
    let group = lasting_group().await;
    let key = group.key().await;
    for _ in 0..2 {
        group.provider.next(slow(Scripted { status: 500, ..answers_json("{}") }));
    }
    group.provider.next(slow(answers_json(JSON)));
    let mut clients = ask(group, &key, CHAT, 2).await;
    let waiting = clients.split_off(1);
    for _ in 0..2 {
        pass(Duration::from_secs(1)).await;
        group.sidecar.bump("acme", sidecar_cache::generation::Tag::Org).await.unwrap();
        clients.extend(ask(group, &key, CHAT, 1).await);
        tokio::time::sleep(Duration::from_millis(2_100)).await;
    }
    let seen = all(waiting).await.remove(0).unwrap();
    assert_eq!(seen.body, JSON.as_bytes());
    all(clients).await;
    assert!(group.provider.count() <= 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_of_a_type_that_nobody_reads_is_passed_on_as_it_comes_and_ends_as_it_ends() {
    let text = |acts| slow(Scripted { content_type: "text/plain", acts, ..answers_json("") });
    for (acts, body, has_end) in [
        (vec![bytes("some")], "some", true),
        (vec![bytes("some"), wait(1), bytes(" more"), Act::Break], "some more", false),
        (vec![], "", true),
    ] {
        let group = lasting_group().await;
        let key = group.key().await;
        group.provider.next(text(acts));
        for seen in all(ask(group, &key, CHAT, 3).await).await {
            let seen = seen.unwrap();
            let told = String::from_utf8(seen.body).unwrap();
            assert_eq!((seen.head.status, &*told, seen.has_end), (200, body, has_end));
        }
        assert_eq!(group.provider.count(), 1, "{body}");
        assert_eq!(ending(group, "uncacheable"), "1", "{body}");
        let reasons = ["incomplete", "upstream_cut_short"];
        let counted =
            reasons.map(|why| group.metric(&format!("kt_not_stored_total{{reason=\"{why}\"}}")));
        assert_eq!(counted, ["1", "0"], "{body}: why is said once");
        assert!(!group.entries.is_filled(), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_that_is_none_is_told_only_in_the_shape_in_which_it_came() {
    let group = lasting_group().await;
    let key = group.key().await;
    for _ in 0..3 {
        group.provider.next(slow(answers_json(r#"{"error":{"message":"no"}}"#)));
    }
    let leader = ask(group, &key, CHAT, 1).await;
    let followers = ask(group, &key, CHAT_STREAM, MANY).await;
    assert_eq!(all(leader).await.remove(0).unwrap().head.status, 200, "what the provider said");
    for seen in all(followers).await {
        assert_eq!(seen.unwrap_err().problem.code(), "upstream_cut_short");
    }
    assert_eq!(group.provider.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_be_kept_is_told_only_in_the_shape_in_which_it_came() {
    let group = lasting_group().await;
    let key = group.key().await;
    let acts = vec![bytes(&" ".repeat(1 << 20)); 9];
    group.provider.next(slow(Scripted { acts, ..answers_json("") }));
    let mut clients = ask(group, &key, CHAT, 1).await;
    clients.extend(ask(group, &key, CHAT_STREAM, 1).await);
    group.provider.next(answers_sse(vec![bytes(&sse())]));
    let seen = all(clients).await;
    let [whole, stream] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(whole.as_ref().unwrap().body.len(), 9 << 20);
    assert_eq!(stream.as_ref().unwrap().body, sse_without_usage().as_bytes());
    assert_eq!(group.provider.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_event_is_none_of_the_lines_that_came_before_it() {
    let group = lasting_group().await;
    let key = group.key().await;
    // Longer than a piece, and far more than is kept.
    let mut acts: Vec<_> = (0..20).map(|_| bytes(&": 234567\n\n".repeat(100_000))).collect();
    acts.push(bytes(&sse()));
    group.provider.next(slow(answers_sse(acts)));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let idle = tokio::spawn(async move { group.lane(&ticket, CHAT_STREAM).await });
    settle().await;
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let other = tokio::spawn(async move { group.lane(&ticket, CHAT_STREAM).await });
    let Ok(Reply::Stream(_, mut idle)) = idle.await.unwrap() else { panic!("not a stream") };
    let Some(Piece::Bytes(first)) = idle.recv().await else { panic!("no piece") };
    assert!(!first.ends_with(b"\n"), "it is cut within a line");
    assert!(read(other.await.unwrap().unwrap()).await.has_end);
    let mut rest = Vec::new();
    assert!(!read_on(&mut idle, &mut rest).await);
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.starts_with("\n\ndata: {") && rest.contains("upstream_cut_short"), "{rest}");
}

/// A request's bytes, which say when nobody has them any more.
struct Tracked(Arc<str>);

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_let_go_of_once_it_will_not_be_sent_again() {
    let group = lasting_group().await;
    let key = group.key().await;
    let acts = vec![bytes("<html>"), wait(20), bytes("</html>")];
    group.provider.next(Scripted { content_type: "text/html", acts, ..answers_json("") });
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let entered = group.sidecar.enter(Some(&ticket), &holder()).unwrap();
    let held: Arc<str> = Arc::from(CHAT_STREAM);
    let body = bytes::Bytes::from_owner(Tracked(Arc::clone(&held)));
    let reply = group.sidecar.serve(entered, Vec::new(), body).await.unwrap();
    assert!(matches!(reply, Reply::Stream(..)));
    assert_eq!(Arc::strong_count(&held), 1, "nobody takes over what is not stored");
    assert!(read(reply).await.has_end);
}

#[tokio::test(start_paused = true)]
async fn followers_of_another_shape_keep_one_request_for_all_of_them() {
    let group = lasting_group().await;
    let key = group.key().await;
    group.provider.next(slow(answers_json(JSON)));
    let leader = ask(group, &key, CHAT, 1).await;
    let requests: Vec<Arc<str>> = (0..20).map(|_| Arc::from(CHAT_STREAM)).collect();
    let mut followers: Vec<Fetching> = Vec::new();
    for request in &requests {
        let (ticket, _) = group.ticket(group.ask(&key, request)).await;
        let entered = group.sidecar.enter(Some(&ticket), &holder()).unwrap();
        let body = bytes::Bytes::from_owner(Tracked(Arc::clone(request)));
        followers.push(tokio::spawn(async move {
            Ok(read(group.sidecar.serve(entered, Vec::new(), body).await?).await)
        }));
        tokio::task::yield_now().await;
    }
    settle().await;
    let kept = requests.iter().filter(|request| Arc::strong_count(request) > 1).count();
    assert_eq!(kept, 1);
    assert!(all(leader).await[0].is_ok());
    assert_eq!(count(&all(followers).await, COALESCED), 20);
    settle().await;
    assert!(requests.iter().all(|request| Arc::strong_count(request) == 1));
}

#[tokio::test(start_paused = true)]
async fn one_request_of_another_shape_is_sent_for_those_who_need_their_own() {
    let group = lasting_group().await;
    let key = group.key().await;
    // Without usage it cannot be told as a stream.
    let without =
        JSON.replace(r#""usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12},"#, "");
    assert_ne!(without, JSON);
    group.provider.next(slow(answers_json(&without)));
    let leader = ask(group, &key, CHAT, 1).await;
    let followers = ask(group, &key, CHAT_STREAM_USAGE, 5).await;
    assert!(all(leader).await[0].is_ok());
    for seen in all(followers).await {
        let seen = seen.unwrap();
        assert_eq!((String::from_utf8(seen.body).unwrap(), seen.has_end), (sse(), true));
    }
    let calls = group.provider.calls();
    assert!(calls.len() >= 2 && calls.len() <= 3, "{}", calls.len());
    assert!(calls.last().unwrap().body.starts_with(b"{\"model\":\"gpt-4o-mini\",\"stream\":true"));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_ours_in_a_call_leaves_nobody_waiting_for_it() {
    for (body, starts) in [(CHAT, answers_json("")), (CHAT_STREAM, answers_sse(vec![]))] {
        let group = lasting_group().await;
        let key = group.key().await;
        let acts = match body {
            CHAT => vec![wait(1), Act::Fault],
            _ => vec![bytes(CHUNKS), wait(1), Act::Fault],
        };
        group.provider.next(slow(Scripted { acts, ..starts }));
        let clients = ask(group, &key, body, 3).await;
        let told = tokio::time::timeout(Duration::from_secs(60), all(clients)).await.unwrap();
        for seen in told {
            match seen {
                Ok(seen) => {
                    let text = String::from_utf8(seen.body).unwrap();
                    assert!(!seen.has_end && text.starts_with(CHUNKS), "{text}");
                    assert!(text.contains("\"error\""), "{text}");
                }
                Err(refusal) => {
                    assert_eq!((body, refusal.problem.code()), (CHAT, "internal_error"));
                }
            }
        }
        let seen = group.fetch(&key, body).await.unwrap();
        assert!(seen.has_end && seen.head.cache == LED, "the next one makes its own call");
        assert!(group.is_cached(&key, body).await);
    }
}
