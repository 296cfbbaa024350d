//! The rate limits of one process: the suite of all stores of rate limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kt_contract::rate::{Measure, Scope};
use sidecar_cache::clock::Clock;
use sidecar_cache::rate_limit::{Charge, Name};
use sidecar_cache::store::Answer;
use sidecar_cache::store::rates::{
    Counted, MemoryRates, REMEMBERED, RateStore, RememberedRefusals, Taken,
};

use crate::lease_stores::go_on;
use crate::rate_suite::Opened;

crate::rate_store_suite! {
    memory {
        test: tokio::test(start_paused = true),
        open: async { super::open() },
    }
}

fn open() -> Opened<MemoryRates> {
    Opened { rates: MemoryRates::new(Clock::start()), go_on: Box::new(go_on) }
}

/// A store that counts how often it is asked.
struct Asked {
    rates: MemoryRates,
    times: Arc<AtomicUsize>,
}

impl RateStore for Asked {
    fn take(&self, org: String, charges: Vec<Charge>) -> Answer<'_, Taken> {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.rates.take(org, charges)
    }

    fn correct(&self, counted: Counted, is: u64) -> Answer<'_, ()> {
        self.rates.correct(counted, is)
    }
}

fn of(name: u8, per_minute: u64, count: u64) -> Vec<Charge> {
    let (scope, measure) = (Scope::Key, Measure::Tokens);
    vec![Charge { name: Name([name; 16]), scope, measure, per_minute, count }]
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_and_goes_on_asking_costs_the_store_a_few_questions_a_second() {
    let (clock, times) = (Clock::start(), Arc::new(AtomicUsize::new(0)));
    let asked = Asked { rates: MemoryRates::new(clock), times: Arc::clone(&times) };
    let rates = RememberedRefusals::new(asked, clock);
    let take = async |charges| rates.take("acme".to_owned(), charges).await.unwrap();
    let Taken::All(all) = take(of(1, 60, 60)).await else { panic!("a full bucket has sixty") };
    let Taken::None(first) = take(of(1, 60, 2)).await else { panic!("it is empty") };
    assert_eq!((first.wait.0, times.load(Ordering::Relaxed)), (2_000, 2));
    tokio::time::advance(Duration::from_millis(100)).await;
    for _ in 0..1_000 {
        let Taken::None(again) = take(of(1, 60, 2)).await else { panic!("it is empty") };
        assert_eq!(again.wait.0, 1_900, "as long as is left");
    }
    assert_eq!(times.load(Ordering::Relaxed), 2);
    // Who wants less, has another bucket, or another limit, is another question.
    for other in [of(1, 60, 1), of(2, 60, 2), of(1, 600, 2)] {
        let _ = take(other).await;
    }
    assert_eq!(times.load(Ordering::Relaxed), 5);
    tokio::time::advance(Duration::from_millis(REMEMBERED.0)).await;
    let _ = take(of(1, 60, 2)).await;
    assert_eq!(times.load(Ordering::Relaxed), 6, "the store is asked again");
    // What turns out to be less is there at once.
    rates.correct(all, 0).await.unwrap();
    assert!(matches!(take(of(1, 60, 2)).await, Taken::All(_)));
}
