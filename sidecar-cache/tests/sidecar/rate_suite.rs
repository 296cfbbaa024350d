//! One suite for every store of rate limits: a failure reads `memory::all_of_several_are_taken_or_none`.

use kt_contract::rate::{Measure, RateLimited, Scope};
use kt_contract::time::Millis;
use sidecar_cache::rate_limit::{Charge, Name};
use sidecar_cache::store::rates::{Counted, RateStore, Taken};

/// Stamps the suite over a store: how a test runs, and a way to open an empty one as [`Opened`].
#[macro_export]
macro_rules! rate_store_suite {
    ($name:ident { test: $attribute:meta, open: $open:expr, }) => {
        mod $name {
            $crate::rate_store_suite! { @tests $attribute, $open,
                a_minutes_worth_may_come_at_once_and_the_rest_comes_back_evenly
                all_of_several_are_taken_or_none
                of_several_limits_the_one_is_named_that_makes_wait_longest
                what_is_larger_than_the_whole_limit_passes_when_nothing_is_used
                what_was_not_used_is_given_back_and_what_was_used_beyond_is_waited_for
                what_has_come_back_by_itself_is_not_given_back_again
                another_limit_counts_from_its_moment_on_and_forgets_nothing
                an_absurd_count_keeps_nobody_out_for_longer_than_an_hour
                the_largest_limit_is_counted_to_the_unit
                organizations_scopes_and_measures_are_counted_apart
            }
        }
    };
    (@tests $attribute:meta, $open:expr, $($test:ident)*) => {$(
        #[$attribute]
        async fn $test() {
            $crate::rate_suite::$test($open.await).await;
        }
    )*};
}

/// Buckets that are all full, and how their clock goes on.
pub(crate) struct Opened<R> {
    pub(crate) rates: R,
    pub(crate) go_on: Box<dyn Fn(Millis)>,
}

const LARGEST: u64 = 1_000_000_000;

pub(crate) fn charge(who: &str, per_minute: u64, count: u64) -> Charge {
    let (scope, measure) = (Scope::Key, Measure::Requests);
    Charge { name: Name::new(scope, measure, "acme", who), scope, measure, per_minute, count }
}

impl<R: RateStore> Opened<R> {
    async fn asked(&self, charges: &[Charge]) -> Taken {
        self.rates.take("acme".to_owned(), charges.to_vec()).await.unwrap()
    }

    async fn taken(&self, charges: &[Charge]) -> Counted {
        match self.asked(charges).await {
            Taken::All(counted) => counted,
            other @ (Taken::Some(_) | Taken::None(_)) => panic!("{other:?}"),
        }
    }

    async fn refused(&self, charges: &[Charge]) -> RateLimited {
        match self.asked(charges).await {
            Taken::None(limited) => limited,
            other @ (Taken::All(_) | Taken::Some(_)) => panic!("{other:?}"),
        }
    }

    async fn corrected(&self, counted: Counted, is: u64) {
        self.rates.correct(counted, is).await.unwrap();
    }
}

pub(crate) async fn a_minutes_worth_may_come_at_once_and_the_rest_comes_back_evenly(
    opened: Opened<impl RateStore>,
) {
    let one = [charge("k", 60, 1)];
    for _ in 0..60 {
        opened.taken(&one).await;
    }
    let limited = opened.refused(&one).await;
    assert_eq!((limited.wait, limited.remaining), (Millis(1_000), 0));
    assert_eq!((limited.reset, limited.per_minute), (Millis(60_000), 60));
    (opened.go_on)(Millis(999));
    assert_eq!(opened.refused(&one).await.wait, Millis(1));
    (opened.go_on)(Millis(1));
    opened.taken(&one).await;
    assert_eq!(opened.refused(&one).await.wait, Millis(1_000));
}

pub(crate) async fn all_of_several_are_taken_or_none(opened: Opened<impl RateStore>) {
    let (wide, narrow) = (charge("team", 10, 1), charge("key", 1, 1));
    opened.taken(&[wide, narrow]).await;
    for _ in 0..20 {
        assert_eq!(opened.refused(&[wide, narrow]).await.per_minute, 1);
    }
    for _ in 0..9 {
        opened.taken(&[wide]).await;
    }
    assert_eq!(opened.refused(&[wide]).await.per_minute, 10);
}

pub(crate) async fn of_several_limits_the_one_is_named_that_makes_wait_longest(
    opened: Opened<impl RateStore>,
) {
    let both = [charge("fast", 60, 1), charge("slow", 1, 1)];
    opened.taken(&[charge("fast", 60, 60), both[1]]).await;
    let limited = opened.refused(&both).await;
    assert_eq!((limited.per_minute, limited.wait), (1, Millis(60_000)));
}

pub(crate) async fn what_is_larger_than_the_whole_limit_passes_when_nothing_is_used(
    opened: Opened<impl RateStore>,
) {
    opened.taken(&[charge("k", 100, 250)]).await;
    assert_eq!(opened.refused(&[charge("k", 100, 1)]).await.wait, Millis(90_600));
    (opened.go_on)(Millis(90_600));
    opened.taken(&[charge("k", 100, 1)]).await;
    assert_eq!(opened.refused(&[charge("k", 100, 250)]).await.wait, Millis(60_000));
}

pub(crate) async fn what_was_not_used_is_given_back_and_what_was_used_beyond_is_waited_for(
    opened: Opened<impl RateStore>,
) {
    let counted = opened.taken(&[charge("k", 100, 20)]).await;
    opened.corrected(counted, 130).await;
    assert_eq!(opened.refused(&[charge("k", 100, 1)]).await.wait, Millis(18_600));
    let whole = [charge("other", 100, 100)];
    let counted = opened.taken(&whole).await;
    opened.corrected(counted, 0).await;
    opened.taken(&whole).await;
}

pub(crate) async fn what_has_come_back_by_itself_is_not_given_back_again(
    opened: Opened<impl RateStore>,
) {
    let whole = [charge("k", 60, 60)];
    let counted = opened.taken(&whole).await;
    (opened.go_on)(Millis(60_000));
    opened.taken(&whole).await;
    opened.corrected(counted, 0).await;
    assert_eq!(opened.refused(&[charge("k", 60, 1)]).await.wait, Millis(1_000));
}

pub(crate) async fn another_limit_counts_from_its_moment_on_and_forgets_nothing(
    opened: Opened<impl RateStore>,
) {
    opened.taken(&[charge("k", 60, 60)]).await;
    opened.taken(&[charge("k", 120, 60)]).await;
    assert_eq!(opened.refused(&[charge("k", 120, 1)]).await.wait, Millis(500));
    let narrower = opened.refused(&[charge("k", 30, 1)]).await;
    assert_eq!((narrower.wait, narrower.remaining), (Millis(182_000), 0));
}

pub(crate) async fn an_absurd_count_keeps_nobody_out_for_longer_than_an_hour(
    opened: Opened<impl RateStore>,
) {
    for per_minute in [60, LARGEST] {
        let call = [charge(&format!("of {per_minute}"), per_minute, per_minute / 60)];
        let counted = opened.taken(&call).await;
        opened.corrected(counted, u64::MAX).await;
        assert_eq!(opened.refused(&call).await.wait, Millis(59 * 60_000 + 1_000));
    }
    // Nor where the limit is made narrower afterwards.
    let narrower = [charge("of 1000000000", 60, 1)];
    assert_eq!(opened.refused(&narrower).await.wait, Millis(59 * 60_000 + 1_000));
}

pub(crate) async fn the_largest_limit_is_counted_to_the_unit(opened: Opened<impl RateStore>) {
    let all_but_one = [charge("k", LARGEST, LARGEST - 1)];
    let counted = opened.taken(&all_but_one).await;
    opened.taken(&[charge("k", LARGEST, 1)]).await;
    let limited = opened.refused(&[charge("k", LARGEST, 1)]).await;
    assert_eq!((limited.wait, limited.remaining, limited.reset), (Millis(1), 0, Millis(60_000)));
    // Nearly an hour's worth is missing, and one of it is given back.
    opened.corrected(counted, 59 * LARGEST).await;
    let counted = Counted { charges: vec![charge("k", LARGEST, 2)], ..last(&opened).await };
    opened.corrected(counted, 1).await;
    let limited = opened.refused(&[charge("k", LARGEST, 1)]).await;
    assert_eq!((limited.wait, limited.reset), (Millis(58 * 60_000 + 1), Millis(59 * 60_000)));
}

/// What has just been taken of a bucket that nobody else has.
async fn last(opened: &Opened<impl RateStore>) -> Counted {
    opened.taken(&[charge("nobody else's", 1, 1)]).await
}

pub(crate) async fn organizations_scopes_and_measures_are_counted_apart(
    opened: Opened<impl RateStore>,
) {
    for (org, scope, measure) in [
        ("acme", Scope::Key, Measure::Requests),
        ("acme", Scope::User, Measure::Requests),
        ("acme", Scope::Key, Measure::Tokens),
        ("globex", Scope::Key, Measure::Requests),
    ] {
        let name = Name::new(scope, measure, org, "k");
        let one = vec![Charge { name, scope, measure, per_minute: 1, count: 1 }];
        let taken = opened.rates.take(org.to_owned(), one.clone()).await.unwrap();
        assert!(matches!(taken, Taken::All(_)), "{org} {scope:?} {measure:?}: {taken:?}");
        let taken = opened.rates.take(org.to_owned(), one).await.unwrap();
        assert!(matches!(taken, Taken::None(_)), "{org} {scope:?} {measure:?}: {taken:?}");
    }
}
