//! The configuration file `policy-config.yaml`: from text to checked values.
//!
//! The text is parsed once into a value and the lines of its fields ([`tree`]); the value becomes [`raw`]
//! sections, where everything is optional and nothing is believed; each section's own file turns it into
//! checked values or says, with line and field, what is wrong. What is configured and not built yet is an
//! error: nothing in this file is ever silently ignored. Nothing here reads a file or the environment.

mod cache;
mod fabric;
mod gateway;
mod models;
mod policy;
mod raw;
mod report;
mod restart;
mod snapshot;
mod targets;
mod tree;

pub use cache::{CompleteOnDisconnect, Memory, Overflow, WorkflowCache};
pub use gateway::Gateway;
pub use models::{ANTHROPIC_MODELS, OPENAI_MODELS};
pub use policy::Policy;
pub use report::{ConfigError, Warning};
pub use restart::NeedsRestart;
pub use targets::{BaseUrl, Scheme, SecretRef, Target};

use raw::Raw;
use report::Report;

/// A checked configuration. Only [`load`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `pack`: what this configuration calls itself.
    pub pack: Pack,
    /// `gateway`: what a gateway started with this file is, where its flags do not say otherwise.
    pub gateway: Gateway,
    /// `providers.targets`: at least one; ids are unique; no model is served by two.
    pub targets: Vec<Target>,
    /// `workflow_cache`.
    pub cache: WorkflowCache,
    /// `policies`: the chain that is enforced.
    pub policy: Policy,
}

/// `pack`: what a configuration calls itself. Names no file and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pack {
    /// `pack.name`.
    pub name: Option<String>,
    /// `pack.version`.
    pub version: Option<String>,
    /// `pack.description`.
    pub description: Option<String>,
}

/// A configuration that may run, and what its owner should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// What is not an error, in the order of the file.
    pub warnings: Vec<Warning>,
    /// What is to be known only where a gateway spawns a sidecar of its own, and is nothing to mend.
    pub local_notes: Vec<Warning>,
}

/// Reads and checks a configuration. `file_name` is only for the messages.
///
/// # Errors
/// Everything that is wrong, in the order of the file: unknown fields, wrong types, values that make no sense,
/// features that are not built yet. Only what is no YAML, or says a thing twice, is said alone.
pub fn load(file_name: &str, text: &str) -> Result<Loaded, Vec<ConfigError>> {
    let tree = tree::read(file_name, text).map_err(|error| vec![error])?;
    let mut report = Report::new(file_name.to_owned(), tree.lines);
    let Some(raw) = raw::read::<Raw>(tree.value, "", &mut report) else {
        return Err(report.into_errors());
    };
    let config = check(raw, &mut report);
    report.loaded(config)
}

/// The JSON Schema of the file, for editors. It describes names and types; [`load`] knows the rest.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Raw).to_value()
}

/// Checks every section, whatever the others say, so that one run finds all there is to mend.
fn check(raw: Raw, report: &mut Report) -> Config {
    let Raw {
        pack,
        gateway,
        providers,
        workflow_cache,
        fabric,
        policies,
        policy,
        budgets,
        wallet,
        routes,
        fallback,
    } = raw;
    for (field, section) in
        [("budgets", budgets), ("wallet", wallet), ("routes", routes), ("fallback", fallback)]
    {
        if section.is_some() {
            report.error(field, "is configured but not built yet; nothing would enforce it");
        }
    }
    fabric::check(&fabric.unwrap_or_default(), report);
    let targets = targets::check(providers, report);
    Config {
        pack: check_pack(pack.unwrap_or_default(), report),
        gateway: gateway::check(gateway.unwrap_or_default(), report),
        cache: cache::check(workflow_cache.unwrap_or_default(), report),
        policy: policy::check(policies, policy, &targets, report),
        targets,
    }
}

fn check_pack(raw: raw::Pack, report: &mut Report) -> Pack {
    let raw::Pack { name, version, enabled, description } = raw;
    if enabled == Some(false) {
        // Running without the pack's policies would be the one wrong reading of this switch.
        report.error("pack.enabled", "the pack is switched off, so nothing can run from this file");
    }
    Pack { name, version, description }
}

#[cfg(test)]
mod tests;
