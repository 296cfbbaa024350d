//! Logs of flights in Redis: a list of pieces, and beside it whose they are and how they end. Whoever waits for
//! more is woken on the channel of the place, and looks by itself twice a second.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{FromRedisValue, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::fault::Fault;
use super::leases::words;
use super::names::Names;
use super::{Budget, READ, Redis, Script, WRITE};
use crate::flight::{Held, Token};
use crate::store::Answer;
use crate::store::flight_log::{
    Appended, BYTES_MAX, Chunk, Cursor, FlightLog, KEPT, KEPT_ENDED, LogAt, POLL_EVERY, Read, Watch,
};

/// More is not read at once, whatever a reader asks for: it is one reply.
const READ_BYTES_MAX: u64 = 1 << 20;

/// The backend `redis`, for the logs of flights whose leases are there.
#[derive(Clone)]
pub struct RedisLogs {
    redis: Redis,
    script: Arc<Script>,
    poll_every: Duration,
}

struct Watching {
    redis: Redis,
    channel: String,
    receiver: watch::Receiver<()>,
    /// The subscription by which everything is heard that is said after the last look.
    heard_by: Option<u64>,
    poll_every: Duration,
}

// === impl RedisLogs ===

impl RedisLogs {
    /// Logs beside the leases in the same Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let script = Arc::new(Script::new(&[include_str!("scripts/log.lua")]));
        Self { redis, script, poll_every: POLL_EVERY }
    }

    /// The same, whose readers look by themselves only so often. For tests.
    #[must_use]
    pub fn polling_every(self, poll_every: Duration) -> Self {
        Self { poll_every, ..self }
    }

    async fn ask(
        &self,
        operation: &str,
        at: LogAt,
        arguments: &[&[u8]],
        budget: Budget,
    ) -> Result<Value, Fault> {
        let names = Names(&self.redis.prefix);
        let [known, pieces] = names.log(at);
        let keys = [known, pieces, names.channel(&at.key), names.lease(&at.key)];
        let kept = if operation == "finish" { KEPT_ENDED } else { KEPT }.0.to_string();
        let wake = wake(at);
        let common = [operation.as_bytes(), wake.as_bytes(), kept.as_bytes()];
        let arguments: Vec<&[u8]> = common.into_iter().chain(arguments.iter().copied()).collect();
        let keys = keys.each_ref().map(String::as_str);
        self.redis.run(&self.script, &keys, &arguments, budget).await
    }

    async fn write(
        &self,
        operation: &str,
        at: LogAt,
        token: Token,
        more: &[&[u8]],
    ) -> Result<String, Fault> {
        let (epoch, counter) = words(token);
        let arguments: Vec<&[u8]> = [epoch.as_bytes(), counter.as_bytes()]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        let value = self.ask(operation, at, &arguments, WRITE).await?;
        String::from_redis_value(value).map_err(|_| Fault::Malformed("a Redis answer about a log"))
    }

    async fn read_some(&self, at: LogAt, from: Cursor, bytes: u64) -> Result<Read, Fault> {
        let attempt = from.attempt.to_string();
        let (next, bytes) = (from.next.to_string(), bytes.min(READ_BYTES_MAX).to_string());
        let arguments = [attempt.as_bytes(), next.as_bytes(), bytes.as_bytes()];
        let value = self.ask("read", at, &arguments, READ).await?;
        type Answered = (u64, u64, Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<Vec<u8>>);
        let answered: Option<Answered> =
            FromRedisValue::from_redis_value(value).map_err(|_| Fault::Malformed("a Redis log"))?;
        Ok(answered.map_or(Read::Absent, |(attempt, next, head, end, pieces)| {
            Read::Chunk(Chunk {
                head: head.into_iter().next().map(Bytes::from),
                pieces: pieces.into_iter().map(Bytes::from).collect(),
                cursor: Cursor { attempt, next },
                end: end.into_iter().next().map(Bytes::from),
            })
        }))
    }
}

impl FlightLog for RedisLogs {
    fn begin(&self, at: LogAt, token: Token, head: Bytes) -> Answer<'_, Held> {
        Box::pin(async move { Ok(held(&self.write("begin", at, token, &[&head]).await?)?) })
    }

    fn append(
        &self,
        at: LogAt,
        token: Token,
        first: u64,
        pieces: Vec<Bytes>,
    ) -> Answer<'_, Appended> {
        Box::pin(async move {
            let (first, max) = (first.to_string(), BYTES_MAX.to_string());
            let more: Vec<&[u8]> = [first.as_bytes(), max.as_bytes()]
                .into_iter()
                .chain(pieces.iter().map(Bytes::as_ref))
                .collect();
            match self.write("append", at, token, &more).await?.as_str() {
                "done" => Ok(Appended::Done),
                "full" => Ok(Appended::Full),
                "superseded" => Ok(Appended::Superseded),
                _ => Err(Fault::Malformed("a Redis answer about a log").into()),
            }
        })
    }

    fn finish(&self, at: LogAt, token: Token, end: Bytes) -> Answer<'_, Held> {
        Box::pin(async move { Ok(held(&self.write("finish", at, token, &[&end]).await?)?) })
    }

    fn read(&self, at: LogAt, from: Cursor, bytes: u64) -> Answer<'_, Read> {
        Box::pin(async move { Ok(self.read_some(at, from, bytes).await?) })
    }

    fn watch(&self, at: LogAt) -> Box<dyn Watch> {
        let channel = Names(&self.redis.prefix).channel(&at.key);
        let wakes = &self.redis.link.wakes;
        let receiver = wakes.wait_for(&wake(at));
        let heard_by = wakes.subscription(&channel).map(|subscription| subscription.number);
        let (redis, poll_every) = (self.redis.clone(), self.poll_every);
        Box::new(Watching { redis, channel, receiver, heard_by, poll_every })
    }
}

// === impl Watching ===

impl Watch for Watching {
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let Self { redis, channel, receiver, heard_by, poll_every } = self;
            let woken = async {
                let listens_by = redis.link.listen(channel).await;
                // What was written between the last look and now has woken nobody here.
                if listens_by.is_some() && *heard_by != listens_by {
                    *heard_by = listens_by;
                    return;
                }
                // Fails only where nobody can be woken any more.
                let _ = receiver.changed().await;
            };
            let _ = timeout(*poll_every, woken).await;
        })
    }
}

fn held(word: &str) -> Result<Held, Fault> {
    match word {
        "current" => Ok(Held::Current),
        "superseded" => Ok(Held::Superseded),
        _ => Err(Fault::Malformed("a Redis answer about a log")),
    }
}

/// The words that wake those who watch a log, and whoever waits for somebody to read it.
pub(super) fn wake(at: LogAt) -> String {
    format!("{}:{}", at.key.0.to_hex(), at.id.0)
}
