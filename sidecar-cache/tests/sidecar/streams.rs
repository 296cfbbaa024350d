//! Answers that take long, do not end, or are not read: what becomes of the flight, the entry and the client.

use std::time::Duration;

use crate::support::*;
use kt_contract::outcome::{Outcome, Reason};

fn wait(seconds: u64) -> Act {
    Act::Wait(Duration::from_secs(seconds))
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
        let nobody_else_leads = (Outcome::Miss, Reason::InFlight);
        assert_eq!(second.unwrap().head.cache, nobody_else_leads, "{what}");
        assert!(group.is_cached(&key, body).await, "{what}");
    }
}
