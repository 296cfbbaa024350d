//! How the sidecar is, for operators and for health checks.

use kt_contract::wire::admin::versions::ConfigStatus;
use kt_contract::wire::admin::{Condition, GatewayStatus, StatusReply, StoreKind, StoreStatus};

use super::Sidecar;
use super::gateways::{Gateway, Workers};
use super::tenants::Tenants;
use super::versions::Versions;
use crate::confirmed::Standing;

// === impl Sidecar ===

impl Sidecar {
    /// How the sidecar is.
    #[must_use]
    pub fn condition(&self) -> Condition {
        if self.drain.is_draining() {
            Condition::Draining
        } else if self.feed.faults().is_empty()
            && self.tenants.as_ref().is_none_or(|tenants| tenants.refused() == 0)
            && self.wallet_faults().is_empty()
            && self.cache.generations().known().has_generations()
            && self.store_faults().is_empty()
        {
            Condition::Ok
        } else {
            Condition::Degraded
        }
    }

    /// The names of the stores that are away.
    #[must_use]
    pub fn stores_away(&self) -> Vec<&'static str> {
        let health = self.cache.health().filter(|health| health.away.is_some());
        let audit_log = self.audit_log.as_ref().and_then(|log| log.fault()).map(|_| "audit_log");
        health.map(|health| health.store.as_str()).into_iter().chain(audit_log).collect()
    }

    /// What is wrong with the wallets, and with what their ledger is to be told.
    fn wallet_faults(&self) -> Vec<String> {
        let spool = self.books.iter().flat_map(|books| books.spool_faults());
        let ahead = self.books.iter().flat_map(|books| books.ahead_fault());
        self.audits.faults().into_iter().chain(spool).chain(ahead).collect()
    }

    /// What is wrong with stores that are somewhere else.
    fn store_faults(&self) -> Vec<String> {
        let of_cache = self.cache.health().and_then(|health| health.fault());
        let of_log = self.audit_log.as_ref().and_then(|log| log.fault());
        of_cache.into_iter().chain(of_log).collect()
    }

    /// The stores that are somewhere else.
    fn stores(&self) -> Vec<StoreStatus> {
        let of_cache = self.cache.health().map(|health| StoreStatus {
            store: health.store,
            fault: health.fault(),
            place: health.place,
            says: health.says,
            advice: health.advice.map(str::to_owned),
        });
        let known = self.cache.generations().known();
        let age = known.age();
        let database = known.is_shared().then(|| StoreStatus {
            store: StoreKind::Postgres,
            place: "the shared database".to_owned(),
            fault: (!known.is_answering())
                .then(|| format!("the shared database has not answered for {} s", age.0 / 1_000)),
            says: Some(format!("it has answered {} ms ago", age.0)),
            advice: known.skew().advice(),
        });
        of_cache.into_iter().chain(database).collect()
    }

    /// Everything that `kt gateway status` shows.
    #[must_use]
    pub fn status(&self) -> StatusReply {
        let settings = self.feed.settings();
        let held = self.cache.held();
        let now = self.clock.mono();
        let gateways = self
            .gateways
            .list(now)
            .into_iter()
            .map(|gateway| self.gateway_status(gateway, &settings.snapshot.version))
            .collect();
        StatusReply {
            status: self.condition(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: self.feed.epoch().to_owned(),
            config: ConfigStatus {
                version: settings.version.clone(),
                live_ms: self.feed.settled_for(now).0,
                refused: self.versions.as_ref().and_then(Versions::refused),
            },
            snapshot: settings.snapshot.version.clone(),
            config_errors: self.feed.faults(),
            tenants: self.tenants.as_ref().map(|tenants| tenants.count() as u64),
            tenant_errors: self.tenants.as_ref().map(Tenants::faults).unwrap_or_default(),
            wallet_errors: self.wallet_faults(),
            store_errors: self.store_faults(),
            stores: self.stores(),
            cache_enabled: settings.snapshot.cache.enabled,
            tier: settings.snapshot.cache.tier,
            database_errors: self.database_errors(),
            // No fabric is built that could be attached.
            fabric_attached: false,
            entries: held.entries,
            entry_bytes: held.bytes,
            gateways,
        }
    }

    fn gateway_status(&self, gateway: Gateway, current: &str) -> GatewayStatus {
        let now = self.clock.mono();
        let Workers { snapshot, workers, behind } = gateway.standing(current, now);
        let config = snapshot.as_deref().and_then(|snapshot| self.feed.version_of(snapshot));
        GatewayStatus {
            state: gateway.presence(now),
            last_seen_ms: now.since(gateway.seen).0,
            gateway: gateway.identity,
            snapshot,
            config,
            workers: workers as u64,
            workers_behind: behind as u64,
        }
    }

    /// What follows from a shared database that does not answer.
    fn database_errors(&self) -> Vec<String> {
        let known = self.cache.generations().known();
        let closed = match known.standing() {
            Standing::All => return Vec::new(),
            Standing::Callers => "the cache is closed",
            Standing::Nothing => "nobody is served",
        };
        let seconds = known.age().0 / 1_000;
        vec![format!("database: it has not answered for {seconds} s: {closed} until it does")]
    }
}
