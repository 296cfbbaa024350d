//! What is read from elsewhere when somebody looks: entries, tickets, flights, gateways.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use kt_contract::wire::feed::GatewayIdentity;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::skew::Skew;
use crate::store::Held;
use crate::store::health::Health;

/// What [`super::Metrics::render`] needs to know of the rest of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// What the entry store holds.
    pub held: Held,
    /// How that store is, where it is somewhere else.
    pub store: Option<Health>,
    /// Open tickets.
    pub tickets: usize,
    /// Keys in flight.
    pub flights: usize,
    /// Requests attached to another one's flight.
    pub followers: usize,
    /// Bytes that flights keep for their readers.
    pub log_bytes: u64,
    /// Bytes of requests' bodies.
    pub body_bytes: u64,
    /// The most requests that one organization has under way.
    pub most_requests_of_an_org: u64,
    /// Gateways whose feed polls are recent.
    pub gateways: usize,
    /// Whether the configuration file is not what is in force.
    pub is_degraded: bool,
    /// How long ago the shared database was asked what is new, the last time that it answered.
    pub look_age: Millis,
    /// How far this machine's clock is from the shared database's.
    pub skew: Skew,
    /// How far the calls under way can go beyond what they hold.
    pub exposed: MicroUsd,
    /// What may be spent of allotments, or was and the ledger was not told.
    pub allotted: MicroUsd,
    /// Tenants of a hosted gateway.
    pub tenants: usize,
    /// Tenants' files that are not in force.
    pub tenants_refused: usize,
    /// Wallets that are frozen.
    pub frozen: usize,
    /// Whether the ledger could not be audited.
    pub is_audit_failing: bool,
    /// Ends of calls that lie in the spool.
    pub spooled: usize,
    /// Records of the audit log that wait to be written.
    pub audit_waiting: usize,
    /// Gateways that run another version of the configuration than the one in use.
    pub gateways_behind: usize,
    /// Who these gateways are, by id.
    pub members: Vec<GatewayIdentity>,
    /// How old the snapshot is that each gateway decides by, by its id.
    pub snapshot_ages: Vec<(String, Millis)>,
    /// The version of the configuration.
    pub config: String,
    /// The version of the snapshot.
    pub snapshot: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGateway {
    gateway: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Member {
    gateway: String,
    role: &'static str,
    group: String,
}

/// What is read from elsewhere when somebody looks.
#[derive(Debug, Default)]
pub(super) struct Seen {
    entries: Gauge,
    bytes: Gauge,
    evictions: Gauge,
    expirations: Gauge,
    tickets: Gauge,
    flights: Gauge,
    followers: Gauge,
    log_bytes: Gauge,
    body_bytes: Gauge,
    most_requests_of_an_org: Gauge,
    gateways: Gauge,
    gateways_behind: Gauge,
    members: Family<Member, Gauge>,
    snapshot_age: Family<OfGateway, Gauge<f64, AtomicU64>>,
    tenants: Gauge,
    tenants_refused: Gauge,
    degraded: Gauge,
    starting: Gauge,
    look_age: Gauge<f64, AtomicU64>,
    clock_ahead: Gauge<f64, AtomicU64>,
}

// === impl Seen ===

impl Seen {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("kt_entries", "Entries held", self.entries.clone());
        r.register("kt_entry_bytes", "Bytes of entries held", self.bytes.clone());
        r.register("kt_evictions", "Entries evicted since the start", self.evictions.clone());
        r.register("kt_expirations", "Entries found expired", self.expirations.clone());
        r.register("kt_tickets", "Open tickets", self.tickets.clone());
        r.register("kt_flights", "Keys in flight", self.flights.clone());
        r.register(
            "kt_flight_followers",
            "Requests attached to another one's flight",
            self.followers.clone(),
        );
        r.register(
            "kt_flight_log_bytes",
            "Bytes of answers that flights keep for their readers",
            self.log_bytes.clone(),
        );
        r.register(
            "kt_request_body_bytes",
            "Bytes of requests' bodies that are kept for calls",
            self.body_bytes.clone(),
        );
        r.register(
            "kt_organization_requests_most",
            "The most requests that one organization has under way",
            self.most_requests_of_an_org.clone(),
        );
        r.register(
            "kt_gateways",
            "Gateways that polled the change feed in the last 5 s",
            self.gateways.clone(),
        );
        r.register(
            "kt_gateway_info",
            "Gateways that polled the change feed in the last 5 s, each with its role and its group",
            self.members.clone(),
        );
        r.register("kt_tenants", "Tenants of a hosted gateway", self.tenants.clone());
        r.register(
            "kt_tenants_refused",
            "Tenants' files that are not in force",
            self.tenants_refused.clone(),
        );
        r.register(
            "kt_gateways_behind",
            "Gateways that do not run the configuration in use on every worker",
            self.gateways_behind.clone(),
        );
        r.register(
            "kt_gateway_snapshot_age_seconds",
            "Since a live gateway's snapshot was known to be the one in use, on the worker where that is longest ago",
            self.snapshot_age.clone(),
        );
        self.register_state(r);
    }

    fn register_state(&self, r: &mut Registry) {
        r.register(
            "kt_degraded",
            "1 while the configuration file is not what is in force",
            self.degraded.clone(),
        );
        r.register(
            "kt_starting",
            "1 before anybody is served: the ledger is audited first",
            self.starting.clone(),
        );
        r.register(
            "kt_database_look_age_seconds",
            "Since the shared database last said what is new",
            self.look_age.clone(),
        );
        r.register(
            "kt_database_clock_ahead_seconds",
            "How far the clock of this machine is ahead of the shared database's; negative where it is behind",
            self.clock_ahead.clone(),
        );
    }

    pub(super) fn starts(&self, is_starting: bool) {
        self.starting.set(i64::from(is_starting));
    }

    pub(super) fn set(&self, sight: &Sight) {
        let Sight { held, tickets, flights, followers, log_bytes, body_bytes, .. } = sight;
        let Sight { gateways, gateways_behind, is_degraded, look_age, .. } = sight;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.entries.set(number(held.entries));
        self.bytes.set(number(held.bytes));
        self.evictions.set(number(held.evicted));
        self.expirations.set(number(held.expired));
        self.tickets.set(number(*tickets as u64));
        self.flights.set(number(*flights as u64));
        self.followers.set(number(*followers as u64));
        self.log_bytes.set(number(*log_bytes));
        self.body_bytes.set(number(*body_bytes));
        self.most_requests_of_an_org.set(number(sight.most_requests_of_an_org));
        self.gateways.set(number(*gateways as u64));
        self.gateways_behind.set(number(*gateways_behind as u64));
        // Who is gone has no series.
        self.members.clear();
        for member in &sight.members {
            let group = member.group.clone().unwrap_or_default();
            let of = Member { gateway: member.id.clone(), role: member.role.as_str(), group };
            self.members.get_or_create(&of).set(1);
        }
        self.snapshot_age.clear();
        for (gateway, age) in &sight.snapshot_ages {
            let of = OfGateway { gateway: gateway.clone() };
            self.snapshot_age.get_or_create(&of).set(Duration::from_millis(age.0).as_secs_f64());
        }
        self.tenants.set(number(sight.tenants as u64));
        self.tenants_refused.set(number(sight.tenants_refused as u64));
        self.degraded.set(i64::from(*is_degraded));
        self.clock_ahead.set(sight.skew.ahead_seconds());
        self.look_age.set(Duration::from_millis(look_age.0).as_secs_f64());
    }
}
