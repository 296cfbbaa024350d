//! The stores that are somewhere else. kt has no client for them: what is said of them is what the sidecar sees, who uses
//! them. Facts in, findings out. Pure.

use kt_contract::config::{Backend, Config, Ledger, Wallet};
use kt_contract::wire::admin::{StatusReply, StoreKind, StoreStatus};

use super::finding::Finding;

const KINDS: [StoreKind; 2] = [StoreKind::Redis, StoreKind::Postgres];

/// Whether Redis and Postgres are there and will do: by the word of a sidecar, else what to ask by hand where the
/// configuration has them.
pub(crate) fn stores(config: Option<&Config>, status: Option<&StatusReply>) -> Vec<Finding> {
    let Some(status) = status else {
        return KINDS.map(|kind| unasked(kind, config)).into();
    };
    let of = |kind: StoreKind| {
        let mut found: Vec<_> =
            status.stores.iter().filter(|it| it.store == kind).map(seen).collect();
        if found.is_empty() {
            found.push(Finding::skipped(kind.as_str(), "the sidecar uses none"));
        }
        found
    };
    KINDS.into_iter().flat_map(of).collect()
}

/// What is wrong by the sidecar's own word, but for what [`stores`] has said already.
pub(crate) fn others(status: &StatusReply) -> Vec<String> {
    let is_told = |error: &&String| {
        status.stores.iter().any(|store| store.fault.as_deref() == Some(error.as_str()))
    };
    status.store_errors.iter().filter(|error| !is_told(error)).cloned().collect()
}

fn seen(store: &StoreStatus) -> Finding {
    let StoreStatus { store: kind, place, fault, says, advice } = store;
    let said = says.as_ref().map(|says| format!(": {says}")).unwrap_or_default();
    let name = kind.as_str();
    match (fault, advice) {
        (Some(fault), _) => Finding::fail(name, fault.clone(), mend(*kind)),
        (None, Some(advice)) => {
            Finding::warn(name, format!("{place} answers the sidecar{said}; {advice}"), heed(*kind))
        }
        (None, None) => Finding::ok(name, format!("{place} answers the sidecar{said}")),
    }
}

/// What to do about an advice.
const fn heed(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Redis => {
            "redis-cli CONFIG SET maxmemory-policy allkeys-lru, and maxmemory to what the machine has for it; the same in \
             its redis.conf. The sidecar looks again every 10 s"
        }
        StoreKind::Postgres => {
            "`timedatectl` on both machines: money, claims and their days go by the database's clock, the end of a rotated \
             key and the log by the sidecar's. The sidecar looks again every quarter of a second"
        }
    }
}

const fn mend(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Redis => {
            "do what is said there; else see whether it runs, and whether the sidecar's machine reaches it (`redis-cli -u \
             ADDRESS ping` there, for rediss with `--cacert`) as the user that workflow_cache.redis.url names. Until then what is not in memory is a miss"
        }
        StoreKind::Postgres => {
            "see whether it runs, and whether the sidecar's machine reaches it (`psql ADDRESS -c 'select now()'` there, \
             which also says its time) as the user that database.url names. Beyond 5 s the cache is closed, beyond 60 s nobody \
             is served"
        }
    }
}

/// Nobody was there to ask.
fn unasked(kind: StoreKind, config: Option<&Config>) -> Finding {
    let name = kind.as_str();
    let Some(config) = config else {
        return Finding::skipped(name, "no configuration was read, and no sidecar asked");
    };
    let is_configured = match kind {
        StoreKind::Redis => matches!(config.cache.backend, Backend::Redis(_)),
        StoreKind::Postgres => has_postgres(config),
    };
    let why = match (is_configured, kind) {
        (false, _) => "none is configured",
        (true, StoreKind::Redis) => {
            "no sidecar was asked, and kt does not ask it. `redis-cli CONFIG GET maxmemory-policy` should say allkeys-lru \
             (with noeviction a full Redis takes no more entries), `redis-cli TIME` the time of this machine"
        }
        (true, StoreKind::Postgres) => {
            "no sidecar was asked, and kt does not ask it. `psql -c 'select now()'` should say the time of this machine"
        }
    };
    Finding::skipped(name, why)
}

fn has_postgres(config: &Config) -> bool {
    let in_database = |wallet: &Wallet| matches!(wallet.ledger, Ledger::Database(_));
    config.database.is_some()
        || config.wallet.as_ref().is_some_and(in_database)
        || matches!(config.cache.backend, Backend::Postgres(_))
}

#[cfg(test)]
mod tests {
    use kt_contract::config;

    use super::super::finding::State;
    use super::super::sidecar::tests::status_of;
    use super::*;

    fn told(findings: &[Finding]) -> Vec<(&str, State)> {
        findings.iter().map(|it| (it.name, it.state)).collect()
    }

    fn redis() -> StoreStatus {
        StoreStatus {
            store: StoreKind::Redis,
            place: "redis at cache:6379".to_owned(),
            fault: None,
            says: Some("version 7.0.15, maxmemory 1024 bytes, allkeys-lru".to_owned()),
            advice: None,
        }
    }

    #[test]
    fn a_store_is_as_the_sidecar_sees_it() {
        let well = redis();
        let advised = StoreStatus { advice: Some("it evicts nothing".to_owned()), ..redis() };
        let away = StoreStatus {
            fault: Some("redis at cache:6379 is away since 9 s: late".to_owned()),
            ..redis()
        };
        for (store, state, seen) in [
            (
                well,
                State::Ok,
                "answers the sidecar: version 7.0.15, maxmemory 1024 bytes, allkeys-lru",
            ),
            (advised, State::Warn, "it evicts nothing"),
            (away, State::Fail, "redis at cache:6379 is away since 9 s: late"),
        ] {
            let status = StatusReply { stores: vec![store], ..status_of(Vec::new()) };
            let found = stores(None, Some(&status));
            assert_eq!(told(&found), [("redis", state), ("postgres", State::Skipped)]);
            assert!(found[0].seen.contains(seen), "{found:?}");
            assert_eq!(found[0].mend.is_some(), state != State::Ok, "{found:?}");
        }
    }

    #[test]
    fn what_a_store_has_said_is_not_said_again() {
        let of_log = "audit_log: the disk is full".to_owned();
        let away = "redis at cache:6379 is away since 9 s: late".to_owned();
        let status = StatusReply {
            store_errors: vec![away.clone(), of_log.clone()],
            stores: vec![StoreStatus { fault: Some(away), ..redis() }],
            ..status_of(Vec::new())
        };
        assert_eq!(others(&status), [of_log]);
    }

    #[test]
    fn without_a_sidecar_the_command_that_can_ask_is_told() {
        let shared = "
gateway: {on_sidecar_loss: unavailable}
database: {url: {env: KT_DB}}
workflow_cache: {backend: redis, redis: {url: 'redis://127.0.0.1:6379'}}
providers: {targets: [{id: x, provider: openai, models: [a], base_url: 'http://127.0.0.1:1'}]}
";
        let config = config::load("a.yaml", shared).unwrap().config;
        let found = stores(Some(&config), None);
        assert_eq!(told(&found), [("redis", State::Skipped), ("postgres", State::Skipped)]);
        assert!(found[0].seen.contains("redis-cli CONFIG GET maxmemory-policy"), "{found:?}");
        assert!(found[1].seen.contains("psql"), "{found:?}");
        assert!(stores(None, None)[0].seen.contains("no configuration"));
    }
}
