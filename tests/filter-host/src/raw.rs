//! A VM without an Envoy around it: every callback is called when a test says so, in any order, and what the
//! filter asks of its host is noted, done, or refused. For comparing the module with the core it is made of.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::abi::{ACTION_CONTINUE, MapKind};
use crate::callout::{Asked, Delivered};
use crate::envoy::StartError;
use crate::exchange::{Direction, SharedExchange};
use crate::headers::HeaderMap;
use crate::host::Host;
use crate::instance::{Instance, Trap};
use crate::state::{Process, Settings};

/// Something that the filter asked its host to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Send a callout.
    Callout {
        /// Its head.
        headers: HeaderMap,
        /// Its body.
        body: Vec<u8>,
        /// How long it may take.
        timeout: Duration,
    },
    /// Answer the client.
    Reply {
        /// The status.
        status: u32,
        /// The fields.
        headers: HeaderMap,
        /// The body.
        body: Vec<u8>,
    },
    /// Replace a header map.
    SetMap(MapKind, HeaderMap),
    /// Set a header.
    Put(MapKind, Vec<u8>, Vec<u8>),
    /// Remove a header.
    Remove(MapKind, Vec<u8>),
    /// Replace the request's body.
    SetBody(Vec<u8>),
    /// Set a property.
    Property(Vec<u8>, Vec<u8>),
    /// Let a held message go on.
    Resume,
    /// Add to a metric.
    Count(String, i64),
}

/// The VM.
#[derive(Debug)]
pub struct RawVm {
    instance: Instance,
    process: Rc<Process>,
    exchanges: BTreeMap<u32, SharedExchange>,
}

// === impl RawVm ===

impl RawVm {
    pub(crate) fn start(
        host: &Host,
        settings: Settings,
        now: Duration,
    ) -> Result<Self, StartError> {
        let seed = settings.seed;
        let process = Rc::new(Process { settings, ..Process::default() });
        process.clock.set_mono(now);
        let mut instance =
            Instance::new(host, process.clone(), seed).map_err(StartError::Trapped)?;
        instance.state_mut().noted = Some(Vec::new());
        if !instance.start().map_err(StartError::Trapped)? {
            return Err(StartError::Rejected);
        }
        Ok(Self { instance, process, exchanges: BTreeMap::new() })
    }

    /// What was noted since the last time.
    pub fn noted(&mut self) -> Vec<Noted> {
        self.instance.state_mut().noted.replace(Vec::new()).unwrap_or_default()
    }

    /// Whether the host does nothing of what it is asked, from now on.
    pub fn refuses(&mut self, refuses: bool) {
        self.instance.state_mut().refuses = refuses;
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.process.clock.set_mono(self.process.clock.mono().saturating_add(time));
    }

    /// Begins an exchange.
    ///
    /// # Errors
    /// The filter traps.
    pub fn begin(&mut self) -> Result<u32, Trap> {
        let context = self.instance.state_mut().allocate_context();
        let exchange = SharedExchange::default();
        self.instance.state_mut().streams.insert(context, exchange.clone());
        self.exchanges.insert(context, exchange);
        self.instance.create_context(context)?;
        Ok(context)
    }

    /// Ends one.
    ///
    /// # Errors
    /// The filter traps.
    pub fn end(&mut self, context: u32) -> Result<(), Trap> {
        self.open(context);
        self.instance.log(context)?;
        self.instance.done(context)?;
        self.instance.delete(context)?;
        self.instance.state_mut().streams.remove(&context);
        self.exchanges.remove(&context);
        Ok(())
    }

    /// The request's head comes. Says whether it is held, as all callbacks of a message do.
    ///
    /// # Errors
    /// The filter traps.
    pub fn request_headers(
        &mut self,
        context: u32,
        map: HeaderMap,
        end: bool,
    ) -> Result<bool, Trap> {
        self.open(context);
        let count = map.len();
        self.with(context, |exchange| exchange.borrow_mut().request.headers = map);
        held(self.instance.headers(Direction::Request, context, count, end))
    }

    /// More of the request's body comes.
    ///
    /// # Errors
    /// The filter traps.
    pub fn request_body(&mut self, context: u32, piece: &[u8], end: bool) -> Result<bool, Trap> {
        self.open(context);
        let mut len = 0;
        self.with(context, |exchange| {
            let buffered = &mut exchange.borrow_mut().request.buffered;
            buffered.extend_from_slice(piece);
            len = buffered.len();
        });
        held(self.instance.body(Direction::Request, context, len, end))
    }

    /// The request's trailers come.
    ///
    /// # Errors
    /// The filter traps.
    pub fn request_trailers(&mut self, context: u32) -> Result<bool, Trap> {
        self.open(context);
        held(self.instance.trailers(Direction::Request, context, 0))
    }

    /// The response's head comes; `details` is what Envoy says of who made it.
    ///
    /// # Errors
    /// The filter traps.
    pub fn response_headers(
        &mut self,
        context: u32,
        map: HeaderMap,
        details: &str,
    ) -> Result<bool, Trap> {
        self.open(context);
        let count = map.len();
        self.with(context, |exchange| {
            let mut exchange = exchange.borrow_mut();
            exchange.response.headers = map;
            exchange.properties.insert(b"response\0code_details".to_vec(), details.into());
        });
        held(self.instance.headers(Direction::Response, context, count, false))
    }

    /// The timer fires.
    ///
    /// # Errors
    /// The filter traps.
    pub fn tick(&mut self) -> Result<(), Trap> {
        self.instance.tick()
    }

    /// The callouts that are under way, oldest first, by token.
    #[must_use]
    pub fn callouts(&self) -> Vec<(u32, Asked)> {
        let pending = &self.instance.state().pending;
        pending.iter().map(|pending| (pending.token, pending.asked.clone())).collect()
    }

    /// Ends a callout; with `None` it is lost.
    ///
    /// # Errors
    /// The filter traps.
    pub fn answer(&mut self, token: u32, reply: Option<(HeaderMap, Vec<u8>)>) -> Result<(), Trap> {
        let contexts: Vec<u32> = self.exchanges.keys().copied().collect();
        contexts.into_iter().for_each(|context| self.open(context));
        self.instance.state_mut().pending.retain(|pending| pending.token != token);
        let delivered = reply.map_or(Delivered::Broken, |(headers, body)| {
            let trailers = HeaderMap::default();
            Delivered::Whole { headers, body, trailers }
        });
        let (headers, body) = match &delivered {
            Delivered::Whole { headers, body, .. } => (headers.len(), body.len()),
            Delivered::Broken => (0, 0),
        };
        self.instance.state_mut().delivered = Some(delivered);
        let shown = self.instance.callout_reply(token, headers, body, 0);
        self.instance.state_mut().delivered = None;
        shown
    }

    /// Gives access to everything, which an Envoy does not do at all times.
    fn open(&mut self, context: u32) {
        self.instance.state_mut().deferred.clear();
        self.with(context, |exchange| {
            let mut exchange = exchange.borrow_mut();
            exchange.request.buffering = true;
            for half in [Direction::Request, Direction::Response] {
                let half = exchange.half(half);
                half.headers_open = true;
                half.trailers_open = true;
            }
        });
    }

    fn with(&self, context: u32, change: impl FnOnce(&SharedExchange)) {
        if let Some(exchange) = self.exchanges.get(&context) {
            change(exchange);
        }
    }
}

fn held(action: Result<Option<u32>, Trap>) -> Result<bool, Trap> {
    Ok(action?.is_some_and(|action| action != ACTION_CONTINUE))
}
