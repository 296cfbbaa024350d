//! The command line.

use std::fmt::Display;
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
    /// The collector that takes spans over OTLP/HTTP, e.g. http://localhost:4318; else OTEL_EXPORTER_OTLP_ENDPOINT says
    /// it. Without it there are no traces.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<Collector>,
    /// The name of the service in traces; else OTEL_SERVICE_NAME says it, or it is kt-sidecar.
    #[arg(long, value_name = "NAME")]
    otlp_service: Option<String>,
    /// Which share of the traces that begin here is kept, 0 to 1; else OTEL_TRACES_SAMPLER_ARG says it, or it is 1.
    /// About other traces their clients have decided.
    #[arg(long, value_name = "SHARE")]
    trace_ratio: Option<Share>,
}

/// How spans are exported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tracing {
    /// Who takes them.
    pub(crate) collector: Collector,
    /// The name of the service.
    pub(crate) service: String,
    /// Which share of the traces that begin here is kept.
    pub(crate) ratio: Ratio,
}

/// A share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(Ratio);

/// Where health and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// There.
    On(SocketAddr),
    /// Nowhere.
    Nowhere,
}

// === impl Args ===

impl Args {
    /// How spans are exported, where a collector is named. The variables are those of everything on a machine that knows
    /// OpenTelemetry, and no reason not to serve: one that is empty or means nothing here counts as absent, as OpenTelemetry
    /// has it.
    pub(crate) fn tracing(&self, variable: impl Fn(&str) -> Option<String>) -> Option<Tracing> {
        let read = |name: &str| variable(name).filter(|text| !text.is_empty());
        let endpoint = self.otlp_endpoint.clone();
        let service = self.otlp_service.clone().or_else(|| read("OTEL_SERVICE_NAME"));
        Some(Tracing {
            collector: endpoint.or_else(|| meant("OTEL_EXPORTER_OTLP_ENDPOINT", &read))?,
            service: service.unwrap_or_else(|| "kt-sidecar".to_owned()),
            ratio: self
                .trace_ratio
                .or_else(|| meant("OTEL_TRACES_SAMPLER_ARG", &read))
                .map_or(Ratio::ALL, |Share(ratio)| ratio),
        })
    }
}

/// What a variable means, if it means anything.
fn meant<T: FromStr<Err: Display>>(
    name: &str,
    read: &impl Fn(&str) -> Option<String>,
) -> Option<T> {
    match read(name)?.parse() {
        Ok(meant) => Some(meant),
        Err(why) => {
            tracing::warn!(variable = name, %why, "it is not heeded");
            None
        }
    }
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
        assert!(read(serve).unwrap().args.is_some());
        let migrate = read("sidecar-cache migrate --policy-config f.yaml").unwrap();
        assert!(migrate.task.is_some() && migrate.args.is_none());
        assert!(read("sidecar-cache --socket s").is_err());
        assert!(read("sidecar-cache").is_err());
    }

    #[test]
    fn spans_go_where_a_flag_says_or_else_a_variable_that_means_something() {
        let serve = "sidecar-cache --policy-config f.yaml --socket s --data-dir d";
        let traced = |flags: &str, variables: &[(&str, &str)]| {
            let line = format!("{serve}{flags}");
            let args = Invocation::try_parse_from(line.split(' ')).unwrap().args.unwrap();
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
            args.tracing(|name| value(name).map(|(_, text)| (*text).to_owned()))
        };
        let to = |url: &str, service: &str, ratio: f64| {
            Some(Tracing {
                collector: url.parse().unwrap(),
                service: service.to_owned(),
                ratio: Ratio::new(ratio).unwrap(),
            })
        };
        let (endpoint, ratio) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER_ARG");
        assert_eq!(traced("", &[]), None);
        for unheeded in ["", "https://far:4318", "far:4317"] {
            assert_eq!(traced("", &[(endpoint, unheeded)]), None, "{unheeded}");
        }
        let flags = " --otlp-endpoint http://a:1 --otlp-service s --trace-ratio 0.5";
        let variables = [(endpoint, "http://b:2"), ("OTEL_SERVICE_NAME", "t"), (ratio, "0.25")];
        assert_eq!(traced(flags, &variables), to("http://a:1", "s", 0.5));
        assert_eq!(traced("", &variables), to("http://b:2", "t", 0.25));
        assert_eq!(
            traced("", &[(endpoint, "http://b:2"), ("OTEL_SERVICE_NAME", ""), (ratio, "x=y")]),
            to("http://b:2", "kt-sidecar", 1.0)
        );
        let bad = format!("{serve} --trace-ratio 1.5");
        assert!(Invocation::try_parse_from(bad.split(' ')).is_err());
    }

    #[test]
    fn an_address_or_none() {
        assert_eq!("none".parse(), Ok(Listen::Nowhere));
        assert_eq!("127.0.0.1:1".parse(), Ok(Listen::On(([127, 0, 0, 1], 1).into())));
        assert!("localhost".parse::<Listen>().is_err());
    }
}
