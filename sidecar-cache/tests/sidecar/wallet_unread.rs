//! An answer that nobody reads is held for by its length: what it costs in the end was set aside before.

use std::time::Duration;

use crate::support::*;
use crate::wallet::{FUNDS, Paying, paying, rows};

/// What 4,096 tokens of output cost, at 0.60 dollars a million; the prompt costs little.
const FIRST_HOLD: i128 = 2_458;
/// What the model's longest answer costs: 16,384 tokens.
const LONGEST: i128 = 9_831;
/// No prompt of these tests costs more.
const PROMPT_MAX: i128 = 40;

/// So many pieces of 1,000 bytes, one each second.
fn text(pieces: usize) -> Scripted {
    let piece = "word ".repeat(200);
    let acts = (0..pieces).flat_map(|_| [bytes(&piece), Act::Wait(Duration::from_secs(1))]);
    Scripted { content_type: "text/plain", ..answers_sse(acts.collect()) }
}

/// What is not available any more: set aside, or paid.
async fn gone(paying: &Paying) -> i128 {
    i128::from(FUNDS) - paying.available().await
}

fn exposure(paying: &Paying) -> f64 {
    paying.group.metric("kt_wallet_exposure_usd").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_set_aside_grows_with_an_answer_that_nobody_reads() {
    // One is passed on as it comes, the other told as a whole.
    for status in [200, 203] {
        let paying = paying("wallet: {}\n", FUNDS).await;
        let key = paying.group.key().await;
        paying.group.provider.next(Scripted { status, ..text(40) });
        let asking = paying.crowd(&[&key], CHAT).await;
        pass(Duration::from_secs(5)).await;
        let at_first = gone(paying).await;
        assert!((FIRST_HOLD..FIRST_HOLD + PROMPT_MAX).contains(&at_first), "{status}: {at_first}");
        pass(Duration::from_secs(25)).await;
        // 30,000 bytes, of which four are a token.
        let held = gone(paying).await;
        assert!(held >= 30_000 / 4 * 6 / 10, "{status}: {held}");
        pass(Duration::from_secs(30)).await;
        for asked in asking {
            assert_eq!(asked.await.unwrap().unwrap().body.len(), 40_000, "{status}");
        }
        let cost = gone(paying).await;
        assert!((6_000..6_000 + PROMPT_MAX).contains(&cost), "{status}: {cost}");
        let written = paying.rows().await;
        assert!(written["extend"] >= 1 && !written.contains_key("overage"), "{written:?}");
        assert!(exposure(paying).abs() < f64::EPSILON && paying.is_clean().await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_costs_no_more_than_the_longest_of_its_model() {
    // No entry is larger than 8 MiB, which nobody reads then.
    let json = format!("{{\"x\":\"{}\"}}", "x".repeat(8 << 20));
    let second = || Act::Wait(Duration::from_secs(1));
    let large = Scripted {
        content_type: "application/json",
        ..answers_sse(vec![bytes(&json), second(), bytes(" "), second()])
    };
    for (what, answer) in [("text", text(100)), ("JSON", large)] {
        let paying = paying("wallet: {}\n", FUNDS).await;
        let key = paying.group.key().await;
        paying.group.provider.next(answer);
        let asking = paying.crowd(&[&key], CHAT).await;
        pass(Duration::from_secs(120)).await;
        for asked in asking {
            assert!(asked.await.unwrap().unwrap().has_end, "{what}");
        }
        let cost = gone(paying).await;
        assert!((LONGEST..LONGEST + PROMPT_MAX).contains(&cost), "{what}: {cost}");
        assert!(!paying.rows().await.contains_key("overage"), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_cut_where_money_ends_and_that_is_configured() {
    // Room for the first hold, and no other.
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", 2_600).await;
    let key = paying.group.key().await;
    paying.group.provider.next(text(40));
    let asking = paying.crowd(&[&key], CHAT).await;
    pass(Duration::from_secs(60)).await;
    for asked in asking {
        let seen = asked.await.unwrap().unwrap();
        assert!(!seen.has_end && (9_000..20_000).contains(&seen.body.len()), "{}", seen.body.len());
    }
    assert_eq!(paying.rows().await, rows([("pending", 1), ("post", 1)]), "no overage");
    assert!(paying.available().await > 0 && paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_not_cut_for_more_than_its_longest_costs() {
    // Room for all steps but the last one, to the longest answer, which is asked for behind three quarters of 13,824 tokens.
    let first = 8_400;
    let paying = paying("wallet: {on_outgrown_hold: cut}\n", first).await;
    let key = paying.group.key().await;
    let words = |count: usize| [bytes(&"word ".repeat(count)), Act::Wait(Duration::from_secs(2))];
    let acts = [2_000, 800, 1_400, 2_100, 20_000].into_iter().flat_map(words);
    let text = Scripted { content_type: "text/plain", ..answers_sse(acts.collect()) };
    paying.group.provider.next(text);
    let asking = paying.crowd(&[&key], CHAT).await;
    // The last step was asked for in vain. What comes then at once is more than the longest answer.
    pass(Duration::from_secs(7)).await;
    paying.fund(u64::try_from(LONGEST + PROMPT_MAX).unwrap() - first).await;
    pass(Duration::from_secs(60)).await;
    for asked in asking {
        let seen = asked.await.unwrap().unwrap();
        assert_eq!((seen.has_end, seen.body.len()), (true, 131_500));
    }
    assert!(!paying.rows().await.contains_key("overage"));
}
