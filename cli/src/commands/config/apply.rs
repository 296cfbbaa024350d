//! `kt config apply` and `kt config rollback`: another configuration for the gateways that run, and whether all of them
//! run it.

use std::path::PathBuf;
use std::time::Duration;

use kt_contract::wire::admin::versions::{ApplyReply, ApplyRequest, BY_CHARS_MAX, RollbackRequest};
use kt_contract::wire::admin::{
    GatewayStatus, PATH_CONFIG, PATH_ROLLBACK, PATH_STATUS, Presence, StatusReply,
};
use tokio::time::{Instant, sleep};

use super::print_json;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::policy_config;
use crate::report;
use crate::sidecar::Admin;

/// How often the sidecar is asked who has it.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Puts a configuration in the place of the one that runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// The configuration.
    #[arg(default_value = "policy-config.yaml")]
    file: PathBuf,
    /// Only say whether it would go live.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Goes back to an earlier configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// The version: its number in `kt config history`, or the first 8 digits of its digest [default: what the last
    /// change has changed: of a file that was refused the version that is live, else the version before that one]
    #[arg(value_name = "VERSION")]
    to: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    asking: super::Asking,
    /// How long to wait until every gateway runs it; 0 does not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

/// How far a version has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// To every live gateway. Their names.
    All(Vec<String>),
    /// Not yet to these. What each runs.
    Behind(Vec<String>),
    /// Another one has taken its place.
    Replaced(String),
}

// === impl Apply ===

impl Apply {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { file, dry_run, common } = self;
        // Here first: what is wrong is said with the name of this file.
        policy_config::load(&file, false)?;
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Failure::io("read the configuration", &file, &error))?;
        let by = user(environment);
        let admin = common.asking.admin(environment);
        let request = ApplyRequest { text, by, dry_run };
        let reply: ApplyReply = admin.post(PATH_CONFIG, &request).await?;
        if dry_run {
            report::say(match reply.version == reply.before {
                true => format!("version {} is live; nothing would change", reply.version),
                false => {
                    format!("version {} can take the place of {}", reply.version, reply.before)
                }
            });
            return Ok(());
        }
        common.tell(&admin, &reply).await
    }
}

// === impl Rollback ===

impl Rollback {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { to, common } = self;
        let admin = common.asking.admin(environment);
        let request = RollbackRequest { version: to, by: user(environment) };
        let reply: ApplyReply = admin.post(PATH_ROLLBACK, &request).await?;
        common.tell(&admin, &reply).await
    }
}

// === impl Common ===

impl Common {
    /// Says what has become of it, and waits until it is everywhere.
    async fn tell(&self, admin: &Admin, reply: &ApplyReply) -> Result<(), Failure> {
        let ApplyReply { version, before, warnings: _, set_aside } = reply;
        if self.asking.json {
            print_json(reply)?;
        } else if version == before {
            report::say(format_args!("version {version} is live already"));
        } else {
            report::say(format_args!(
                "version {version} is live in the sidecar (before: {before})"
            ));
        }
        if let Some(place) = set_aside {
            report::note(format_args!("what stood in the file was no version; it lies in {place}"));
        }
        if self.wait == 0 {
            return Ok(());
        }
        let until = Instant::now() + Duration::from_secs(self.wait);
        loop {
            let status: StatusReply = admin.get(PATH_STATUS).await?;
            match reach(&status, version) {
                Reach::All(gateways) => {
                    if !self.asking.json {
                        report::say(live_on(&gateways));
                    }
                    return Ok(());
                }
                Reach::Replaced(by) => {
                    return Err(Failure::new(format!(
                        "version {by} has taken the place of {version} meanwhile"
                    ))
                    .hint("`kt config history` says who has asked for it"));
                }
                Reach::Behind(gateways) if Instant::now() >= until => {
                    return Err(behind(version, &gateways, self.wait));
                }
                Reach::Behind(_) => sleep(ASK_EVERY).await,
            }
        }
    }
}

fn reach(status: &StatusReply, version: &str) -> Reach {
    if status.config.version != version {
        return Reach::Replaced(status.config.version.clone());
    }
    let live = || status.gateways.iter().filter(|gateway| gateway.state == Presence::Live);
    let behind: Vec<String> = live().filter(|gateway| is_behind(gateway)).map(standing).collect();
    match behind.is_empty() {
        true => Reach::All(live().map(|gateway| gateway.gateway.id.clone()).collect()),
        false => Reach::Behind(behind),
    }
}

/// Whether a gateway runs another version, on any of its workers.
pub(crate) const fn is_behind(gateway: &GatewayStatus) -> bool {
    gateway.workers_behind > 0 || gateway.workers == 0
}

fn standing(gateway: &GatewayStatus) -> String {
    let GatewayStatus { gateway, config, workers, workers_behind, .. } = gateway;
    let runs = config.as_deref().unwrap_or("an unknown version");
    format!("{}: {workers_behind} of {workers} workers behind, at {runs}", gateway.id)
}

fn live_on(gateways: &[String]) -> String {
    match gateways {
        [] => "no gateway is live; those to come start with it".to_owned(),
        [one] => format!("live on 1 gateway: {one}"),
        all => format!("live on {} gateways: {}", all.len(), all.join(", ")),
    }
}

fn behind(version: &str, gateways: &[String], seconds: u64) -> Failure {
    let what = format!(
        "version {version} is live in the sidecar, and after {seconds} s not yet on every gateway"
    );
    Failure::new(what)
        .found(gateways.to_vec())
        .hint("they take it as soon as they hear from the sidecar; `kt gateway status` says when")
}

/// Who asks, as the history is told. Whoever can open the socket can say anything.
fn user(environment: &Environment) -> Option<String> {
    let user = environment.user.clone()?;
    let name: String = user.chars().filter(|at| !at.is_control()).take(BY_CHARS_MAX).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use kt_contract::snapshot::Tier;
    use kt_contract::wire::admin::Condition;
    use kt_contract::wire::admin::versions::ConfigStatus;
    use kt_contract::wire::feed::{GatewayIdentity, Role};

    use super::*;

    fn gateway(id: &str, state: Presence, workers: u64, workers_behind: u64) -> GatewayStatus {
        let egress = String::new();
        let identity =
            GatewayIdentity { id: id.to_owned(), role: Role::Primary, group: None, egress };
        GatewayStatus {
            gateway: identity,
            snapshot: None,
            config: Some("old".to_owned()),
            workers,
            workers_behind,
            state,
            last_seen_ms: 0,
        }
    }

    fn status(gateways: Vec<GatewayStatus>) -> StatusReply {
        StatusReply {
            status: Condition::Ok,
            version: String::new(),
            epoch: String::new(),
            config: ConfigStatus { version: "new".to_owned(), live_ms: 0, refused: None },
            snapshot: String::new(),
            config_errors: Vec::new(),
            tenants: None,
            tenant_errors: Vec::new(),
            wallet_errors: Vec::new(),
            database_errors: Vec::new(),
            store_errors: Vec::new(),
            stores: Vec::new(),
            cache_enabled: true,
            tier: Tier::OrgShared,
            fabric_attached: false,
            entries: 0,
            entry_bytes: 0,
            gateways,
        }
    }

    #[test]
    fn a_version_is_everywhere_once_every_worker_of_every_live_gateway_runs_it() {
        let lost = || gateway("gw-c", Presence::Lost, 0, 0);
        let all = status(vec![
            gateway("gw-a", Presence::Live, 2, 0),
            gateway("gw-b", Presence::Live, 1, 0),
            lost(),
        ]);
        let names = ["gw-a", "gw-b"].map(str::to_owned);
        assert_eq!(reach(&all, "new"), Reach::All(names.into()));
        assert_eq!(reach(&status(Vec::new()), "new"), Reach::All(Vec::new()));
        let one = status(vec![gateway("gw-a", Presence::Live, 2, 1), lost()]);
        let told = "gw-a: 1 of 2 workers behind, at old".to_owned();
        assert_eq!(reach(&one, "new"), Reach::Behind(vec![told]));
        let silent = status(vec![gateway("gw-a", Presence::Live, 0, 0)]);
        assert!(matches!(reach(&silent, "new"), Reach::Behind(_)));
        assert_eq!(reach(&all, "mine"), Reach::Replaced("new".to_owned()));
    }
}
