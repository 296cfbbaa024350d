//! What `gateway run` and `config render` have in common: from arguments and configuration to a [`Plan`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use kt_contract::config::{Config, Identities, Scheme};
use kt_contract::wire::feed::{GatewayIdentity, Role};

use crate::environment::Environment;
use crate::envoy::binary::{self, Envoy, Version};
use crate::envoy::bootstrap::Plan;
use crate::envoy::identities::{Asked, Tls};
use crate::failure::Failure;
use crate::paths;
use crate::policy_config;
use crate::run_dir::RunDir;

/// Which gateway, and where everything is.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// Where clients connect, as HOST:PORT [default: 127.0.0.1 and gateway.port]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// Where GET /metrics answers with Envoy's and the filter's metrics for Prometheus [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<SocketAddr>,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "policy-config.yaml")]
    pub(crate) policy_config: PathBuf,
    /// `spawn` runs a sidecar of this gateway's own, which shares with nobody; a path joins the sidecar that
    /// listens there.
    #[arg(long, value_name = "spawn|SOCKET", default_value = "spawn")]
    sidecar: SidecarChoice,
    /// The gateway's name [default: gateway.id, else gw-PORT]
    #[arg(long, value_parser = name)]
    id: Option<String>,
    /// What it does in its group: primary, worker, fallback or edge [default: gateway.role]
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// Its sockets, credentials and Envoy configuration [default: .kt/run/ID]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The filter's Wasm module [default: KT_FILTER, beside kt, the build folder]
    #[arg(long, value_name = "PATH")]
    filter: Option<PathBuf>,
    /// The Envoy binary [default: KT_ENVOY, .kt/venv, PATH]
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// The certificate chain for clients that come by TLS, PEM [default: none, in the clear]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authority that signs clients' certificates, PEM: they may present one. Rules of 'spiffe' need it.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Where the request log goes, one JSON line per request.
    #[arg(long, value_name = "PATH", default_value = "/dev/stdout")]
    access_log: PathBuf,
}

/// Whose sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SidecarChoice {
    /// One of its own.
    Spawn,
    /// The one that listens on this socket.
    Join(PathBuf),
}

/// A gateway, worked out.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) plan: Plan,
    pub(crate) run_dir: RunDir,
    pub(crate) sidecar: SidecarChoice,
}

// === impl GatewayArgs ===

impl GatewayArgs {
    /// Reads the configuration.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        policy_config::load(&self.policy_config, self.sidecar == SidecarChoice::Spawn)
    }

    /// Finds Envoy.
    pub(crate) fn find_envoy(&self, environment: &Environment) -> Result<Envoy, Failure> {
        binary::find(self.envoy.as_deref(), environment)
    }

    /// Works out what the arguments, the configuration and the environment say together. Makes nothing.
    pub(crate) fn resolve(
        &self,
        config: Config,
        envoy: Version,
        environment: &Environment,
    ) -> Result<Gateway, Failure> {
        let localhost = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), config.gateway.port);
        let listen = self.listen.unwrap_or(localhost);
        let id = self.id.clone().or(config.gateway.id);
        let id = id.unwrap_or_else(|| format!("gw-{}", listen.port()));
        let run_dir = RunDir::of(self.run_dir.as_deref(), &id)?;
        let sidecar_socket = match &self.sidecar {
            SidecarChoice::Spawn => run_dir.sidecar_socket(),
            SidecarChoice::Join(socket) => paths::absolute(socket)?,
        };
        paths::check_socket_path(&sidecar_socket)?;
        let needs_ca = config.targets.iter().any(|it| it.base_url.scheme == Scheme::Https);
        let plan = Plan {
            envoy,
            gateway: GatewayIdentity {
                id,
                role: self.role.unwrap_or(config.gateway.role),
                group: config.gateway.group,
                egress: run_dir.egress_socket().to_string_lossy().into_owned(),
            },
            listen,
            tls: self.tls()?,
            asked: self.asked(&config.identities)?,
            metrics: self.metrics,
            request_bytes_max: config.gateway.request_bytes_max,
            admit_timeout: config.gateway.admit_timeout,
            targets: config.targets,
            is_hosted: config.tenants.is_some(),
            sidecar_socket,
            filter_module: paths::filter_module(self.filter.as_deref(), environment)?,
            admin_socket: run_dir.admin_socket(),
            credentials: run_dir.credentials(),
            trusted_ca: if needs_ca { paths::trusted_ca(environment)? } else { PathBuf::new() },
            access_log: paths::absolute(&self.access_log)?,
        };
        Ok(Gateway { plan, run_dir, sidecar: self.sidecar.clone() })
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let (Some(certificate), Some(private_key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        Ok(Some(Tls {
            certificate: paths::readable(certificate)?,
            private_key: paths::readable(private_key)?,
            client_ca: self.client_ca.as_deref().map(paths::readable).transpose()?,
        }))
    }

    /// What rules want to know of clients. Keys of issuers are beside the file that names them.
    fn asked(&self, identities: &Identities) -> Result<Asked, Failure> {
        let beside = self.policy_config.parent().unwrap_or_else(|| Path::new("."));
        let issuers = identities
            .issuers()
            .iter()
            .map(|issuer| Ok((issuer.clone(), paths::absolute(&beside.join(&issuer.jwks_file))?)));
        let certificates = identities.want_certificates();
        Ok(Asked { certificates, issuers: issuers.collect::<Result<_, _>>()? })
    }
}

// === impl SidecarChoice ===

impl std::str::FromStr for SidecarChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "spawn" => Self::Spawn,
            path => Self::Join(Path::new(path).to_path_buf()),
        })
    }
}

fn role(text: &str) -> Result<Role, String> {
    [Role::Primary, Role::Worker, Role::Fallback, Role::Edge]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| "it is primary, worker, fallback or edge".to_owned())
}

/// A gateway's name, as `gateway.id` may be: it goes into headers, file names and Envoy's node.
fn name(text: &str) -> Result<String, String> {
    let good = (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match good {
        true => Ok(text.to_owned()),
        false => Err(
            "it has 1 to 64 letters, digits, '-', '_' and '.', beginning with a letter or digit"
                .to_owned(),
        ),
    }
}
