//! Tests of the host itself, with the probe filter: what a real Envoy was measured to do, the host does.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as expected")]

mod callouts;
mod loading;
mod streams;
mod traps;

use kt_filter_host::{Envoy, Host, Starting};

const PROBE: &str = include_str!("../fixtures/probe.wat");

/// The probe in a mode; see the fixture.
fn probe(mode: &str) -> Starting {
    Host::compile(PROBE).unwrap().envoy().configured(mode).cluster("sidecar")
}

/// The samples that the probe has left.
fn samples(envoy: &Envoy, histogram: &str) -> Vec<u64> {
    envoy.metrics().remove(histogram).unwrap().samples
}

/// The sample of a body callback.
fn told(len: u64, end: bool) -> u64 {
    len * 2 + u64::from(end)
}
