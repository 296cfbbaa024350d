//! Answers that take long, do not end, or are not read: what becomes of the flight, the entry and the client.

use std::time::Duration;

use crate::support::*;
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::outcome::{Outcome, Reason};
use sidecar_cache::service::lane::Reply;
use sidecar_cache::service::reader::Piece;

fn wait(seconds: u64) -> Act {
    Act::Wait(Duration::from_secs(seconds))
}

/// Comments, 8 bytes each.
fn more(count: usize) -> Act {
    bytes(&": more\n\n".repeat(count))
}

/// A stream with something every second, for 12 seconds.
fn steady() -> Vec<Act> {
    let mut acts = vec![];
    for _ in 0..12 {
        acts.extend([bytes(": token\n\n"), wait(1)]);
    }
    acts.push(bytes(&sse()));
    acts
}

#[tokio::test(start_paused = true)]
async fn a_steady_answer_keeps_its_lease_for_as_long_as_it_takes() {
    let mut json: Vec<_> = (0..12).flat_map(|_| [bytes(" "), wait(1)]).collect();
    json.push(bytes(JSON));
    for (what, body, scripted) in [
        ("stream", CHAT_STREAM, answers_sse(steady())),
        ("json", CHAT, Scripted { acts: json, ..answers_json("") }),
    ] {
        let group = group().await;
        let key = group.key().await;
        group.provider.next(scripted);
        let second = async {
            tokio::time::sleep(Duration::from_secs(8)).await;
            group.fetch(&key, body).await
        };
        let (first, second) = tokio::join!(group.fetch(&key, body), second);
        assert!(first.unwrap().has_end, "{what}");
        let nobody_else_leads = (Outcome::Coalesced, Reason::InFlight);
        assert_eq!(second.unwrap().head.cache, nobody_else_leads, "{what}");
        assert!(group.is_cached(&key, body).await, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_byte_by_byte_is_given_up_after_an_hour() {
    for (what, body, scripted) in [
        ("stream", CHAT_STREAM, answers_sse(vec![])),
        ("json", CHAT, answers_json("")),
        ("an error's body", CHAT, Scripted { status: 400, ..answers_json("") }),
        ("what is not kept", CHAT, Scripted { content_type: "text/plain", ..answers_json("") }),
    ] {
        let group = group().await;
        let key = group.key().await;
        // Two hours of it.
        let acts = (0..360).flat_map(|_| [bytes("\n"), wait(20)]).collect();
        group.provider.next(Scripted { acts, ..scripted });
        let began = tokio::time::Instant::now();
        let fetched = group.fetch(&key, body).await;
        assert_eq!(began.elapsed().as_secs(), 3_600, "{what}");
        match fetched {
            Ok(seen) => assert!(!seen.has_end, "{what}"),
            Err(refusal) => assert_eq!(refusal.problem.status(), 502, "{what}"),
        }
        assert!(!group.is_cached(&key, body).await, "{what}");
        assert_eq!(group.metric("kt_flights"), "0", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_last_event_holds_nobody_up_and_is_not_kept() {
    let trickle =
        || (0..200).flat_map(|_| [Act::Wait(Duration::from_millis(900)), bytes(": more\n\n")]);
    let flood = || (0..200).map(|_| more(1_000));
    for (what, mut acts) in [
        ("trickle", trickle().collect::<Vec<_>>()),
        ("flood", flood().collect()),
        ("one huge piece", vec![more(1_000_000)]),
    ] {
        acts.insert(0, bytes(&sse()));
        let group = group().await;
        let key = group.key().await;
        group.provider.next(answers_sse(acts));
        let began = tokio::time::Instant::now();
        let seen = group.fetch(&key, CHAT_STREAM).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{what}: {:?}", began.elapsed());
        assert!(seen.body.starts_with(sse_without_usage().as_bytes()), "{what}");
        assert!(seen.body.len() <= sse().len() + (64 << 10), "{what}: {} bytes", seen.body.len());
        assert!(!seen.has_end, "{what}");
        assert!(!group.is_cached(&key, CHAT_STREAM).await, "{what}");
        assert_eq!(group.provider.cancelled(), 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_counts_as_gone() {
    for (what, content_type, reason) in
        [("recorded", "text/event-stream", "client-left"), ("passed on", "text/html", "incomplete")]
    {
        let group = group().await;
        let key = group.key().await;
        // More than is kept, so that the provider waits.
        let acts = (0..2_000).map(|_| more(1_000)).collect();
        group.provider.next(Scripted { content_type, ..answers_sse(acts) });
        let (ticket, _) = group.ticket(group.ask(&key, CHAT_STREAM)).await;
        let unread = group.lane(&ticket, CHAT_STREAM).await.unwrap();
        let began = tokio::time::Instant::now();
        group.sidecar.drained().await;
        assert!(began.elapsed() < Duration::from_secs(31), "{what}: {:?}", began.elapsed());
        assert_eq!(group.provider.cancelled(), 1, "{what}");
        assert_eq!(group.metric("kt_flights"), "0", "{what}");
        let metric = format!("kt_not_stored_total{{reason=\"{reason}\"}}");
        assert_eq!(group.metric(&metric), "1", "{what}");
        assert!(!read(unread).await.has_end, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_makes_progress_in_small_pieces() {
    let group = group().await;
    let key = group.key().await;
    let answer = JSON.replace("hello", &"x".repeat(9 << 20));
    group.provider.next(answers_json(&answer));
    let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
    let Reply::Stream(_, mut pieces) = group.lane(&ticket, CHAT).await.unwrap() else {
        panic!("not a stream");
    };
    let mut body = Vec::new();
    // Far slower than the deadline for the whole, and within it for each piece.
    while let Some(Piece::Bytes(bytes)) = pieces.recv().await {
        assert!(bytes.len() <= 64 << 10, "{}", bytes.len());
        body.extend_from_slice(&bytes);
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert!(body == answer.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn an_error_event_is_an_event_of_its_own_whatever_it_follows() {
    for (what, start, is_passed) in [
        ("a short start, which is held back", "data: {\"x\":1".to_owned(), false),
        ("a long start, which has passed", format!("data: {}", "x".repeat(2 << 20)), true),
    ] {
        for body in [CHAT_STREAM, CHAT_STREAM_USAGE] {
            let group = group().await;
            let key = group.key().await;
            group.provider.next(answers_sse(vec![bytes(CHUNKS), bytes(&start), Act::Break]));
            let seen = group.fetch(&key, body).await.unwrap();
            assert!(!seen.has_end, "{what}");
            let text = String::from_utf8(seen.body).unwrap();
            let passed = if is_passed { format!("{CHUNKS}{start}\n\n") } else { CHUNKS.to_owned() };
            let error = text.strip_prefix(&passed).unwrap_or_else(|| panic!("{what}"));
            assert!(error.starts_with("data: {\"error\":"), "{what}: {error}");
            assert!(error.ends_with("\n\n") && error.contains("upstream_cut_short"), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_providers_own_error_is_the_last_that_is_shown_and_has_no_end() {
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let said = format!("{CHUNKS}{error}");
    let more = || bytes(&format!("{CHUNKS}data: [DONE]\n\n"));
    for (what, behind) in [
        ("a last word", vec![more()]),
        ("a clean end", vec![]),
        ("a cut", vec![Act::Break]),
        ("silence", vec![wait(60)]),
        ("more without an end", (0..200).flat_map(|_| [wait(1), more()]).collect()),
    ] {
        for body in [CHAT_STREAM, CHAT_STREAM_USAGE] {
            let group = group().await;
            let key = group.key().await;
            group.provider.next(answers_sse([vec![bytes(&said)], behind.clone()].concat()));
            let began = tokio::time::Instant::now();
            let seen = group.fetch(&key, body).await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(2), "{what}: {:?}", began.elapsed());
            assert_eq!(String::from_utf8(seen.body).unwrap(), said, "{what}");
            assert!(!seen.has_end, "{what}");
            assert!(!group.is_cached(&key, body).await, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sloppy_stream_is_served_as_it_came_and_not_stored() {
    let unfinished = sse().replace(r#""stop""#, "null");
    let empty_error = format!("data: {{\"error\":\"\",\"choices\":[]}}\n\n{}", sse());
    for (what, said) in [("no finish_reason", unfinished), ("an empty error", empty_error)] {
        let group = group().await;
        let key = group.key().await;
        group.provider.next(answers_sse(vec![bytes(&said)]));
        let seen = group.fetch(&key, CHAT_STREAM_USAGE).await.unwrap();
        assert_eq!(String::from_utf8(seen.body).unwrap(), said, "{what}");
        assert!(seen.has_end, "{what}");
        assert!(!group.is_cached(&key, CHAT_STREAM_USAGE).await, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_without_a_byte_is_not_the_first_of_an_answer() {
    for (body, scripted, said) in
        [(CHAT_STREAM, answers_sse(vec![]), sse()), (CHAT, answers_json(""), JSON.to_owned())]
    {
        let group = group().await;
        let key = group.key().await;
        // Longer than a pause within an answer may be.
        let acts = vec![bytes(""), wait(60), bytes(&said)];
        group.provider.next(Scripted { acts, ..scripted });
        assert!(group.fetch(&key, body).await.unwrap().has_end);
        assert!(group.is_cached(&key, body).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_on_and_breaks_off_at_once_is_read_as_far_as_it_came() {
    let group = group().await;
    let key = group.key().await;
    let acts = vec![bytes("some"), Act::Break];
    group.provider.next(Scripted { content_type: "text/plain", ..answers_sse(acts) });
    let seen = group.fetch(&key, CHAT).await.unwrap();
    assert_eq!((seen.head.status, &*seen.body, seen.has_end), (200, &b"some"[..], false));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_exactly_the_bound_is_told_as_a_whole() {
    for (what, length, is_whole) in
        [("the bound", ENTRY_BYTES_MAX, true), ("a byte more", ENTRY_BYTES_MAX + 1, false)]
    {
        let group = group().await;
        let key = group.key().await;
        let text = "x".repeat(length - JSON.replace("hello", "").len());
        group.provider.next(answers_json(&JSON.replace("hello", &text)));
        let (ticket, _) = group.ticket(group.ask(&key, CHAT)).await;
        let reply = group.lane(&ticket, CHAT).await.unwrap();
        assert_eq!(matches!(reply, Reply::Whole(..)), is_whole, "{what}");
        let seen = read(reply).await;
        assert_eq!((seen.body.len(), seen.has_end), (length, true), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_too_large_to_be_kept_that_has_no_end_is_incomplete() {
    let group = group().await;
    let key = group.key().await;
    let mut acts = vec![bytes(CHUNKS)];
    acts.extend((0..20).map(|_| more(60_000)));
    group.provider.next(answers_sse(acts));
    let seen = group.fetch(&key, CHAT_STREAM).await.unwrap();
    assert!(!seen.has_end && seen.body.ends_with(b"\n\n"));
    assert_eq!(group.metric("kt_not_stored_total{reason=\"incomplete\"}"), "1");
    assert_eq!(group.metric("kt_not_stored_total{reason=\"entry-too-large\"}"), "0");
}
