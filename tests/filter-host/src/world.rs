//! The kt filter in its surroundings: an Envoy that runs it, a sidecar that answers it, and a client with a
//! key. Time passes only when a test says so.

use std::path::PathBuf;
use std::time::Duration;

use kt_contract::constants::{CLUSTER_SIDECAR, FilterConstants};
use kt_contract::gateway_key::GatewayKey;
use kt_contract::limits::ADMIT_TIMEOUT_DEFAULT;
use kt_contract::principal::Principal;
use kt_contract::wire::feed::{GatewayIdentity, Role};

use crate::envoy::{Envoy, StartError, Starting};
use crate::host::Host;
use crate::message::Message;
use crate::sidecar::Sidecar;
use crate::stream::Stream;
use crate::vm::Vm;

/// In such steps time passes, so that a sidecar that holds a poll lets go in time.
const STEP: Duration = Duration::from_millis(10);

/// Where chat completions are asked for.
pub const CHAT: &str = "/v1/chat/completions";

/// Envoy, filter, sidecar and client.
#[derive(Debug)]
pub struct World {
    /// The Envoy.
    pub envoy: Envoy,
    /// The sidecar.
    pub sidecar: Sidecar,
}

// === impl World ===

impl World {
    /// Starts an Envoy with the filter beside a sidecar, and lets the two find each other.
    ///
    /// # Errors
    /// The filter does not start.
    pub fn start(envoy: Starting, sidecar: Sidecar) -> Result<Self, StartError> {
        let mut world = Self { envoy: envoy.start()?, sidecar };
        world.settle();
        Ok(world)
    }

    /// The worker that tests talk to.
    #[must_use]
    pub fn worker(&self) -> Vm {
        self.envoy.worker(0)
    }

    /// Sends a request and lets the sidecar answer whatever the filter asks.
    pub fn send(&mut self, request: Message) -> Stream {
        let stream = self.worker().send(request);
        self.settle();
        stream
    }

    /// Lets the sidecar answer until nobody asks anything any more.
    pub fn settle(&mut self) {
        let mut any = true;
        while any {
            any = false;
            for callout in self.envoy.vms().iter().flat_map(Vm::callouts) {
                if let Some(reply) = self.sidecar.answer(&callout.asked, self.envoy.now()) {
                    callout.answer(reply);
                    // The answered poll is followed by the next one at once, which has nothing new.
                    any = true;
                }
            }
        }
    }

    /// Lets time pass, and the sidecar answer meanwhile.
    pub fn pass(&mut self, time: Duration) {
        let until = self.envoy.now().saturating_add(time);
        while self.envoy.now() < until {
            self.envoy.advance(STEP.min(until.saturating_sub(self.envoy.now())));
            self.settle();
        }
    }

    /// What was counted, once the filter has told Envoy, which it does with the next tick.
    pub fn counted(&mut self, counter: &str) -> u64 {
        self.pass(Duration::from_millis(100));
        self.envoy.metric(counter)
    }
}

/// The filter module: `KT_FILTER`, or where `make wasm` puts it.
#[must_use]
pub fn module_path() -> PathBuf {
    let built = "../../target/wasm32-unknown-unknown/wasm/kt_filter.wasm";
    std::env::var_os("KT_FILTER")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(built), PathBuf::from)
}

/// An Envoy of a gateway, to be described further.
#[must_use]
pub fn gateway(host: &Host, id: &str) -> Starting {
    let constants = serde_json::to_vec(&constants(id)).unwrap_or_default();
    host.envoy().configured(constants).cluster(CLUSTER_SIDECAR).body_bytes_max(32 << 20)
}

/// The constants of a gateway.
#[must_use]
pub fn constants(id: &str) -> FilterConstants {
    FilterConstants {
        gateway: GatewayIdentity {
            id: id.to_owned(),
            role: Role::Primary,
            group: Some("support".to_owned()),
            egress: format!("/run/egress-{id}.sock"),
        },
        sidecar_cluster: CLUSTER_SIDECAR.to_owned(),
        admit_timeout_ms: ADMIT_TIMEOUT_DEFAULT,
    }
}

/// A sidecar that knows [`alice`].
#[must_use]
pub fn sidecar() -> Sidecar {
    let mut sidecar = Sidecar::default();
    sidecar.knows(&alice(), principal("gk_alice", "acme"));
    sidecar
}

/// A key.
#[must_use]
pub fn alice() -> GatewayKey {
    GatewayKey::from_random(&[65; 32])
}

/// A principal.
#[must_use]
pub fn principal(key_id: &str, org: &str) -> Principal {
    Principal {
        key_id: key_id.to_owned(),
        lineage: None,
        org: org.to_owned(),
        team: Some("platform".to_owned()),
        user: None,
        agent: Some("reviewer".to_owned()),
        group: None,
        codebases: ["acme/api".to_owned(), "acme/web".to_owned()].into(),
        entitlements: ["eu".to_owned()].into(),
    }
}

/// A chat request of [`alice`], without its body.
#[must_use]
pub fn chat() -> Message {
    Message::request("POST", CHAT)
        .header("authorization", format!("Bearer {}", alice().reveal()))
        .header("content-type", "application/json")
}

/// The body of a chat request.
#[must_use]
pub fn question(text: &str) -> String {
    serde_json::json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})
        .to_string()
}

/// A chat body of so many bytes, in messages of 1 KiB and a last one that fills up; a little more than asked
/// where that is too few for any.
#[must_use]
pub fn question_of(bytes: usize) -> String {
    let message =
        |content: &str| serde_json::json!({"role": "user", "content": content}).to_string();
    let line = message(&"The quick brown fox jumps over the lazy dog; 0123456789. ".repeat(18));
    let mut body = r#"{"model":"gpt-4o","messages":["#.to_owned();
    let rest = message("").len().saturating_add("]}".len());
    while body.len().saturating_add(line.len()).saturating_add(rest) < bytes {
        body.push_str(&line);
        body.push(',');
    }
    let filling = bytes.saturating_sub(body.len().saturating_add(rest));
    body.push_str(&message(&"x".repeat(filling)));
    body.push_str("]}");
    body
}
