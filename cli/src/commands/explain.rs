//! `kt explain`: a request's gates and key, whether it would hit, and why not. For operators: it goes through
//! the admin socket and names what a client never learns.

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
use crate::paths;
use crate::report;
use crate::sidecar::Admin;
use crate::table;

/// Explains what the cache would do for a request.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The public name of the gateway key under which to ask, gk_…
    #[arg(long, value_name = "KEY_ID")]
    key: String,
    /// Compare with the same request under this key.
    #[arg(long, value_name = "KEY_ID")]
    against: Option<String>,
    /// The gateway at which to ask [default: the first that the sidecar knows]
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,
    /// The value of x-kt-codebase.
    #[arg(long)]
    codebase: Option<String>,
    /// The request's path.
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: the sidecar's own answers.
    #[arg(long)]
    json: bool,
    /// The request's body; - reads it from standard input.
    file: PathBuf,
}

// === impl Args ===

impl Args {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let body = read_body(&self.file)?;
        let socket = paths::sidecar_socket(self.sidecar.as_deref(), environment);
        let admin = Admin::beside(&socket);
        let gateway = self.gateway(&admin).await?;
        let ask = async |key_id: &str| -> Result<ExplainReply, Failure> {
            let request = ExplainRequest {
                key_id: key_id.to_owned(),
                gateway: gateway.clone(),
                path: self.path.clone(),
                codebase: self.codebase.clone(),
                body: body.clone(),
            };
            admin.post(PATH_EXPLAIN, &request).await
        };
        let reply = ask(&self.key).await?;
        let other = match &self.against {
            Some(key_id) => Some(ask(key_id).await?),
            None => None,
        };
        if self.json {
            return print(&json!({ "reply": reply, "against": other }));
        }
        report::say(verdict(&reply));
        let compared = other.as_ref().map(|it| &it.gates).or(reply.nearest.as_ref());
        let head = match &other {
            Some(_) => ["", "this key", "the other key", ""],
            None => ["", "this request", "nearest entry", ""],
        };
        report::say(table::layout(head, &gate_rows(&reply.gates, compared)));
        if let Some(other) = &other {
            let same = if other.key == reply.key { "the same key" } else { "another key" };
            report::say(format_args!("\nunder the other key: {same}, {}", verdict(other)));
        }
        Ok(())
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

fn read_body(file: &Path) -> Result<String, Failure> {
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

/// One row per gate; a gate that differs is marked.
fn gate_rows(gates: &Gates, other: Option<&Gates>) -> Vec<[String; 4]> {
    let (left, right) = (json!(gates), other.map(|other| json!(other)));
    let Value::Object(fields) = &left else { return Vec::new() };
    fields
        .iter()
        .map(|(name, value)| {
            let against = right.as_ref().and_then(|right| right.get(name));
            let differs = against.is_some_and(|against| against != value);
            [
                name.clone(),
                plain(value),
                against.map_or_else(|| "-".to_owned(), plain),
                if differs { "differs" } else { "" }.to_owned(),
            ]
        })
        .collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}
