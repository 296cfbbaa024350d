//! Rate limits in Redis: one script that holds the arithmetic of [`crate::rate_limit::Buckets`], run where the buckets
//! are, all of a request's at once. Its clock is the server's. A bucket goes by itself when it is full again.
//!
//! Neither a take nor a correction is asked for twice from here: twice would count twice. (The client of a cluster sends again
//! what a broken connection has taken with it.) What got no answer may have been counted; whoever asked goes on all the
//! same. What a promotion loses, or Redis evicts, was not used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::FromRedisValue;

use super::fault::Fault;
use super::names::{Names, OrgId};
use super::{Budget, Redis, Script};
use crate::rate_limit::{Charge, most_limiting, units_kept};
use crate::store::Answer;
use crate::store::rates::{Counted, Moment, RateStore, Taken};

/// Somebody waits for it, whom nobody would count otherwise. A lookup follows, and both have to be over before the gateway
/// takes the sidecar for lost, whose default for that is 300 ms.
const ONCE: Budget = Budget { time: Duration::from_millis(100), may_repeat: false };

/// The backend `redis`, for rate limits.
#[derive(Clone)]
pub struct RedisRates {
    redis: Redis,
    script: Arc<Script>,
    /// Instead of the server's clock: for the comparison with the model, which has one of its own.
    millis: Option<Arc<AtomicU64>>,
}

// === impl RedisRates ===

impl RedisRates {
    /// Buckets beside the entries of the same Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let script = Arc::new(Script::new(&[include_str!("scripts/rates.lua")]));
        Self { redis, script, millis: None }
    }

    /// The same, by a clock that the caller moves, in milliseconds. For tests.
    #[must_use]
    pub fn with_clock(self, millis: Arc<AtomicU64>) -> Self {
        Self { millis: Some(millis), ..self }
    }

    async fn ask(
        &self,
        operation: &str,
        org: &str,
        charges: &[Charge],
        numbers: &[u64],
    ) -> Result<Vec<u64>, Fault> {
        let (names, org) = (Names(&self.redis.prefix), OrgId::of(org));
        let keys: Vec<_> = charges.iter().map(|charge| names.bucket(org, charge.name)).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
        let now = self.millis.as_ref().map(|millis| millis.load(Ordering::Relaxed).to_string());
        let now = now.unwrap_or_default();
        let arguments: Vec<_> = [operation.as_bytes(), now.as_bytes()]
            .into_iter()
            .chain(numbers.iter().map(String::as_bytes))
            .collect();
        let value = self.redis.run(&self.script, &keys, &arguments, ONCE).await?;
        FromRedisValue::from_redis_value(value)
            .map_err(|_| Fault::Malformed("a Redis answer about a rate limit"))
    }

    async fn take_all(&self, org: String, charges: Vec<Charge>) -> Result<Taken, Fault> {
        let of_each =
            charges.iter().flat_map(|charge| [charge.per_minute, units_kept(charge.count)]);
        let numbers: Vec<_> = of_each.collect();
        let said = self.ask("take", &org, &charges, &numbers).await?;
        let malformed = Fault::Malformed("a Redis answer about a rate limit");
        match said.as_slice() {
            [1, at] => Ok(Taken::All(Counted { org, charges, at: Moment(*at) })),
            [0, _, used @ ..] if used.len() == charges.len() => {
                let each = charges.iter().copied().zip(used.iter().copied());
                most_limiting(each).map(Taken::None).ok_or(malformed)
            }
            _ => Err(malformed),
        }
    }
}

impl RateStore for RedisRates {
    fn take(&self, org: String, charges: Vec<Charge>) -> Answer<'_, Taken> {
        Box::pin(async move { Ok(self.take_all(org, charges).await?) })
    }

    fn correct(&self, counted: Counted, is: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let Counted { org, charges, at } = counted;
            let of_each = charges.iter().flat_map(|Charge { per_minute, count, .. }| {
                let (more, less) = (is.saturating_sub(*count), count.saturating_sub(is));
                [*per_minute, units_kept(*count), units_kept(more), units_kept(less)]
            });
            let numbers: Vec<_> = std::iter::once(at.0).chain(of_each).collect();
            self.ask("correct", &org, &charges, &numbers).await?;
            Ok(())
        })
    }
}
