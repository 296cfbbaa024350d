//! The way to a Postgres database: its address, a few connections, and what every transaction begins with. A
//! connection whose state nobody knows, because a transaction was left or took too long, is closed and not used again.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use kt_contract::time::MonoMillis;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::Fault;
use super::reach::Reach;
use crate::clock::Clock;
use crate::store::StoreError;

/// How long a connection may take to be made, and how long one may be waited for.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// After so long without a byte the other end is asked whether it is there, so often, and so many times: who waits for the
/// end of a long count knows within half a minute that the line was cut.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);
/// A connection that is older and takes no writes is closed, and another one is tried: it may lead to a server that does.
/// A younger one has just said how things are.
const READ_ONLY_AGE_MIN: Duration = Duration::from_secs(1);
/// What says that an address names no time of its own for that.
const KEEPALIVE_UNSET: Duration = Duration::from_secs(7_200);
/// How long a transaction may take: a statement at its limit, where the server still answers.
const TRANSACTION_MAX: Duration = Duration::from_millis(2_500);
/// How long one that counts the whole history may take.
const LONG_MAX: Duration = Duration::from_secs(600);

/// What a transaction is for, as it begins. Who stops within one, as a process that is frozen does, must not keep others
/// from the rows that it has locked: the server ends it. Which way rows are looked for must not hang on statistics that a young
/// table has not got: every question here has an index.
const WRITE: &str = "BEGIN; SELECT set_config('lock_timeout', '500ms', true),
    set_config('statement_timeout', '2s', true),
    set_config('idle_in_transaction_session_timeout', '5s', true), set_config('synchronous_commit', 'on', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true)";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SELECT set_config('lock_timeout', '500ms', true), set_config('statement_timeout', '2s', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true)";
const COUNT: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '500ms';
    SET LOCAL statement_timeout = '10min'";

/// How long is waited before something is done again, after each try.
pub(super) const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
];

/// A parameter with its type: nothing is prepared, so the server is told.
pub(super) type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// Where a database is, and who asks. Shown without the password.
#[derive(Clone)]
pub struct Address {
    config: Config,
}

/// A database. Connections are made when they are needed.
pub struct Database {
    shown: String,
    pool: Pool,
    clock: Clock,
    /// Whether anybody tries to connect.
    reach: Mutex<Reach>,
    /// How many connections were made.
    connections: AtomicU64,
}

/// A connection for one transaction. Dropped before its end it is closed, and the server undoes what was begun.
pub(super) struct Session {
    object: Option<Object>,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It changes something.
    Write,
    /// It reads the state of one moment.
    Read,
    /// The same, however long that takes.
    Count,
}

// === impl Address ===

impl Address {
    /// Reads `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// Where it is none, or names no host. The text is not repeated: it has a password.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let refused = |why: &str| StoreError::Permanent(format!("the database's URL {why}"));
        let form = "is none; write postgres://user:password@host:5432/database";
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(refused(form));
        }
        // Whoever asks for encryption wants to know who is at the other end: there is one kind of it here.
        let url = url.trim_end().replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().map_err(|_| refused(form))?;
        if config.get_hosts().is_empty() {
            return Err(refused("names no host"));
        }
        if config.get_ssl_mode() != SslMode::Require {
            // To try it, and to go on without it, keeps nobody out.
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_hosts().len() > 1 && !url.contains("target_session_attrs=") {
            // Of several servers all but one are replicas, which would refuse every write.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config.application_name("kt");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        keep_alive(&mut config);
        Ok(Self { config })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let mut ports = self.config.get_ports().iter();
        let mut port = 5_432;
        for (nth, host) in self.config.get_hosts().iter().enumerate() {
            port = *ports.next().unwrap_or(&port);
            let comma = if nth > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

// === impl Database ===

impl Database {
    /// A way to a database, of at most so many connections. Nothing is connected yet.
    ///
    /// # Errors
    /// Where it is to be encrypted, and there is no certificate authority to trust.
    pub fn at(address: Address, connections_max: usize, clock: Clock) -> Result<Self, StoreError> {
        let shown = address.to_string();
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if address.config.get_ssl_mode() == SslMode::Require {
            Manager::from_config(address.config, encrypted()?, fast)
        } else {
            Manager::from_config(address.config, NoTls, fast)
        };
        let pool = Pool::builder(manager)
            .max_size(connections_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_MAX))
            .create_timeout(Some(CONNECT_MAX.saturating_mul(2)))
            .build()
            .map_err(|error| StoreError::Permanent(error.to_string()))?;
        let (reach, connections) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { shown, pool, clock, reach, connections })
    }

    /// A connection, which has begun nothing yet.
    pub(super) async fn session(&self) -> Result<Session, Fault> {
        let tried = self.clock.mono();
        self.reach().try_now(tried).map_err(|why| self.unreached(&why))?;
        match self.pool.get().await {
            Ok(object) => {
                if Object::metrics(&object).recycle_count == 0 {
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    self.reach().answers(self.clock.mono());
                }
                Ok(Session { object: Some(object) })
            }
            Err(error) => Err(self.refused(tried, error)),
        }
    }

    /// How many connections were made since the start.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// By which moments are told.
    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    /// A connection with a transaction that has begun.
    pub(super) async fn begin(&self, purpose: Purpose) -> Result<Session, Fault> {
        let session = self.session().await?;
        session.client()?.batch_execute(purpose.begin()).await?;
        self.reach().answers(self.clock.mono());
        Ok(session)
    }

    /// One question, which is its own transaction: one way there and back.
    pub(super) async fn ask(&self, sql: &str, typed: &[Typed<'_>]) -> Result<Vec<Row>, Fault> {
        let session = self.session().await?;
        let rows = session.client()?.query_typed(sql, typed).await?;
        self.reach().answers(self.clock.mono());
        session.ended();
        Ok(rows)
    }

    fn refused(&self, tried: MonoMillis, error: PoolError) -> Fault {
        let shown = &self.shown;
        let error = match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
                return Fault::Later(format!("every connection to {shown} is busy"));
            }
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => {
                return self.unreachable(tried, "it does not answer".to_owned());
            }
        };
        if error.as_db_error().is_none() {
            // Neither of both repeats the address.
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return self.unreachable(tried, format!("{error}{cause}"));
        }
        match Fault::from(error) {
            Fault::Again(why) | Fault::Later(why) | Fault::ReadOnly(why) | Fault::Failed(why) => {
                self.unreachable(tried, why)
            }
            Fault::Never(why) => Fault::Never(format!("{shown}: {why}")),
            Fault::Corrupt(what) => Fault::Corrupt(what),
        }
    }

    /// Nobody tries for a while; who asks meanwhile is told the same.
    fn unreachable(&self, tried: MonoMillis, why: String) -> Fault {
        let fault = self.unreached(&why);
        self.reach().fails(tried, self.clock.mono(), why);
        fault
    }

    fn unreached(&self, why: &str) -> Fault {
        Fault::Later(format!("{} cannot be reached: {why}", self.shown))
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.shown).finish()
    }
}

/// What an address does not say of how a line that is silent is tried.
fn keep_alive(config: &mut Config) {
    let (idle, interval, retries) = KEEPALIVE;
    if config.get_keepalives_idle() == KEEPALIVE_UNSET {
        config.keepalives_idle(idle);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(interval);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(retries);
    }
}

/// TLS, with the certificate authorities that this machine trusts or `SSL_CERT_FILE` names. The server's certificate
/// must be for the host that the address names.
fn encrypted() -> Result<MakeRustlsConnect, StoreError> {
    let made = MakeRustlsConnect::with_native_certs();
    let (connect, unread) = made.map_err(|unread| {
        let why = unread.first().map_or_else(String::new, |error| format!(": {error}"));
        StoreError::Permanent(format!("no certificate authority is trusted here{why}"))
    })?;
    for error in unread {
        tracing::warn!(%error, "a certificate authority is not read");
    }
    Ok(connect)
}

/// Does something with the database, for as long as a transaction of this purpose may take. What is left when the
/// time is over closes its connection.
pub(super) async fn in_time<T>(
    purpose: Purpose,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let length = match purpose {
        Purpose::Write | Purpose::Read => TRANSACTION_MAX,
        Purpose::Count => LONG_MAX,
    };
    let late = |_| Fault::Later("the database took too long".to_owned());
    tokio::time::timeout(length, work).await.map_err(late)?
}

/// The same, and again where that may help at once. What is done twice must be as if it was done once.
pub(super) async fn until_known<T, F: Future<Output = Result<T, Fault>>>(
    purpose: Purpose,
    mut work: impl FnMut() -> F,
) -> Result<T, Fault> {
    let mut pauses = PAUSES.iter();
    loop {
        match in_time(purpose, work()).await {
            Err(Fault::Again(why)) => match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(Fault::Again(why)),
            },
            known => return known,
        }
    }
}

// === impl Purpose ===

impl Purpose {
    /// The statements that begin a transaction.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Write => WRITE,
            Self::Read => READ,
            Self::Count => COUNT,
        }
    }
}

// === impl Session ===

impl Session {
    /// What questions are asked through. Only what consumes the session takes it away.
    pub(super) fn client(&self) -> Result<&Client, Fault> {
        let object = self.object.as_ref();
        object.map(|object| &***object).ok_or(Fault::Corrupt("a session without its connection"))
    }

    /// Gives the connection back after a transaction that has ended.
    pub(super) fn ended(mut self) {
        drop(self.object.take());
    }

    /// Undoes what was begun, and gives the connection back if that is still one.
    pub(super) async fn undo(self) {
        let Ok(client) = self.client() else { return };
        if client.batch_execute("ROLLBACK").await.is_ok() {
            self.ended();
        }
    }

    /// The same after a fault, and what that means then. A connection that takes no writes, and those of its age that wait to
    /// be used, are closed: they outlive the day on which their server became a replica, or was told to take none.
    pub(super) async fn undo_after(mut self, fault: Fault) -> Fault {
        let is_old = |object: &Object| Object::metrics(object).age() >= READ_ONLY_AGE_MIN;
        match (fault, self.object.take_if(|object| is_old(object))) {
            (Fault::ReadOnly(why), Some(object)) => {
                if let Some(pool) = Object::pool(&object) {
                    pool.retain(|_, metrics| metrics.age() < READ_ONLY_AGE_MIN);
                }
                drop(Object::take(object));
                Fault::Again(why)
            }
            (fault, object) => {
                self.object = self.object.take().or(object);
                self.undo().await;
                fault
            }
        }
    }

    /// Ends a transaction by what has come of it.
    pub(super) async fn end<T>(self, come: Result<T, Fault>) -> Result<T, Fault> {
        match come {
            Ok(done) => self.done().await.map(|()| done),
            Err(fault) => Err(self.undo_after(fault).await),
        }
    }

    /// Ends a transaction.
    pub(super) async fn done(self) -> Result<(), Fault> {
        self.client()?.batch_execute("COMMIT").await?;
        self.ended();
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_nowhere() {
        for url in [
            "postgres://kt:hunter2@db.internal:5433/money",
            "postgresql://kt:hunter2@db.internal:5433/money?connect_timeout=3",
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), "postgres://kt@db.internal:5433/money");
            assert_eq!(format!("{address:?}"), "Address(postgres://kt@db.internal:5433/money)");
            let database = Database::at(address, 1, Clock::start()).unwrap();
            assert!(!format!("{database:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_line_that_was_cut_in_silence_is_noticed_unless_the_address_says_when() {
        let kept = |more: &str| {
            let Address { config } =
                Address::parse(&format!("postgres://kt@db/money{more}")).unwrap();
            (
                config.get_keepalives_idle().as_secs(),
                config.get_keepalives_interval().map(|time| time.as_secs()),
                config.get_keepalives_retries(),
            )
        };
        assert_eq!(kept(""), (15, Some(5), Some(3)));
        let own = "?keepalives_idle=60&keepalives_interval=7&keepalives_retries=9";
        assert_eq!(kept(own), (60, Some(7), Some(9)));
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_not_repeated() {
        for (url, why) in [
            ("hunter2", "is none; write postgres://"),
            ("mysql://kt:hunter2@db/money", "is none; write postgres://"),
            ("postgres://kt:hunter2@db:port/money", "is none; write postgres://"),
            ("postgres://kt:hunter2@db/money?hunter2=1", "is none; write postgres://"),
            ("postgres:///money?password=hunter2", "names no host"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn every_host_is_shown() {
        let address = Address::parse("postgres://kt@a:1,b:2/money").unwrap();
        assert_eq!(address.to_string(), "postgres://kt@a:1,b:2/money");
        let address = Address::parse("postgres://kt@%2Frun%2Fpg/money").unwrap();
        assert_eq!(address.to_string(), "postgres://kt@/run/pg:5432/money");
    }
}
