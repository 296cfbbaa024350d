//! `kt explain`: a request's gates and key, whether it would hit, and why not. For operators: it goes through
//! the admin socket and names what a client never learns.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use kt_contract::gates::Gates;
use kt_contract::wire::admin::{PATH_EXPLAIN, PATH_STATUS, StatusReply};
use kt_contract::wire::explain::{ExplainReply, ExplainRequest};
use kt_contract::wire::feed::GatewayIdentity;
use serde_json::{Value, json};

use crate::commands::config::print;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::key_name;
use crate::paths;
use crate::report;
use crate::sidecar::Admin;
use crate::table;

/// How a finding ends from which nothing follows.
const MONITORED: &str = ":monitor";

/// Explains what the cache would do for a request.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The public name of the gateway key under which to ask, gk_…
    #[arg(long, value_name = "KEY_ID")]
    key: String,
    /// Compare with the same request under this key.
    #[arg(long, value_name = "KEY_ID")]
    against: Option<String>,
    #[command(flatten)]
    how: How,
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: the sidecar's own answers.
    #[arg(long)]
    json: bool,
    /// The request's body; - reads it from standard input.
    file: PathBuf,
}

/// Under which key, and how, a request is asked about.
#[derive(Debug, clap::Args)]
pub(crate) struct Asking {
    /// With --request: the public name of the gateway key under which to ask, gk_…
    #[arg(long, value_name = "KEY_ID", requires = "request")]
    key: Option<String>,
    #[command(flatten)]
    how: How,
}

/// How a request is asked about.
#[derive(Debug, clap::Args)]
struct How {
    /// The gateway at which to ask [default: the first that the sidecar knows]
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,
    /// The value of x-kt-codebase.
    #[arg(long)]
    codebase: Option<String>,
    /// A header of the request that is in the key, e.g. 'openai-beta: assistants=v2'; can be given again.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The request's path.
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
}

// === impl Args ===

impl Args {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        for key_id in [Some(&self.key), self.against.as_ref()].into_iter().flatten() {
            key_name::caller(key_id)?;
        }
        let body = read_body(&self.file)?;
        let socket = paths::sidecar_socket(self.sidecar.as_deref(), environment);
        let admin = Admin::beside(&socket);
        let gateway = self.how.gateway(&admin).await?;
        let reply = self.how.ask(&admin, &self.key, &gateway, &body).await?;
        let other = match &self.against {
            Some(key_id) => Some(self.how.ask(&admin, key_id, &gateway, &body).await?),
            None => None,
        };
        if self.json {
            return print(&json!({ "reply": reply, "against": other }));
        }
        report::say(verdict(&reply));
        if let Some(other) = &other {
            let same = if other.key == reply.key { "the same key" } else { "another key" };
            report::say(format_args!("under the other key: {same}, {}", verdict(other)));
        }
        for line in policy_lines(&reply) {
            report::say(line);
        }
        report::say("");
        report::say(match (&other, &reply.nearest) {
            (Some(other), _) => {
                side_by_side(by_name(&reply.gates), &by_name(&other.gates), "the other key")
            }
            (None, Some(nearest)) => {
                side_by_side(by_name(&reply.gates), &by_name(nearest), "nearest entry")
            }
            (None, None) => alone(by_name(&reply.gates)),
        });
        Ok(())
    }
}

// === impl Asking ===

impl Asking {
    /// What the sidecar says of a request.
    ///
    /// # Errors
    /// No key to ask under; what a client would be refused.
    pub(crate) async fn ask(&self, admin: &Admin, body: String) -> Result<ExplainReply, Failure> {
        let key = self.key.as_deref().ok_or_else(|| Failure::new("--key is missing"))?;
        let key = key_name::caller(key)?;
        let gateway = self.how.gateway(admin).await?;
        self.how.ask(admin, key, &gateway, &body).await
    }
}

// === impl How ===

impl How {
    async fn ask(
        &self,
        admin: &Admin,
        key_id: &str,
        gateway: &GatewayIdentity,
        body: &str,
    ) -> Result<ExplainReply, Failure> {
        let request = ExplainRequest {
            key_id: key_id.to_owned(),
            gateway: gateway.clone(),
            path: self.path.clone(),
            codebase: self.codebase.clone(),
            headers: self.header.clone(),
            body: body.to_owned(),
        };
        admin.post(PATH_EXPLAIN, &request).await
    }

    /// The gateway by its id, as the sidecar knows it.
    async fn gateway(&self, admin: &Admin) -> Result<GatewayIdentity, Failure> {
        let status: StatusReply = admin.get(PATH_STATUS).await?;
        let wanted = |id: &str| self.gateway.as_deref().is_none_or(|wanted| wanted == id);
        let mut known = status.gateways.into_iter().map(|it| it.gateway);
        known.find(|gateway| wanted(&gateway.id)).ok_or_else(|| {
            Failure::new("the sidecar knows no such gateway").hint("`kt gateway status` lists them")
        })
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("is not of the form 'name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(crate) fn read_body(file: &Path) -> Result<String, Failure> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file)
            .map_err(|error| Failure::io("read the request", file, &error));
    }
    let mut body = String::new();
    match std::io::stdin().read_to_string(&mut body) {
        Ok(_bytes) => Ok(body),
        Err(error) => Err(Failure::new(format!("cannot read the request: {error}"))),
    }
}

fn verdict(reply: &ExplainReply) -> String {
    let ExplainReply { outcome, reason, key, target, .. } = reply;
    format!("{outcome} ({reason}); target {target}; key {}", key.0.to_hex())
}

/// What the policies find in the request, and which of them only watch, whatever they find.
fn policy_lines(reply: &ExplainReply) -> Vec<String> {
    let mut lines = Vec::new();
    let is_monitored = |found: &&String| found.ends_with(MONITORED);
    let (watched, changed): (Vec<_>, Vec<_>) = reply.guardrails.iter().partition(is_monitored);
    let line = |what: &str, names: &[&String]| {
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
    };
    lines.extend(line("found, and changed", &changed));
    lines.extend(line("found, and only watched", &watched));
    let watching: Vec<_> = reply.watched.iter().collect();
    lines.extend(line("only watched, in any request (action: monitor)", &watching));
    lines
}

pub(crate) fn alone(gates: BTreeMap<String, String>) -> String {
    let rows: Vec<_> = gates.into_iter().map(|(gate, value)| [gate, value]).collect();
    table::layout(["gate", "value"], &rows)
}

/// First the gates that differ, which is what somebody compares for; then those that are the same, one value each.
fn side_by_side(
    mut this: BTreeMap<String, String>,
    that: &BTreeMap<String, String>,
    title: &str,
) -> String {
    let names: BTreeSet<String> = this.keys().chain(that.keys()).cloned().collect();
    let value = |gates: &BTreeMap<String, String>, name: &String| {
        gates.get(name).cloned().unwrap_or_else(|| "-".to_owned())
    };
    let rows: Vec<_> = names
        .into_iter()
        .filter(|name| this.get(name) != that.get(name))
        .map(|name| {
            let (this, that) = (value(&this, &name), value(that, &name));
            [name, this, that]
        })
        .collect();
    this.retain(|name, value| that.get(name) == Some(value));
    let differing = match rows.is_empty() {
        true => "no gate differs".to_owned(),
        false => table::layout(["differs", "this request", title], &rows),
    };
    format!("{differing}\n\nthe same in both:\n{}", alone(this))
}

/// The gates as texts. A gate that is not there has no name.
pub(crate) fn by_name(gates: &Gates) -> BTreeMap<String, String> {
    match json!(gates) {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            BTreeMap::new()
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates<const N: usize>(gates: [(&str, &str); N]) -> BTreeMap<String, String> {
        gates.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn what_differs_comes_first_and_the_rest_once() {
        let this = gates([("model", "m"), ("org", "acme"), ("policy", "p")]);
        let that = gates([("fabric", "7"), ("model", "m"), ("org", "else"), ("policy", "p")]);
        assert_eq!(
            side_by_side(this, &that, "the other key"),
            "differs  this request  the other key\n\
             fabric   -             7\n\
             org      acme          else\n\
             \n\
             the same in both:\n\
             gate    value\n\
             model   m\n\
             policy  p"
        );
    }

    fn explained(guardrails: &[&str], watched: &[&str]) -> Vec<String> {
        let gates = json!({
            "org": "acme", "scope": {"tier": "org_shared_cache", "group": null}, "policy": "0".repeat(64),
            "model": {"dialect": "openai_chat", "path": "/", "provider": "openai", "upstream": "u", "served_model": "m"},
        });
        let reply = json!({
            "outcome": "miss", "reason": "request", "gates": gates, "key": "0".repeat(64), "check": "0".repeat(64),
            "target": "openai", "guardrails": guardrails, "watched": watched,
        });
        policy_lines(&serde_json::from_value(reply).unwrap())
    }

    #[test]
    fn what_is_only_watched_is_told_apart() {
        assert_eq!(explained(&[], &[]), [""; 0]);
        let found = ["pii-detector:email:redact", "pii-detector:phone:monitor"];
        let watched = ["pii-detector:phone (input)", "toxicity-filter (output)"];
        assert_eq!(
            explained(&found, &watched),
            [
                "found, and changed: pii-detector:email:redact",
                "found, and only watched: pii-detector:phone:monitor",
                "only watched, in any request (action: monitor): pii-detector:phone (input), toxicity-filter (output)",
            ]
        );
    }

    #[test]
    fn nothing_that_differs_is_said_in_words() {
        let text = side_by_side(gates([("org", "acme")]), &gates([("org", "acme")]), "other");
        assert!(text.starts_with("no gate differs\n\nthe same in both:\n"), "{text}");
    }
}
