//! `kt audit export`: what the audit log says, for whoever keeps or reads it elsewhere.

use clap::ValueEnum;
use kt_contract::wire::admin::audit_log::{AuditRecord, RECORDS_MAX};
use kt_contract::wire::admin::endpoint::Endpoint;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Asking;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::money::moment;
use crate::report;

/// `kt audit export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The organization; '' for requests of which nobody knows whose they are.
    #[arg(long)]
    org: String,
    /// From this day on, in UTC: 2026-11-28, 2026-11, or 7d for seven days ago [default: all there are]
    #[arg(long, value_name = "DAY")]
    since: Option<String>,
    /// Before this day [default: tomorrow]
    #[arg(long, value_name = "DAY")]
    until: Option<String>,
    /// Only what is newer than the record of this number.
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// One JSON object on each line, or comma-separated values with a head.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

/// The columns of the second.
const COLUMNS: [&str; 21] = [
    "seq",
    "time",
    "at_ms",
    "org",
    "kind",
    "request_id",
    "gateway",
    "key_id",
    "team",
    "user",
    "agent",
    "model",
    "provider",
    "outcome",
    "reason",
    "status",
    "code",
    "policies",
    "cost_micro_usd",
    "times",
    "hash",
];

// === impl Export ===

impl Export {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let admin = self.asking.admin(environment);
        let mut after = self.after;
        let mut page = admin.text(&self.path(after)).await?;
        // Whoever is refused gets no file that looks like an empty log.
        if self.format == Format::Csv {
            report::say(COLUMNS.join(","));
        }
        loop {
            let mut has_any = false;
            for line in page.lines() {
                let record: AuditRecord = serde_json::from_str(line).map_err(|error| {
                    Failure::new(format!("the sidecar's answer is no record: {error}"))
                        .hint("kt and sidecar-cache should be of one version")
                })?;
                (after, has_any) = (record.seq, true);
                match self.format {
                    Format::Jsonl => report::say(line),
                    Format::Csv => report::say(row(&record)),
                }
            }
            if !has_any {
                return Ok(());
            }
            page = admin.text(&self.path(after)).await?;
        }
    }

    fn path(&self, after: u64) -> String {
        let path = Endpoint::AuditRecords.path("");
        let mut path = format!("{path}?after={after}&count={RECORDS_MAX}");
        let fields = [("org", Some(&self.org)), ("since", self.since.as_ref())];
        for (name, value) in fields.into_iter().chain([("until", self.until.as_ref())]) {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        path
    }
}

fn row(record: &AuditRecord) -> String {
    let AuditRecord { seq, at, org, kind, request_id, gateway, key_id, team, user, .. } = record;
    let AuditRecord { agent, model, provider, outcome, reason, status, code, policies, .. } =
        record;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let status = status.map_or_else(String::new, |status| status.to_string());
    let cost = record.cost_micro_usd.map_or_else(String::new, |cost| cost.to_string());
    let cells: [String; COLUMNS.len()] = [
        seq.to_string(),
        moment(*at),
        at.0.to_string(),
        org.clone(),
        kind.clone(),
        text(request_id),
        text(gateway),
        text(key_id),
        text(team),
        text(user),
        text(agent),
        text(model),
        text(provider),
        text(outcome),
        text(reason),
        status,
        text(code),
        policies.join(" "),
        cost,
        record.times.to_string(),
        record.hash.to_hex(),
    ];
    cells.map(|cell| quoted(&cell)).join(",")
}

/// A cell as RFC 4180 has it. What a spreadsheet would take for a formula begins with a quote.
fn quoted(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;
    use kt_contract::time::UnixMillis;

    use super::*;

    #[test]
    fn a_row_has_a_cell_for_each_column_and_no_cell_is_more() {
        let hash = Digest([1; 32]);
        let mut record = AuditRecord::new(7, UnixMillis(1_000), "a,\"b\"".to_owned(), hash);
        record.user = Some("=HYPERLINK(1)".to_owned());
        record.status = Some(200);
        let row = row(&record);
        let expected = format!(
            "7,1970-01-01 00:00:01Z,1000,\"a,\"\"b\"\"\",,,,,,'=HYPERLINK(1),,,,,,200,,,,0,{}",
            hash.to_hex()
        );
        assert_eq!(row, expected);
    }
}
