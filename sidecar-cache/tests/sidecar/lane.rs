//! From admit to the lane to the entry, with a provider by script: what is stored, what never is, and what
//! the client sees of it.

use std::time::Duration;

use crate::support::*;
use kt_contract::money::MicroUsd;
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::wire::admit::{Admitted, SavedTokens};
use sidecar_cache::service::lane::Reply;
use sidecar_cache::service::reader::Piece;
use sidecar_cache::service::upstream::CallFailed;

#[tokio::test(start_paused = true)]
async fn what_one_request_paid_for_is_a_hit_for_the_next() {
    let group = group().await;
    let key = group.key().await;
    let (ticket, reason) = group.ticket(group.ask(&key, CHAT)).await;
    assert_eq!(reason, Reason::Request);
    let seen = read(group.lane(&ticket, CHAT).await.unwrap()).await;
    assert_eq!(seen.body, JSON.as_bytes());
    assert_eq!(seen.head.cache, (Outcome::Miss, Reason::Request));
    assert_eq!(seen.head.served_by.as_deref(), Some("openai/gpt-4o-mini"));

    tokio::time::advance(Duration::from_secs(10)).await;
    let other = group.key_with(|key| key.user = Some("grace".to_owned())).await;
    let admission = group.sidecar.admit(group.ask(&other, CHAT), PEER).await.unwrap();
    assert_eq!(admission.body, JSON);
    let Admitted::Hit { content_type, age_s, fresh_ms, served_by, saved_micro_usd, saved_tokens } =
        admission.decision
    else {
        panic!("no hit: {admission:?}");
    };
    assert_eq!(saved_micro_usd.map(MicroUsd::micros), Some(5), "what the first one has cost");
    assert_eq!(saved_tokens, Some(SavedTokens { input: 5, output: 7 }), "and has used");
    assert_eq!((content_type.as_str(), age_s), ("application/json", 10));
    assert_eq!(served_by, "openai/gpt-4o-mini");
    assert!((3_229_000..=3_590_000).contains(&fresh_ms), "3600 s less jitter and age: {fresh_ms}");
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_entry_expires_and_is_not_refreshed_by_hits() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(1_000)).await;
        assert!(group.is_cached(&key, CHAT).await);
    }
    tokio::time::advance(Duration::from_secs(600)).await;
    let (ticket, reason) = group.ticket(group.ask(&key, CHAT)).await;
    assert_eq!(reason, Reason::Expired);
    let seen = read(group.lane(&ticket, CHAT).await.unwrap()).await;
    assert_eq!(seen.head.cache, (Outcome::Miss, Reason::Expired), "the client learns it too");
}

#[tokio::test(start_paused = true)]
async fn one_entry_serves_every_shape() {
    for (first, answer) in [(CHAT, JSON.to_owned()), (CHAT_STREAM, sse_without_usage())] {
        let group = group().await;
        let key = group.key().await;
        let seen = group.fetch(&key, first).await.unwrap();
        assert!(seen.has_end);
        assert_eq!(String::from_utf8(seen.body).unwrap(), answer);
        for body in [CHAT, CHAT_STREAM, CHAT_STREAM_USAGE] {
            let told = group.hit(group.ask(&key, body)).await;
            let told = std::str::from_utf8(&told).unwrap();
            assert!(told.contains("hello"), "{told}");
            assert_eq!(told.ends_with(DONE), body != CHAT, "{told}");
            assert_eq!(told.contains("prompt_tokens"), body != CHAT_STREAM, "{told}");
        }
        assert_eq!(group.provider.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn usage_is_asked_for_and_hidden_from_who_did_not_ask() {
    let group = group().await;
    let key = group.key().await;
    let seen = group.fetch(&key, CHAT_STREAM).await.unwrap();
    assert_eq!(String::from_utf8(seen.body).unwrap(), sse_without_usage());
    let sent = String::from_utf8(group.provider.calls()[0].body.to_vec()).unwrap();
    assert!(sent.contains(r#""include_usage":true"#), "{sent}");
    assert_eq!(group.metric("llm_tokens_total{direction=\"output\"}"), "7");

    let group = crate::support::group().await;
    let key = group.key().await;
    let seen = group.fetch(&key, CHAT_STREAM_USAGE).await.unwrap();
    assert_eq!(String::from_utf8(seen.body).unwrap(), sse());
    assert_eq!(group.provider.calls()[0].body, CHAT_STREAM_USAGE, "not a byte is changed");
}

#[tokio::test(start_paused = true)]
async fn a_stream_reaches_its_client_while_it_is_made() {
    let group = group().await;
    let key = group.key().await;
    let hour = Duration::from_secs(20);
    let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    group.provider.next(answers_sse(vec![
        bytes(first),
        Act::Wait(hour),
        bytes(second),
        Act::Wait(hour),
        bytes(USAGE_CHUNK),
        bytes(DONE),
    ]));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let start = tokio::time::Instant::now();
    let Reply::Stream(_, mut pieces) = group.lane(&ticket, CHAT_STREAM).await.unwrap() else {
        panic!("not a stream");
    };
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(first.to_owned().into())));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(second.to_owned().into())));
    assert!(start.elapsed() >= hour && start.elapsed() < 2 * hour);
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(DONE.into())));
    assert_eq!(pieces.recv().await, Some(Piece::End));
}

#[tokio::test(start_paused = true)]
async fn who_has_seen_the_last_event_finds_the_entry() {
    let group = group().await;
    let key = group.key().await;
    let end = Duration::from_millis(900);
    group.provider.next(answers_sse(vec![bytes(&sse()), Act::Wait(end)]));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let Reply::Stream(_, mut pieces) = group.lane(&ticket, CHAT_STREAM).await.unwrap() else {
        panic!("not a stream");
    };
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(CHUNKS.into())));
    assert_eq!(pieces.recv().await, Some(Piece::Bytes(DONE.into())));
    // It leaves without reading on, as SDKs do.
    drop(pieces);
    assert!(group.is_cached(&key, CHAT_STREAM).await);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_does_not_end_holds_nobody_up_and_stores_nothing() {
    let group = group().await;
    let key = group.key().await;
    let for_ever = Duration::from_secs(1_000_000);
    group.provider.next(answers_sse(vec![bytes(&sse()), Act::Wait(for_ever)]));
    let start = tokio::time::Instant::now();
    let seen = group.fetch(&key, CHAT_STREAM).await.unwrap();
    assert_eq!(String::from_utf8(seen.body).unwrap(), sse_without_usage());
    assert!(!seen.has_end);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(!group.is_cached(&key, CHAT_STREAM).await);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_stored_is_served_and_not_stored() {
    let json = |status| Scripted { status, ..answers_json(JSON) };
    let stopped = |word: &str| {
        answers_json(
            &JSON.replace(r#""finish_reason":"stop""#, &format!(r#""finish_reason":"{word}""#)),
        )
    };
    let huge = |size: usize| JSON.replace("hello", &"x".repeat(size));
    for (what, scripted, reason) in [
        ("429", Scripted { retry_after: Some("7"), ..json(429) }, "status"),
        ("500", json(500), "status"),
        ("201", json(201), "status"),
        ("content filter", stopped("content_filter"), "finish-reason"),
        ("length that nobody asked for", stopped("length"), "finish-reason"),
        ("an unknown ending", stopped("tired"), "finish-reason"),
        ("in-band error", answers_json(r#"{"error":{"message":"no"}}"#), "incomplete"),
        ("html", Scripted { content_type: "text/html", ..json(200) }, "incomplete"),
        ("gzip", Scripted { content_encoding: Some("gzip"), ..json(200) }, "incomplete"),
        (
            "many tokens",
            answers_json(&JSON.replace(r#""completion_tokens":7"#, r#""completion_tokens":1001"#)),
            "entry-too-large",
        ),
        ("8 MiB", answers_json(&huge(8 << 20)), "entry-too-large"),
    ] {
        let group = group().await;
        let key = group.key().await;
        let sent = scripted.clone();
        group.provider.next(scripted);
        let seen = group.fetch(&key, CHAT).await.unwrap();
        let Act::Bytes(body) = &sent.acts[0] else { panic!("bytes first") };
        assert!(seen.has_end, "{what}");
        assert!(seen.body == *body, "{what}: the client gets the provider's bytes");
        assert_eq!(seen.head.status, sent.status, "{what}");
        assert_eq!(seen.head.advice.after.as_deref(), sent.retry_after, "{what}");
        assert_eq!(seen.head.content_encoding.as_deref(), sent.content_encoding, "{what}");
        assert!(!group.is_cached(&key, CHAT).await, "{what}");
        let metric = format!("kt_not_stored_total{{reason=\"{reason}\"}}");
        assert_eq!(group.metric(&metric), "1", "{what}");
        assert_eq!(group.metric("kt_flights"), "0", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_beyond_the_bound_is_streamed_and_not_stored() {
    let group = group().await;
    let key = group.key().await;
    let filler = format!(": {}\n\n", "x".repeat(1 << 20));
    let mut acts: Vec<_> = (0..9).map(|_| bytes(&filler)).collect();
    acts.push(bytes(&sse()));
    group.provider.next(answers_sse(acts.clone()));
    let seen = group.fetch(&key, CHAT_STREAM).await.unwrap();
    assert!(seen.has_end);
    assert_eq!(seen.body.len(), 9 * filler.len() + sse_without_usage().len());
    assert_eq!(group.metric("kt_not_stored_total{reason=\"entry-too-large\"}"), "1");

    // Too large and without its end is still an answer that broke off.
    acts.pop();
    group.provider.next(answers_sse(acts));
    assert!(!group.fetch(&key, CHAT_STREAM).await.unwrap().has_end);
}

#[tokio::test(start_paused = true)]
async fn a_length_that_the_client_set_is_an_end() {
    let group = group().await;
    let key = group.key().await;
    let body = CHAT.replacen('{', r#"{"max_tokens":7,"#, 1);
    let answer = JSON.replace(r#""finish_reason":"stop""#, r#""finish_reason":"length""#);
    group.provider.next(answers_json(&answer));
    group.fetch(&key, &body).await.unwrap();
    assert!(group.is_cached(&key, &body).await);
}

#[tokio::test(start_paused = true)]
async fn no_cut_of_a_stream_is_stored_or_ends_cleanly() {
    let whole = sse();
    let first_event = whole.find("\n\n").unwrap() + 2;
    for at in 0..whole.len() {
        for ends in [None, Some(Act::Break)] {
            let group = group().await;
            let key = group.key().await;
            let mut acts = vec![bytes(&whole[..at])];
            acts.extend(ends.clone());
            group.provider.next(answers_sse(acts));
            let what = format!("cut at {at}, transport broken: {}", ends.is_some());
            match group.fetch(&key, CHAT_STREAM).await {
                Err(refusal) => {
                    assert!(at < first_event, "{what}");
                    let target = "openai-1".to_owned();
                    assert_eq!(refusal.problem, Problem::UpstreamCutShort { target });
                }
                Ok(seen) => {
                    assert!(!seen.has_end, "{what}");
                    let text = String::from_utf8(seen.body).unwrap();
                    let told = text.contains("upstream_cut_short");
                    assert!(told || text.ends_with("[DONE]\n"), "{what}: {text}");
                }
            }
            assert!(!group.is_cached(&key, CHAT_STREAM).await, "{what}");
            assert_eq!(group.metric("kt_flights"), "0", "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_cut_of_a_json_answer_reaches_a_client() {
    for at in 0..JSON.len() {
        for ends in [None, Some(Act::Break)] {
            let group = group().await;
            let key = group.key().await;
            let mut acts = vec![bytes(&JSON[..at])];
            acts.extend(ends);
            group.provider.next(Scripted { acts, ..answers_json("") });
            let refusal = group.fetch(&key, CHAT).await.unwrap_err();
            assert_eq!(refusal.problem.status(), 502, "cut at {at}");
            assert_eq!(refusal.cache, Some((Outcome::Miss, Reason::Request)));
            assert!(!group.is_cached(&key, CHAT).await, "cut at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_is_not_a_dead_one() {
    for (head_s, first_s, then_s, is_whole) in [
        (599, 0, 0, true),
        (0, 599, 29, true),
        (601, 0, 0, false),
        (300, 301, 0, false),
        (0, 0, 31, false),
    ] {
        let group = group().await;
        let key = group.key().await;
        let wait = |seconds| Act::Wait(Duration::from_secs(seconds));
        let acts =
            vec![wait(first_s), bytes(CHUNKS), wait(then_s), bytes(USAGE_CHUNK), bytes(DONE)];
        let head_after = Duration::from_secs(head_s);
        group.provider.next(Scripted { head_after, ..answers_sse(acts) });
        let whole = group.fetch(&key, CHAT_STREAM).await.is_ok_and(|seen| seen.has_end);
        let what = format!("head {head_s} s, first byte {first_s} s, then {then_s} s");
        assert_eq!(whole, is_whole, "{what}");
        assert_eq!(group.is_cached(&key, CHAT_STREAM).await, is_whole, "{what}: the lease held");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_ended_meanwhile_is_not_flown_again() {
    let group = group().await;
    let key = group.key().await;
    let (first, _) = group.ticket(group.ask(&key, CHAT)).await;
    let (second, reason) = group.ticket(group.ask(&key, CHAT)).await;
    assert_eq!(reason, Reason::Request, "admit acquires nothing");
    group.lane(&first, CHAT).await.unwrap();
    let seen = read(group.lane(&second, CHAT).await.unwrap()).await;
    assert_eq!(seen.head.cache, (Outcome::Hit, Reason::Shared));
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_ended_between_look_and_lease_is_not_flown_again() {
    let group = group().await;
    let key = group.key().await;
    let (late, _) = group.ticket(group.ask(&key, CHAT)).await;
    let (early, _) = group.ticket(group.ask(&key, CHAT)).await;
    group.entries.hold_next_lookup();
    let (late, early) =
        tokio::join!(group.lane(&late, CHAT), group.entries.while_held(group.lane(&early, CHAT)));
    assert_eq!(read(early.unwrap()).await.head.cache, (Outcome::Miss, Reason::Request));
    assert_eq!(read(late.unwrap()).await.head.cache, (Outcome::Hit, Reason::Shared));
    assert_eq!(group.provider.count(), 1);
    assert_eq!(group.metric("kt_flights"), "0");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_cancels_its_call_and_frees_the_flight() {
    let stream = || {
        let slow = Act::Wait(Duration::from_secs(20));
        answers_sse(vec![bytes(CHUNKS), slow, bytes(USAGE_CHUNK), bytes(DONE)])
    };
    let html = || Scripted { content_type: "text/html", ..stream() };
    for (what, scripted, reason) in
        [("recorded", stream(), "client-left"), ("passed on", html(), "incomplete")]
    {
        let group = group().await;
        let key = group.key().await;
        group.provider.next(scripted);
        let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
        let Reply::Stream(_, mut pieces) = group.lane(&ticket, CHAT_STREAM).await.unwrap() else {
            panic!("not a stream");
        };
        assert!(matches!(pieces.recv().await, Some(Piece::Bytes(_))), "{what}");
        drop(pieces);
        let start = tokio::time::Instant::now();
        group.sidecar.drained().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "{what}: at once");
        assert_eq!(group.provider.cancelled(), 1, "{what}");
        assert_eq!(group.metric("kt_flights"), "0", "{what}");
        let metric = format!("kt_not_stored_total{{reason=\"{reason}\"}}");
        assert_eq!(group.metric(&metric), "1", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_cancels_its_call() {
    let group = group().await;
    let key = group.key().await;
    let slow = Act::Wait(Duration::from_secs(20));
    group.provider.next(Scripted { acts: vec![bytes("{"), slow], ..answers_json("") });
    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    let patience = Duration::from_secs(1);
    assert!(tokio::time::timeout(patience, group.lane(&ticket, CHAT)).await.is_err());
    settle().await;
    assert_eq!(group.provider.cancelled(), 1);
    assert_eq!(group.metric("kt_flights"), "0");
    assert!(group.fetch(&key, CHAT).await.unwrap().has_end, "the next one leads");
    assert!(group.is_cached(&key, CHAT).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_holds_up_nobody_and_gets_all() {
    let group = group().await;
    let key = group.key().await;
    let comment = format!(": {}\n\n", "x".repeat(1_000));
    let mut acts: Vec<_> = (0..100).map(|_| bytes(&comment)).collect();
    acts.push(bytes(&sse()));
    group.provider.next(answers_sse(acts));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let Reply::Stream(_, mut pieces) = group.lane(&ticket, CHAT_STREAM).await.unwrap() else {
        panic!("not a stream");
    };
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(group.is_cached(&key, CHAT_STREAM).await);
    let mut body = Vec::new();
    assert!(read_on(&mut pieces, &mut body).await);
    assert_eq!(body.len(), 100 * comment.len() + sse_without_usage().len());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_not_reached_is_a_clean_error() {
    for (what, scripted, status, code) in [
        (
            "no egress",
            Scripted { fails: Some(CallFailed::NoEgress), ..answers_json("") },
            503,
            "sidecar_unavailable",
        ),
        (
            "egress broke",
            Scripted { fails: Some(CallFailed::Broken), ..answers_json("") },
            502,
            "upstream_unreachable",
        ),
        (
            "Envoy's 503",
            Scripted {
                status: 503,
                details: Some("no_healthy_upstream"),
                ..answers_json("no healthy upstream")
            },
            502,
            "upstream_unreachable",
        ),
        (
            "Envoy's 200",
            Scripted { details: None, ..answers_json(JSON) },
            502,
            "upstream_unreachable",
        ),
    ] {
        let group = group().await;
        let key = group.key().await;
        group.provider.next(scripted);
        let refusal = group.fetch(&key, CHAT).await.unwrap_err();
        assert_eq!((refusal.problem.status(), refusal.problem.code()), (status, code), "{what}");
        assert!(!group.is_cached(&key, CHAT).await, "{what}");
        let errors = format!("llm_errors_total{{error_type=\"{code}\",provider=\"openai\"}}");
        assert_eq!(group.metric(&errors), "1", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_faster_than_its_gateways_first_poll_waits_for_it() {
    let group = group_without_gateway();
    let key = group.key().await;
    let poll = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        group.poll().await;
    };
    let (seen, ()) = tokio::join!(group.fetch(&key, CHAT), poll);
    assert!(seen.unwrap().has_end);
    assert_eq!(group.provider.calls()[0].egress, ["/run/egress-gw-a.sock"]);

    let group = group_without_gateway();
    let key = group.key().await;
    group.provider.next(Scripted { fails: Some(CallFailed::NoEgress), ..answers_json("") });
    let start = tokio::time::Instant::now();
    assert_eq!(group.fetch(&key, CHAT).await.unwrap_err().problem.status(), 503);
    assert_eq!(start.elapsed(), Duration::from_secs(2), "not for ever");
}

#[tokio::test(start_paused = true)]
async fn a_large_hit_takes_the_lane_and_calls_nobody() {
    let group = group().await;
    let key = group.key().await;
    let answer = JSON.replace("hello", &"x".repeat(300 << 10));
    group.provider.next(answers_json(&answer));
    group.fetch(&key, CHAT).await.unwrap();
    let (ticket, reason) = group.ticket(group.ask(&key, CHAT)).await;
    assert_eq!(reason, Reason::Shared);
    let seen = read(group.lane(&ticket, CHAT).await.unwrap()).await;
    assert_eq!(seen.head.cache, (Outcome::Hit, Reason::Shared));
    assert!(seen.head.age_and_ttl_s.is_some());
    assert_eq!(seen.body, answer.as_bytes());
    assert_eq!(group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bypass_is_called_and_neither_read_nor_stored() {
    let group = group().await;
    let key = group.key().await;
    group.fetch(&key, CHAT).await.unwrap();
    let mut ask = group.ask(&key, CHAT);
    ask.bypass = Some(Reason::ClientNoCache);
    let (ticket, reason) = group.ticket(ask).await;
    assert_eq!(reason, Reason::ClientNoCache);
    let seen = read(group.lane(&ticket, CHAT).await.unwrap()).await;
    assert_eq!(seen.head.cache, (Outcome::Bypass, Reason::ClientNoCache));
    assert_eq!(group.provider.count(), 2);
    assert_eq!(group.metric("kt_fills_total"), "1");
}

#[tokio::test(start_paused = true)]
async fn an_admitted_request_finishes_during_a_drain_and_no_other_begins() {
    let group = group().await;
    let key = group.key().await;
    let slow = Act::Wait(Duration::from_secs(5));
    group.provider.next(answers_sse(vec![bytes(CHUNKS), slow, bytes(USAGE_CHUNK), bytes(DONE)]));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
    let reply = group.lane(&ticket, CHAT_STREAM).await.unwrap();
    let start = tokio::time::Instant::now();
    let (seen, ()) = tokio::join!(read(reply), group.sidecar.drained());
    assert!(seen.has_end);
    assert!(start.elapsed() >= Duration::from_secs(5), "a drain waits for what runs");
    assert_eq!(group.admit(group.ask(&key, CHAT)).await, Admitted::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_who_has_a_ticket_as_long_as_it_is_good() {
    let group = group().await;
    let key = group.key().await;
    let (used, _) = group.ticket(group.ask(&key, CHAT)).await;
    let (_never_used, _) = group.ticket(group.ask(&key, CHAT)).await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let slow = Act::Wait(Duration::from_secs(5));
        group.provider.next(Scripted { acts: vec![slow, bytes(JSON)], ..answers_json("") });
        read(group.lane(&used, CHAT).await.unwrap()).await
    };
    let start = tokio::time::Instant::now();
    let drained = async {
        group.sidecar.drained().await;
        start.elapsed()
    };
    let (seen, took) = tokio::join!(later, drained);
    assert!(seen.has_end);
    assert_eq!(took, Duration::from_millis(6_500), "the lane, and not the other ticket");

    let group = crate::support::group().await;
    let key = group.key().await;
    let _never_used = group.ticket(group.ask(&key, CHAT)).await;
    let start = tokio::time::Instant::now();
    group.sidecar.drained().await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_no_word_about_the_clients_key() {
    for status in [401, 403] {
        for body in [CHAT, CHAT_STREAM] {
            let group = group().await;
            let key = group.key().await;
            let said = r#"{"error":{"message":"Incorrect API key provided: sk-ab****yz"}}"#;
            group.provider.next(Scripted { status, ..answers_json(said) });
            let refusal = group.fetch(&key, body).await.unwrap_err();
            let target = "openai-1".to_owned();
            assert_eq!(refusal.problem, Problem::UpstreamUnauthorized { target });
            assert_eq!((refusal.problem.status(), refusal.problem.retry_after_s()), (502, None));
            assert!(!refusal.problem.to_string().contains("sk-"));
            assert!(!group.is_cached(&key, body).await);
            assert_eq!(group.metric("kt_flights"), "0");
            let errors =
                "llm_errors_total{error_type=\"upstream_unauthorized\",provider=\"openai\"}";
            assert_eq!(group.metric(errors), "1");
        }
    }
}
