//! `kt config …`: check a configuration, render what Envoy would get from it, describe the file; change what runs, and
//! look at what there was.

mod apply;
mod versions;

pub(crate) use apply::is_behind;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use kt_contract::config;
use kt_contract::snapshot::Tier;
use serde::Serialize;
use serde_json::Value;

use crate::commands::gateway_args::GatewayArgs;
use crate::environment::{self, Environment};
use crate::envoy::binary::Version;
use crate::envoy::bootstrap;
use crate::failure::Failure;
use crate::paths;
use crate::policy_config;
use crate::report;
use crate::secrets;
use crate::sidecar::Admin;

/// The commands for configurations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say everything that is wrong with a configuration, with file, line and field.
    Check {
        /// The configuration.
        #[arg(default_value = "policy-config.yaml")]
        file: PathBuf,
    },
    /// Print the Envoy configuration that `gateway run` would use, as JSON, without starting anything.
    Render(Box<GatewayArgs>),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Check a configuration, put it in the place of the one that runs, and wait until every gateway runs it.
    Apply(apply::Apply),
    /// List the versions that were live and those that were refused, newest first.
    History(versions::History),
    /// Compare two versions; without arguments, what is live with what the file says.
    Diff(versions::Diff),
    /// Go back to an earlier version, or take back a file that was refused.
    Rollback(apply::Rollback),
}

/// What those have that ask a sidecar.
#[derive(Debug, clap::Args)]
pub(crate) struct Asking {
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: the sidecar's own answer.
    #[arg(long)]
    json: bool,
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        match self {
            Self::Check { file } => check(&file),
            Self::Render(args) => {
                let config = args.load()?;
                let version = args.find_envoy(environment).map_or_else(
                    |_missing| {
                        report::note(format_args!(
                            "no Envoy is here; rendered for {}",
                            Version::TESTED
                        ));
                        Version::TESTED
                    },
                    |envoy| envoy.version,
                );
                let gateway = args.resolve(config, version, environment)?;
                let rendered = bootstrap::render(&gateway.plan)
                    .map_err(|error| Failure::new(error.to_string()))?;
                print(&rendered)
            }
            Self::Schema => print(&config::schema()),
            Self::Apply(args) => args.run(environment).await,
            Self::History(args) => args.run(environment).await,
            Self::Diff(args) => args.run(environment).await,
            Self::Rollback(args) => args.run(environment).await,
        }
    }
}

// === impl Asking ===

impl Asking {
    fn admin(&self, environment: &Environment) -> Admin {
        Admin::beside(&paths::sidecar_socket(self.sidecar.as_deref(), environment))
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let config = policy_config::load(file, true)?;
    let tenants = policy_config::check_tenants(file, &config)?;
    let snapshot = config.snapshot(false);
    report::say(format_args!(
        "{}: ok (snapshot {}, {} models, tier {})",
        file.display(),
        snapshot.version,
        snapshot.models.routes.len(),
        tier_name(snapshot.cache.tier),
    ));
    if let Some(tenants) = tenants {
        report::say(format_args!("{tenants} tenants: ok"));
    }
    // Who checks a file need not be who runs it, so this is nothing that is wrong with the file.
    for missing in secrets::missing(&config, &environment::variable, &secrets::probe) {
        report::note(format_args!("note: {missing}; whoever starts gateway and sidecar needs it"));
    }
    Ok(())
}

/// The tier as the configuration writes it.
pub(crate) const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::OrgShared => "org_shared_cache",
        Tier::PrivateEdge => "private_edge_cache",
        Tier::PhysicalGateway => "physical_gateway_private_cache_only",
    }
}

/// Prints a message as it is on the wire.
fn print_json(message: &impl Serialize) -> Result<(), Failure> {
    let value = serde_json::to_value(message)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    print(&value)
}

/// Prints a JSON value for people.
pub(crate) fn print(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    report::say(text);
    Ok(())
}
