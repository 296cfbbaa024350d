//! Where Redis is: one server, the master that Sentinels name, or a cluster; from one URL. What is shown of it
//! never has a password in it.

use std::fmt;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use super::{CONNECT_BUDGET, HANDSHAKE_BUDGET, SETUP_BUDGET, tls};
use crate::store::StoreError;

/// How an address begins whose connections are encrypted, and how the same one begins where they are not.
const ENCRYPTED: [(&str, &str); 4] = [
    ("rediss://", "redis://"),
    ("valkeys://", "valkey://"),
    ("rediss-sentinel://", SENTINEL),
    ("rediss-cluster://", CLUSTER),
];
const SENTINEL: &str = "redis-sentinel://";
const CLUSTER: &str = "redis-cluster://";
const SENTINEL_PORT: u16 = 26_379;
const NOT_LOOSENED: &str = "nothing follows the database of a Redis URL, #insecure least of all: with TLS its \
                            certificate is always verified, by what SSL_CERT_FILE or this machine trusts";

/// Where Redis is, and how to log in.
#[derive(Clone)]
pub struct Servers {
    pub(super) place: Place,
    pub(super) login: RedisConnectionInfo,
}

/// Where it is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// One server.
    One(ConnectionAddr),
    /// Whichever server these Sentinels call the master of that name.
    Sentinels { at: Vec<ConnectionAddr>, master: String },
    /// Some nodes of a cluster; they name the others.
    Cluster(Vec<ConnectionAddr>),
}

// === impl Servers ===

impl Servers {
    /// Reads a URL: `redis://host:port/db`, `unix:///path?db=0`, `redis-sentinel://host:port,host:port/db#master`
    /// or `redis-cluster://host:port,host:port`, each with `user:password@` before the first host. With `rediss`
    /// instead of `redis` everything is encrypted, what is said to Sentinels too.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let encrypted = ENCRYPTED.iter().find_map(|(scheme, plain)| {
            url.strip_prefix(scheme).map(|rest| format!("{plain}{rest}"))
        });
        let Some(plain) = encrypted else { return Self::parse_plain(url) };
        if plain.contains('?') || plain.ends_with("#insecure") {
            return Err(refused(NOT_LOOSENED));
        }
        let Self { place, login } = Self::parse_plain(&plain)?;
        Ok(Self { place: place.encrypted(), login })
    }

    fn parse_plain(url: &str) -> Result<Self, StoreError> {
        let (place, login) = if let Some(rest) = url.strip_prefix(SENTINEL) {
            let (rest, master) =
                rest.rsplit_once('#').filter(|(_, master)| !master.is_empty()).ok_or_else(
                    || refused("a Redis URL of Sentinels ends with #, and the name of the master"),
                )?;
            let (at, login) = several(rest, SENTINEL_PORT)?;
            (Place::Sentinels { at, master: master.to_owned() }, login)
        } else if let Some(rest) = url.strip_prefix(CLUSTER) {
            let (at, login) = several(rest, 6_379)?;
            if login.db() != 0 {
                return Err(refused("a Redis Cluster has database 0 only"));
            }
            (Place::Cluster(at), login)
        } else {
            let (at, login) = one(url)?;
            (Place::One(at), login)
        };
        // Wake-ups come on the connection that asks, which only RESP3 allows.
        Ok(Self { place, login: login.set_protocol(ProtocolVersion::RESP3) })
    }

    /// The same, where whoever answers there can be verified, if they are to be.
    ///
    /// # Errors
    /// Where it is encrypted, and no certificate authority is trusted.
    pub fn verifiable(self) -> Result<Self, StoreError> {
        if self.is_encrypted() {
            tls::connector()?;
        }
        Ok(self)
    }

    /// Whether what is said to it is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.place.at().iter().any(|at| matches!(at, ConnectionAddr::TcpTls { .. }))
    }

    /// How long it may take until one server is logged in to.
    pub(super) fn login_budget(&self) -> Duration {
        let handshake = if self.is_encrypted() { HANDSHAKE_BUDGET } else { Duration::ZERO };
        CONNECT_BUDGET + handshake + SETUP_BUDGET
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |at: &[ConnectionAddr]| at.iter().map(shown).collect::<Vec<_>>().join(",");
        match &self.place {
            Place::One(at) => write!(f, "redis at {}", shown(at)),
            Place::Sentinels { at, master } => {
                write!(f, "redis master {master} of the sentinels at {}", list(at))
            }
            Place::Cluster(at) => write!(f, "redis cluster at {}", list(at)),
        }?;
        f.write_str(if self.is_encrypted() { " by TLS" } else { "" })
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Place ===

impl Place {
    fn at(&self) -> &[ConnectionAddr] {
        match self {
            Self::One(at) => std::slice::from_ref(at),
            Self::Sentinels { at, .. } | Self::Cluster(at) => at,
        }
    }

    /// The same place, by TLS.
    fn encrypted(self) -> Self {
        let all = |at: Vec<ConnectionAddr>| at.into_iter().map(encrypted).collect();
        match self {
            Self::One(at) => Self::One(encrypted(at)),
            Self::Sentinels { at, master } => Self::Sentinels { at: all(at), master },
            Self::Cluster(at) => Self::Cluster(all(at)),
        }
    }
}

/// The address of a server that another has named: by TLS, where that one was asked by TLS.
pub(super) fn beside(at: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    let plain = ConnectionAddr::Tcp(host, port);
    if matches!(at, ConnectionAddr::TcpTls { .. }) { encrypted(plain) } else { plain }
}

fn encrypted(at: ConnectionAddr) -> ConnectionAddr {
    match at {
        ConnectionAddr::Tcp(host, port) => {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        }
        ConnectionAddr::TcpTls { .. } | ConnectionAddr::Unix(_) | _ => at,
    }
}

fn shown(at: &ConnectionAddr) -> String {
    match at {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }
            if host.contains(':') =>
        {
            format!("[{host}]:{port}")
        }
        ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } | ConnectionAddr::Unix(_) | _ => {
            at.to_string()
        }
    }
}

/// Hosts with one login and one database: `user:password@host:port,host:port/db`.
fn several(
    rest: &str,
    port: u16,
) -> Result<(Vec<ConnectionAddr>, RedisConnectionInfo), StoreError> {
    let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
    let (hosts, db) = rest.split_once('/').unwrap_or((rest, ""));
    let mut at = Vec::new();
    let mut info = RedisConnectionInfo::default();
    for host in hosts.split(',') {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let host = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        let separator = if login.is_empty() { "" } else { "@" };
        let (address, login) = one(&format!("redis://{login}{separator}{host}/{db}"))?;
        at.push(address);
        info = login;
    }
    Ok((at, info))
}

fn one(url: &str) -> Result<(ConnectionAddr, RedisConnectionInfo), StoreError> {
    if url.contains('#') {
        return Err(refused(NOT_LOOSENED));
    }
    // What the library says about a URL may repeat it.
    let info = url
        .into_connection_info()
        .map_err(|_| refused("not a Redis URL: redis://host:port/database"))?;
    if !matches!(info.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_)) {
        return Err(refused("a Redis is reached by TCP or by a Unix socket"));
    }
    Ok((info.addr().clone(), info.redis_settings().clone()))
}

fn refused(why: &str) -> StoreError {
    StoreError::Permanent(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_place_and_never_shows_its_password() {
        for (url, shown) in [
            ("redis://cache", "redis at cache:6379"),
            ("redis://me:hush@cache:7000/3", "redis at cache:7000"),
            ("redis://[::1]:7000", "redis at [::1]:7000"),
            ("unix:///run/redis.sock?db=1&pass=hush", "redis at /run/redis.sock"),
            (
                "redis-sentinel://:hush@a,b:7001/2#main",
                "redis master main of the sentinels at a:26379,b:7001",
            ),
            ("redis-cluster://me:hush@a:1,b", "redis cluster at a:1,b:6379"),
            ("rediss://me:hush@cache/3", "redis at cache:6379 by TLS"),
            ("valkeys://[::1]:7000", "redis at [::1]:7000 by TLS"),
            (
                "rediss-sentinel://:hush@a,b:7001/2#main",
                "redis master main of the sentinels at a:26379,b:7001 by TLS",
            ),
            ("rediss-cluster://me:hush@a:1,b", "redis cluster at a:1,b:6379 by TLS"),
        ] {
            let servers = Servers::parse(url).unwrap();
            assert_eq!(servers.to_string(), shown, "{url}");
            assert_eq!(format!("{servers:?}"), shown, "{url}");
            let password = url.contains("hush").then_some("hush");
            assert_eq!(servers.login.password(), password, "{url}");
            assert_eq!(servers.is_encrypted(), shown.ends_with(" by TLS"), "{url}");
        }
        assert_eq!(Servers::parse("redis-sentinel://a/2#main").unwrap().login.db(), 2);
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_being_repeated() {
        for url in [
            "",
            "cache:6379",
            "http://hush@cache",
            "redis://me:hush@cache:port",
            "Rediss://:hush@cache",
            "rediss:///run/redis.sock",
            "redis-sentinel://:hush@a",
            "redis-sentinel://:hush@a#",
            "redis-cluster://:hush@a/1",
            "redis-cluster://:hush@",
        ] {
            let error = Servers::parse(url).map(|servers| servers.to_string()).unwrap_err();
            assert!(matches!(error, StoreError::Permanent(_)), "{url}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn an_address_that_asks_not_to_be_verified_is_refused() {
        for url in [
            "rediss://cache/#insecure",
            "redis://cache/#insecure",
            "valkeys://:hush@cache/0#insecure",
            "rediss-cluster://a,b#insecure",
            "rediss-cluster://a,b/0#insecure",
            "rediss-sentinel://a/0#insecure",
            "rediss-sentinel://a/0#main#insecure",
            "rediss://cache/0#anything",
            "rediss://cache/0?ssl_cert_reqs=none",
        ] {
            let error = Servers::parse(url).unwrap_err().to_string();
            assert!(error.contains("#insecure least of all"), "{url}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn who_is_named_by_tls_is_asked_by_tls() {
        for (url, is_encrypted) in
            [("redis-sentinel://a/0#main", false), ("rediss-sentinel://a/0#main", true)]
        {
            let servers = Servers::parse(url).unwrap();
            let named = beside(&servers.place.at()[0], "b".to_owned(), 1);
            assert_eq!(
                matches!(named, ConnectionAddr::TcpTls { insecure: false, .. }),
                is_encrypted
            );
        }
    }
}
