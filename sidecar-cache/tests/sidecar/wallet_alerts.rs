//! A budget of which much is spent tells so once in its window, however many calls follow, and again in the next.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::time::UnixMillis;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::ledger::LedgerStore;

use crate::support::*;
use crate::wallet::{Mood, Paying, chat, paying_since};

/// Two calls, at 5 micro-dollars each, reach a thousandth of these limits; one does not.
const BUDGETS: &str = "wallet: {time_zone: Europe/Berlin}
budgets: {organization: {daily_limit_usd: 0.01, monthly_limit_usd: 0.01, alert_threshold: 0.001}}
";
/// 2099-11-28, 23:30 in Berlin: by the wall clock of whoever runs this no window is over, and none is forgotten for that.
const HALF_PAST_ELEVEN: UnixMillis = UnixMillis(4_099_588_200_000);

/// How often the organization's daily and its monthly budget have alerted.
fn alerts(group: &Group) -> [u64; 2] {
    ["daily", "monthly"].map(|window| {
        let name = format!("kt_budget_alerts_total{{scope=\"org\",window=\"{window}\"}}");
        group.metric(&name).parse().unwrap()
    })
}

/// Makes a call of its own, and looks at the budgets as the sidecar does each second.
async fn call(paying: &'static Paying, key: &Key, nth: usize) -> [u64; 2] {
    assert!(paying.fetch(key, &chat(&format!("question {nth}"))).await.unwrap().has_end);
    paying.group.sidecar.look_at_budgets().await;
    alerts(paying.group)
}

#[tokio::test(start_paused = true)]
async fn a_budget_alerts_once_in_its_window_however_many_calls_follow_and_again_in_the_next() {
    let paying = paying_since(BUDGETS, 1_000_000, HALF_PAST_ELEVEN).await;
    let key = paying.group.key().await;
    assert_eq!(call(paying, &key, 0).await, [0, 0], "half of what is worth a word");
    for nth in 1..20 {
        // Every other call is behind a look at everybody.
        pass(Duration::from_secs(40)).await;
        assert_eq!(call(paying, &key, nth).await, [1, 1], "call {nth} of the day");
    }
    // A quarter past midnight: another day, of the same month.
    pass(Duration::from_secs(45 * 60 - 19 * 40)).await;
    paying.group.poll().await;
    paying.group.sidecar.look_at_budgets().await;
    assert_eq!(alerts(paying.group), [1, 1], "nothing is spent of the new day");
    assert_eq!(call(paying, &key, 20).await, [1, 1]);
    for nth in 21..30 {
        assert_eq!(call(paying, &key, nth).await, [2, 1], "call {nth}, on the second day");
    }
    assert!(paying.is_clean().await);
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_starts_on_a_budget_that_has_alerted_does_not_repeat_it() {
    let paying = paying_since(BUDGETS, 1_000_000, HALF_PAST_ELEVEN).await;
    let key = paying.group.key().await;
    for nth in 0..3 {
        call(paying, &key, nth).await;
    }
    let ledger = Arc::clone(&paying.ledger) as Arc<dyn LedgerStore>;
    let restarted = group_of(settings_with(BUDGETS), Clock::start(), Some(ledger));
    restarted.poll().await;
    // Of this organization, since it has a key: all of them are looked at once at the start.
    restarted.key().await;
    restarted.sidecar.look_at_budgets().await;
    assert_eq!((alerts(paying.group), alerts(&restarted)), ([1, 1], [0, 0]));
}

/// A sidecar that starts where this one was.
async fn next_over(paying: &Paying) -> Group {
    let ledger = Arc::clone(&paying.ledger) as Arc<dyn LedgerStore>;
    let next = group_of(settings_with(BUDGETS), Clock::start(), Some(ledger));
    next.poll().await;
    next.key().await;
    next.sidecar.look_at_budgets().await;
    next
}

/// Calls have spent enough for the alerts of both budgets.
async fn spent() -> &'static Paying {
    let paying = paying_since(BUDGETS, 1_000_000, HALF_PAST_ELEVEN).await;
    let key = paying.group.key().await;
    for nth in 0..3 {
        assert!(paying.fetch(&key, &chat(&format!("question {nth}"))).await.unwrap().has_end);
    }
    paying
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_until_an_alert_that_is_marked_is_told() {
    let paying = spent().await;
    paying.ledger.is(Mood::Slow);
    let looking = tokio::spawn(async { paying.group.sidecar.look_at_budgets().await });
    settle().await;
    let stopped = tokio::spawn(async { paying.group.sidecar.drained().await });
    settle().await;
    assert!(!stopped.is_finished(), "one is marked, and not told");
    looking.await.unwrap();
    stopped.await.unwrap();
    // The other was not begun any more: the next one tells it, and not the first again.
    let next = next_over(paying).await;
    let told = [alerts(paying.group), alerts(&next)];
    assert_eq!(told[0].iter().sum::<u64>(), 1, "{told:?}");
    assert_eq!([0, 1].map(|nth| told[0][nth] + told[1][nth]), [1, 1], "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_sidecar_that_stops_has_not_marked_is_told_by_the_next() {
    let paying = spent().await;
    let stopping = tokio::spawn(async { paying.group.sidecar.drained().await });
    settle().await;
    paying.group.sidecar.look_at_budgets().await;
    assert_eq!(alerts(paying.group), [0, 0]);
    assert_eq!(alerts(&next_over(paying).await), [1, 1]);
    stopping.abort();
}
