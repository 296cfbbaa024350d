//! The VM of one thread: an instance of the module while it lives, and Envoy's `FAIL_RELOAD` when it has
//! trapped: 503 during the backoff, then a new instance with the next request.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::abi::LogLevel;
use crate::callout::{Callout, Delivered, Reply};
use crate::envoy::StartError;
use crate::exchange::{Exchange, Over, SharedExchange};
use crate::filter_manager::{self, Here};
use crate::headers::HeaderMap;
use crate::host::Host;
use crate::instance::{Instance, Trap};
use crate::message::{Message, Passed};
use crate::state::Process;
use crate::stream::Stream;

/// A handle on the VM of one thread.
#[derive(Clone)]
pub struct Vm(Rc<Thread>);

struct Thread {
    host: Host,
    process: Rc<Process>,
    inner: RefCell<Inner>,
}

struct Inner {
    /// `None` while it is dead.
    instance: Option<Instance>,
    /// Which instance this is; handles on things of an earlier one do nothing.
    incarnation: u64,
    seed: u64,
    died_at: Duration,
    traps: Vec<Trap>,
    log: Vec<(LogLevel, String)>,
    misuses: Vec<String>,
    fuel_used: u64,
}

// === impl Vm ===

impl Vm {
    pub(crate) fn start(host: &Host, process: &Rc<Process>, seed: u64) -> Result<Self, StartError> {
        let inner = Inner {
            instance: None,
            incarnation: 0,
            seed,
            died_at: Duration::ZERO,
            traps: Vec::new(),
            log: Vec::new(),
            misuses: Vec::new(),
            fuel_used: 0,
        };
        let vm = Self(Rc::new(Thread {
            host: host.clone(),
            process: process.clone(),
            inner: RefCell::new(inner),
        }));
        vm.load()?;
        Ok(vm)
    }

    /// Opens a stream with the headers of a request; body and trailers are the caller's to send.
    #[must_use]
    pub fn open(&self, request: Message) -> Stream {
        self.stream(request, false)
    }

    /// Sends a whole request the way Envoy does: each piece of body alone, the end as an empty one.
    #[must_use]
    pub fn send(&self, request: Message) -> Stream {
        let Message { headers, chunks, trailers } = request;
        let ends = chunks.is_empty() && trailers.is_none();
        let stream = self.stream(Message { headers, ..Message::default() }, ends);
        for chunk in chunks {
            stream.body(chunk);
        }
        match trailers {
            Some(trailers) => stream.trailers(trailers),
            None if !ends => stream.end(),
            None => {}
        }
        stream
    }

    /// The callouts that wait for a reply, oldest first.
    #[must_use]
    pub fn callouts(&self) -> Vec<Callout> {
        let inner = self.0.inner.borrow();
        let pending = inner.instance.as_ref().map(|instance| instance.state().pending.clone());
        let callout = |pending: crate::callout::Pending| Callout {
            vm: self.clone(),
            incarnation: inner.incarnation,
            token: pending.token,
            asked: pending.asked,
        };
        pending.unwrap_or_default().into_iter().map(callout).collect()
    }

    /// The oldest callout to a path that waits for a reply.
    #[must_use]
    pub fn callout(&self, path: &str) -> Option<Callout> {
        self.callouts().into_iter().find(|callout| callout.asked.path() == path)
    }

    /// Whether it lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.inner.borrow().instance.is_some()
    }

    /// All traps so far.
    #[must_use]
    pub fn traps(&self) -> Vec<Trap> {
        self.0.inner.borrow().traps.clone()
    }

    /// How many bytes of memory it has. It never gives any back while it lives.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.inner.borrow().instance.as_ref().map_or(0, Instance::memory_bytes)
    }

    /// How much fuel all its instances have burned: a measure of work that no noise disturbs.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        let inner = self.0.inner.borrow();
        let now = inner.instance.as_ref().map_or(0, Instance::fuel_used);
        inner.fuel_used.saturating_add(now)
    }

    /// Makes the callback trap in which the VM will have burned this much more fuel.
    pub fn trap_after(&self, fuel: u64) {
        if let Some(instance) = &mut self.0.inner.borrow_mut().instance {
            instance.trap_after(fuel);
        }
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> Vec<(LogLevel, String)> {
        let inner = self.0.inner.borrow();
        let now = inner.instance.iter().flat_map(|instance| instance.state().log.iter());
        inner.log.iter().chain(now).cloned().collect()
    }

    /// What it did that a careful filter does not do.
    #[must_use]
    pub fn misuses(&self) -> Vec<String> {
        let inner = self.0.inner.borrow();
        let now = inner.instance.iter().flat_map(|instance| instance.state().misuses.iter());
        inner.misuses.iter().chain(now).cloned().collect()
    }

    /// Whether its timer runs.
    #[must_use]
    pub fn ticks_every(&self) -> Option<Duration> {
        let inner = self.0.inner.borrow();
        inner.instance.as_ref()?.state().tick.map(|tick| tick.period)
    }

    /// Runs something in the instance. Nothing runs in a dead one, or in another than was meant.
    pub(crate) fn run<T>(
        &self,
        incarnation: u64,
        what: impl FnOnce(&mut Instance) -> Result<T, Trap>,
    ) -> Option<T> {
        let mut inner = self.0.inner.borrow_mut();
        if inner.incarnation != incarnation {
            return None;
        }
        let instance = inner.instance.as_mut()?;
        let ran = what(instance).and_then(|value| {
            filter_manager::run_deferred(instance)?;
            filter_manager::conclude(instance)?;
            Ok(value)
        });
        match ran {
            Ok(value) => Some(value),
            Err(trap) => {
                inner.die(trap, self.0.process.clock.mono());
                None
            }
        }
    }

    pub(crate) fn deliver(&self, incarnation: u64, token: u32, reply: Reply) {
        self.run(incarnation, |instance| {
            let pending = &mut instance.state_mut().pending;
            let Some(at) = pending.iter().position(|pending| pending.token == token) else {
                return Ok(());
            };
            pending.remove(at);
            let delivered = reply.delivered();
            let (headers, body, trailers) = match &delivered {
                Delivered::Whole { headers, body, trailers } => {
                    (headers.len(), body.len(), trailers.len())
                }
                Delivered::Broken => (0, 0, 0),
            };
            instance.state_mut().delivered = Some(delivered);
            let shown = instance.callout_reply(token, headers, body, trailers);
            instance.state_mut().delivered = None;
            shown
        });
    }

    /// When something of this VM is due next.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let inner = self.0.inner.borrow();
        let state = inner.instance.as_ref()?.state();
        let tick = state.tick.map(|tick| tick.next_at);
        let timeout = state.pending.iter().filter_map(|pending| pending.until).min();
        [tick, timeout].into_iter().flatten().min()
    }

    /// Fires the one thing that is due next.
    pub(crate) fn fire_due(&self) {
        let now = self.0.process.clock.mono();
        let incarnation = self.0.inner.borrow().incarnation;
        let overdue = self.callouts_due(now);
        if let Some(token) = overdue {
            return self.deliver(incarnation, token, Reply::TimedOut);
        }
        self.run(incarnation, |instance| {
            if let Some(tick) = &mut instance.state_mut().tick
                && tick.next_at <= now
            {
                tick.next_at = now.saturating_add(tick.period);
                return instance.tick();
            }
            Ok(())
        });
    }

    fn callouts_due(&self, now: Duration) -> Option<u32> {
        let inner = self.0.inner.borrow();
        let pending = &inner.instance.as_ref()?.state().pending;
        pending.iter().find(|one| one.until.is_some_and(|until| until <= now)).map(|one| one.token)
    }

    fn stream(&self, request: Message, ends: bool) -> Stream {
        self.reload_if_due();
        let exchange = SharedExchange::default();
        let mut opened = Stream {
            vm: self.clone(),
            incarnation: self.0.inner.borrow().incarnation,
            context: 0,
            exchange: exchange.clone(),
        };
        if !self.is_alive() {
            fail(&mut exchange.borrow_mut());
            return opened;
        }
        let context = self.run(opened.incarnation, |instance| {
            let context = instance.state_mut().allocate_context();
            instance.state_mut().streams.insert(context, exchange.clone());
            instance.create_context(context)?;
            let here = Here { context, exchange: exchange.clone() };
            let direction = crate::exchange::Direction::Request;
            filter_manager::headers(instance, &here, direction, request.headers, ends)?;
            Ok(context)
        });
        opened.context = context.unwrap_or(0);
        opened
    }

    fn load(&self) -> Result<(), StartError> {
        let mut inner = self.0.inner.borrow_mut();
        inner.incarnation = inner.incarnation.saturating_add(1);
        let seed = inner.seed.wrapping_add(inner.incarnation);
        let process = self.0.process.clone();
        let mut instance =
            Instance::new(&self.0.host, process, seed).map_err(StartError::Trapped)?;
        if !instance.start().map_err(StartError::Trapped)? {
            return Err(StartError::Rejected);
        }
        inner.instance = Some(instance);
        Ok(())
    }

    fn reload_if_due(&self) {
        let due = {
            let inner = self.0.inner.borrow();
            let due_at = inner.died_at.saturating_add(self.0.process.settings.reload_backoff);
            inner.instance.is_none() && self.0.process.clock.mono() >= due_at
        };
        if due && let Err(error) = self.load() {
            let now = self.0.process.clock.mono();
            self.0.inner.borrow_mut().die(Trap(format!("{error:?}")), now);
        }
    }
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vm")
    }
}

// === impl Inner ===

impl Inner {
    /// Ends every exchange of the VM; the filter is told nothing any more, not even `on_log`.
    fn die(&mut self, trap: Trap, now: Duration) {
        self.traps.push(trap);
        self.died_at = now;
        let Some(mut instance) = self.instance.take() else { return };
        self.fuel_used = self.fuel_used.saturating_add(instance.fuel_used());
        let state = instance.state_mut();
        self.log.append(&mut state.log);
        self.misuses.append(&mut state.misuses);
        for exchange in std::mem::take(&mut state.streams).into_values() {
            fail(&mut exchange.borrow_mut());
        }
    }
}

/// Envoy answers 503 where it still can, and cuts where the client has headers already.
fn fail(exchange: &mut Exchange) {
    if exchange.over.is_some() {
        return;
    }
    if exchange.response.passed.is_some() {
        return exchange.cut();
    }
    exchange.cut();
    exchange.over = Some(Over::Complete);
    exchange.local_reply = Some("wasm_fail_stream".to_owned());
    let headers = HeaderMap::of([(":status", "503"), ("content-length", "0")]);
    exchange.response.passed = Some(Passed { complete: true, ..Passed::of(headers) });
}
