//! Tests of the built module in a host that treats it as Envoy does. They need `kt_filter.wasm`: `make wasm`,
//! or `KT_FILTER` with its path.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as expected"
)]

mod bombs;
mod configuration;
mod flow;
mod freshness;
mod fuel;
mod hits;
mod identity;
mod l1;
mod loss;
mod memory;
mod native;
mod random;
mod scanning;
mod script;
mod shapes;
mod tenants;
mod vms;

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use kt_filter_host::sidecar::{Sidecar, Stored};
use kt_filter_host::world::{World, gateway, module_path, sidecar};
use kt_filter_host::{Host, Passed, Stream};

/// The module, compiled once for all tests.
fn module() -> &'static Host {
    static MODULE: OnceLock<Host> = OnceLock::new();
    MODULE.get_or_init(|| match Host::load(module_path()) {
        Ok(host) => host,
        Err(error) => {
            // Past the test harness, which would swallow it.
            let _ = writeln!(std::io::stderr(), "{error}");
            std::process::exit(1);
        }
    })
}

/// A gateway with one worker beside a sidecar that knows alice.
fn world() -> World {
    world_with(sidecar())
}

/// A gateway with one worker beside a sidecar.
fn world_with(sidecar: Sidecar) -> World {
    World::start(gateway(module(), "gw-a"), sidecar).unwrap()
}

/// The whole answer of a request that the filter itself ended.
fn replied(stream: &Stream) -> Passed {
    assert!(stream.is_local_reply() && stream.is_complete(), "{:?}", stream.forwarded());
    stream.answer().unwrap()
}

/// What went on to the upstream, whole.
fn forwarded(stream: &Stream) -> Passed {
    let forwarded = stream.forwarded();
    let forwarded = forwarded.unwrap_or_else(|| panic!("not forwarded: {:?}", stream.answer()));
    assert!(forwarded.complete);
    forwarded
}

/// The code of a refusal, after a look at its shape: it is what the OpenAI SDKs read.
fn code(answer: &Passed) -> String {
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let error = &body["error"];
    for field in ["message", "type"] {
        assert!(error[field].is_string(), "{field} in {body}");
    }
    assert!(error.get("param").is_some());
    error["code"].as_str().unwrap().to_owned()
}

/// A whole answer that the sidecar has stored.
fn stored(body: &str) -> Stored {
    Stored {
        content_type: "application/json".to_owned(),
        fresh: Duration::from_secs(600),
        body: body.as_bytes().to_vec(),
    }
}

/// The word and the reason of `Cache-Status`.
fn cache_status(answer: &Passed) -> (String, String) {
    let detail = answer.header("cache-status").unwrap_or_default();
    let reason = detail.rsplit_once("detail=").map_or("", |(_, reason)| reason);
    (answer.header("x-cache-status").unwrap_or_default(), reason.to_owned())
}

/// Nothing went wrong on the way: no trap, nothing that a careful filter does not do, and no word to the
/// sidecar that the contract does not have.
fn assert_clean(world: &World) {
    let traps: Vec<_> = world.envoy.vms().iter().flat_map(|vm| vm.traps()).collect();
    assert!(traps.is_empty(), "{traps:#?}");
    assert_eq!(world.envoy.misuses(), Vec::<String>::new());
    assert_eq!(world.sidecar.complaints, Vec::<String>::new());
}
