//! `kt savings`: what calls were charged, and what the cache saved, through the admin socket.

use std::path::PathBuf;

use clap::ValueEnum;
use kt_contract::wire::admin::endpoint::Endpoint;
use kt_contract::wire::admin::savings::{By, SavingsReply, SavingsRow, SavingsSums};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::commands::config::print;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::money::{dollars, signed_dollars};
use crate::paths;
use crate::report;
use crate::sidecar::Admin;
use crate::table;

/// What to sum up.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of one organization [default: all]
    #[arg(long)]
    org: Option<String>,
    /// By what
    #[arg(long, value_enum, default_value_t = Of::Org)]
    by: Of,
    /// From this day on: 2026-11-28, 2026-11, or 7d for seven days ago, in the organization's time zone [default:
    /// this month]
    #[arg(long, value_name = "DAY")]
    since: Option<String>,
    /// Before this day [default: tomorrow]
    #[arg(long, value_name = "DAY")]
    until: Option<String>,
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// For scripts: the sidecar's own answer.
    #[arg(long)]
    json: bool,
}

/// [`By`], as an argument.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    Org,
    Team,
    User,
    Model,
    Codebase,
}

// === impl Args ===

impl Args {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let admin = Admin::beside(&paths::sidecar_socket(self.sidecar.as_deref(), environment));
        let told: SavingsReply = admin.get(&self.path()).await?;
        if self.json {
            let value = serde_json::to_value(&told)
                .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
            return print(&value);
        }
        let rows = rows(&told);
        let head =
            [told.by.as_str(), "calls", "billed", "charged back", "hits", "coalesced", "saved"];
        report::say(table::layout(head, &rows));
        let SavingsReply { since, until, time_zone, own_time_zones, total, .. } = &told;
        let own = if *own_time_zones { ", or an organization's own" } else { "" };
        report::note(format_args!("from {since} on, before {until} ({time_zone}{own})"));
        if total.estimated_micro_usd > 0 {
            let estimated = dollars(total.estimated_micro_usd);
            report::note(format_args!("{estimated} of the billed rest on tokens counted here"));
        }
        Ok(())
    }

    fn path(&self) -> String {
        let by = By::from(self.by).as_str().to_owned();
        let (path, mut query) = (Endpoint::Savings.path(""), format!("by={by}"));
        let fields = [("org", &self.org), ("since", &self.since), ("until", &self.until)];
        for (name, value) in fields {
            if let Some(value) = value {
                query
                    .push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        format!("{path}?{query}")
    }
}

/// The rows, and behind more than one all of them together.
fn rows(told: &SavingsReply) -> Vec<[String; 7]> {
    let mut rows: Vec<_> = told
        .rows
        .iter()
        .map(|SavingsRow { name, sums }| row(name.as_deref().unwrap_or("(none)"), sums))
        .collect();
    if rows.len() != 1 {
        rows.push(row("total", &told.total));
    }
    rows
}

fn row(name: &str, sums: &SavingsSums) -> [String; 7] {
    [
        name.to_owned(),
        sums.calls.to_string(),
        signed_dollars(sums.billed_micro_usd),
        signed_dollars(sums.charged_back_micro_usd),
        sums.hits.to_string(),
        sums.coalesced.to_string(),
        dollars(sums.saved_micro_usd),
    ]
}

// === impl Of ===

impl From<Of> for By {
    fn from(of: Of) -> Self {
        match of {
            Of::Org => Self::Org,
            Of::Team => Self::Team,
            Of::User => Self::User,
            Of::Model => Self::Model,
            Of::Codebase => Self::Codebase,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_each_number_and_several_have_a_total() {
        let sums = SavingsSums {
            calls: 2,
            billed_micro_usd: -10,
            estimated_micro_usd: 0,
            charged_back_micro_usd: 5,
            hits: 3,
            coalesced: 4,
            saved_micro_usd: 1_500_000,
        };
        let one = SavingsRow { name: None, sums };
        let mut told = SavingsReply {
            since: "2026-11-01".to_owned(),
            until: "2026-11-29".to_owned(),
            time_zone: "UTC".to_owned(),
            own_time_zones: false,
            by: By::Team,
            rows: vec![one.clone()],
            total: sums,
        };
        let expected = |name: &str| {
            [name, "2", "-$0.00001", "$0.000005", "3", "4", "$1.50"].map(str::to_owned)
        };
        assert_eq!(rows(&told), [expected("(none)")]);
        told.rows.push(SavingsRow { name: Some("core".to_owned()), ..one });
        assert_eq!(rows(&told), [expected("(none)"), expected("core"), expected("total")]);
        told.rows.clear();
        assert_eq!(rows(&told), [expected("total")]);
    }
}
