//! Shared flights where something is slow, late, lost or old.

use kt_contract::time::Millis;
use sidecar_cache::flight::Cause;
use sidecar_cache::flight_text::End;
use sidecar_cache::store::EntryStore;
use sidecar_cache::store::memory::MemoryEntries;

use super::*;
use crate::shared_database::{Away, Database};

/// Nothing but the start of a stream, in one piece of so many bytes.
fn some_of_a_stream(bytes_in: usize) -> String {
    let (first, _) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    first.replace("hello", &"x".repeat(bytes_in))
}

#[tokio::test(start_paused = true)]
async fn a_fast_stream_over_a_slow_store_keeps_its_lease() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let piece = some_of_a_stream(5);
    let mut acts = Vec::new();
    for _ in 0..60 {
        acts.extend([bytes(&piece), Act::Wait(Duration::from_millis(150))]);
    }
    acts.push(bytes(&sse()));
    fleet.sidecars[0].provider.next(answers_sse(acts));
    *fleet.cables[0].append_takes.lock().unwrap() = Duration::from_millis(400);
    let leader = fleet.asks(0, &key, CHAT_STREAM).await;
    let follower = fleet.asks(1, &key, CHAT_STREAM).await;
    for client in [leader, follower] {
        assert!(client.await.unwrap().unwrap().has_end);
    }
    assert_eq!(fleet.shared(0, "superseded"), "0");
    assert!(fleet.is_cached(&key, CHAT_STREAM).await);
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_while_much_is_written_at_once() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let piece = some_of_a_stream(256 << 10);
    let mut acts = vec![wait(1)];
    acts.extend((0..24).map(|_| bytes(&piece)));
    acts.push(bytes(&sse()));
    fleet.sidecars[0].provider.next(answers_sse(acts));
    *fleet.cables[0].append_takes.lock().unwrap() = Duration::from_millis(400);
    let leader = fleet.asks(0, &key, CHAT_STREAM).await;
    let follower = fleet.asks(1, &key, CHAT_STREAM).await;
    assert!(leader.await.unwrap().unwrap().has_end);
    assert!(follower.await.unwrap().unwrap().has_end);
    assert_eq!(fleet.shared(0, "superseded"), "0");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_before_a_byte_is_noticed_whenever_it_dies() {
    for later in (0..5_000).step_by(500) {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let silent = Scripted { head_after: Duration::from_secs(500), ..answers_json(JSON) };
        fleet.sidecars[0].provider.next(silent);
        let _dead = fleet.asks(0, &key, CHAT).await;
        let follower = fleet.asks(1, &key, CHAT).await;
        pass(Duration::from_millis(15_000 + later)).await;
        fleet.cut(0, true);
        // A lease's time, what it takes to ask, and a look.
        pass(Duration::from_millis(LEASE_TTL.0 + 1_500 + 100)).await;
        let taken_over = fleet.sidecars[1].metric("kt_flight_takeovers_total");
        assert_eq!(taken_over, "1", "{later}");
        assert_eq!(follower.await.unwrap().unwrap().head.cache, TOOK_OVER, "{later}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_what_follows_another_sidecar_once_it_is_not_known_what_was_purged() {
    let database = Arc::<Database>::default();
    let clock = Clock::start();
    let entries: Arc<dyn EntryStore> = Arc::new(MemoryEntries::new(clock, settings().memory));
    let leases = Arc::new(MemoryLeases::new(Epoch(7), clock, entries.clone()));
    let logs = Arc::new(MemoryLogs::new(clock, leases.clone()));
    let mut groups = Vec::new();
    for _ in 0..2 {
        let rates = Arc::new(MemoryRates::new(clock));
        let shared = Shared { leases: leases.clone(), logs: logs.clone(), rates };
        let sharing = database.group_sharing(settings(), Some(entries.clone()), Some(shared));
        groups.push(sharing.await.0);
    }
    let [leader, follower] = groups.try_into().ok().unwrap();
    let (leader, follower): (Group, &'static Group) = (leader, Box::leak(Box::new(follower)));
    let key = leader.key().await;
    let late = Scripted { head_after: Duration::from_secs(25), ..answers_json(JSON) };
    leader.provider.next(late);
    let (ticket, _) = leader.ticket(leader.ask(&key, CHAT)).await;
    let leading =
        tokio::spawn(async move { read(leader.lane(&ticket, CHAT).await.unwrap()).await });
    // Who asks has been seen. So long ago was the last look, when its flight follows.
    follower.admit(follower.ask(&key, CHAT)).await;
    seconds(4).await;
    let ticket = || async { follower.ticket(follower.ask(&key, CHAT)).await.0 };
    let reads = |ticket: String| {
        tokio::spawn(async move { read(follower.lane(&ticket, CHAT).await.unwrap()).await })
    };
    let first = reads(ticket().await);
    settle().await;
    database.is(Away::Refuses);
    seconds(2).await;
    let second = reads(ticket().await);
    seconds(1).await;
    assert!(second.is_finished(), "it does not join a call that began before the last look");
    assert_eq!(second.await.unwrap().body, JSON.as_bytes());
    assert_eq!((follower.provider.count(), first.is_finished()), (1, false));
    assert_eq!(follower.metric("kt_shared_flights_total{result=\"unknown\"}"), "1");
    assert_eq!(first.await.unwrap().head.cache, COALESCED);
    assert_eq!(leading.await.unwrap().head.cache, LED);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_can_read_any_more_ends() {
    for what in ["voided", "without the store"] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let (scripted, _, _) = halting(100);
        fleet.sidecars[0].provider.next(scripted);
        let (_, leader) = fleet.streams(0, &key, CHAT_STREAM).await;
        let _follower = fleet.asks(1, &key, CHAT_STREAM).await;
        drop(leader);
        seconds(3).await;
        assert_eq!(fleet.sidecars[0].provider.cancelled(), 0, "{what}: somebody reads");
        if what == "voided" {
            let at = fleet.at(&key, CHAT_STREAM);
            let Acquired::Follow(id) = fleet.leases.acquire(at, Claim(5)).await.unwrap() else {
                panic!("nobody leads");
            };
            assert!(fleet.leases.void(at, id).await.unwrap());
        } else {
            fleet.cut(0, true);
        }
        seconds(10).await;
        assert_eq!(fleet.sidecars[0].provider.cancelled(), 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_given_too_late_is_given_back() {
    let fleet = fleet(1).await;
    let key = fleet.key().await;
    fleet.cables[0].loses_acquired.store(true, Ordering::SeqCst);
    let seen = fleet.asks(0, &key, CHAT).await.await.unwrap().unwrap();
    assert_eq!(seen.body, JSON.as_bytes());
    settle().await;
    let acquired = fleet.leases.acquire(fleet.at(&key, CHAT), Claim(9)).await.unwrap();
    assert!(matches!(acquired, Acquired::Lead(..)), "{acquired:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_the_lease_is_asked_for_leaves_none() {
    for follows in [false, true] {
        let fleet = fleet(1).await;
        let (key, gate) = (fleet.key().await, Arc::<Notify>::default());
        let at = fleet.at(&key, CHAT);
        let led = async || fleet.leases.acquire(at, Claim(1)).await.unwrap();
        let before = if follows { Some(led().await) } else { None };
        *fleet.cables[0].acquires_after.lock().unwrap() = Some(gate.clone());
        let client = fleet.asks(0, &key, CHAT).await;
        client.abort();
        settle().await;
        gate.notify_one();
        settle().await;
        assert_eq!(fleet.total(), 0, "nobody waits for an answer");
        match (before, led().await) {
            (None, Acquired::Lead(..)) => {}
            (Some(Acquired::Lead(token, _)), _) => {
                let renewed = fleet.leases.renew(at, token).await.unwrap();
                assert_eq!(renewed, Renewed::Current { followers: 0 });
            }
            (_, acquired) => panic!("a lease that nobody has: {acquired:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_whose_failure_could_not_be_told() {
    let fleet = fleet(1).await;
    let key = fleet.key().await;
    fleet.cables[0].fails_no_flight.store(true, Ordering::SeqCst);
    fleet.sidecars[0].provider.next(Scripted { status: 500, ..answers_json("{}") });
    let seen = fleet.asks(0, &key, CHAT).await.await.unwrap().unwrap();
    assert_eq!(seen.head.status, 500);
    settle().await;
    let acquired = fleet.leases.acquire(fleet.at(&key, CHAT), Claim(9)).await.unwrap();
    assert!(matches!(acquired, Acquired::Lead(..)), "{acquired:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_ends_tells_the_others_to_the_end_first() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let gate = Arc::<Notify>::default();
    *fleet.cables[0].finishes_after.lock().unwrap() = Some(gate.clone());
    fleet.sidecars[0].provider.next(slow(answers_json(JSON)));
    let leader = fleet.asks(0, &key, CHAT).await;
    let follower = fleet.asks(1, &key, CHAT).await;
    assert!(leader.await.unwrap().unwrap().has_end);
    settle().await;
    let ending = tokio::spawn(fleet.sidecars[0].sidecar.gave_up());
    settle().await;
    assert!(!ending.is_finished(), "the end has not been told");
    gate.notify_one();
    settle().await;
    assert!(ending.is_finished());
    assert_eq!(follower.await.unwrap().unwrap().body, JSON.as_bytes());
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_answers_are_lost_costs_no_reader_its_end() {
    for unheard in 1..6 {
        for refused in [0, 3] {
            let fleet = fleet(2).await;
            let key = fleet.key().await;
            let (first, rest) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
            let rest = [rest, USAGE_CHUNK, DONE].concat();
            let acts =
                vec![wait(1), bytes(first), bytes(first), wait(2), bytes(first), bytes(&rest)];
            fleet.sidecars[0].provider.next(answers_sse(acts));
            fleet.cables[0].unheard_appends.store(unheard, Ordering::SeqCst);
            fleet.cables[0].refused_ends.store(refused, Ordering::SeqCst);
            let leader = fleet.asks(0, &key, CHAT_STREAM).await;
            let follower = fleet.asks(1, &key, CHAT_STREAM).await;
            let (led, followed) =
                (leader.await.unwrap().unwrap(), follower.await.unwrap().unwrap());
            assert!(led.has_end);
            let [led, text] =
                [led.body, followed.body].map(|body| String::from_utf8(body).unwrap());
            assert_eq!((followed.has_end, text), (true, led), "{unheard} {refused}");
            assert_eq!(fleet.calls(), [1, 0]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_on_its_way_is_read_by_nobody() {
    for part in [Part::Head, Part::Piece(0), Part::Piece(1), Part::Piece(2), Part::End(0)] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let (scripted, first, rest) = halting(3);
        fleet.sidecars[0].provider.next(scripted);
        let leader = fleet.asks(0, &key, CHAT_STREAM).await;
        *fleet.cables[1].tampers.lock().unwrap() = Some(part);
        let follower = fleet.asks(1, &key, CHAT_STREAM).await;
        let (led, read) = (leader.await.unwrap().unwrap(), follower.await.unwrap().unwrap());
        assert!(led.has_end, "{part:?}");
        let text = String::from_utf8(read.body).unwrap();
        match part {
            Part::Head | Part::Piece(0 | 1) => {
                assert!(read.has_end, "{part:?}: of a call of its own, or as it was stored");
                assert_eq!(text.as_bytes(), led.body, "{part:?}");
            }
            Part::Piece(_) => {
                let error = text.strip_prefix(first).unwrap();
                assert!(!read.has_end && error.contains("upstream_cut_short"), "{text}");
            }
            Part::End(_) => assert_eq!((read.has_end, text), (false, [first, &rest].concat())),
        }
        let counted = ["corrupt", "unreadable"].map(|result| fleet.shared(1, result));
        assert_eq!(counted, ["1", "0"], "{part:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_late_read_costs_no_call() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let late = Scripted { head_after: Duration::from_secs(8), ..answers_json(JSON) };
    fleet.sidecars[0].provider.next(late);
    let leader = fleet.asks(0, &key, CHAT).await;
    fleet.cables[1].late_reads.store(1, Ordering::SeqCst);
    let follower = fleet.asks(1, &key, CHAT).await;
    assert_eq!(follower.await.unwrap().unwrap().head.cache, COALESCED);
    assert!(leader.await.unwrap().unwrap().has_end);
    assert_eq!(fleet.calls(), [1, 0]);
}

/// One that has read something while the provider says nothing for long.
async fn reads_on(fleet: &'static Fleet, key: &Key) -> (Fetching, Fetching) {
    let (scripted, _, _) = halting(12);
    fleet.sidecars[0].provider.next(scripted);
    let leader = fleet.asks(0, key, CHAT_STREAM).await;
    (leader, fleet.asks(1, key, CHAT_STREAM).await)
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_store_costs_no_stream_that_is_silent() {
    for (begins, lasts) in (4_400..5_800).step_by(100).map(|at| (at, 200)).chain([(4_700, 3_000)]) {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let (leader, follower) = reads_on(fleet, &key).await;
        pass(Duration::from_millis(begins)).await;
        fleet.cut(1, true);
        pass(Duration::from_millis(lasts)).await;
        fleet.cut(1, false);
        let (led, followed) = (leader.await.unwrap().unwrap(), follower.await.unwrap().unwrap());
        assert!(led.has_end && followed.has_end, "{lasts} ms from {begins} on");
        assert_eq!(followed.body, led.body);
        assert_eq!(fleet.calls(), [1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_late_answer_costs_no_stream_that_is_silent() {
    for is_read in [true, false] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let (leader, follower) = reads_on(fleet, &key).await;
        pass(Duration::from_millis(4_750)).await;
        if is_read {
            fleet.cables[1].late_reads.store(1, Ordering::SeqCst);
        } else {
            *fleet.cables[1].acquires_after.lock().unwrap() = Some(Arc::default());
        }
        let (led, followed) = (leader.await.unwrap().unwrap(), follower.await.unwrap().unwrap());
        assert!(led.has_end && followed.has_end, "a read: {is_read}");
        assert_eq!(fleet.calls(), [1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_look_for_the_end_of_a_flight_that_is_lost_is_repeated() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let (first, rest) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    let pause = Act::Wait(Duration::from_millis(5_250));
    let rest = [rest, USAGE_CHUNK, DONE].concat();
    fleet.sidecars[0].provider.next(answers_sse(vec![bytes(first), pause, bytes(&rest)]));
    let leader = fleet.asks(0, &key, CHAT_STREAM).await;
    let follower = fleet.asks(1, &key, CHAT_STREAM).await;
    seconds(1).await;
    let at = fleet.at(&key, CHAT_STREAM);
    let Acquired::Follow(id) = fleet.leases.acquire(at, Claim(5)).await.unwrap() else {
        panic!("nobody leads");
    };
    assert!(fleet.leases.void(at, id).await.unwrap());
    // It has been told that the flight is its own, and looks once more.
    pass(Duration::from_millis(4_200)).await;
    fleet.cables[1].late_reads.store(1, Ordering::SeqCst);
    assert!(follower.await.unwrap().unwrap().has_end);
    assert!(leader.await.unwrap().unwrap().has_end);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_what_is_read_through_it() {
    for asks_only in [false, true] {
        let fleet = fleet(2).await;
        let key = fleet.key().await;
        let (scripted, _, _) = halting(60);
        fleet.sidecars[0].provider.next(scripted);
        let _leader = fleet.asks(0, &key, CHAT_STREAM).await;
        let follower = fleet.asks(1, &key, CHAT_STREAM).await;
        if asks_only {
            fleet.cables[1].acquires_nothing.store(true, Ordering::SeqCst);
        } else {
            fleet.cut(1, true);
        }
        seconds(4).await;
        assert!(!follower.is_finished(), "{asks_only}");
        seconds(8).await;
        assert!(follower.is_finished(), "{asks_only}");
        assert!(!follower.await.unwrap().unwrap().has_end);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_kept_waiting_for_a_log_that_cannot_be_written() {
    for told_first in [false, true] {
        let fleet = fleet(3).await;
        let key = fleet.key().await;
        let (first, rest) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
        let pause = Act::Wait(Duration::from_millis(2_500));
        let mut acts = vec![bytes(first), pause, bytes(first), wait(20)];
        acts.push(bytes(&[rest, USAGE_CHUNK, DONE].concat()));
        fleet.sidecars[0].provider.next(answers_sse(acts));
        let refuses = |is| fleet.cables[0].refuses_pieces.store(is, Ordering::SeqCst);
        refuses(!told_first);
        let leader = fleet.asks(0, &key, CHAT_STREAM).await;
        let follower = fleet.asks(1, &key, CHAT_STREAM).await;
        seconds(2).await;
        refuses(true);
        seconds(if told_first { 12 } else { 2 }).await;
        assert!(!leader.is_finished() && follower.is_finished(), "{told_first}");
        // Who has read some cannot have the rest; who has not, has it of a call of its own, as who comes later.
        assert_eq!(follower.await.unwrap().unwrap().has_end, !told_first);
        let late = fleet.asks(2, &key, CHAT_STREAM).await;
        seconds(1).await;
        assert!(late.await.unwrap().unwrap().has_end, "{told_first}");
        assert_eq!(fleet.calls(), [1, usize::from(!told_first), 1]);
        assert!(leader.await.unwrap().unwrap().has_end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_written_for_a_moment_costs_no_reader_its_end() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let (first, rest) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
    let rest = [rest, USAGE_CHUNK, DONE].concat();
    fleet.sidecars[0].provider.next(answers_sse(vec![
        bytes(first),
        wait(1),
        bytes(first),
        wait(6),
        bytes(&rest),
    ]));
    let leader = fleet.asks(0, &key, CHAT_STREAM).await;
    let follower = fleet.asks(1, &key, CHAT_STREAM).await;
    fleet.cables[0].refuses_pieces.store(true, Ordering::SeqCst);
    seconds(4).await;
    fleet.cables[0].refuses_pieces.store(false, Ordering::SeqCst);
    assert!(follower.await.unwrap().unwrap().has_end);
    assert!(leader.await.unwrap().unwrap().has_end);
    assert_eq!(fleet.calls(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn where_an_old_flight_cannot_be_voided_the_sidecar_makes_its_own_call() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let late = Scripted { head_after: Duration::from_secs(10), ..answers_json("{\"old\":1}") };
    fleet.sidecars[0].provider.next(late);
    let _old = fleet.asks(0, &key, CHAT).await;
    fleet.sidecars[1].sidecar.bump("acme", Tag::Org).await.unwrap();
    fleet.cables[1].voids_nothing.store(true, Ordering::SeqCst);
    let seen = fleet.asks(1, &key, CHAT).await.await.unwrap().unwrap();
    assert_eq!((seen.body.as_slice(), seen.head.cache), (JSON.as_bytes(), LED));
    assert_eq!((fleet.calls(), fleet.shared(1, "unavailable")), (vec![1, 1], "1".to_owned()));
    assert!(!fleet.entries.is_filled(), "it has no token");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_read_is_not_read_again() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let ask = fleet.sidecars[1].ask(&key, CHAT);
    let began = Vector::from_numbers(vec![Generation(0); 5]);
    let (gates, check, at) = (ask.plan.gates.clone(), ask.plan.check, ask.plan.key);
    forge(fleet, at, &Head { gates, check, began, asked: Recorded::Json, span: None }).await;
    let Acquired::Lead(token, id) = fleet.leases.acquire(at, Claim(1)).await.unwrap() else {
        panic!("it is the same claim");
    };
    let follower = fleet.asks(1, &key, CHAT).await;
    let log = LogAt { key: at, id };
    let end = End { is_whole: false, is_last: false, again_after: Millis(1_000), cost: None };
    let end = Seal::new("acme", at, id).seal(token.counter, Part::End(2), &end.encode());
    assert_eq!(fleet.logs.finish(log, token, end).await.unwrap(), Held::Current);
    let failed = Failed { waiting: 1, retry_after: None, cause: Cause::Call };
    let after = fleet.leases.fail(at, token, failed).await.unwrap();
    assert!(matches!(after, AfterFailure::TakeOver { .. }), "{after:?}");
    pass(Duration::from_millis(500)).await;
    assert!(fleet.leases.take_over(at, id, Claim(2)).await.unwrap().is_some());
    let before = fleet.cables[1].starts_read.load(Ordering::SeqCst);
    seconds(4).await;
    assert!(!follower.is_finished(), "it waits for the next attempt");
    assert_eq!(fleet.cables[1].starts_read.load(Ordering::SeqCst), before + 1);
}

#[tokio::test(start_paused = true)]
async fn what_another_sidecar_tells_in_other_words_costs_a_call_and_is_counted() {
    let fleet = fleet(2).await;
    let key = fleet.key().await;
    let at = fleet.at(&key, CHAT);
    let Acquired::Lead(token, id) = fleet.leases.acquire(at, Claim(1)).await.unwrap() else {
        panic!("somebody leads already");
    };
    let head = Bytes::from_static(b"\xff");
    let begun = fleet.logs.begin(LogAt { key: at, id }, token, head).await.unwrap();
    assert_eq!(begun, Held::Current);
    let seen = fleet.asks(1, &key, CHAT).await.await.unwrap().unwrap();
    assert_eq!((seen.body.as_slice(), seen.head.cache), (JSON.as_bytes(), LED));
    assert_eq!(fleet.shared(1, "unreadable"), "1");
}
