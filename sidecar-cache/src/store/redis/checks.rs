//! Whether a Redis will do, asked at the start and whenever it has come back: what it is, is read from what it
//! says of itself, by a script, because scripts are what everything here is made of.

use std::fmt;

use super::fault::Fault;
use super::{READ, Redis};
use crate::store::StoreError;

/// Every script of ours that leases something reads this.
const SCRIPT: &str = "return redis.call('INFO', 'server') .. redis.call('INFO', 'memory') .. \
                      redis.call('INFO', 'replication') .. redis.call('INFO', 'cluster')";
/// Sharded channels are from there on.
const VERSION_MIN: u32 = 7;

const NO_CLUSTER: &str = "it is no cluster, and its address names one: begin the address with redis://, or \
     rediss:// for TLS";

/// What is noted of a Redis that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Its version.
    pub version: String,
    /// `maxmemory`, in bytes; 0: no bound.
    pub memory_max: u64,
    /// `maxmemory-policy`.
    pub policy: String,
}

/// Why nothing is noted.
#[derive(Debug, thiserror::Error)]
pub enum Unchecked {
    /// It will not do: what about it, and what to do.
    #[error("{0}")]
    Unfit(String),
    /// It did not say.
    #[error(transparent)]
    Away(StoreError),
}

// === impl Redis ===

impl Redis {
    /// Asks a Redis what it is. What it finds is shown by [`Redis::health`] until it is asked again.
    ///
    /// # Errors
    /// [`Unchecked`], with what to do.
    pub async fn check(&self) -> Result<Noted, Unchecked> {
        let is_cluster = self.link.servers().is_cluster();
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(0);
        let judged = match self.ask(&command, READ).await {
            Ok(value) => match redis::from_redis_value::<String>(value) {
                Ok(info) => judge(&info, is_cluster),
                Err(_) => Err("it does not say what it is".to_owned()),
            },
            Err(Fault::Refused(why)) => Err(refused(&why)),
            // So it answers whoever asks for its slots, before anything else can be asked.
            Err(Fault::Lost(why)) if why.contains("cluster support disabled") => {
                Err(NO_CLUSTER.to_owned())
            }
            Err(fault) => return Err(Unchecked::Away(fault.into())),
        };
        self.link.judged(judged.clone());
        judged.map_err(Unchecked::Unfit)
    }
}

// === impl Noted ===

impl Noted {
    /// What its owner should know, if anything.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match (self.memory_max, self.policy.as_str()) {
            (0, _) => Some(
                "it has no bound on its memory: set maxmemory, and maxmemory-policy allkeys-lru, so that \
                 old entries make room for new ones",
            ),
            (_, "noeviction") => Some(
                "it evicts nothing: once it is full, nothing is stored until entries expire; set \
                 maxmemory-policy allkeys-lru",
            ),
            (_, "volatile-ttl") => Some(
                "it evicts first what has the shortest time to live, which is leases of calls under way and \
                 what others read of them: set maxmemory-policy allkeys-lru",
            ),
            (_, "allkeys-random" | "volatile-random") => Some(
                "it evicts at random, leases of calls under way too: set maxmemory-policy allkeys-lru",
            ),
            _ => None,
        }
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, memory_max, policy } = self;
        match memory_max {
            0 => write!(f, "version {version}, no maxmemory"),
            bytes => write!(f, "version {version}, maxmemory {bytes} bytes, {policy}"),
        }
    }
}

fn refused(why: &str) -> String {
    format!(
        "scripts may not run in it ({why}): allow its user the commands EVAL, EVALSHA and INFO, in scripts \
         too, and all keys and channels under the prefix"
    )
}

/// Whether a server that says this of itself will do.
fn judge(info: &str, is_cluster: bool) -> Result<Noted, String> {
    let said = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let version = said("redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < VERSION_MIN) {
        return Err(format!("its version is '{version}', and 7.0 or newer is needed: upgrade it"));
    }
    match (is_cluster, said("cluster_enabled") == "1") {
        (false, true) => {
            return Err(
                "it is a node of a cluster, and its address names a single server: begin the address with \
                 redis-cluster://, or rediss-cluster:// for TLS"
                    .to_owned(),
            );
        }
        (true, false) => {
            return Err(NO_CLUSTER.to_owned());
        }
        (true, true) | (false, false) => {}
    }
    // A node of a cluster that was asked at random may be one; what is written goes to masters.
    if !is_cluster && said("role") == "slave" {
        let (host, port) = (said("master_host"), said("master_port"));
        return Err(format!(
            "it is a replica, which nothing can be stored in: name its master ({host}:{port}), or its \
             Sentinels (redis-sentinel://host:26379,host:26379#master)"
        ));
    }
    Ok(Noted {
        version: version.to_owned(),
        memory_max: said("maxmemory").parse().unwrap_or(0),
        policy: said("maxmemory_policy").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Memory\r\n\
                        maxmemory:1000\r\nmaxmemory_human:1000B\r\nmaxmemory_policy:allkeys-lru\r\n\
                        # Replication\r\nrole:master\r\n# Cluster\r\ncluster_enabled:0\r\n";

    #[test]
    fn what_will_do_is_noted() {
        let noted = judge(INFO, false).unwrap();
        let Noted { version, memory_max, policy } = &noted;
        assert_eq!(
            (version.as_str(), *memory_max, policy.as_str()),
            ("7.0.15", 1_000, "allkeys-lru")
        );
        assert_eq!(noted.advice(), None);
        judge(&INFO.replace("cluster_enabled:0", "cluster_enabled:1"), true).unwrap();
        judge(&INFO.replace("7.0.15", "8.2"), false).unwrap();
    }

    #[test]
    fn what_will_not_do_is_told_with_what_to_do() {
        let is_cluster = INFO.replace("cluster_enabled:0", "cluster_enabled:1");
        let replica = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379";
        for (info, wants_cluster, said) in [
            (
                INFO.replace("7.0.15", "6.2.14"),
                false,
                "'6.2.14', and 7.0 or newer is needed: upgrade",
            ),
            (INFO.replace("redis_version:7.0.15", ""), false, "'', and 7.0 or newer is needed"),
            (is_cluster, false, "begin the address with redis-cluster://"),
            (INFO.to_owned(), true, "begin the address with redis://"),
            (
                INFO.replace("role:master", replica),
                false,
                "name its master (10.0.0.1:6379), or its",
            ),
        ] {
            let why = judge(&info, wants_cluster).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn a_memory_in_which_room_is_made_badly_or_never_is_worth_a_word() {
        for (from, to, said) in [
            ("maxmemory:1000\r\n", "maxmemory:0\r\n", "no bound on its memory"),
            ("allkeys-lru", "noeviction", "it evicts nothing"),
            ("allkeys-lru", "volatile-ttl", "the shortest time to live"),
            ("allkeys-lru", "allkeys-random", "at random"),
            ("allkeys-lru", "volatile-random", "at random"),
        ] {
            let advice = judge(&INFO.replace(from, to), false).unwrap().advice();
            assert!(advice.unwrap().contains(said), "{to}");
        }
        for policy in ["allkeys-lfu", "volatile-lru", "volatile-lfu"] {
            let noted = judge(&INFO.replace("allkeys-lru", policy), false).unwrap();
            assert_eq!(noted.advice(), None, "{policy}");
        }
    }
}
