//! What a request costs in the VM, as fuel: about the number of Wasm instructions, and the same in every run of
//! the same module. Bodies of four sizes, each as a miss, a shared hit and an L1 hit, beside a committed
//! baseline, so that a slower filter is found without a clock.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::sidecar::Stored;
use crate::world::{World, chat, gateway, question_of, sidecar};

/// The sizes of bodies, in bytes.
const SIZES: [usize; 4] = [2_000, 20_000, 200_000, 2_000_000];
/// How many requests of one kind are averaged.
const ROUNDS: u32 = 20;
/// The answer of a hit, in bytes.
const ANSWER_BYTES: usize = 1_400;

/// How far a row may be from the baseline, in percent: in either direction, for a gain that nobody takes into
/// the baseline would hide the next loss.
pub const TOLERANCE_PERCENT: f64 = 5.0;

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The answer of a hit, in bytes.
    pub answer_bytes: usize,
    /// How many requests of one kind are averaged.
    pub requests_averaged: u32,
    /// One of each kind.
    pub rows: Vec<Row>,
}

/// What one kind of request costs, from its headers to its end, callouts included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Where it is served from.
    pub path: String,
    /// The size of its body.
    pub body_bytes: usize,
    /// What it costs.
    pub fuel: u64,
}

/// A row that is not as the baseline has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// As measured.
    pub row: Row,
    /// By how much more, in percent; `None` where the baseline does not have the row.
    pub percent: Option<f64>,
}

/// Served from the worker's own memory.
const L1_HIT: &str = "l1_hit";
/// Asked before of this worker, so its plan is remembered; the answer comes with the admit callout.
const SHARED_HIT: &str = "shared_hit";
/// Never asked before: parsed, keyed, asked for, and sent to the lane. Until the request is forwarded.
const MISS: &str = "miss";

// === impl Report ===

impl Report {
    /// Measures.
    ///
    /// # Errors
    /// A request does not come to the end that it should.
    pub fn measure(host: &Host) -> Result<Self, String> {
        let rows = SIZES.iter().map(|size| rows(host, *size)).collect::<Result<Vec<_>, _>>()?;
        let rows = rows.concat();
        Ok(Self { answer_bytes: ANSWER_BYTES, requests_averaged: ROUNDS, rows })
    }

    /// The committed baseline.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn baseline() -> Result<Self, String> {
        let text = std::fs::read(baseline_path()).map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }

    /// The rows that are further from `baseline` than [`TOLERANCE_PERCENT`], or not in it.
    #[must_use]
    pub fn changes(&self, baseline: &Self) -> Vec<Change> {
        let change = |row: &Row| Change { row: row.clone(), percent: baseline.percent(row) };
        let is_far = |change: &Change| change.percent.is_none_or(|by| by.abs() > TOLERANCE_PERCENT);
        self.rows.iter().map(change).filter(is_far).collect()
    }

    /// By how much a row costs more than here.
    #[must_use]
    pub fn percent(&self, row: &Row) -> Option<f64> {
        let is_same = |at: &&Row| at.path == row.path && at.body_bytes == row.body_bytes;
        let before = self.rows.iter().find(is_same)?;
        Some((float(row.fuel) / float(before.fuel) - 1.0) * 100.0)
    }
}

/// Where the baseline is.
#[must_use]
pub fn baseline_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuel.json")
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Row { path, body_bytes, fuel } = &self.row;
        match self.percent {
            Some(by) => write!(f, "{path}, {body_bytes} bytes: {fuel} fuel, {by:+.1} %"),
            None => write!(f, "{path}, {body_bytes} bytes: {fuel} fuel, not in the baseline"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "percents of some billions need no more")]
const fn float(fuel: u64) -> f64 {
    fuel as f64
}

fn rows(host: &Host, size: usize) -> Result<Vec<Row>, String> {
    let mut world =
        World::start(gateway(host, "gw-a"), sidecar()).map_err(|error| format!("{error:?}"))?;
    let base = question_of(size);
    // Each request its own; what changes is as long as what it replaces.
    let body = |at: u32| base.replacen("The quick", &format!("{at:09}"), 1);
    let _known = world.send(chat().body(body(0)));
    let (mut miss, mut shared_hit, mut l1_hit) = (0_u64, 0_u64, 0_u64);
    for at in 1..=ROUNDS {
        let body = body(at);
        miss = miss.saturating_add(fuel_of(&mut world, &body, false)?);
        let answer = Stored {
            content_type: "application/json".to_owned(),
            fresh: Duration::from_secs(600),
            body: vec![b'x'; ANSWER_BYTES],
        };
        world.sidecar.stores_last(answer);
        shared_hit = shared_hit.saturating_add(fuel_of(&mut world, &body, true)?);
        // The second hit, which the worker takes into its memory.
        let _filling = fuel_of(&mut world, &body, true)?;
        let admits = world.sidecar.admits.len();
        l1_hit = l1_hit.saturating_add(fuel_of(&mut world, &body, true)?);
        if world.sidecar.admits.len() != admits {
            return Err("an L1 hit asked the sidecar".to_owned());
        }
    }
    let row = |path: &str, fuel: u64| Row {
        path: path.to_owned(),
        body_bytes: base.len(),
        fuel: fuel / u64::from(ROUNDS),
    };
    Ok(vec![row(L1_HIT, l1_hit), row(SHARED_HIT, shared_hit), row(MISS, miss)])
}

/// The fuel of one request. The client is gone afterwards.
fn fuel_of(world: &mut World, body: &str, hit: bool) -> Result<u64, String> {
    let before = world.worker().fuel_used();
    // In pieces of the size in which Envoy reads.
    let stream = world.send(chat().chunks(body.as_bytes().chunks(16_384)));
    let fuel = world.worker().fuel_used().saturating_sub(before);
    if hit != stream.is_local_reply() || hit == stream.forwarded().is_some() {
        return Err(format!("not as expected: {:?}", stream.answer()));
    }
    stream.client_leaves();
    Ok(fuel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(fuel: &[u64]) -> Report {
        let row = |(at, fuel): (usize, &u64)| Row {
            path: "miss".to_owned(),
            body_bytes: at,
            fuel: *fuel,
        };
        let rows = fuel.iter().enumerate().map(row).collect();
        Report { answer_bytes: 1, requests_averaged: 1, rows }
    }

    #[test]
    fn a_slowdown_of_ten_percent_in_any_row_is_found() {
        let baseline = report(&[1_000, 90_000, 8_000_000]);
        assert_eq!(baseline.changes(&baseline), []);
        for (at, expected) in ["+10.0 %", "+10.0 %", "+10.0 %"].iter().enumerate() {
            let mut slower = baseline.clone();
            slower.rows[at].fuel += slower.rows[at].fuel / 10;
            let changes = slower.changes(&baseline);
            assert_eq!(changes.len(), 1);
            assert!(changes[0].to_string().ends_with(expected), "{}", changes[0]);
        }
    }

    #[test]
    fn so_is_a_gain_that_would_hide_one_and_a_row_that_is_new() {
        let baseline = report(&[1_000, 1_000]);
        for (fuel, found) in [(1_049, 0), (1_051, 1), (951, 0), (949, 1)] {
            assert_eq!(report(&[1_000, fuel]).changes(&baseline).len(), found, "{fuel}");
        }
        let changes = report(&[1_000, 1_000, 1_000]).changes(&baseline);
        assert_eq!(changes[0].percent, None);
    }
}
