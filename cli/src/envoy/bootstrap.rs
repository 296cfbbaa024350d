//! The whole bootstrap configuration of one gateway's Envoy, from what the gateway is and where things lie.
//! Pure: reads no file and no environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kt_contract::config::Target;
use kt_contract::time::Millis;
use kt_contract::wire::feed::GatewayIdentity;
use serde_json::{Value, json};

use super::binary::Version;
use super::identities::{Asked, Tls};
use super::template::{Template, TemplateError, Values};
use super::{clusters, listeners};

const BOOTSTRAP: Template =
    Template::new("bootstrap.yaml", include_str!("../../../envoy/bootstrap.yaml"));

/// What one gateway's Envoy is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The Envoy that is to run.
    pub(crate) envoy: Version,
    /// Who the gateway is, with the path of its egress socket.
    pub(crate) gateway: GatewayIdentity,
    /// Where clients come in.
    pub(crate) listen: SocketAddr,
    /// TLS for clients; without it they come in the clear.
    pub(crate) tls: Option<Tls>,
    /// What is to be found out about clients.
    pub(crate) asked: Asked,
    /// Where Prometheus comes in, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    /// The largest body that the filter takes.
    pub(crate) request_bytes_max: u64,
    /// How long the filter waits for the sidecar's word on a request.
    pub(crate) admit_timeout: Millis,
    /// The provider targets.
    pub(crate) targets: Vec<Target>,
    /// Whether the sidecar puts credentials in, which are tenants'.
    pub(crate) is_hosted: bool,
    /// The sidecar's data socket.
    pub(crate) sidecar_socket: PathBuf,
    /// The filter's Wasm module.
    pub(crate) filter_module: PathBuf,
    /// Where Envoy's own admin API listens.
    pub(crate) admin_socket: PathBuf,
    /// The folder of the credential files.
    pub(crate) credentials: PathBuf,
    /// The certificate authorities for `https` targets.
    pub(crate) trusted_ca: PathBuf,
    /// Where the request log goes.
    pub(crate) access_log: PathBuf,
}

/// The bootstrap configuration, which Envoy reads as JSON.
///
/// # Errors
/// A template and this code disagree; a test would have found it.
pub(crate) fn render(plan: &Plan) -> Result<Value, TemplateError> {
    BOOTSTRAP.fill(&values([
        ("gateway_id", json!(plan.gateway.id)),
        ("admin_socket", path(&plan.admin_socket)),
        ("listeners", Value::Array(listeners::all(plan)?)),
        ("clusters", Value::Array(clusters::all(plan)?)),
    ]))
}

pub(super) fn values<const N: usize>(pairs: [(&str, Value); N]) -> Values {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A path as a JSON text. Paths that are no UTF-8 are refused where they come in ([`crate::paths`]).
pub(super) fn path(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

#[cfg(test)]
pub(crate) mod tests;
