//! Leases in Redis: one script that holds the state machine of [`crate::flight::Flights`], run where the state
//! is. Its epoch is the identity of the server's data (`master_replid`), so that what was granted before a
//! promotion or a restart is void; its clock is the server's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use redis::FromRedisValue;

use super::entries::{Announced, RedisEntries};
use super::fault::Fault;
use super::logs::wake;
use super::names::Names;
use super::{Budget, READ, Redis, Script, WRITE};
use crate::flight::{
    Acquired, BACKOFF, Cause, Epoch, FOLLOWERS_MAX, Failed, FlightId, HIT_FOR_MISS, Held,
    LEASE_TTL, Overflow, RETRY_AFTER_MAX, TAKEOVERS_MAX, Token,
};
use crate::generation::Generation;
use crate::store::flight_log::LogAt;
use crate::store::leases::{AfterFailure, Claim, LeaseStore, Renewed};
use crate::store::{Answer, NewEntry};

/// The backend `redis`, for leases. What they are for is stored in the same Redis, in the step that ends them.
#[derive(Clone)]
pub struct RedisLeases {
    redis: Redis,
    entries: RedisEntries,
    script: Arc<Script>,
    /// Instead of the server's clock: for the comparison with the model, which has one of its own.
    micros: Option<Arc<AtomicU64>>,
}

/// What the script answers.
struct Said {
    word: String,
    epoch: Epoch,
    first: u64,
    second: u64,
}

// === impl RedisLeases ===

impl RedisLeases {
    /// Leases beside the entries that they are for.
    #[must_use]
    pub fn new(redis: Redis, entries: RedisEntries) -> Self {
        let longest = format!(
            "local HIT_FOR_MISS, RETRY_AFTER_MAX = {}, {}\n",
            micros(HIT_FOR_MISS),
            micros(RETRY_AFTER_MAX)
        );
        let script = Arc::new(Script::new(&[&longest, include_str!("scripts/leases.lua")]));
        Self { redis, entries, script, micros: None }
    }

    /// The same, by a clock that the caller moves, in microseconds. For tests.
    #[must_use]
    pub fn with_clock(self, micros: Arc<AtomicU64>) -> Self {
        Self { micros: Some(micros), ..self }
    }

    /// The Redis that they are in.
    #[must_use]
    pub const fn redis(&self) -> &Redis {
        &self.redis
    }

    async fn ask(
        &self,
        operation: &str,
        key: &CacheKey,
        arguments: &[&[u8]],
        budget: Budget,
    ) -> Result<Said, Fault> {
        let names = Names(&self.redis.prefix);
        let keys = [names.lease(key), names.counter(key), names.entry(key), names.channel(key)];
        let now = self.micros.as_ref().map(|micros| micros.load(Ordering::Relaxed).to_string());
        let now = now.unwrap_or_default();
        let ttl = micros(LEASE_TTL);
        let common = [operation.as_bytes(), now.as_bytes(), ttl.as_bytes()];
        let arguments: Vec<&[u8]> = common.into_iter().chain(arguments.iter().copied()).collect();
        let keys = keys.each_ref().map(String::as_str);
        let value = self.redis.run(&self.script, &keys, &arguments, budget).await?;
        let malformed = Fault::Malformed("a Redis answer about a lease");
        let (word, epoch, first, second): (String, String, u64, u64) =
            FromRedisValue::from_redis_value(value).map_err(|_| malformed.clone())?;
        let epoch = u64::from_str_radix(&epoch, 16).map(Epoch).map_err(|_| malformed)?;
        Ok(Said { word, epoch, first, second })
    }

    /// Asks about a token.
    async fn ask_with(
        &self,
        operation: &str,
        key: &CacheKey,
        token: Token,
        more: &[&[u8]],
    ) -> Result<Said, Fault> {
        let (epoch, counter) = words(token);
        let arguments: Vec<&[u8]> = [epoch.as_bytes(), counter.as_bytes()]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        let budget = if operation == "fill" { WRITE } else { READ };
        self.ask(operation, key, &arguments, budget).await
    }

    async fn fill_one(&self, token: Token, entry: NewEntry) -> Result<Held, Fault> {
        let key = entry.at.key;
        let Some((value, lifetime)) = self.entries.value(&entry) else {
            return self.ask_with("fill", &key, token, &[b"", b""]).await?.held();
        };
        // Those beside the entry first: an entry that nobody knows of would outlive its organization.
        self.entries.announce(&Announced::of(&entry, lifetime)).await?;
        let lifetime = lifetime.0.to_string();
        let more = [value.as_slice(), lifetime.as_bytes()];
        self.ask_with("fill", &key, token, &more).await?.held()
    }

    async fn fail_one(
        &self,
        key: CacheKey,
        token: Token,
        failed: Failed,
    ) -> Result<AfterFailure, Fault> {
        let Failed { waiting, retry_after, cause } = failed;
        let flag = |is: bool| if is { "1" } else { "0" };
        let (epoch, counter) = words(token);
        let mut arguments = [
            epoch,
            counter,
            waiting.to_string(),
            flag(retry_after.is_some_and(|wait| wait > RETRY_AFTER_MAX)).to_owned(),
            micros(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)),
            flag(cause == Cause::Unpaid).to_owned(),
            micros(BACKOFF),
            TAKEOVERS_MAX.to_string(),
            flag(false).to_owned(),
        ];
        let once = Budget { may_repeat: false, ..READ };
        let first = {
            let arguments = arguments.each_ref().map(|word| word.as_bytes());
            self.ask("fail", &key, &arguments, once).await
        };
        let said = match first {
            // It may have been done: whoever says it again says so, since what was over is not there any more.
            Err(Fault::Lost(_) | Fault::Elsewhere(_)) => {
                let [.., is_again] = &mut arguments;
                flag(true).clone_into(is_again);
                let arguments = arguments.each_ref().map(|word| word.as_bytes());
                self.ask("fail", &key, &arguments, once).await?
            }
            said => said?,
        };
        match said.word.as_str() {
            "take_over" => Ok(AfterFailure::TakeOver { after: Millis(said.first.div_ceil(1_000)) }),
            "over" => Ok(AfterFailure::Over),
            "voided" => Ok(AfterFailure::Voided),
            _ => Err(Fault::Malformed("a Redis answer about a failure")),
        }
    }
}

impl LeaseStore for RedisLeases {
    fn acquire(&self, key: CacheKey, claim: Claim) -> Answer<'_, Acquired> {
        Box::pin(async move {
            let (claim, max, words) = (claim.word(), FOLLOWERS_MAX.to_string(), key.0.to_hex());
            let arguments = [claim.as_bytes(), max.as_bytes(), words.as_bytes()];
            let said = self.ask("acquire", &key, &arguments, READ).await?;
            match said.word.as_str() {
                "lead" => Ok(Acquired::Lead(said.token(), FlightId(said.second))),
                "follow" => Ok(Acquired::Follow(FlightId(said.first))),
                "hit_for_miss" => Ok(Acquired::HitForMiss),
                "full" => Ok(Acquired::Full),
                "mute" => Ok(Acquired::Mute),
                _ => Err(Fault::Malformed("a Redis answer about a lease").into()),
            }
        })
    }

    fn acquire_alone(&self, key: CacheKey, claim: Claim) -> Answer<'_, Option<Token>> {
        Box::pin(async move {
            let claim = claim.word();
            let said = self.ask("acquire_alone", &key, &[claim.as_bytes(), b"0"], READ).await?;
            Ok((said.word == "lead").then(|| said.token()))
        })
    }

    fn leave(&self, key: CacheKey, id: FlightId) -> Answer<'_, ()> {
        Box::pin(async move {
            // Twice would take another follower's place away; not at all keeps one too long.
            let once = Budget { may_repeat: false, ..READ };
            self.ask("leave", &key, &[id.0.to_string().as_bytes()], once).await?;
            Ok(())
        })
    }

    fn followed(
        &self,
        key: CacheKey,
        id: FlightId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let channel = Names(&self.redis.prefix).channel(&key);
        let mut woken = self.redis.link.wakes.wait_for(&wake(LogAt { key, id }));
        Box::pin(async move {
            self.redis.link.listen(&channel).await;
            if woken.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn renew(&self, key: CacheKey, token: Token) -> Answer<'_, Renewed> {
        Box::pin(async move {
            let said = self.ask_with("renew", &key, token, &[]).await?;
            let followers = u32::try_from(said.first).unwrap_or(u32::MAX);
            Ok(match said.held()? {
                Held::Current => Renewed::Current { followers },
                Held::Superseded => Renewed::Superseded,
            })
        })
    }

    fn mute(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        Box::pin(async move { Ok(self.ask_with("mute", &key, token, &[]).await?.held()?) })
    }

    fn holds(&self, key: CacheKey, token: Token) -> Answer<'_, bool> {
        Box::pin(async move {
            Ok(self.ask_with("holds", &key, token, &[]).await?.held()? == Held::Current)
        })
    }

    fn fill(&self, token: Token, entry: NewEntry) -> Answer<'_, Held> {
        Box::pin(async move { Ok(self.fill_one(token, entry).await?) })
    }

    fn abandon(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        Box::pin(async move { Ok(self.ask_with("abandon", &key, token, &[]).await?.held()?) })
    }

    fn end_uncacheable(&self, key: CacheKey, token: Token, under: Generation) -> Answer<'_, Held> {
        Box::pin(async move {
            let (under, time) = (generation(under), micros(HIT_FOR_MISS));
            let more = [under.as_bytes(), time.as_bytes()];
            Ok(self.ask_with("end_uncacheable", &key, token, &more).await?.held()?)
        })
    }

    fn fail(&self, key: CacheKey, token: Token, failed: Failed) -> Answer<'_, AfterFailure> {
        Box::pin(async move { Ok(self.fail_one(key, token, failed).await?) })
    }

    fn take_over(&self, key: CacheKey, id: FlightId, claim: Claim) -> Answer<'_, Option<Token>> {
        Box::pin(async move {
            let (id, claim, max) = (id.0.to_string(), claim.word(), TAKEOVERS_MAX.to_string());
            let arguments = [id.as_bytes(), claim.as_bytes(), max.as_bytes()];
            let said = self.ask("take_over", &key, &arguments, READ).await?;
            Ok((said.word == "lead").then(|| said.token()))
        })
    }

    fn give_up(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        Box::pin(async move {
            let said = self.ask("give_up", &key, &[id.0.to_string().as_bytes()], READ).await?;
            Ok(said.word == "done")
        })
    }

    fn overflow(&self, key: CacheKey, id: FlightId, limit: Option<u64>) -> Answer<'_, Overflow> {
        Box::pin(async move {
            let id = id.0.to_string();
            let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
            let arguments = [id.as_bytes(), limit.as_bytes()];
            let said = self.ask("overflow", &key, &arguments, READ).await?;
            Ok(if said.word == "go" { Overflow::Go } else { Overflow::WaitOn })
        })
    }

    fn void(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        Box::pin(async move {
            let said = self.ask("void", &key, &[id.0.to_string().as_bytes()], READ).await?;
            Ok(said.word == "done")
        })
    }

    fn renewed(&self, key: CacheKey, newest: Generation) -> Answer<'_, ()> {
        Box::pin(async move {
            self.ask("renewed", &key, &[generation(newest).as_bytes()], READ).await?;
            Ok(())
        })
    }
}

// === impl Said ===

impl Said {
    const fn token(&self) -> Token {
        Token { epoch: self.epoch, counter: self.first }
    }

    fn held(&self) -> Result<Held, Fault> {
        match self.word.as_str() {
            "current" => Ok(Held::Current),
            "superseded" => Ok(Held::Superseded),
            _ => Err(Fault::Malformed("a Redis answer about a token")),
        }
    }
}

// === impl Claim ===

impl Claim {
    fn word(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// A token as the script knows it.
pub(super) fn words(token: Token) -> (String, String) {
    (format!("{:016x}", token.epoch.0), token.counter.to_string())
}

fn micros(time: Millis) -> String {
    time.0.saturating_mul(1_000).to_string()
}

/// So that generations compare as texts.
fn generation(generation: Generation) -> String {
    format!("{:020}", generation.0)
}
