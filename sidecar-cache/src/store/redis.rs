//! Redis: entries that a group of sidecars shares, the leases of its flights, their logs, and rate limits. Never money.
//!
//! All of it goes over one connection per process, in budgets, behind a breaker, and is watched frame by frame:
//! a Redis that is slow, gone, full or hostile costs a miss. What is kept is named by digests only; keys that
//! a script touches together have one hash tag, so that they are in one slot of a cluster. Redis's own clock
//! decides what has expired.

pub mod breaker;
mod checks;
mod counts;
mod entries;
mod fault;
mod label;
mod leases;
mod link;
mod logs;
mod names;
pub(in crate::store) mod presence;
mod rates;
mod servers;
mod tls;
mod wakes;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use kt_contract::limits;
use redis::{Cmd, Pipeline, Value};

use super::StoreError;
use super::health::{Counts, Health};
use crate::clock::Clock;
pub use checks::{Noted, Unchecked};

pub use entries::RedisEntries;
use fault::Fault;
pub use leases::RedisLeases;
use link::{Budget, Link, Work};
pub use logs::RedisLogs;
pub use rates::RedisRates;
pub use servers::Servers;

/// How long a connection may take.
const CONNECT_BUDGET: Duration = Duration::from_millis(50);
/// How long it may take to agree on how it is encrypted: two ways there and back, and arithmetic of both sides.
const HANDSHAKE_BUDGET: Duration = Duration::from_millis(100);
/// How long the login on it may take.
const SETUP_BUDGET: Duration = Duration::from_millis(50);
/// Somebody waits for it, whom a miss would serve as well.
const READ: Budget = Budget { time: Duration::from_millis(150), may_repeat: true };
/// Nobody waits for it but the flight's task; an entry may be large.
const WRITE: Budget = Budget { time: Duration::from_millis(1_000), may_repeat: true };
/// How many commands may be under way.
const IN_FLIGHT_MAX: usize = 1_024;
/// The largest reply: an entry of the largest answer, with its header, and room for another.
const REPLY_BYTES_MAX: u64 = 2 * limits::ENTRY_BYTES_MAX as u64 + (1 << 20);
const PREFIX_BYTES_MAX: usize = 64;

/// A connection to Redis, and the prefix of everything that is kept there. Clones share it. Nothing is asked
/// before the first command.
#[derive(Clone)]
pub struct Redis {
    link: Arc<Link>,
    prefix: Arc<str>,
}

/// A script, and the digest by which a server that has seen it knows it.
struct Script {
    text: String,
    digest: String,
}

// === impl Redis ===

impl Redis {
    /// Redis at some servers; all keys begin with `prefix`.
    ///
    /// # Errors
    /// A prefix that cannot be one.
    pub fn new(servers: Servers, prefix: &str, clock: Clock) -> Result<Self, StoreError> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
        if prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(is_plain) {
            let why = "a prefix of Redis keys has at most 64 printable characters, and no braces";
            return Err(StoreError::Permanent(why.to_owned()));
        }
        Ok(Self { link: Arc::new(Link::new(servers, clock)), prefix: prefix.into() })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.link.servers().to_string()
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.link.counts()
    }

    /// Whether it is asked at all: its breaker is closed.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.link.is_open()
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.link.health()
    }

    /// Asks whether it is there. Whoever does it every second knows within two that it is not, and that it is
    /// again, whether or not anybody wants something of it.
    ///
    /// # Errors
    /// [`StoreError`] where it does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.link.ask(Work::Ping, READ).await?;
        Ok(())
    }

    async fn ask(&self, command: &Cmd, budget: Budget) -> Result<Value, Fault> {
        self.link.ask(Work::One(command), budget).await
    }

    async fn ask_for_all(&self, commands: &Pipeline, budget: Budget) -> Result<Value, Fault> {
        self.link.ask(Work::All(commands), budget).await
    }

    /// Runs a script by its digest, and where the server does not know it, by its text.
    async fn run(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
        budget: Budget,
    ) -> Result<Value, Fault> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len());
            keys.iter().for_each(|key| _ = command.arg(*key));
            arguments.iter().for_each(|argument| _ = command.arg(*argument));
            command
        };
        match self.ask(&command("EVALSHA", &script.digest), budget).await {
            Err(Fault::NoScript) => self.ask(&command("EVAL", &script.text), budget).await,
            answer => answer,
        }
    }
}

// === impl Script ===

impl Script {
    fn new(parts: &[&str]) -> Self {
        let text = parts.concat();
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }
}
