//! Prints what requests cost in the VM, as JSON for the performance page, each row beside the baseline, and what texts that
//! are made to be expensive cost under the default policy chain, beside a random one.
//! `--check` fails where one is further from it than the tolerance, and `--write` takes what is measured for
//! the baseline, `tests/filter-host/fuel.json`.

use std::io::Write;
use std::process::ExitCode;

use kt_filter_host::Host;
use kt_filter_host::fuel::{Report, Row, TOLERANCE_PERCENT, baseline_path};
use kt_filter_host::scanning::{self, RATIO_MAX, Scanned};
use kt_filter_host::world::module_path;
use serde::Serialize;

/// The report, with what only a reader wants.
#[derive(Serialize)]
struct Told {
    module_bytes: u64,
    answer_bytes: usize,
    requests_averaged: u32,
    tolerance_percent: f64,
    rows: Vec<ToldRow>,
    scanning: Vec<Scanned>,
    scanning_ratio_max: f64,
}

/// A row, and how far it is from the baseline.
#[derive(Serialize)]
struct ToldRow {
    #[serde(flatten)]
    row: Row,
    change_percent: Option<f64>,
}

fn main() -> ExitCode {
    match run(std::env::args().nth(1).as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "fuel: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Option<&str>) -> Result<bool, String> {
    let path = module_path();
    let host = Host::load(&path).map_err(|error| error.to_string())?;
    let report = Report::measure(&host)?;
    match mode {
        None => {
            let chain = scanning::default_chain()?;
            let scanned = scanning::measure(&host, &chain, &scanning::texts(), scanning::BYTES)?;
            let module_bytes = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
            print(&told(&report, module_bytes, scanned))?;
            Ok(true)
        }
        Some("--write") => {
            let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
            let written = std::fs::write(baseline_path(), text + "\n");
            written.map(|()| true).map_err(|error| error.to_string())
        }
        Some("--check") => {
            let changes = report.changes(&Report::baseline()?);
            for change in &changes {
                writeln!(std::io::stdout(), "{change}").map_err(|error| error.to_string())?;
            }
            Ok(changes.is_empty())
        }
        Some(other) => Err(format!("'{other}' is neither --check nor --write")),
    }
}

fn told(report: &Report, module_bytes: u64, scanning: Vec<Scanned>) -> Told {
    let baseline = Report::baseline().ok();
    let change = |row: &Row| {
        let by = baseline.as_ref().and_then(|baseline| baseline.percent(row))?;
        Some((by * 100.0).round() / 100.0)
    };
    let rows =
        report.rows.iter().map(|row| ToldRow { row: row.clone(), change_percent: change(row) });
    Told {
        module_bytes,
        answer_bytes: report.answer_bytes,
        requests_averaged: report.requests_averaged,
        tolerance_percent: TOLERANCE_PERCENT,
        rows: rows.collect(),
        scanning,
        scanning_ratio_max: RATIO_MAX,
    }
}

fn print(told: &Told) -> Result<(), String> {
    let text = serde_json::to_string_pretty(told).map_err(|error| error.to_string())?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| error.to_string())
}
