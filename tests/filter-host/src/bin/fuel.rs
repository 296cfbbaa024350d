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
    rows: Vec<Row>,
}

/// What one kind of request costs, from its headers to its end, callouts included.
#[derive(Clone, Serialize)]
struct Row {
    path: &'static str,
    body_bytes: usize,
    fuel: u64,
}

/// Served from the worker's own memory.
const L1_HIT: &str = "l1_hit";
/// Asked before of this worker, so its plan is remembered; the answer comes with the admit callout.
const SHARED_HIT: &str = "shared_hit";
/// Never asked before: parsed, keyed, asked for, and sent to the lane. Until the request is forwarded.
const MISS: &str = "miss";

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
    let rows = SIZES.iter().map(|size| rows(&host, *size)).collect::<Result<Vec<_>, _>>()?.concat();
    Ok(Report { module_bytes, answer_bytes: ANSWER_BYTES, requests_averaged: ROUNDS, rows })
}

fn rows(host: &Host, size: usize) -> Result<Vec<Row>, String> {
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
    let row =
        |path, fuel: u64| Row { path, body_bytes: base.len(), fuel: fuel / u64::from(ROUNDS) };
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
