//! What is set aside for an answer is bounded by what bounds the answer: the client's limit and the model's. Nothing in the
//! configuration makes an answer shorter that names no limit, and nothing is set aside less for it.

use std::time::Duration;

use crate::support::*;
use crate::wallet::{FUNDS, paying};

/// The most tokens that a request may ask for.
const BOUNDED: &str = "policies: {chain: [request-limits], policy: {request-limits: {max_output_tokens: 100}}}\nwallet: {}\n";

/// What is set aside while a call of this request runs.
async fn held(more: &str, body: &str) -> i128 {
    let paying = paying(more, FUNDS).await;
    let key = paying.group.key().await;
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let (group, body) = (paying.group, body.to_owned());
    let mut ask = group.ask(&key, &body);
    // By a filter that has the bounds, too.
    ask.plan.snapshot = group.sidecar.snapshot_version();
    let (ticket, _) = group.ticket(ask).await;
    let asked = tokio::spawn(async move { read(group.lane(&ticket, &body).await.unwrap()).await });
    settle().await;
    let held = i128::from(FUNDS) - paying.available().await;
    assert!(asked.await.unwrap().has_end);
    held
}

#[tokio::test(start_paused = true)]
async fn a_bound_on_what_requests_ask_for_changes_nothing_of_what_is_held() {
    let named = CHAT.replacen('{', "{\"max_tokens\":100,", 1);
    let long = CHAT.replacen('{', "{\"max_tokens\":99999,", 1);
    // 100 tokens of output at 0.60 dollars a million, and the prompt.
    let asked = held(BOUNDED, &named).await;
    assert!((60..90).contains(&asked), "{asked}");
    assert_eq!(asked, held("wallet: {}\n", &named).await);
    // Who names no limit may have as long an answer as without the policy.
    let (bounded, without) = (held(BOUNDED, CHAT).await, held("wallet: {}\n", CHAT).await);
    assert_eq!(bounded, without);
    assert!(bounded >= 4_096 * 6 / 10, "{bounded}");
    // No answer is longer than its model's longest: 16,384 tokens.
    assert!((9_831..9_861).contains(&held("wallet: {}\n", &long).await));
}
