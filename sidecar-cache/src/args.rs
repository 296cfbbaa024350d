//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use sidecar_cache::http::traces::Collector;
use sidecar_cache::trace::Ratio;

use crate::migrate::Migrate;

/// The shared cache of a gateway group.
#[derive(Clone, Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Invocation {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(crate) task: Option<Task>,
    #[command(flatten)]
    pub(crate) args: Option<Args>,
}

/// What is done once.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Task {
    Migrate(Migrate),
}

/// How to serve.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file. It is watched: a good change takes effect within seconds.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_config: PathBuf,
    /// The Unix socket for gateways. The admin socket is beside it, with `.admin` behind its name.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// Where gateway keys (`keys.db`) and generations (`generations.db`) are kept, if not in a database, what a
    /// wallet's database has not taken yet (`spool.db`), and which versions of the configuration there were
    /// (`versions.db`). It must outlive the sidecar, and belongs to one.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where /health and /metrics are served, or `none`.
    #[arg(long, value_name = "HOST:PORT|none", default_value = "127.0.0.1:41010")]
    pub(crate) listen: Listen,
    /// Share nothing: this sidecar belongs to one gateway.
    #[arg(long)]
    pub(crate) local: bool,
    /// The collector that takes spans over OTLP/HTTP, e.g. http://localhost:4318. Without it there are no traces.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<Collector>,
    /// The name of the service in traces.
    #[arg(long, value_name = "NAME", env = "OTEL_SERVICE_NAME", default_value = "kt-sidecar")]
    pub(crate) otlp_service: String,
    /// Which share of the traces that begin here is kept, 0 to 1. About others their clients have decided.
    #[arg(long, value_name = "SHARE", env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1")]
    pub(crate) trace_ratio: Share,
}

/// A share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) Ratio);

/// Where health and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// There.
    On(SocketAddr),
    /// Nowhere.
    Nowhere,
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        text.parse().map(Self::On).map_err(|_| "expected an address like 127.0.0.1:41010, or none")
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = text.parse().ok().and_then(Ratio::new);
        share.map(Self).ok_or("expected a share from 0 to 1, like 0.1")
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Invocation::command().debug_assert();
    }

    #[test]
    fn a_task_needs_nothing_of_what_serving_needs() {
        let read = |line: &str| Invocation::try_parse_from(line.split(' '));
        let serve = "sidecar-cache --policy-config f.yaml --socket s --data-dir d";
        let args = read(serve).unwrap().args.unwrap();
        assert_eq!((args.otlp_endpoint, args.trace_ratio.0), (None, Ratio::ALL));
        assert!(read(&format!("{serve} --trace-ratio 1.5")).is_err());
        let migrate = read("sidecar-cache migrate --policy-config f.yaml").unwrap();
        assert!(migrate.task.is_some() && migrate.args.is_none());
        assert!(read("sidecar-cache --socket s").is_err());
        assert!(read("sidecar-cache").is_err());
    }

    #[test]
    fn an_address_or_none() {
        assert_eq!("none".parse(), Ok(Listen::Nowhere));
        assert_eq!("127.0.0.1:1".parse(), Ok(Listen::On(([127, 0, 0, 1], 1).into())));
        assert!("localhost".parse::<Listen>().is_err());
    }
}
