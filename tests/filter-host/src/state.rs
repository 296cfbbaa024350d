//! What the host keeps beside one VM: its contexts, what it asked for, and what it did that a careful filter
//! does not do.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use wasmtime::{Memory, StoreLimits, TypedFunc};

use crate::abi::{LogLevel, MetricKind, Status};
use crate::callout::{Delivered, Pending};
use crate::clock::Clock;
use crate::exchange::{Direction, SharedExchange};
use crate::headers::HeaderMap;
use crate::metrics::Metrics;
use crate::random::Random;
use crate::raw::Noted;
use crate::shared_data::SharedData;

/// What all VMs of one process share.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) clock: Clock,
    pub(crate) metrics: RefCell<Metrics>,
    pub(crate) shared_data: RefCell<SharedData>,
    pub(crate) settings: Settings,
    /// Clusters that take no call now: their circuit breaker is full, or they have no endpoint.
    pub(crate) overflowing: RefCell<BTreeSet<String>>,
}

/// What a process was started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) plugin_configuration: Vec<u8>,
    pub(crate) workers: usize,
    pub(crate) clusters: BTreeSet<String>,
    pub(crate) allow_on_headers_stop_iteration: bool,
    pub(crate) body_bytes_max: usize,
    pub(crate) reload_backoff: Duration,
    pub(crate) seed: u64,
    /// The most that one callback may burn, so that a loop is a trap and not a test that hangs.
    pub(crate) callback_fuel_max: u64,
    pub(crate) properties: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Something that Envoy does once the VM has returned.
#[derive(Debug)]
pub(crate) enum Deferred {
    Resume { context: u32, direction: Direction },
    LocalReply { context: u32, reply: LocalReply },
    Close { context: u32 },
}

/// A reply that no upstream made.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) details: String,
}

/// The periodic timer of a root context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) period: Duration,
    pub(crate) next_at: Duration,
}

/// The host's side of one VM.
pub(crate) struct State {
    pub(crate) process: Rc<Process>,
    pub(crate) limits: StoreLimits,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) root: u32,
    /// The context on whose behalf the VM speaks.
    pub(crate) effective: u32,
    pub(crate) next_context: u32,
    pub(crate) streams: BTreeMap<u32, SharedExchange>,
    pub(crate) tick: Option<Tick>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) next_token: u32,
    /// The reply that is being shown to the VM.
    pub(crate) delivered: Option<Delivered>,
    pub(crate) deferred: VecDeque<Deferred>,
    /// Set by a local reply, until the callback has returned: nothing goes on.
    pub(crate) stop_next_iteration: bool,
    pub(crate) metrics: Vec<(MetricKind, String)>,
    pub(crate) random: Random,
    pub(crate) log: Vec<(LogLevel, String)>,
    pub(crate) misuses: Vec<String>,
    /// What it asks for, where somebody wants to know.
    pub(crate) noted: Option<Vec<Noted>>,
    /// Nothing of that is done.
    pub(crate) refuses: bool,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            vm_configuration: Vec::new(),
            plugin_configuration: Vec::new(),
            workers: 1,
            clusters: BTreeSet::new(),
            allow_on_headers_stop_iteration: true,
            body_bytes_max: 1 << 20,
            reload_backoff: Duration::from_millis(50),
            seed: 1,
            callback_fuel_max: 50_000_000_000,
            properties: BTreeMap::new(),
        }
    }
}

// === impl State ===

impl State {
    pub(crate) fn new(process: Rc<Process>, limits: StoreLimits, seed: u64) -> Self {
        Self {
            process,
            limits,
            memory: None,
            allocate: None,
            root: 0,
            effective: 0,
            next_context: 1,
            streams: BTreeMap::new(),
            tick: None,
            pending: Vec::new(),
            next_token: 1,
            delivered: None,
            deferred: VecDeque::new(),
            stop_next_iteration: false,
            metrics: Vec::new(),
            random: Random::seeded(seed),
            log: Vec::new(),
            misuses: Vec::new(),
            noted: None,
            refuses: false,
        }
    }

    pub(crate) fn allocate_context(&mut self) -> u32 {
        let id = self.next_context;
        self.next_context = self.next_context.saturating_add(1);
        id
    }

    /// The exchange on whose behalf the VM speaks; none if that is the root.
    pub(crate) fn exchange(&self) -> Result<SharedExchange, Status> {
        self.streams.get(&self.effective).cloned().ok_or(Status::BadArgument)
    }

    /// Notes what the filter asks for, and says whether it is done.
    pub(crate) fn asks(&mut self, what: impl FnOnce() -> Noted) -> Result<(), Status> {
        if let Some(noted) = &mut self.noted {
            noted.push(what());
        }
        if self.refuses { Err(Status::InternalFailure) } else { Ok(()) }
    }

    pub(crate) fn note_misuse(&mut self, what: impl Into<String>) {
        self.misuses.push(what.into());
    }
}
