//! The use cases: what a gateway and an operator can ask of a sidecar. It knows requests and answers as
//! values; sockets, headers and statuses are the business of [`crate::http`], engines of [`crate::store`].

pub mod admit;
mod alerts;
pub mod audit;
pub mod audit_log;
mod bill;
mod bodies;
mod books;
pub mod cache;
mod call;
mod call_account;
pub mod callers;
mod calls;
mod crowds;
pub mod drain;
pub mod elsewhere;
pub mod entered;
pub mod exchange;
pub mod explain;
mod external;
mod fault;
pub mod feed;
mod fill;
mod flights;
mod form;
pub mod gateways;
pub mod generations;
pub mod hits;
mod identified;
pub mod invalidate;
mod judging;
pub mod keys;
pub mod known;
pub mod lane;
mod lease;
mod log;
mod logs;
pub mod once;
pub mod open_calls;
pub mod pace;
mod passing;
mod pay;
mod pilot;
mod police;
pub mod purse;
pub mod reader;
mod recording;
mod relay;
pub mod reload;
mod replies;
mod rotation;
pub mod savings;
mod seat;
pub mod settings;
mod shared;
pub mod spending;
pub mod status;
mod sync;
mod tail;
pub mod tenants;
pub mod traces;
mod turns;
pub mod upkeep;
pub mod upstream;
pub mod versions;
mod watched;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kt_contract::time::Millis;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::flight::Epoch;
use crate::metrics::{Metrics, Sight};
use crate::random;
use crate::store::audit_log::AuditStore;
use crate::store::ledger::LedgerStore;
use crate::store::rates::MemoryRates;
use crate::store::replies::ReplyStore;
use crate::store::savings::SavingsStore;
use crate::store::spool::SpoolStore;
use crate::store::{EntryStore, PrincipalStore, StoreError};
use crate::ticket::{TICKETS_MAX, Tickets};
use admit::Grant;
use alerts::Alerts;
use audit::Audits;
use audit_log::AuditLog;
use bodies::Bodies;
use books::Books;
use cache::Cache;
use callers::Callers;
use crowds::Crowds;
use drain::Drain;
use external::Services;
use feed::Feed;
use flights::Flights;
use gateways::Gateways;
use generations::Generations;
use hits::Reports;
use identified::{Identified, WithIdentities};
use logs::Logs;
use pace::Paces;
use replies::Replies;
use rotation::Rotations;
use savings::Savings;
use settings::Settings;
use shared::Group;
pub use shared::Shared;
use tenants::Tenants;
use traces::Traces;
use turns::Turns;
use upstream::{Timeouts, Upstream};
use versions::Versions;

/// One sidecar: everything that its use cases share.
pub struct Sidecar {
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) feed: Feed,
    /// The configuration file; `None` where the configuration is of no file.
    versions: Option<Versions>,
    /// The tenants of a hosted gateway; `None` where one configuration is for all.
    tenants: Option<Tenants>,
    pub(crate) gateways: Gateways,
    pub(crate) callers: Callers,
    identified: Arc<Identified>,
    pub(crate) keys: Arc<dyn PrincipalStore>,
    rotations: Rotations,
    pub(crate) cache: Cache,
    /// Where calls are accounted for; `None` where nobody asks for it.
    pub(crate) ledger: Option<Arc<dyn LedgerStore>>,
    pub(crate) audits: Audits,
    pub(crate) reports: Reports,
    savings: Arc<Savings>,
    alerts: Alerts,
    /// What happens to requests, on record; `None` where nobody asks for it.
    audit_log: Option<Arc<AuditLog>>,
    books: Option<Arc<Books>>,
    flights: Arc<Flights>,
    /// The sidecars that share their flights; `None` where this one flies alone.
    group: Option<Arc<Group>>,
    logs: Arc<Logs>,
    bodies: Arc<Bodies>,
    crowds: Arc<Crowds>,
    replies: Replies,
    paces: Paces,
    pub(crate) tickets: Mutex<Tickets<Box<Grant>>>,
    pub(crate) upstream: Arc<dyn Upstream>,
    /// The services that policies ask.
    services: Services,
    /// The places for checks of what clients and models make up.
    checks: Arc<Turns>,
    pub(crate) timeouts: Timeouts,
    pub(crate) drain: Drain,
    /// Where spans go; empty where nobody wants them.
    traces: OnceLock<Traces>,
}

/// What a sidecar is made of.
pub struct Parts {
    /// The clock.
    pub clock: Clock,
    /// The first configuration.
    pub settings: Settings,
    /// The file that it is of, and its versions; `None`: it is of no file.
    pub versions: Option<Versions>,
    /// The packs of organizations, where each has its own.
    pub tenants: Option<Tenants>,
    /// Where entries are.
    pub entries: Arc<dyn EntryStore>,
    /// Where flights are shared with other sidecars, beside their entries; `None`: they are not.
    pub shared: Option<Shared>,
    /// What has been invalidated.
    pub generations: Generations,
    /// Where keys are.
    pub keys: Arc<dyn PrincipalStore>,
    /// Where calls are accounted for, where the configuration asks for that.
    pub ledger: Option<Arc<dyn LedgerStore>>,
    /// Where ends of calls lie that the ledger has not taken yet; `None`: in memory alone.
    pub spool: Option<Arc<dyn SpoolStore>>,
    /// Where what was answered to an `Idempotency-Key` is.
    pub replies: Arc<dyn ReplyStore>,
    /// Where is noted what hits and followers save: beside the ledger, where there is one.
    pub savings: Option<Arc<dyn SavingsStore>>,
    /// Where is on record what happens to requests, where the configuration asks for that.
    pub audit_log: Option<Arc<dyn AuditStore>>,
    /// The way to providers.
    pub upstream: Arc<dyn Upstream>,
    /// How long to wait for them.
    pub timeouts: Timeouts,
}

// === impl Sidecar ===

impl Sidecar {
    /// A sidecar with an empty cache, in a new epoch.
    ///
    /// # Errors
    /// Where there is no randomness for the epoch.
    pub fn new(parts: Parts) -> io::Result<Arc<Self>> {
        let Parts { clock, settings, entries, generations, keys, .. } = parts;
        let Parts { tenants, versions, shared, ledger, spool, savings, replies, .. } = parts;
        let Parts { audit_log, upstream, timeouts, .. } = parts;
        let identified = Arc::new(Identified::default());
        let named = WithIdentities { keys, identified: Arc::clone(&identified) };
        let keys: Arc<dyn PrincipalStore> = Arc::new(named);
        let metrics = Arc::new(Metrics::default());
        if let Some(accounts) = &settings.accounts {
            metrics.days_begin(&accounts.zones);
        }
        let epoch = Epoch(u64::from_be_bytes(random::bytes()?));
        let known = generations.known().clone();
        let cache = Cache::new(entries, generations, Arc::clone(&metrics));
        cache.keep_stale(settings.stale.kept());
        let crowds = Arc::new(Crowds::default());
        let of_orgs = Arc::clone(&crowds);
        let logs = Logs::new(settings.flight_bytes_max, of_orgs, clock, Arc::clone(&metrics));
        let logs = Arc::new(logs);
        let bodies = Arc::new(Bodies::new(settings.bodies_bytes_max));
        let drain = Drain::default();
        let books = ledger
            .clone()
            .map(|ledger| Books::new(ledger, spool, Arc::clone(&metrics), clock, drain.clone()));
        let savings = Savings::new(savings, Arc::clone(&keys), Arc::clone(&metrics));
        let audit_log = audit_log.map(|store| AuditLog::new(store, Arc::clone(&metrics), clock));
        let rates = shared.as_ref().map(|shared| Arc::clone(&shared.rates));
        let rates = rates.unwrap_or_else(|| Arc::new(MemoryRates::new(clock)));
        let group = shared.map(|shared| Group::new(shared, Arc::clone(&metrics), drain.clone()));
        Ok(Arc::new(Self {
            clock,
            metrics: Arc::clone(&metrics),
            feed: Feed::new(random::hex::<16>()?, settings, clock.mono()),
            versions,
            tenants,
            gateways: Gateways::default(),
            identified,
            callers: Callers::new(Arc::clone(&keys), known.clone(), clock),
            keys,
            rotations: Rotations::default(),
            cache,
            ledger,
            savings: Arc::new(savings),
            alerts: Alerts::default(),
            audit_log: audit_log.map(Arc::new),
            books: books.map(Arc::new),
            paces: Paces::new(rates, Arc::clone(&metrics)),
            flights: Arc::new(Flights::new(epoch, clock, metrics, Arc::clone(&logs), known)),
            group: group.map(Arc::new),
            logs,
            bodies,
            crowds,
            audits: Audits::default(),
            replies: Replies::new(replies),
            reports: Reports::default(),
            tickets: Mutex::new(Tickets::new(TICKETS_MAX)),
            upstream,
            services: Services::default(),
            checks: Arc::new(Turns::new(form::CHECKS_MAX)),
            timeouts,
            drain,
            traces: OnceLock::new(),
        }))
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let (flights, followers) = self.flights.count();
        self.metrics.render(&Sight {
            held: self.cache.held(),
            store: self.cache.health(),
            tickets: self.tickets().count(),
            flights,
            followers,
            log_bytes: self.logs.kept(),
            body_bytes: self.bodies.kept(),
            most_requests_of_an_org: self.crowds.most(),
            gateways: self.gateways.live(self.clock.mono()),
            gateways_behind: self.gateways.behind(&self.snapshot_version(), self.clock.mono()),
            members: self.gateways.members(self.clock.mono()),
            snapshot_ages: self.snapshot_ages(),
            config: self.feed.settings().version.clone(),
            is_degraded: !self.feed.faults().is_empty(),
            look_age: self.cache.generations().known().age(),
            skew: self.cache.generations().known().skew(),
            exposed: self.books.as_ref().map(|books| books.exposed()).unwrap_or_default(),
            allotted: self.books.as_ref().map(|books| books.allotted()).unwrap_or_default(),
            frozen: self.audits.frozen(),
            is_audit_failing: self.audits.is_failing(),
            audit_waiting: self.audit_log_waiting(),
            tenants: self.tenants.as_ref().map_or(0, Tenants::count),
            tenants_refused: self.tenants.as_ref().map_or(0, Tenants::refused),
            spooled: self.books.as_ref().map_or(0, |books| books.spooled()),
            snapshot: self.snapshot_version(),
        })
    }

    fn snapshot_ages(&self) -> Vec<(String, Millis)> {
        let now = self.clock.mono();
        self.gateways.snapshot_ages(now, |snapshot| self.feed.outdated_for(snapshot, now))
    }

    /// The version of the snapshot in use.
    #[must_use]
    pub fn snapshot_version(&self) -> String {
        self.feed.settings().snapshot.version.clone()
    }

    /// Begins to drain: no new admissions. Ends when every lane has ended and no ticket can be used any more:
    /// who has been given one has a right to be served.
    pub async fn drained(&self) {
        self.drain.begin();
        loop {
            self.drain.emptied().await;
            let usable_for = self.tickets().usable_for(self.clock.mono());
            let Some(usable_for) = usable_for else { return };
            // Whichever comes first; then it is looked at again.
            let _ = timeout(Duration::from_millis(usable_for.0), self.drain.entered()).await;
        }
    }

    /// Does not wait any longer: whoever is still being served is told so, and their calls are accounted for. Ends
    /// when they are.
    pub async fn gave_up(&self) {
        self.drain.give_up();
        self.drain.emptied().await;
    }

    pub(crate) fn tickets(&self) -> MutexGuard<'_, Tickets<Box<Grant>>> {
        lock(&self.tickets)
    }
}

/// A lock whose holders never panic between two steps that belong together.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a use case has no answer, other than a [`kt_contract::problem::Problem`] of a client.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The other side speaks another version of the wire.
    #[error("wire version {theirs} is not spoken here; {ours} is")]
    WireVersion {
        /// What came.
        theirs: u16,
        /// What is spoken.
        ours: u16,
    },
    /// Something that was named is not there.
    #[error("there is no {what}")]
    NotFound {
        /// What was named.
        what: String,
    },
    /// A value that cannot be accepted.
    #[error("'{field}' {what}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// A configuration that cannot go live.
    #[error(
        "the configuration is refused, and nothing has changed: {} to mend\n{}",
        if .0.len() == 1 { "1 error".to_owned() } else { format!("{} errors", .0.len()) },
        .0.join("\n")
    )]
    ConfigRefused(Vec<String>),
    /// A configuration that could go live, and a file that cannot say so.
    #[error(
        "nothing has changed, because the file {path} cannot be replaced: {error}. Change it where it comes from (a \
         mounted ConfigMap is changed with kubectl), or let this sidecar write into its folder"
    )]
    ConfigNotWritten {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
    /// Nobody accounts for anything here.
    #[error(
        "this sidecar has no ledger: nothing is paid for or counted. Add 'wallet: {{}}' to the \
         configuration and start it again"
    )]
    NoLedger,
    /// Nothing is put on record here.
    #[error(
        "this sidecar has no audit log: add 'audit-logger' to policies.chain and start it again"
    )]
    NoAuditLog,
    /// What moves money must say which movement it is.
    #[error(
        "a request that moves money needs the header Idempotency-Key once: 1 to 255 visible ASCII \
         characters of your choice, the same when you ask for the same again"
    )]
    NoIdempotencyKey,
    /// The same key, and another movement.
    #[error(
        "this Idempotency-Key has named a movement with other fields before; a new movement needs \
         a new key"
    )]
    KeyReused,
    /// A key that has no place to be taken.
    #[error("{0}")]
    NotRotated(String),
    /// A wallet is frozen for a reason that still stands.
    #[error(
        "the wallet stays frozen: {0}. An audit is made before a wallet is unfrozen: mend the \
         ledger, or restore it, first"
    )]
    BreachStands(String),
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] crate::ledger::Refused),
    /// A client would have been refused.
    #[error("{0}")]
    Refused(kt_contract::problem::Problem),
    /// The store has no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error("no randomness: {0}")]
    Random(#[from] io::Error),
}
