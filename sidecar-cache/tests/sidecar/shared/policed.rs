//! The output policy over several sidecars: what is blocked or redacted by the one that makes the call is so for who
//! reads along at another.

use kt_contract::wire::admit::AdmitRequest;
use sidecar_cache::ledger::Kind;

use super::*;
use crate::police::{blocked, says, streams, told};

const REDACTS: &str = "policies: {chain: [pii-detector]}\n";
const BLOCKS: &str = "policies: {chain: [pii-detector], policy: {pii-detector: {action: block}}}\n";

/// Two sidecars whose file has policies, with one ledger.
struct Policed {
    fleet: &'static Fleet,
    ledger: Arc<MemoryLedger>,
    settings: Settings,
    key: Key,
}

async fn policed(policies: &str) -> Policed {
    let more = format!("wallet: {{}}\n{policies}");
    let (fleet, ledger) = funded_with(&more).await;
    fleet.polled().await;
    Policed { fleet, ledger, settings: settings_with(&more), key: fleet.key().await }
}

// === impl Policed ===

impl Policed {
    fn ask(&self, at: usize, body: &str) -> AdmitRequest {
        let mut ask = self.fleet.sidecars[at].ask(&self.key, body);
        ask.plan.gates.policy = self.settings.snapshot.policy.digest;
        ask.plan.snapshot = self.settings.snapshot.version.clone();
        let keys = OrgKeys::derive(&ask.plan.gates.org);
        ask.plan.key = keys.cache_key(&ask.plan.gates, &ask.plan.request);
        ask.plan.check = keys.check_hash(&ask.plan.gates, &ask.plan.request);
        ask
    }

    /// A client of one of them, which has got as far as it can without time passing.
    async fn asks(&self, at: usize, body: &'static str) -> Fetching {
        let group = &self.fleet.sidecars[at];
        let (ticket, _) = group.ticket(self.ask(at, body)).await;
        let client = tokio::spawn(async move { Ok(read(group.lane(&ticket, body).await?).await) });
        settle().await;
        client
    }

    /// The transfers that calls have made.
    async fn booked(&self) -> Vec<Kind> {
        let rows = self.ledger.transfers("acme".to_owned(), 0, 100).await.unwrap();
        rows.iter().map(|(_, row)| row.kind).filter(|kind| *kind != Kind::Fund).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_before_the_first_byte_is_the_same_block_at_another_sidecar() {
    for (body, scripted) in [
        (CHAT, answers_json(&says("to jane@example.com"))),
        (CHAT_STREAM, answers_sse(streams(&["jane@example.com", " ."]))),
    ] {
        let policed = policed(BLOCKS).await;
        policed.fleet.sidecars[0].provider.next(slow(scripted));
        let mut clients = Vec::new();
        for at in [0, 1, 1] {
            clients.push(policed.asks(at, body).await);
        }
        for client in clients {
            let refusal = client.await.unwrap().unwrap_err();
            assert_eq!(blocked(&refusal), ("pii-detector".to_owned(), 409));
        }
        settle().await;
        assert_eq!(policed.fleet.calls(), [1, 0], "nobody tries again");
        assert_eq!(policed.booked().await, [Kind::Pending, Kind::Post], "one call, paid for");
        assert_eq!(policed.fleet.shared(1, "followed"), "1");
        assert!(!policed.fleet.entries.is_filled());
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_behind_the_first_bytes_ends_the_stream_at_another_sidecar_as_at_its_own() {
    let policed = policed(BLOCKS).await;
    let goes_on = Arc::<Notify>::default();
    let mut acts = streams(&["all is well, ", "and then", " jane@example.com", " and more"]);
    acts.insert(3, Act::Until(Arc::clone(&goes_on)));
    policed.fleet.sidecars[0].provider.next(answers_sse(acts));
    let leader = policed.asks(0, CHAT_STREAM).await;
    let (ticket, _) = policed.fleet.sidecars[1].ticket(policed.ask(1, CHAT_STREAM)).await;
    let reply = policed.fleet.sidecars[1].lane(&ticket, CHAT_STREAM).await.unwrap();
    let Reply::Stream(head, mut reader) = reply else { panic!("not a stream: {reply:?}") };
    assert_eq!(head.cache, COALESCED);
    let Some(Piece::Bytes(first)) = reader.recv().await else { panic!("nothing") };
    goes_on.notify_one();
    let mut followed = first.to_vec();
    assert!(!read_on(&mut reader, &mut followed).await, "it has no end");
    let led = leader.await.unwrap().unwrap();
    assert!(!led.has_end);
    for body in [led.body, followed] {
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains("all is well") && !text.contains("jane"), "{text}");
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.contains("policy_blocked"), "{last}");
    }
    settle().await;
    assert_eq!(policed.fleet.calls(), [1, 0], "nobody tries again");
    assert_eq!(policed.booked().await, [Kind::Pending, Kind::Post], "one call, paid for");
    assert!(!policed.fleet.entries.is_filled());
}

#[tokio::test(start_paused = true)]
async fn what_is_redacted_never_reaches_another_sidecar() {
    for (body, scripted) in [
        (CHAT, answers_json(&says("to jane@example.com, bye"))),
        (CHAT_STREAM, answers_sse(streams(&["to ja", "ne@exam", "ple.com", ", bye"]))),
    ] {
        let policed = policed(REDACTS).await;
        policed.fleet.sidecars[0].provider.next(slow(scripted));
        let clients = [policed.asks(0, body).await, policed.asks(1, body).await];
        for (client, cache) in clients.into_iter().zip([LED, COALESCED]) {
            let seen = client.await.unwrap().unwrap();
            assert_eq!((seen.head.cache, seen.has_end), (cache, true));
            let text = String::from_utf8(seen.body.clone()).unwrap();
            assert!(!text.contains("jane") && !text.contains("ple.com"), "{text}");
            if body == CHAT_STREAM {
                assert_eq!(told(&seen.body), "to [EMAIL], bye");
            } else {
                assert!(text.contains("to [EMAIL], bye"), "{text}");
            }
        }
        settle().await;
        let on_its_way = policed.fleet.cables[0].told.lock().unwrap().clone();
        let on_its_way = String::from_utf8(on_its_way).unwrap();
        assert!(on_its_way.contains("[EMAIL]") && !on_its_way.contains("jane"), "{on_its_way}");
        for at in [0, 1] {
            let hit = policed.fleet.sidecars[at].hit(policed.ask(at, body)).await;
            let hit = String::from_utf8(hit.to_vec()).unwrap();
            assert!(hit.contains("[EMAIL]") && !hit.contains("jane"), "{hit}");
        }
        assert_eq!(policed.fleet.calls(), [1, 0]);
    }
}
