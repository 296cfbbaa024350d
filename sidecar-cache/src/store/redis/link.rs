//! The connection that all stores share: who asks has a budget, finds a connection or makes one, and learns at
//! once where Redis has not answered for a while.

use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::admin::StoreKind;
use redis::aio::ConnectionLike;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline, PushInfo,
    RedisConnectionInfo, RedisError, Value,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::IN_FLIGHT_MAX;
use super::breaker::{Admitted, Breaker, Verdict};
use super::checks::Noted;
use super::counts::Counters;
use super::fault::Fault;
use super::presence::{Change, Heard, Presence};
use super::servers::{self, Place, Servers};
use super::wakes::Wakes;
use super::wire::Wire;
use crate::clock::Clock;
use crate::store::health::{Copies, Counts, Health};

/// After how many commands in a row that got no answer the connection is given up: one may just have been
/// slow, and others share the connection.
const SILENT_MAX: u32 = 3;
/// A cluster whose nodes have all said nothing for so long is asked for anew, by the addresses that are configured.
const CLUSTER_SILENT_MAX: Millis = Millis(3_000);
/// How long it may take to find all nodes of a cluster: those that do not answer are waited for, first as nodes that are
/// configured, then as masters.
const CLUSTER_BUDGET: Duration = Duration::from_millis(500);
/// How long nobody connects after a connection could not be made; twice as long each time, up to the second.
const BACKOFF: Millis = Millis(50);
const BACKOFF_MAX: Millis = Millis(1_000);

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    /// One command.
    One(&'a Cmd),
    /// Several, of one slot, one after the other.
    All(&'a Pipeline),
    /// Whether anybody is there.
    Ping,
}

/// How long an answer may take, whatever has to be done for it, and whether it may be asked for again where the
/// connection breaks: only where twice is the same as once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) time: Duration,
    pub(super) may_repeat: bool,
}

/// The connection.
pub(super) struct Link {
    servers: Servers,
    clock: Clock,
    breaker: Mutex<Breaker>,
    presence: Mutex<Presence>,
    /// What it is, or why it will not do, as it was last found.
    judged: Mutex<Option<Result<Noted, String>>>,
    permits: Semaphore,
    dialer: tokio::sync::Mutex<Dialer>,
    pub(super) wakes: Arc<Wakes>,
    counters: Counters,
}

#[derive(Default)]
struct Dialer {
    line: Option<Arc<Line>>,
    number: u64,
    failures: u32,
    not_before: MonoMillis,
    /// Why the last connection could not be made.
    failed: Option<Fault>,
    /// The one that is being made. Whoever waits for it may leave.
    dialing: Option<JoinHandle<Result<Connection, RedisError>>>,
}

/// A connection that is open.
pub(super) struct Line {
    /// Another one has another.
    pub(super) number: u64,
    connection: Connection,
    /// Commands in a row that got no answer.
    silent: AtomicU32,
    /// When one got an answer.
    heard: AtomicU64,
}

#[derive(Clone)]
enum Connection {
    Server(Wire),
    Cluster(ClusterConnection<Wire>),
}

// === impl Link ===

impl Link {
    pub(super) fn new(servers: Servers, clock: Clock) -> Self {
        Self {
            servers,
            clock,
            breaker: Mutex::default(),
            presence: Mutex::default(),
            judged: Mutex::default(),
            permits: Semaphore::new(IN_FLIGHT_MAX),
            dialer: tokio::sync::Mutex::default(),
            wakes: Arc::default(),
            counters: Counters::default(),
        }
    }

    pub(super) const fn servers(&self) -> &Servers {
        &self.servers
    }

    pub(super) fn counts(&self) -> Counts {
        self.counters.read()
    }

    pub(super) fn is_open(&self) -> bool {
        !self.breaker().is_open()
    }

    pub(super) fn health(&self) -> Health {
        let (presence, now) = (lock(&self.presence), self.clock.mono());
        let judged = lock(&self.judged);
        let noted = judged.as_ref().and_then(|judged| judged.as_ref().ok());
        Health {
            store: StoreKind::Redis,
            place: self.servers.to_string(),
            away: presence.away(now),
            unfit: judged.as_ref().and_then(|judged| judged.as_ref().err().cloned()),
            says: noted.map(ToString::to_string),
            advice: noted.and_then(Noted::advice),
            away_total: presence.away_total(now),
            is_asked: self.is_open(),
            counts: self.counts(),
            copies: Copies::default(),
        }
    }

    /// It was asked what it is and whether it will do.
    pub(super) fn judged(&self, judged: Result<Noted, String>) {
        *lock(&self.judged) = Some(judged);
    }

    /// Asks, within a budget.
    pub(super) async fn ask(
        self: &Arc<Self>,
        work: Work<'_>,
        budget: Budget,
    ) -> Result<Value, Fault> {
        // Who finds too many under way is not the server's fault, and does not wait for them.
        let Ok(_permit) = self.permits.try_acquire() else {
            self.counters.skipped();
            return Err(Fault::Crowded);
        };
        let admitted = self.breaker().admit(self.clock.mono());
        if admitted == Admitted::Refused {
            self.counters.skipped();
            return Err(Fault::Skipped);
        }
        let answer = match timeout(budget.time, self.attempts(work, budget.may_repeat)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.silent().await;
                Err(Fault::Late)
            }
        };
        self.ended(admitted, &answer).await;
        answer
    }

    /// The connection as it is, or a new one.
    pub(super) async fn line(self: &Arc<Self>) -> Result<Arc<Line>, Fault> {
        let mut dialer = self.dialer.lock().await;
        if let Some(line) = &dialer.line {
            return Ok(Arc::clone(line));
        }
        if self.clock.mono() < dialer.not_before {
            let unknown = || Fault::Lost("no connection can be made".to_owned());
            return Err(dialer.failed.clone().unwrap_or_else(unknown));
        }
        let dialing = dialer.dialing.get_or_insert_with(|| {
            let link = Arc::clone(self);
            tokio::spawn(async move { link.dial().await })
        });
        let dialed = dialing.await.unwrap_or_else(|_| Err(late()));
        dialer.dialing = None;
        let connection = match dialed {
            Ok(connection) => connection,
            Err(error) => {
                let backoff = BACKOFF.0.saturating_mul(1 << dialer.failures.min(10));
                dialer.failures = dialer.failures.saturating_add(1);
                dialer.not_before = self.clock.mono().after(Millis(backoff.min(BACKOFF_MAX.0)));
                let fault = Fault::of_dialing(&error);
                dialer.failed = Some(fault.clone());
                return Err(fault);
            }
        };
        self.counters.connected();
        dialer.number += 1;
        dialer.failures = 0;
        let (number, silent) = (dialer.number, AtomicU32::new(0));
        let heard = AtomicU64::new(self.clock.mono().0);
        let line = Arc::new(Line { number, connection, silent, heard });
        dialer.line = Some(Arc::clone(&line));
        Ok(line)
    }

    /// Sees to it that messages on a channel come, on the connection as it is. Returns the number of the subscription, by
    /// which nothing was heard of what was said before it. `None`: they do not come, and whoever waits looks by itself.
    pub(super) async fn listen(self: &Arc<Self>, channel: &str) -> Option<u64> {
        if self.breaker().is_open() {
            return None;
        }
        let line = self.line().await.ok()?;
        if let Some(subscription) = self.wakes.subscription(channel)
            && subscription.line == line.number
        {
            return Some(subscription.number);
        }
        line.subscribe(channel).await.ok()?;
        Some(self.wakes.subscribed(channel, line.number))
    }

    async fn attempts(self: &Arc<Self>, work: Work<'_>, may_repeat: bool) -> Result<Value, Fault> {
        let first = self.attempt(work).await;
        match &first {
            Err(Fault::Lost(_) | Fault::Elsewhere(_)) if may_repeat => self.attempt(work).await,
            Ok(_) | Err(_) => first,
        }
    }

    async fn attempt(self: &Arc<Self>, work: Work<'_>) -> Result<Value, Fault> {
        let line = self.line().await?;
        let answer = line.ask(work).await.map_err(|error| Fault::of(&error));
        match &answer {
            Err(Fault::Lost(_) | Fault::Elsewhere(_)) => self.lose(line.number).await,
            Ok(_) | Err(_) => line.answers(self.clock.mono()),
        }
        answer
    }

    /// A command got no answer. The connection may be dead without anybody having said so.
    async fn silent(&self) {
        let Ok(mut dialer) = self.dialer.try_lock() else { return };
        let now = self.clock.mono();
        if dialer.line.as_ref().is_some_and(|line| line.is_dead(now)) {
            dialer.line = None;
        }
    }

    async fn lose(&self, number: u64) {
        let mut dialer = self.dialer.lock().await;
        let now = self.clock.mono();
        let is_it = |line: &Arc<Line>| line.number == number && line.is_useless(now);
        if dialer.line.as_ref().is_some_and(is_it) {
            dialer.line = None;
        }
    }

    async fn ended(&self, admitted: Admitted, answer: &Result<Value, Fault>) {
        self.counters.ended(answer);
        let verdict = match answer {
            Ok(_)
            | Err(Fault::NoScript | Fault::Refused(_) | Fault::Moving(_) | Fault::Malformed(_)) => {
                Verdict::Answered
            }
            Err(
                Fault::Late
                | Fault::Lost(_)
                | Fault::Elsewhere(_)
                | Fault::Skipped
                | Fault::Crowded,
            ) => Verdict::Failed,
        };
        let now = self.clock.mono();
        let (has_opened, is_asked) = {
            let mut breaker = self.breaker();
            (breaker.ended(admitted, verdict, now), !breaker.is_open())
        };
        let why = answer.as_ref().err().map(Fault::to_string).unwrap_or_default();
        let heard = match verdict {
            Verdict::Answered => Heard::Answer,
            Verdict::Failed => Heard::Nothing(&why),
        };
        let change = lock(&self.presence).heard(heard, is_asked, now);
        self.tell(change);
        if has_opened {
            self.counters.opened();
            // The probe makes a connection of its own.
            self.dialer.lock().await.line = None;
        }
    }

    /// Once each: whoever has no answer in between need not say so.
    fn tell(&self, change: Option<Change>) {
        let place = &self.servers;
        match change {
            None => {}
            Some(Change::Went(why)) => tracing::warn!(
                store = "redis",
                %place,
                why,
                "the shared store is away: what is not in this sidecar's memory is a miss, and nothing is stored"
            ),
            Some(Change::Came(away)) => {
                tracing::info!(store = "redis", %place, away_ms = away.0, "the shared store is back");
            }
        }
    }

    async fn dial(&self) -> Result<Connection, RedisError> {
        let (login, budget) = (&self.servers.login, self.servers.login_budget());
        match &self.servers.place {
            Place::One(at) => self.wire(at, login).await.map(Connection::Server),
            Place::Sentinels { at, master } => {
                let address = within(budget, find_master(at, master)).await?;
                self.wire(&address, login).await.map(Connection::Server)
            }
            Place::Cluster(at) => {
                let connecting = self.cluster(at, login);
                within(CLUSTER_BUDGET, connecting).await.map(Connection::Cluster)
            }
        }
    }

    async fn wire(
        &self,
        at: &ConnectionAddr,
        login: &RedisConnectionInfo,
    ) -> Result<Wire, RedisError> {
        let wakes = Arc::clone(&self.wakes);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_push_sender(move |push| wake(&wakes, &push));
        Wire::open(at, login, config).await
    }

    async fn cluster(
        &self,
        at: &[ConnectionAddr],
        login: &RedisConnectionInfo,
    ) -> Result<ClusterConnection<Wire>, RedisError> {
        let nodes: Result<Vec<_>, RedisError> = at
            .iter()
            .map(|at| Ok(at.clone().into_connection_info()?.set_redis_settings(login.clone())))
            .collect();
        let wakes = Arc::clone(&self.wakes);
        let client = ClusterClientBuilder::new(nodes?)
            .use_protocol(login.protocol())
            .connection_timeout(self.servers.login_budget())
            // Budgets are the caller's; this bounds what goes on when it has gone.
            .response_timeout(Duration::from_secs(2))
            .retries(3)
            .min_retry_wait(5)
            .max_retry_wait(50)
            .push_sender(move |push| wake(&wakes, &push))
            .build()?;
        client.get_async_generic_connection::<Wire>().await
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }
}

// === impl Line ===

impl Line {
    fn answers(&self, now: MonoMillis) {
        self.silent.store(0, Ordering::Relaxed);
        self.heard.store(now.0, Ordering::Relaxed);
    }

    /// A command got no answer. Whether none will.
    fn is_dead(&self, now: MonoMillis) -> bool {
        let silent = self.silent.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        silent >= SILENT_MAX && self.is_useless(now)
    }

    /// Whether it is of no more use once a command has got no answer on it. The connection to a cluster mostly is: it
    /// connects to single nodes anew by itself, and what is asked of the others is answered.
    fn is_useless(&self, now: MonoMillis) -> bool {
        match self.connection {
            Connection::Server(_) => true,
            Connection::Cluster(_) => {
                let heard = MonoMillis(self.heard.load(Ordering::Relaxed));
                now.since(heard) >= CLUSTER_SILENT_MAX
            }
        }
    }

    async fn subscribe(&self, channel: &str) -> Result<(), RedisError> {
        match self.connection.clone() {
            Connection::Server(mut wire) => {
                redis::cmd("SSUBSCRIBE").arg(channel).exec_async(&mut wire).await
            }
            Connection::Cluster(mut cluster) => cluster.ssubscribe(channel).await,
        }
    }

    async fn ask(&self, work: Work<'_>) -> Result<Value, RedisError> {
        let mut connection = self.connection.clone();
        let ping = redis::cmd("PING");
        if let (Connection::Cluster(cluster), Work::Ping) = (&mut connection, work) {
            // It is there where one of its masters is.
            let one = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::OneSucceeded));
            return cluster.route_command(ping, RoutingInfo::MultiNode(one)).await;
        }
        let connection: &mut (dyn ConnectionLike + Send) = match &mut connection {
            Connection::Server(wire) => wire,
            Connection::Cluster(cluster) => cluster,
        };
        match work {
            Work::One(command) => connection.req_packed_command(command).await?.extract_error(),
            Work::Ping => connection.req_packed_command(&ping).await?.extract_error(),
            Work::All(pipeline) => {
                let replies = connection.req_packed_commands(pipeline, 0, pipeline.len()).await?;
                Value::Array(replies).extract_error()
            }
        }
    }
}

fn wake(wakes: &Wakes, push: &PushInfo) -> Result<(), ()> {
    wakes.heard(push);
    Ok(())
}

/// Asks one Sentinel after the other who is the master.
async fn find_master(at: &[ConnectionAddr], name: &str) -> Result<ConnectionAddr, RedisError> {
    let mut failed = None;
    for sentinel in at {
        match ask_sentinel(sentinel, name).await {
            Ok(address) => return Ok(address),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| (ErrorKind::EmptySentinelList, "no sentinels").into()))
}

async fn ask_sentinel(at: &ConnectionAddr, name: &str) -> Result<ConnectionAddr, RedisError> {
    let config = AsyncConnectionConfig::new();
    let mut wire = Wire::open(at, &RedisConnectionInfo::default(), config).await?;
    let found: Option<(String, u16)> = redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name)
        .query_async(&mut wire)
        .await?;
    let unknown = (ErrorKind::MasterNameNotFoundBySentinel, "the sentinels know no such master");
    found.map(|(host, port)| servers::beside(at, host, port)).ok_or_else(|| unknown.into())
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    timeout(time, work).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long to connect").into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
