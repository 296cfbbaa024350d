//! The same suites where there is more than one server: behind a Sentinel, and on a cluster of three masters. The
//! servers are started by whoever comes first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kt_contract::time::Millis;
use kt_stores_redis::{Cluster, Watched};
use sidecar_cache::store::redis::{Redis, RedisEntries, RedisLeases, RedisLogs};

use crate::entry_suite::BOUNDS;
use crate::lease_suite::Opened;
use crate::log_suite::OpenedLogs;
use crate::support::redis_at;

fn behind_a_sentinel() -> Redis {
    static WATCHED: OnceLock<Watched> = OnceLock::new();
    redis_at(&WATCHED.get_or_init(|| Watched::start().unwrap()).url())
}

/// The cluster that the tests of this binary share.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start().unwrap())
}

fn on_a_cluster() -> Redis {
    redis_at(&cluster().url().unwrap())
}

fn leases(redis: Redis) -> Opened<RedisLeases, RedisEntries> {
    let micros = Arc::new(AtomicU64::new(1_000_000));
    let entries = RedisEntries::new(redis.clone(), BOUNDS);
    let leases = RedisLeases::new(redis, entries.clone()).with_clock(Arc::clone(&micros));
    let go_on = move |time: Millis| _ = micros.fetch_add(time.0 * 1_000, Ordering::Relaxed);
    Opened { leases, entries: Arc::new(entries), go_on: Box::new(go_on) }
}

fn logs(redis: Redis) -> OpenedLogs<RedisLogs, RedisLeases> {
    let Opened { leases, go_on, .. } = leases(redis.clone());
    OpenedLogs { logs: RedisLogs::new(redis), leases: Arc::new(leases), go_on }
}

mod a_sentinel {
    crate::entry_store_suite! {
        entries {
            test: tokio::test,
            open: |bounds| async move {
                sidecar_cache::store::redis::RedisEntries::new(
                    crate::topologies::behind_a_sentinel(),
                    bounds,
                )
            },
            wait: crate::support::wait,
        }
    }

    crate::lease_store_suite! {
        leases {
            test: tokio::test,
            open: async { crate::topologies::leases(crate::topologies::behind_a_sentinel()) },
        }
    }

    crate::flight_log_suite! {
        logs {
            test: tokio::test,
            open: async { crate::topologies::logs(crate::topologies::behind_a_sentinel()) },
        }
    }
}

mod a_cluster {
    crate::entry_store_suite! {
        entries {
            test: tokio::test,
            open: |bounds| async move {
                sidecar_cache::store::redis::RedisEntries::new(
                    crate::topologies::on_a_cluster(),
                    bounds,
                )
            },
            wait: crate::support::wait,
        }
    }

    crate::lease_store_suite! {
        leases {
            test: tokio::test,
            open: async { crate::topologies::leases(crate::topologies::on_a_cluster()) },
        }
    }

    crate::flight_log_suite! {
        logs {
            test: tokio::test,
            open: async { crate::topologies::logs(crate::topologies::on_a_cluster()) },
        }
    }
}
