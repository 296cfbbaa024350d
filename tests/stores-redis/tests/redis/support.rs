//! A Redis that the tests of this binary share, each under a prefix of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kt_stores_redis::Server;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::redis::{Redis, Servers};

/// The server, started by whoever comes first.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start().unwrap_or_else(|error| panic!("{error}")))
}

/// A connection to the shared server, where nobody else has been.
pub(crate) fn redis() -> Redis {
    redis_at(&server().url())
}

/// A connection to some server, under a prefix that nobody else has.
pub(crate) fn redis_at(url: &str) -> Redis {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    redis_named(url, &format!("t{}:", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A connection to some server, under a prefix that others may share.
pub(crate) fn redis_named(url: &str, prefix: &str) -> Redis {
    Redis::new(Servers::parse(url).unwrap(), prefix, Clock::start()).unwrap()
}

/// Waits until the shared server's clock has gone on by so long: for a key that never comes.
pub(crate) async fn wait(time: Duration) {
    let seconds = time.as_secs_f64().to_string();
    let waiting = tokio::task::spawn_blocking(move || {
        server().run::<Option<(String, String)>>(&["BLPOP", "nobody", &seconds])
    });
    assert_eq!(waiting.await.unwrap().unwrap(), None);
}
