//! `kt config …`: check a configuration, render what Envoy would get from it, or describe the file.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use kt_contract::config;
use kt_contract::snapshot::Tier;
use serde_json::Value;

use crate::commands::gateway_args::GatewayArgs;
use crate::environment::Environment;
use crate::envoy::binary::Version;
use crate::envoy::bootstrap;
use crate::failure::Failure;
use crate::policy_config;
use crate::report;

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
}

// === impl Command ===

impl Command {
    pub(crate) fn run(self, environment: &Environment) -> Result<(), Failure> {
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
        }
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let config = policy_config::load(file, true)?;
    let snapshot = config.snapshot(false);
    report::say(format_args!(
        "{}: ok (snapshot {}, {} models, tier {})",
        file.display(),
        snapshot.version,
        snapshot.models.routes.len(),
        tier_name(snapshot.cache.tier),
    ));
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

/// Prints a JSON value for people.
pub(crate) fn print(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    report::say(text);
    Ok(())
}
