//! How long another sidecar's call may take, that one decides: who reads it has no deadlines of its own.

use sidecar_cache::service::upstream::{Timeouts, Upstream};
use sidecar_cache::service::{Parts, Sidecar};

use super::*;

/// Sidecars that share their store, each with these deadlines.
async fn pair(timeouts: Timeouts) -> &'static [Group; 2] {
    let (clock, settings) = (Clock::start(), settings());
    let entries = Arc::new(Shelved::new(clock, settings.memory));
    let leases = Arc::new(MemoryLeases::new(Epoch(7), clock, entries.clone()));
    let logs = Arc::new(MemoryLogs::new(clock, leases.clone()));
    let rates = Arc::new(MemoryRates::new(clock));
    let keys: Arc<Keys> = Arc::default();
    let group = || {
        let provider = Arc::new(Provider::default());
        let (leases, logs, rates) = (leases.clone(), logs.clone(), rates.clone());
        let sidecar = Sidecar::new(Parts {
            shared: Some(Shared { leases, logs, rates }),
            keys: keys.clone(),
            upstream: Arc::clone(&provider) as Arc<dyn Upstream>,
            timeouts,
            ..parts(clock, settings.clone(), entries.clone(), &provider)
        });
        let replies = Arc::new(Remembered::default());
        Group { sidecar: sidecar.unwrap(), provider, entries: entries.clone(), replies }
    };
    let pair = [group(), group()];
    for group in &pair {
        group.poll().await;
    }
    Box::leak(Box::new(pair))
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_at_another_sidecar_for_as_long_as_its_call_may_take() {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let pauses = Timeouts { idle: Duration::from_secs(120), ..Timeouts::default() };
    let lasts = Timeouts { whole: hours(3), ..Timeouts::default() };
    let trickle = (0..360).flat_map(|_| [bytes(": still there\n\n"), wait(20)]);
    for (what, timeouts, acts) in [
        ("a long pause", pauses, vec![bytes(CHUNKS), wait(100), bytes(USAGE_CHUNK), bytes(DONE)]),
        ("two hours of it", lasts, trickle.chain([bytes(&sse())]).collect()),
    ] {
        let [first, second] = pair(timeouts).await;
        let key = first.key().await;
        first.provider.next(answers_sse(acts));
        let leads = tokio::spawn({
            let key = key.clone();
            async move { first.fetch(&key, CHAT_STREAM).await }
        });
        settle().await;
        let follows = second.fetch(&key, CHAT_STREAM).await.unwrap();
        assert_eq!(follows.head.cache, COALESCED, "{what}");
        assert!(follows.has_end, "{what}");
        assert_eq!(follows.body, leads.await.unwrap().unwrap().body, "{what}");
        assert_eq!((first.provider.count(), second.provider.count()), (1, 0), "{what}");
    }
}
