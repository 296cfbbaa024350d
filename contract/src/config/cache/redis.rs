//! `workflow_cache.redis`: the Redis that sidecars share, and what sharing asks of the rest of the file.

use crate::config::raw;
use crate::config::report::{Bounds, Report};
use crate::config::targets::{SecretRef, check_secret};
use crate::config::wallet::{Ledger, Wallet};

use super::Backend;

const URL: &str = "workflow_cache.redis.url";
/// How an address begins whose connections are encrypted.
const ENCRYPTED: [&str; 4] = ["rediss", "valkeys", "rediss-sentinel", "rediss-cluster"];
const PREFIX_DEFAULT: &str = "kt:cache:";
const PREFIX_BYTES_MAX: usize = 64;
const ORG_BYTES: Bounds<u64> = Bounds { min: 64 << 10, max: 1 << 40, default: 1 << 30 };

/// `workflow_cache.redis`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redis {
    /// `url`: where it is.
    pub url: RedisUrl,
    /// `prefix`: what its keys begin with.
    pub prefix: String,
    /// `max_bytes_per_org`.
    pub max_bytes_per_org: u64,
}

/// `workflow_cache.redis.url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisUrl {
    /// The address. There is no login in it.
    Written(String),
    /// Where the address stands.
    Kept(SecretRef),
}

pub(super) fn check(raw: raw::Redis, report: &mut Report) -> Redis {
    let raw::Redis { url, prefix, max_bytes_per_org } = raw;
    let prefix = prefix.unwrap_or_else(|| PREFIX_DEFAULT.to_owned());
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
    if prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(is_plain) {
        report.error(
            "workflow_cache.redis.prefix",
            "must have at most 64 characters, printable ones of ASCII without spaces and braces",
        );
    }
    Redis {
        url: check_url(url, report),
        prefix,
        max_bytes_per_org: report.within(
            "workflow_cache.redis.max_bytes_per_org",
            max_bytes_per_org,
            ORG_BYTES,
        ),
    }
}

fn check_url(url: Option<raw::RedisUrl>, report: &mut Report) -> RedisUrl {
    let kept = match url {
        Some(raw::RedisUrl::Written(url)) => {
            if let Some(problem) = problem_of(&url) {
                report.error(URL, problem);
            }
            return RedisUrl::Written(url);
        }
        Some(raw::RedisUrl::Kept(kept)) => check_secret(URL.to_owned(), kept, report),
        None => {
            if report.is_whole(URL) {
                report.error(
                    "workflow_cache.backend",
                    "'redis' needs 'redis.url' beside it: redis: {url: 'redis://host:6379'}, or, where \
                     there is a password, redis: {url: {env: KT_REDIS_URL}}",
                );
            }
            None
        }
    };
    // Where there is none, the file has an error.
    RedisUrl::Kept(kept.unwrap_or_else(|| SecretRef::Env(String::new())))
}

/// What is wrong with an address that stands in the file; the sidecar reads it whole. Never repeats it.
fn problem_of(url: &str) -> Option<&'static str> {
    let no_url = "is no address of a Redis: it begins with redis://, unix://, redis-sentinel:// or \
                  redis-cluster://; for TLS with rediss instead of redis";
    let Some((scheme, rest)) = url.split_once("://") else { return Some(no_url) };
    let is_socket = ["unix", "redis+unix", "valkey+unix"].contains(&scheme);
    let has_login = match rest.split_once('?') {
        Some((_, query)) if is_socket => query.contains("pass") || query.contains("user"),
        _ => !is_socket && rest.contains('@'),
    };
    if has_login {
        return Some(
            "has a login in it, which does not belong here: put the whole address into an environment \
             variable or a file, and name that: url: {env: KT_REDIS_URL}",
        );
    }
    let is_encrypted = ENCRYPTED.contains(&scheme);
    let is_loosened = is_encrypted && (rest.contains('?') || rest.ends_with("#insecure"));
    let has_fragment = !is_socket && !scheme.ends_with("-sentinel") && rest.contains('#');
    if is_loosened || has_fragment {
        return Some(
            "has something behind its database. There is no #insecure, and nothing else: with TLS the certificate of \
             the server is always verified, by the authorities that the sidecar's machine trusts, or those in the \
             file that SSL_CERT_FILE names",
        );
    }
    match scheme {
        _ if rest.is_empty() => Some(no_url),
        "redis" | "valkey" | "redis-cluster" | "rediss" | "valkeys" | "rediss-cluster" => None,
        "redis-sentinel" | "rediss-sentinel" => match rest.rsplit_once('#') {
            Some((_, master)) if !master.is_empty() => None,
            _ => Some("names no master: redis-sentinel://host:26379,host:26379#master"),
        },
        _ if is_socket => None,
        _ => Some(no_url),
    }
}

/// N sidecars that keep a ledger each would spend N times what there is.
pub(in super::super) fn check_ledger(
    accounts_for: &str,
    backend: &Backend,
    ledger: Option<&Wallet>,
    report: &mut Report,
) {
    match (backend, ledger.map(|wallet| &wallet.ledger)) {
        (Backend::Redis(_), Some(Ledger::File(_))) => report.error(
            "workflow_cache.backend",
            format!(
                "'redis' is for several sidecars, and each would keep a ledger of its own for \
                 {accounts_for}: so many sidecars, so many times the money. Set 'wallet: {{backend: \
                 postgres, url: {{env: KT_DATABASE_URL}}}}', or 'backend: memory'"
            ),
        ),
        // Where there is a database, a ledger in a file is refused; and entries in Postgres are there.
        (Backend::Redis(_), Some(Ledger::Database(_)) | None)
        | (Backend::Memory | Backend::Postgres(_), _) => {}
    }
}

/// What one sidecar purges or revokes, another that shares its entries must know. The one place of the rule *a
/// shared cache needs a shared database*: whether there is one is said where the whole file is checked.
pub(in super::super) fn check_database(
    backend: &Backend,
    has_shared_database: bool,
    report: &mut Report,
) {
    match backend {
        Backend::Redis(_) if !has_shared_database => report.error(
            "workflow_cache.backend",
            "'redis' is for several sidecars, and each would keep gateway keys and invalidations to \
             itself: what one has purged or revoked, the others would go on serving. Say where they \
             share both: database: {url: {env: KT_DATABASE_URL}}",
        ),
        Backend::Postgres(_) if !has_shared_database => report.error(
            "workflow_cache.backend",
            "'postgres' keeps entries in the database that sidecars share, with the keys and \
             invalidations that they go by. Say where it is: database: {url: {env: KT_DATABASE_URL}}",
        ),
        Backend::Redis(_) | Backend::Postgres(_) | Backend::Memory => {}
    }
}

// === impl Redis ===

impl Redis {
    /// The fields in which it differs from another.
    pub(in super::super) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let Self { url, prefix, max_bytes_per_org } = self;
        [
            ("redis.url", *url == other.url),
            ("redis.prefix", *prefix == other.prefix),
            ("redis.max_bytes_per_org", *max_bytes_per_org == other.max_bytes_per_org),
        ]
        .into_iter()
        .filter_map(|(field, is_same)| (!is_same).then_some(field))
        .collect()
    }
}
