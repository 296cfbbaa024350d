//! A proxy-wasm host on wasmtime that treats a filter as Envoy does, for tests of the built module: pausing
//! and resuming, buffering with its double end, trailers, callouts that belong to the root context and every
//! way in which they fail, shared data and metrics across VMs, traps and reloads. Time and randomness are
//! the test's. It proxies nothing and opens no socket. [`world`] adds what surrounds the kt filter.
//!
//! ```no_run
//! use kt_filter_host::{Host, Message, Reply};
//!
//! let envoy = Host::load("filter.wasm")?.envoy().cluster("sidecar").start().unwrap();
//! let worker = envoy.worker(0);
//! let stream = worker.send(Message::request("POST", "/v1/chat/completions").body("{}"));
//! worker.callout("/v1/principal").unwrap().answer(Reply::Refused);
//! assert_eq!(stream.answer().unwrap().status(), 503);
//! # Ok::<(), kt_filter_host::LoadError>(())
//! ```

mod abi;
mod callout;
mod clock;
mod envoy;
mod exchange;
mod filter_manager;
pub mod fuel;
mod headers;
mod host;
mod imports;
mod instance;
mod memory;
mod message;
mod metrics;
mod random;
mod raw;
pub mod scanning;
mod shared_data;
pub mod sidecar;
mod state;
mod stream;
mod vm;
pub mod world;

pub use abi::{
    CALLOUT_REPLY_BYTES_MAX, LogLevel, MEMORY_BYTES_MAX, MapKind, MetricKind, PAIRS_BYTES_MAX,
    PAIRS_MAX, Status,
};
pub use callout::{Asked, Callout, Reply};
pub use envoy::{Envoy, StartError, Starting};
pub use headers::HeaderMap;
pub use host::{Host, LoadError};
pub use instance::Trap;
pub use message::{Message, Passed};
pub use metrics::Metric;
pub use random::Random;
pub use raw::{Noted, RawVm};
pub use stream::Stream;
pub use vm::Vm;
