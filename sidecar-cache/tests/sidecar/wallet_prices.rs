//! What a call costs: by the prices under which its money was set aside, and by the usage that was told, where that is one.

use std::time::Duration;

use crate::support::*;
use crate::wallet::{FUNDS, Paying, paying, rows};

/// So many micro-dollars for each token.
fn at(per_token: u32) -> String {
    format!(
        "wallet: {{}}\npricing: {{models: {{openai: {{gpt-4o-mini: {{input_usd_per_million: {per_token}, \
         output_usd_per_million: {per_token}}}}}}}}}\n"
    )
}

async fn cost(paying: &Paying) -> i128 {
    i128::from(FUNDS) - paying.available().await
}

#[tokio::test(start_paused = true)]
async fn a_call_is_settled_at_the_prices_under_which_its_money_was_set_aside() {
    let paying = paying(&at(10), FUNDS).await;
    let key = paying.group.key().await;
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let asking = paying.crowd(&[&key], CHAT).await;
    assert_eq!(paying.rows().await, rows([("pending", 1)]), "it is held for");
    paying.group.sidecar.reconfigure(Ok(settings_with(&at(1_000)))).await;
    for asked in asking {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    settle().await;
    assert_eq!(cost(paying).await, 120, "12 tokens");
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn a_usage_that_is_no_number_makes_an_answer_unreadable_which_costs_what_its_length_tells() {
    for told in ["NaN", "Infinity", "-Infinity", "1e999"] {
        let paying = paying(&at(10), FUNDS).await;
        let key = paying.group.key().await;
        let body = JSON.replace("\"prompt_tokens\":5", &format!("\"prompt_tokens\":{told}"));
        paying.group.provider.next(answers_json(&body));
        assert!(paying.fetch(&key, CHAT).await.unwrap().has_end, "{told}");
        settle().await;
        assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]), "{told}");
        assert_eq!(paying.group.metric("kt_estimated_costs_total"), "1", "{told}");
        let cost = cost(paying).await;
        assert!((20..2_000).contains(&cost), "{told}: {cost}");
    }
}
