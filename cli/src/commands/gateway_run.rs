//! `kt gateway run`: one Envoy, and with `--sidecar spawn` one sidecar, in the foreground until a signal comes.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::commands::gateway_args::{Gateway, GatewayArgs, SidecarChoice};
use crate::environment::{self, Environment};
use crate::envoy::binary::Envoy;
use crate::envoy::bootstrap::{self, Plan};
use crate::envoy::credentials;
use crate::failure::Failure;
use crate::paths;
use crate::private_file;
use crate::report;
use crate::supervise::child::Supervised;
use crate::supervise::drain;
use crate::supervise::launch::Program;
use crate::supervise::ready::{self, Where};
use crate::supervise::stop::Stop;

/// How long Envoy may take to end once nothing runs through it any more.
const ENVOY_GRACE: Duration = Duration::from_secs(5);
/// A sidecar finishes its flights for up to 30 s, and accounts for what is left for 21 s more.
const SIDECAR_GRACE: Duration = Duration::from_secs(55);

/// Runs one gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Envoy's worker threads. Each has its own copy of the filter and its own L1 cache.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// What Envoy says about itself: trace, debug, info, warning, error, critical or off.
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    envoy_log_level: String,
    /// How long running requests may take when the gateway is told to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u64,
}

/// What runs, in the order in which it starts.
struct Children {
    sidecar: Option<Supervised>,
    envoy: Supervised,
}

// === impl Args ===

impl Args {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        for name in &environment.reserved {
            report::note(format_args!(
                "warning: {name} is reserved for the control plane, which is not built yet; it is not used"
            ));
        }
        let config = self.gateway.load()?;
        let envoy = self.gateway.find_envoy(environment)?;
        let Gateway { plan, run_dir, sidecar } =
            self.gateway.resolve(config, envoy.version, environment)?;
        if !plan.filter_module.is_file() {
            let path = plan.filter_module.display();
            return Err(Failure::new(format!("there is no filter module at {path}"))
                .hint("`make wasm` builds it; elsewhere name it with --filter or KT_FILTER"));
        }
        check_identities(&plan)?;
        for address in [Some(plan.listen), plan.metrics].into_iter().flatten() {
            check_port(address)?;
        }
        let _held = run_dir.take()?;
        credentials::write(&plan.credentials, &plan.targets, &environment::variable)?;
        let config_file = run_dir.envoy_config();
        write_config(&plan, &config_file)?;

        report::append();
        report::note(format_args!("starting {} on Envoy {}", plan.gateway.id, envoy.version));
        let mut stop = Stop::listen()?;
        let clock = Clock::start();
        let sidecar = match sidecar {
            SidecarChoice::Join(_) => None,
            SidecarChoice::Spawn => {
                let program = Program::new("sidecar-cache", &paths::sidecar_program(environment)?)
                    .arg("--policy-config", &self.gateway.policy_config)
                    .arg("--socket", run_dir.sidecar_socket())
                    .arg("--data-dir", run_dir.sidecar_data())
                    .arg("--listen", "none")
                    .flag("--local");
                Some(Supervised::start(program, clock)?)
            }
        };
        let envoy = Supervised::start(self.envoy_program(&envoy, &config_file), clock)?;
        let mut children = Children { sidecar, envoy };
        let result = tokio::select! {
            failure = children.watch(&plan) => Err(failure),
            () = stop.wished() => Ok(()),
        };
        children.end(&plan, Duration::from_secs(self.drain_seconds), &mut stop).await;
        run_dir.clear();
        result
    }

    fn envoy_program(&self, envoy: &Envoy, config: &Path) -> Program {
        Program::new("envoy", &envoy.path)
            .arg("--config-path", config)
            .arg("--concurrency", self.concurrency.to_string())
            .arg("--log-level", &self.envoy_log_level)
            // A log line that is ten seconds late is no help to whoever looks at it now.
            .arg("--file-flush-interval-msec", "500")
            // Gateways of one machine would meet in the shared memory that it uses.
            .flag("--disable-hot-restart")
    }
}

// === impl Children ===

impl Children {
    /// Starts, says `ready` once, and keeps everything running. Returns only what cannot be mended.
    async fn watch(&mut self, plan: &Plan) -> Failure {
        let joined = self.sidecar.is_none().then_some(plan.sidecar_socket.as_path());
        let at = Where::of(plan);
        tokio::select! {
            failure = self.envoy.refused() => return failure,
            failure = refused(self.sidecar.as_mut()) => return failure,
            () = ready::wait(&at, joined) => {}
        }
        let identity = &plan.gateway;
        report::say(format_args!(
            "ready address={} gateway={} role={} group={} sidecar={}",
            plan.listen,
            identity.id,
            identity.role.as_str(),
            identity.group.as_deref().unwrap_or("-"),
            plan.sidecar_socket.display(),
        ));
        if self.sidecar.is_some() {
            let socket = plan.sidecar_socket.display();
            report::note(format_args!("for key, explain and gateway status: KT_SIDECAR={socket}"));
        }
        tokio::select! {
            failure = self.envoy.keep() => failure,
            failure = keep(self.sidecar.as_mut()) => failure,
        }
    }

    /// Ends everything in order: no new requests, then Envoy, then the sidecar. A second signal shortens it.
    async fn end(&mut self, plan: &Plan, drain_for: Duration, stop: &mut Stop) {
        let in_order = async {
            drain::wait(&plan.admin_socket, drain_for).await;
            self.envoy.end(ENVOY_GRACE).await;
            if let Some(sidecar) = &mut self.sidecar {
                sidecar.end(SIDECAR_GRACE).await;
            }
        };
        let hurried = tokio::select! {
            () = in_order => false,
            () = stop.wished() => true,
        };
        if hurried {
            report::note("told to stop a second time; what still runs is killed");
            self.envoy.end(Duration::ZERO).await;
            if let Some(sidecar) = &mut self.sidecar {
                sidecar.end(Duration::ZERO).await;
            }
        }
    }
}

async fn refused(sidecar: Option<&mut Supervised>) -> Failure {
    match sidecar {
        Some(sidecar) => sidecar.refused().await,
        None => std::future::pending().await,
    }
}

async fn keep(sidecar: Option<&mut Supervised>) -> Failure {
    match sidecar {
        Some(sidecar) => sidecar.keep().await,
        None => std::future::pending().await,
    }
}

/// What rules ask for and this gateway would never find out is said before it starts.
fn check_identities(plan: &Plan) -> Result<(), Failure> {
    let has_authority = plan.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if plan.asked.certificates && !has_authority {
        let what = "identities: a rule of 'spiffe' is for clients with certificates, and this gateway asks for none";
        return Err(Failure::new(what)
            .hint("start it with --tls-cert FILE --tls-key FILE --client-ca FILE"));
    }
    plan.asked.issuers.iter().try_for_each(|(_, keys)| paths::readable(keys).map(drop))
}

/// Takes the port for a moment. Envoy would say the same only after it has read everything else.
fn check_port(listen: SocketAddr) -> Result<(), Failure> {
    if listen.port() == 0 {
        return Err(Failure::new(format!("{listen} names no port; clients have to know one")));
    }
    match TcpListener::bind(listen) {
        Ok(_free) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(Failure::new(format!("{listen} is in use: something listens there")).hint(format!(
                "`ss -ltnp 'sport = :{}'` says what; stop it, or choose another --listen",
                listen.port()
            )))
        }
        Err(error) => Err(Failure::new(format!("cannot listen on {listen}: {error}"))),
    }
}

fn write_config(plan: &Plan, path: &Path) -> Result<(), Failure> {
    let config = bootstrap::render(plan).map_err(|error| Failure::new(error.to_string()))?;
    private_file::write(path, config.to_string().as_bytes())
        .map_err(|error| Failure::io("write the Envoy configuration", path, &error))
}
