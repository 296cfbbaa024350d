//! `kt doctor`: what is usually wrong, and how to mend it. What it knows is in [`crate::doctor`]; this file asks and
//! prints. Nothing is changed by it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use kt_contract::config::Config;
use kt_contract::limits::REQUEST_BYTES_MAX_DEFAULT;
use kt_contract::wire::admin::versions::VersionReply;
use kt_contract::wire::admin::{PATH_CONFIG, PATH_STATUS, Presence, StatusReply};
use serde_json::json;

use crate::clock;
use crate::commands::config::print;
use crate::doctor::envoy_config::{self, Needs};
use crate::doctor::finding::{self, Counts, Finding};
use crate::doctor::gateway;
use crate::doctor::gather::{self, AdminAddress};
use crate::doctor::machine::{self, ConfigFile};
use crate::doctor::sidecar::{self, SocketFact};
use crate::doctor::stores;
use crate::environment::{self, Environment};
use crate::envoy::binary::{self, Version};
use crate::failure::Failure;
use crate::paths;
use crate::report;
use crate::secrets;
use crate::sidecar::Admin;

/// Where the quickstart's sidecar keeps what it must not forget.
const DATA_DIR: &str = ".kt/run/data";
/// The value of `--sidecar` that leaves it out.
const NONE: &str = "none";

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration [default: policy-config.yaml, if it is there]
    #[arg(long, value_name = "FILE")]
    policy_config: Option<PathBuf>,
    /// The sidecar's data socket; none leaves it out [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET|none")]
    sidecar: Option<PathBuf>,
    /// The sidecar's data folder [default: .kt/run/data, if it is there]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An Envoy configuration to look through, in JSON or YAML
    #[arg(long, value_name = "FILE")]
    envoy_config: Option<PathBuf>,
    /// The admin API of a running gateway's Envoy, as HOST:PORT or the path of its socket; can be given again [default:
    /// those of the live gateways of this machine]
    #[arg(long, value_name = "ADDRESS")]
    envoy_admin: Vec<AdminAddress>,
    /// The Envoy binary [default: KT_ENVOY, .kt/venv, PATH]
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// The filter's Wasm module [default: KT_FILTER, beside kt, the build folder]
    #[arg(long, value_name = "PATH")]
    filter: Option<PathBuf>,
    /// For scripts: the findings as JSON
    #[arg(long)]
    json: bool,
}

/// What a sidecar has said.
struct Told {
    findings: Vec<Finding>,
    status: Option<StatusReply>,
    /// The text of the configuration in force.
    in_force: Option<String>,
}

// === impl Args ===

impl Args {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let findings = self.find(environment).await?;
        let counts = Counts::of(&findings);
        if self.json {
            print(&json!({ "checks": findings, "counts": counts }))?;
        } else {
            report::say(format_args!("{}\n\n{counts}", finding::told(&findings)));
        }
        match counts.fail {
            0 => Ok(()),
            1 => Err(Failure::new("1 check failed")),
            n => Err(Failure::new(format!("{n} checks failed"))),
        }
    }

    async fn find(&self, environment: &Environment) -> Result<Vec<Finding>, Failure> {
        let default = Path::new("policy-config.yaml");
        let file = self.policy_config.as_deref().unwrap_or(default);
        let (text, read) = gather::config_file(file, self.policy_config.is_some());
        let here = match &read {
            ConfigFile::Read(Ok(loaded)) => Some(&loaded.config),
            ConfigFile::Read(Err(_)) | ConfigFile::NotGiven | ConfigFile::Unreadable(_) => None,
        };
        let envoy = binary::find(self.envoy.as_deref(), environment);
        let version = envoy.as_ref().map_or(Version::TESTED, |envoy| envoy.version);
        let module = paths::filter_module(self.filter.as_deref(), environment)?;

        let mut findings = Vec::new();
        let has_envoy = binary::path(self.envoy.as_deref(), environment).is_some();
        findings.push(match has_envoy || !self.looks_elsewhere() {
            true => machine::envoy(&envoy),
            false => machine::not_from_here("envoy"),
        });
        let has_module = module.is_file();
        let is_named = self.filter.is_some() || environment.filter.is_some();
        findings.push(match has_module || is_named || !self.looks_elsewhere() {
            true => machine::filter_module(&module, has_module),
            false => machine::not_from_here("filter module"),
        });
        findings.extend(machine::configuration(file, &read));
        if let Some(config) = here {
            let missing = secrets::missing(config, &environment::variable, &secrets::probe);
            findings.extend(machine::credentials(&missing));
            let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let address = SocketAddr::new(localhost, config.gateway.port);
            findings.push(machine::port(address, &gather::port(address).await));
        }
        let data_dir = self.data_dir.as_deref().unwrap_or(Path::new(DATA_DIR));
        let folder = gather::folder(data_dir, self.data_dir.is_some());
        findings.push(machine::data_folder(data_dir, &folder));

        let told = self.ask_sidecar(file, environment).await;
        findings.extend(stores::stores(here, told.status.as_ref()));
        findings.extend(told.findings);
        if let (Some(here), Some(in_force)) = (&text, &told.in_force) {
            findings.push(sidecar::same_file(file, here, in_force));
        }
        let request_bytes_max = request_bytes_max(here, told.in_force.as_deref());
        findings.extend(self.look_at_file(Needs { request_bytes_max, envoy: version }));
        findings.extend(self.look_at_gateways(told.status.as_ref(), request_bytes_max).await);
        Ok(findings)
    }

    /// Whether an Envoy was named that somebody else may run, as in the pod of a mesh: then nobody needs what gateways are
    /// started with here.
    const fn looks_elsewhere(&self) -> bool {
        !self.envoy_admin.is_empty() || self.envoy_config.is_some()
    }

    /// The sidecar from outside, and what it says.
    async fn ask_sidecar(&self, file: &Path, environment: &Environment) -> Told {
        let mut told = Told { findings: Vec::new(), status: None, in_force: None };
        if self.sidecar.as_deref() == Some(Path::new(NONE)) {
            told.findings.push(Finding::skipped("sidecar", "left out by --sidecar none"));
            return told;
        }
        let socket = paths::sidecar_socket(self.sidecar.as_deref(), environment);
        let admin = Admin::beside(&socket);
        let data_fact = gather::socket(&socket).await;
        let admin_fact = gather::socket(admin.socket()).await;
        let others = match &data_fact {
            SocketFact::Open(_) => Vec::new(),
            SocketFact::Missing
            | SocketFact::NoSocket
            | SocketFact::Denied(_)
            | SocketFact::Dead(_) => admin.others(),
        };
        told.findings.push(sidecar::socket(&socket, &data_fact, &others, file));
        if !matches!(data_fact, SocketFact::Open(_)) {
            return told;
        }
        let sockets = [(socket.as_path(), &data_fact), (admin.socket(), &admin_fact)];
        told.findings.push(sidecar::permissions(sockets));
        let marker = gather::wire_version(&socket).await;
        told.findings.push(sidecar::wire_version(&marker));
        if marker.is_err() {
            return told;
        }
        match admin.get_dated::<StatusReply>(PATH_STATUS).await {
            Ok((status, date)) => {
                told.findings.push(sidecar::release(&status.version, env!("CARGO_PKG_VERSION")));
                told.findings.push(sidecar::clock("the sidecar", date, clock::unix_now()));
                told.findings.extend(sidecar::status(&status));
                told.status = Some(status);
            }
            Err(failure) => {
                let mend = failure.what_to_do().unwrap_or("look at the end of its log");
                told.findings.push(Finding::fail("sidecar", failure.what(), mend));
            }
        }
        let live = admin.get::<VersionReply>(&format!("{PATH_CONFIG}/live")).await;
        match live {
            Ok(live) => told.in_force = Some(live.text),
            Err(failure) => {
                let why = format!("the sidecar does not tell what is in force: {}", failure.what());
                told.findings.push(Finding::skipped("file", why));
            }
        }
        told
    }

    fn look_at_file(&self, needs: Needs) -> Vec<Finding> {
        let Some(path) = &self.envoy_config else { return Vec::new() };
        let of = path.display().to_string();
        match gather::envoy_config(path) {
            Ok(config) => named(envoy_config::examine(&config, needs), &of),
            Err(why) => {
                let mend = "name a whole configuration, such as `kt config render` prints";
                vec![Finding::fail("envoy configuration", format!("it {why}"), mend).of(&of)]
            }
        }
    }

    /// The Envoys that were named, else those of the gateways that use this sidecar and run here.
    async fn look_at_gateways(
        &self,
        status: Option<&StatusReply>,
        request_bytes_max: u64,
    ) -> Vec<Finding> {
        let mut all: Vec<(String, AdminAddress)> =
            self.envoy_admin.iter().map(|it| (it.to_string(), it.clone())).collect();
        let mut findings = Vec::new();
        if all.is_empty() {
            let gateways = status.map(|status| status.gateways.as_slice()).unwrap_or_default();
            for gateway in gateways.iter().filter(|it| it.state == Presence::Live) {
                let id = &gateway.gateway.id;
                match beside_egress(Path::new(&gateway.gateway.egress)) {
                    Some(socket) => all.push((id.clone(), AdminAddress::Socket(socket))),
                    None => {
                        let why = "no admin socket of its Envoy lies beside its egress; name it with --envoy-admin";
                        findings.push(Finding::skipped("running envoy", why).of(id));
                    }
                }
            }
        }
        for (of, address) in all {
            match gather::running(&address).await {
                Ok((running, date)) => {
                    findings.push(sidecar::clock(&of, date, clock::unix_now()));
                    findings.extend(named(gateway::examine(&running, request_bytes_max), &of));
                }
                Err(why) => {
                    let mend = "name the admin API of an Envoy that runs: HOST:PORT, or the path of its socket";
                    let seen = format!("no Envoy answers at {address}: {why}");
                    findings.push(Finding::fail("running envoy", seen, mend).of(&of));
                }
            }
        }
        findings
    }
}

fn named(findings: Vec<Finding>, of: &str) -> Vec<Finding> {
    findings.into_iter().map(|finding| finding.of(of)).collect()
}

/// What the gateways take by the configuration in force, else by the one here.
fn request_bytes_max(here: Option<&Config>, in_force: Option<&str>) -> u64 {
    let live = in_force.and_then(|text| kt_contract::config::load("live", text).ok());
    live.map(|live| live.config.gateway.request_bytes_max)
        .or_else(|| here.map(|here| here.gateway.request_bytes_max))
        .unwrap_or(REQUEST_BYTES_MAX_DEFAULT)
}

/// Where the Envoy of a gateway that kt runs has its admin API.
fn beside_egress(egress: &Path) -> Option<PathBuf> {
    let socket = egress.parent()?.join(crate::run_dir::ENVOY_ADMIN_SOCKET);
    socket.exists().then_some(socket)
}
