//! What a request costs in the VM, as fuel: about the number of Wasm instructions, and the same in every run.
//! Prints JSON for the performance page. Bodies of four sizes, each as a miss, a shared hit and an L1 hit.

use std::io::Write;
use std::time::Duration;

use kt_filter_host::Host;
use kt_filter_host::sidecar::Stored;
use kt_filter_host::world::{World, chat, gateway, module_path, question_of, sidecar};
use serde::Serialize;

/// The sizes of bodies, in bytes.
const SIZES: [usize; 4] = [2_000, 20_000, 200_000, 2_000_000];
/// How many requests of one kind are averaged.
const ROUNDS: u32 = 20;
/// The answer of a hit, in bytes.
const ANSWER_BYTES: usize = 1_400;

/// The report.
#[derive(Serialize)]
struct Report {
    module_bytes: u64,
    answer_bytes: usize,
    requests_averaged: u32,
    fuel: Vec<Row>,
}

/// One size.
#[derive(Serialize)]
struct Row {
    body_bytes: usize,
    /// Never seen before: parsed, keyed, asked for, sent to the lane. Until the request is forwarded.
    miss: Cost,
    /// Seen before by this worker, so its plan is remembered; the answer comes with the admit callout.
    shared_hit: Cost,
    /// Served from the worker's own memory.
    l1_hit: Cost,
}

/// A cost.
#[derive(Serialize)]
struct Cost {
    fuel: u64,
    fuel_per_body_byte: f64,
}

fn main() -> std::process::ExitCode {
    match report() {
        Ok(report) => {
            let mut out = std::io::stdout();
            let written = serde_json::to_writer_pretty(&mut out, &report).is_ok();
            if written && writeln!(out).is_ok() {
                return std::process::ExitCode::SUCCESS;
            }
            std::process::ExitCode::FAILURE
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "fuel: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn report() -> Result<Report, String> {
    let path = module_path();
    let host = Host::load(&path).map_err(|error| error.to_string())?;
    let module_bytes = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
    let fuel = SIZES.iter().map(|size| row(&host, *size)).collect::<Result<_, _>>()?;
    Ok(Report { module_bytes, answer_bytes: ANSWER_BYTES, requests_averaged: ROUNDS, fuel })
}

fn row(host: &Host, size: usize) -> Result<Row, String> {
    let mut world =
        World::start(gateway(host, "gw-a"), sidecar()).map_err(|error| format!("{error:?}"))?;
    let base = question_of(size);
    // Each request its own; what changes is as long as what it replaces.
    let body = |at: u32| base.replacen("The quick", &format!("{at:09}"), 1);
    let _known = world.send(chat().body(body(0)));
    let (mut miss, mut shared_hit, mut l1_hit) = (0, 0, 0);
    for at in 1..=ROUNDS {
        let body = body(at);
        miss += fuel_of(&mut world, &body, false)?;
        let answer = Stored {
            content_type: "application/json".to_owned(),
            fresh: Duration::from_secs(600),
            body: vec![b'x'; ANSWER_BYTES],
        };
        world.sidecar.stores_last(answer);
        shared_hit += fuel_of(&mut world, &body, true)?;
        let admits = world.sidecar.admits.len();
        l1_hit += fuel_of(&mut world, &body, true)?;
        if world.sidecar.admits.len() != admits {
            return Err("an L1 hit asked the sidecar".to_owned());
        }
    }
    let body_bytes = base.len();
    let cost = |fuel: u64| Cost::of(fuel / u64::from(ROUNDS), body_bytes);
    Ok(Row { body_bytes, miss: cost(miss), shared_hit: cost(shared_hit), l1_hit: cost(l1_hit) })
}

/// The fuel of one request, from its headers to its end, callouts included. The client is gone afterwards.
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

// === impl Cost ===

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for readers")]
    fn of(fuel: u64, body_bytes: usize) -> Self {
        let per_byte = fuel as f64 / body_bytes as f64;
        Self { fuel, fuel_per_body_byte: (per_byte * 100.0).round() / 100.0 }
    }
}
