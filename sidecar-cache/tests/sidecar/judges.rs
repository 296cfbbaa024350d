//! The policies that judge as a whole, in a flight: before anything is paid, before anybody reads, and what becomes of
//! those who wait where a service says no, or nothing.

use std::sync::Arc;
use std::time::Duration;

use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::service::lane::Reply;
use sidecar_cache::service::upstream::AskFailed;
use sidecar_cache::store::ledger::memory::MemoryLedger;

use crate::police::{Policed, blocked, policed, policed_of, policed_with, says, streams, told};
use crate::support::*;

const NO: &str = r#"{"action":"block","categories":["insult","you said jane@example.com"]}"#;
const YES: &str = r#"{"action":"allow"}"#;
const AT_ONCE: Duration = Duration::ZERO;

/// A service, with more settings.
fn asks(more: &str) -> String {
    format!(
        "policies: {{chain: [external], policy: {{external: {{url: 'http://judge:80/x', {more}}}}}}}\n"
    )
}

fn outcome(policed: &Policed, phase: &str, outcome: &str) -> String {
    policed.metric(&format!(
        "kt_external_policy_requests_total{{policy=\"external\",phase=\"{phase}\",outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_service_refuses_is_refused_to_all_who_wait_and_nothing_is_asked_or_paid()
{
    for body in [CHAT, CHAT_STREAM] {
        let clock = Clock::start();
        let reading = move || Reading { mono: clock.mono(), wall: clock.wall() };
        let ledger = Arc::new(MemoryLedger::new(Box::new(reading)));
        let budget = "budgets: {organization: {daily_limit_usd: 10}}\n";
        let more = format!("{}{budget}", asks("apply_to: [input]"));
        let policed = policed_with(&more, Some(ledger)).await;
        policed.group.provider.service_says(Duration::from_millis(500), Ok(NO));
        for client in policed.clients(body, 5).await {
            let refusal = client.await.unwrap().unwrap_err();
            assert_eq!(blocked(&refusal), ("external".to_owned(), 409));
            let told = refusal.problem.to_string();
            assert!(told.contains("insult") && !told.contains("jane"), "{told}");
        }
        assert_eq!(policed.group.provider.questions().len(), 1, "once for all");
        assert_eq!(policed.group.provider.count(), 0);
        assert!(!policed.group.entries.is_filled());
        assert_eq!(policed.metric("kt_flight_endings_total{ending=\"blocked\"}"), "1");
        let blocks = "llm_guardrail_blocks_total{policy=\"external\",phase=\"input\"}";
        assert_eq!(policed.metric(blocks), "1");
        let holds = policed.metric("kt_wallet_holds_total{result=\"reserved\"}");
        assert!(matches!(holds.as_str(), "" | "0"), "{holds}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_service_refuses_is_shown_to_nobody_not_stored_and_not_asked_again() {
    for (body, scripted) in [
        (CHAT, answers_json(&says("you fool"))),
        (CHAT_STREAM, answers_sse(streams(&["you ", "fool"]))),
    ] {
        let policed = policed(&asks("apply_to: [output]")).await;
        let head_after = Duration::from_secs(3);
        policed.group.provider.next(Scripted { head_after, ..scripted });
        policed.group.provider.service_says(AT_ONCE, Ok(NO));
        for client in policed.clients(body, 5).await {
            let refusal = client.await.unwrap().unwrap_err();
            assert_eq!(blocked(&refusal), ("external".to_owned(), 409));
        }
        assert_eq!(policed.group.provider.count(), 1);
        assert!(!policed.group.entries.is_filled());
        let asked = policed.group.provider.questions();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0]["phase"], "output");
        assert_eq!(asked[0]["texts"], serde_json::json!(["you fool"]));
        assert_eq!(asked[0]["answer"]["choices"][0]["message"]["content"], "you fool");
        assert_eq!(asked[0]["request"]["model"], "gpt-4o-mini");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_service_allows_is_the_providers_byte_for_byte_and_stored() {
    for (body, scripted) in [
        (CHAT, answers_json(&says("you dear"))),
        (CHAT_STREAM, answers_sse(streams(&["you ", "dear"]))),
    ] {
        let policed = policed(&asks("action: block")).await;
        policed.group.provider.next(scripted);
        policed.group.provider.service_says(AT_ONCE, Ok(YES));
        policed.group.provider.service_says(Duration::from_millis(900), Ok(YES));
        let seen = policed.fetch(body).await.unwrap();
        assert!(seen.has_end);
        if body == CHAT {
            assert_eq!(seen.body, says("you dear").as_bytes());
        } else {
            assert_eq!(told(&seen.body), "you dear");
        }
        settle().await;
        assert!(policed.group.entries.is_filled());
        let hit = policed.group.hit(policed.ask(body)).await;
        assert!(!hit.is_empty());
        let asked = policed.group.provider.questions();
        let phases: Vec<_> = asked.iter().map(|asked| asked["phase"].clone()).collect();
        assert_eq!(phases, ["input", "output"], "a hit was judged when it was made");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_nothing_lets_pass_or_not_as_configured_and_nothing_is_stored() {
    type Said = (Duration, Result<&'static str, AskFailed>);
    let silences: [(&str, Said); 6] = [
        ("timeout", (Duration::from_secs(60), Ok(YES))),
        ("unreachable", (AT_ONCE, Err(AskFailed::Unreachable))),
        ("status", (AT_ONCE, Err(AskFailed::Status(500)))),
        ("answer-too-long", (AT_ONCE, Err(AskFailed::TooLong))),
        ("no-token", (AT_ONCE, Err(AskFailed::NoToken))),
        ("garbage", (AT_ONCE, Ok("<html>"))),
    ];
    for (why, (after, said)) in silences {
        for (phase, body) in
            [("input", CHAT), ("output", CHAT), ("input", CHAT_STREAM), ("output", CHAT_STREAM)]
        {
            let open = policed(&asks(&format!("apply_to: [{phase}], on_failure: allow"))).await;
            open.group.provider.service_says(after, said);
            let seen = open.fetch(body).await.unwrap();
            assert!(seen.has_end, "{why} {phase}");
            settle().await;
            assert!(!open.group.entries.is_filled(), "{why} {phase}: nobody has judged it");
            assert_eq!(outcome(&open, phase, why), "1");
            assert_eq!(open.metric("kt_not_stored_total{reason=\"unjudged\"}"), "1");

            let closed = policed(&asks(&format!("apply_to: [{phase}]"))).await;
            closed.group.provider.service_says(after, said);
            let refusal = closed.fetch(body).await.unwrap_err();
            assert_eq!(blocked(&refusal), ("external".to_owned(), 409), "{why} {phase}");
            assert_eq!(closed.group.provider.count(), usize::from(phase == "output"));
            assert!(!closed.group.entries.is_filled());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_makes_a_question_too_long_does_not_go_unjudged() {
    // Twice in the question: as a text, and in the request.
    let long =
        CHAT.replacen("\"content\":\"", &format!("\"content\":\"{}", "a ".repeat(5 << 19)), 1);
    assert!(long.len() > 4 << 20);
    let open = policed(&asks("apply_to: [input], on_failure: allow")).await;
    let refusal = open.fetch(&long).await.unwrap_err();
    assert_eq!(blocked(&refusal), ("external".to_owned(), 409));
    assert_eq!(outcome(&open, "input", "question-too-long"), "1");
    assert_eq!(open.group.provider.count(), 0);
    let watched = policed(&asks("apply_to: [input], action: monitor")).await;
    assert!(
        watched.fetch(&long).await.unwrap().has_end,
        "nothing is blocked where one only watches"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_has_judged_is_not_told_again_for_its_idempotency_key() {
    for (phase, body) in
        [("input", CHAT), ("output", CHAT), ("input", CHAT_STREAM), ("output", CHAT_STREAM)]
    {
        let policed = policed(&asks(&format!("apply_to: [{phase}], on_failure: allow"))).await;
        policed.group.provider.service_says(AT_ONCE, Err(AskFailed::Unreachable));
        let (first, second) =
            tokio::join!(policed.fetch_keyed("a", body), policed.fetch_keyed("b", body));
        assert!(first.unwrap().has_end && second.unwrap().has_end);
        assert_eq!(policed.group.provider.count(), 1, "the second waits for the first");
        for key in ["a", "b"] {
            policed.group.provider.service_says(AT_ONCE, Ok(NO));
            let refusal = policed.fetch_keyed(key, body).await.unwrap_err();
            assert_eq!(blocked(&refusal), ("external".to_owned(), 409), "{phase} {key}");
        }
        // What was judged is.
        for _ in 0..2 {
            assert!(policed.fetch_keyed("c", body).await.unwrap().has_end);
        }
        assert_eq!(policed.metric("kt_idempotent_requests_total{result=\"replayed\"}"), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_service_only_watches_flows_and_is_stored_whatever_it_says() {
    for said in [Ok(NO), Ok("<html>"), Err(AskFailed::Unreachable)] {
        for (body, scripted) in [
            (CHAT, answers_json(&says("you fool"))),
            (CHAT_STREAM, answers_sse(streams(&["you ", "fool"]))),
        ] {
            let policed = policed(&asks("action: monitor")).await;
            policed.group.provider.next(scripted);
            policed.group.provider.service_says(AT_ONCE, said);
            policed.group.provider.service_says(AT_ONCE, said);
            assert!(policed.fetch(body).await.unwrap().has_end);
            settle().await;
            assert!(policed.group.entries.is_filled());
            let findings = |phase: &str| {
                policed.metric(&format!(
                    "kt_guardrail_findings_total{{policy=\"external\",phase=\"{phase}\",action=\"monitor\"}}"
                ))
            };
            if said == Ok(NO) {
                assert_eq!((findings("input"), findings("output")), ("1".into(), "1".into()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watched_stream_flows_while_one_that_may_be_blocked_waits_for_its_end() {
    for (action, is_shown) in [("monitor", true), ("block", false)] {
        let policed = policed(&asks(&format!("apply_to: [output], action: {action}"))).await;
        let goes_on = Arc::new(tokio::sync::Notify::new());
        let mut acts = streams(&["you ", "dear"]);
        acts.insert(2, Act::Until(Arc::clone(&goes_on)));
        policed.group.provider.next(answers_sse(acts));
        let (ticket, _) = policed.group.ticket(policed.ask(CHAT_STREAM)).await;
        let group = policed.group;
        let lane = tokio::spawn(async move { group.lane(&ticket, CHAT_STREAM).await });
        pass(Duration::from_secs(1)).await;
        assert_eq!(lane.is_finished(), is_shown, "{action}");
        goes_on.notify_one();
        let seen = read(lane.await.unwrap().unwrap()).await;
        assert!(seen.has_end);
        assert_eq!(told(&seen.body), "you dear");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_or_ends_too_early_while_it_is_kept_back_is_a_clean_error() {
    for ends in [vec![Act::Break], vec![]] {
        let policed = policed(&asks("apply_to: [output]")).await;
        let mut acts = streams(&["you ", "fool"]);
        acts.truncate(2);
        acts.extend(ends);
        policed.group.provider.next(answers_sse(acts));
        let refusal = policed.fetch(CHAT_STREAM).await.unwrap_err();
        assert_eq!(refusal.problem.code(), "upstream_cut_short");
        assert!(policed.group.provider.questions().is_empty(), "nobody judges half an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_kept_back_and_does_not_say_why_it_ended_is_shown_as_it_came() {
    let policed = policed(&asks("apply_to: [output]")).await;
    let mut acts = streams(&["you ", "dear"]);
    // Without the event that has a reason.
    acts.remove(3);
    policed.group.provider.next(answers_sse(acts));
    let seen = policed.fetch(CHAT_STREAM).await.unwrap();
    assert!(seen.has_end);
    assert_eq!(told(&seen.body), "you dear");
    assert!(!policed.group.entries.is_filled());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_back_counts_among_the_bytes_of_its_organization() {
    for (max_bytes, is_served) in [(1 << 20, true), (2_000, false)] {
        let mut settings = settings_with(&asks("apply_to: [output]"));
        settings.per_org.max_bytes = Some(max_bytes);
        let policed = policed_of(settings, None).await;
        policed.group.provider.next(answers_sse(streams(&["you ", &"dear ".repeat(1_000)])));
        match policed.fetch(CHAT_STREAM).await {
            Ok(seen) => assert!(is_served && seen.has_end),
            Err(refusal) => {
                assert!(!is_served);
                assert_eq!(refusal.problem.code(), "upstream_cut_short");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_told_what_is_left_of_a_text_that_was_redacted() {
    let more = "policies: {chain: [external, pii-detector], policy: {external: {url: 'http://j/', apply_to: [output]}}}\n";
    let policed = policed(more).await;
    policed.group.provider.next(answers_json(&says("to jane@example.com")));
    policed.fetch(CHAT).await.unwrap();
    let asked = policed.group.provider.questions();
    assert_eq!(asked[0]["texts"], serde_json::json!(["to [EMAIL]"]));
    assert!(!asked[0].to_string().contains("jane"));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_again_and_again_is_left_alone() {
    let policed = policed(&asks("apply_to: [input], on_failure: allow")).await;
    for asked in 0..30 {
        policed.group.provider.service_says(AT_ONCE, Err(AskFailed::Unreachable));
        let body = CHAT.replace("\"messages\"", &format!("\"seed\":{asked},\"messages\""));
        let body: &'static str = Box::leak(body.into_boxed_str());
        assert!(policed.fetch(body).await.is_ok());
    }
    assert_eq!(policed.group.provider.questions().len(), 20);
    assert_eq!(outcome(&policed, "input", "breaker-open"), "10");
}

const FORMED: &str = r#"{"model":"gpt-4o-mini","messages":[],"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","required":["age"],"properties":{"age":{"type":"integer"}}}}}}"#;
const FORMED_STREAM: &str = r#"{"model":"gpt-4o-mini","messages":[],"stream":true,"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","required":["age"],"properties":{"age":{"type":"integer"}}}}}}"#;
const FORM: &str = "policies: {chain: [format-check]}\n";

/// An answer of a provider that says so, as JSON or as a stream.
fn answers(body: &str, text: &str) -> Scripted {
    if body.contains("stream") {
        let (left, right) = text.split_at(text.len() / 2);
        answers_sse(streams(&[left, right]))
    } else {
        let text = serde_json::Value::from(text).to_string();
        answers_json(&says(text.trim_matches('"')))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_another_form_than_was_asked_for_is_blocked() {
    for (text, told) in [
        (r#"{"age": 7}"#, None),
        (r#"{"age": "7"}"#, Some("#/properties/age/type")),
        (r#"{"name": "x"}"#, Some("#/required")),
        ("I am seven.", Some("is not the JSON")),
        (r#"{"age": 7"#, Some("is not the JSON")),
    ] {
        for body in [FORMED, FORMED_STREAM] {
            let policed = policed(FORM).await;
            policed.group.provider.next(answers(body, text));
            let seen = policed.fetch(body).await;
            settle().await;
            assert_eq!(policed.group.entries.is_filled(), told.is_none(), "{text}");
            match (told, seen) {
                (None, Ok(seen)) => assert!(seen.has_end),
                (Some(told), Err(refusal)) => {
                    assert_eq!(blocked(&refusal), ("format-check".to_owned(), 409));
                    let why = refusal.problem.to_string();
                    assert!(why.contains(told) && !why.contains("seven"), "{why}");
                }
                (told, seen) => panic!("{text}: {told:?}, {}", seen.is_ok()),
            }
        }
    }
}

/// A request whose form takes all the work that there is time for, and another one each time.
fn slow(nth: usize) -> &'static str {
    let twice = |at: usize| {
        format!(
            r##""d{at}":{{"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##,
            at + 1
        )
    };
    let all: Vec<String> = (0..60).map(twice).collect();
    let schema = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d60":true}}}}"##, all.join(","));
    let body = format!(
        r#"{{"model":"gpt-4o-mini","seed":{nth},"messages":[],"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}}}"#
    );
    Box::leak(body.into_boxed_str())
}

/// How many have ended by then is all that is measured.
#[tokio::test(start_paused = true)]
async fn an_organization_whose_checks_take_long_waits_behind_itself_and_lets_others_pass() {
    const SLOW: usize = 30;
    let acme = policed(FORM).await;
    let globex = acme.for_org("globex").await;
    for _ in 0..=SLOW {
        acme.group.provider.next(answers_json(&says(r#"{\"age\":7}"#)));
    }
    let mut clients = Vec::new();
    for nth in 0..SLOW {
        clients.extend(acme.clients(slow(nth), 1).await);
    }
    while acme.group.provider.count() < SLOW {
        tokio::task::yield_now().await;
    }
    assert!(globex.fetch(FORMED).await.unwrap().has_end);
    let ended = clients.iter().filter(|client| client.is_finished()).count();
    assert!(ended < SLOW / 2, "{ended} came first");
    for client in clients {
        let refusal = client.await.unwrap().unwrap_err();
        assert!(refusal.problem.to_string().contains("cannot be checked"), "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_can_read_as_it_is_does_not_pass_where_it_may_be_blocked() {
    let grounds = "policies: {chain: [hallucination-detection], policy: {hallucination-detection: {action: block, min_context_words: 1}}}\n";
    let asked: &'static str = Box::leak(
        FORMED.replace("[]", r#"[{"role":"user","content":"some words, 7"}]"#).into_boxed_str(),
    );
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for field in [r#""x":1e999"#, r#""id":"again""#, &format!(r#""x":{deep}"#)] {
        let answer = says(r#"{\"age\":7}"#).replacen('{', &format!("{{{field},"), 1);
        for (more, reads_numbers) in
            [(FORM, true), (grounds, false), (&asks("apply_to: [output]"), false)]
        {
            let policed = policed(more).await;
            policed.group.provider.next(answers_json(&answer));
            let seen = policed.fetch(asked).await;
            if field.contains("1e999") && !reads_numbers {
                assert!(seen.is_ok(), "{more} {field}");
                continue;
            }
            let refusal = seen.unwrap_err();
            assert_eq!(blocked(&refusal), ("output".to_owned(), 409), "{more} {field}");
            assert!(policed.group.provider.questions().is_empty());
        }
    }
    let said = answers_json(&says(r#"{\"age\":7,\"age\":\"x\"}"#));
    let policed = policed(FORM).await;
    policed.group.provider.next(said);
    assert_eq!(blocked(&policed.fetch(FORMED).await.unwrap_err()).0, "format-check");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_can_read_is_not_checked_and_does_not_pass() {
    let asked = FORMED.replace("\"messages\"", "\"seed\":1e999,\"messages\"");
    let asked: &'static str = Box::leak(asked.into_boxed_str());
    for (action, passes) in [("block", false), ("monitor", true)] {
        let policed = policed(&format!(
            "policies: {{chain: [format-check], policy: {{format-check: {{action: {action}}}}}}}\n"
        ))
        .await;
        policed.group.provider.next(answers_json(&says(r#"{\"age\":7}"#)));
        match policed.fetch(asked).await {
            Ok(_) => assert!(passes),
            Err(refusal) => {
                assert!(!passes);
                assert_eq!(blocked(&refusal).0, "format-check");
                assert!(refusal.problem.to_string().contains("cannot be checked"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_asks_for_no_form_gets_its_answer_and_its_stream_as_it_comes() {
    let policed = policed(FORM).await;
    policed.group.provider.next(answers_json(&says("I am seven.")));
    assert!(policed.fetch(CHAT).await.unwrap().has_end);
    let goes_on = Arc::new(tokio::sync::Notify::new());
    let mut acts = streams(&["I am ", "seven."]);
    acts.insert(2, Act::Until(Arc::clone(&goes_on)));
    let policed = crate::police::policed(FORM).await;
    policed.group.provider.next(answers_sse(acts));
    let Reply::Stream(_, mut pieces) = policed.lane(CHAT_STREAM).await.unwrap() else {
        panic!("it is kept back")
    };
    goes_on.notify_one();
    assert!(read_on(&mut pieces, &mut Vec::new()).await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_stand_on_its_context_is_found() {
    for (text, is_found, times) in [
        ("The rent is 2150 dollars.", false, 4),
        ("The rent is 9999 dollars, says Marcus Webb.", true, 4),
        // Too long to be read in passing.
        ("The rent is 2150 dollars.", false, 1_000),
        ("The rent is 9999 dollars, says Marcus Webb.", true, 1_000),
    ] {
        let context = "The lease begins on 1 April 2024 and the monthly rent is 2150 dollars. ";
        let context = context.repeat(times);
        for stream in ["", "\"stream\":true,"] {
            let body = format!(
                r#"{{"model":"gpt-4o-mini",{stream}"messages":[{{"role":"user","content":"{context}"}}]}}"#
            );
            let body: &'static str = Box::leak(body.into_boxed_str());
            let watched = policed("policies: {chain: [hallucination-detection]}\n").await;
            watched.group.provider.next(answers(body, text));
            assert!(watched.fetch(body).await.unwrap().has_end);
            let name = "kt_guardrail_findings_total{policy=\"hallucination-detection\",phase=\"output\",action=\"monitor\"}";
            let found = watched.metric(name);
            assert_eq!(found == "1", is_found, "{text} {found}");

            let more = "policies: {chain: [hallucination-detection], policy: {hallucination-detection: {action: block}}}\n";
            let strict = policed(more).await;
            strict.group.provider.next(answers(body, text));
            match strict.fetch(body).await {
                Ok(_) => assert!(!is_found),
                Err(refusal) => {
                    assert!(is_found);
                    let policy = "hallucination-detection".to_owned();
                    assert_eq!(blocked(&refusal), (policy, 409));
                }
            }
            // Without a context there is nothing to stand on.
            let bare = policed(more).await;
            bare.group.provider.next(answers(CHAT, text));
            assert!(bare.fetch(CHAT).await.is_ok());
        }
    }
}
