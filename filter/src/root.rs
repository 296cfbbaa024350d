//! The root context: configuration, the clockwork of the change feed, and the birth of HTTP contexts.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kt_contract::constants::FilterConstants;
use kt_contract::limits::{FEED_TIMEOUT, OPEN_CALLS_TIMEOUT};
use kt_contract::wire::{PATH_FEED, PATH_OPEN_CALLS};
use kt_filter_core::event::Answer;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::exchange::HttpExchange;
use crate::host::{self, Level};
use crate::shared::Shared;

/// How soon a lost poll is followed by the next, and how late counts may be.
const TICK: Duration = Duration::from_millis(100);

/// How long a worker waits before it tells again what was not booked: two seconds.
const SILENT_TICKS: u32 = 20;

/// One per VM and plugin configuration.
pub(crate) struct Root {
    shared: Rc<Shared>,
    /// Whether a feed poll is under way.
    polling: Cell<bool>,
    /// When it was sent, by the wall clock, in seconds.
    asked_at: Cell<u64>,
    /// The callout that tells of calls without the sidecar, while it is under way.
    telling: Cell<Option<u32>>,
    /// For how many ticks nothing is told, because the last time it was not booked.
    silent: Cell<u32>,
}

impl Default for Root {
    fn default() -> Self {
        Self {
            shared: Rc::new(Shared::unconfigured()),
            polling: Cell::new(false),
            asked_at: Cell::new(0),
            telling: Cell::new(None),
            silent: Cell::new(0),
        }
    }
}

// === impl Root ===

impl Root {
    fn poll(&self) {
        if self.polling.get() {
            return;
        }
        self.asked_at.set(host::wall_seconds());
        let worker = self.shared.worker.try_borrow_mut().ok();
        let body = worker.and_then(|mut worker| worker.poll(host::now()));
        let sent =
            body.and_then(|body| self.shared.post(PATH_FEED, None, &body, FEED_TIMEOUT)).is_some();
        self.polling.set(sent);
        if !sent {
            self.polled(Answer::Lost);
        }
    }

    fn polled(&self, answer: Answer<'_>) -> bool {
        let Ok(mut worker) = self.shared.worker.try_borrow_mut() else { return false };
        let mut counters = Vec::new();
        let was_of_use = worker.polled(host::now(), answer, &mut counters);
        // Any other answer has confirmed nothing.
        if was_of_use {
            self.shared.confirm(self.asked_at.get());
        }
        counters.into_iter().for_each(|counter| self.shared.count(counter));
        was_of_use
    }

    /// Tells the sidecar, which is there, of the calls that passed while it was not.
    fn tell(&self) {
        if self.telling.get().is_some() || self.silent.get() > 0 {
            return;
        }
        if let Some(body) = self.shared.open_calls() {
            let sent = self.shared.post(PATH_OPEN_CALLS, None, &body, OPEN_CALLS_TIMEOUT);
            self.telling.set(sent);
        }
    }

    fn told(&self, num_headers: usize) {
        self.telling.set(None);
        let booked =
            crate::exchange::with_answer(num_headers, |answer| self.shared.open_calls_told(answer));
        if booked {
            // There may be a second batch: what came while the first was being told.
            self.tell();
        } else {
            self.silent.set(SILENT_TICKS);
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, num_headers: usize, _: usize, _: usize) {
        if self.telling.get() == Some(token) {
            return self.told(num_headers);
        }
        self.polling.set(false);
        // After a poll that was lost, or of no use, the next tick is soon enough.
        if crate::exchange::with_answer(num_headers, |answer| self.polled(answer)) {
            self.poll();
            self.tell();
        }
    }
}

impl RootContext for Root {
    /// `false` makes Envoy refuse the whole configuration: only where nothing could ever work.
    fn on_configure(&mut self, _: usize) -> bool {
        let text = host::buffer(host::Buffer::PluginConfiguration);
        let constants: FilterConstants = match serde_json::from_slice(&text) {
            Ok(constants) => constants,
            Err(error) => {
                host::log(Level::Error, &format!("the plugin configuration is not ours: {error}"));
                return false;
            }
        };
        self.shared = Rc::new(Shared::configured(constants));
        if let Err(refused) = host::tick_every(TICK) {
            self.shared.refused("ticks", refused);
        }
        self.poll();
        true
    }

    fn on_tick(&mut self) {
        self.silent.set(self.silent.get().saturating_sub(1));
        self.poll();
        self.shared.flush_counts();
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(HttpExchange::new(Rc::clone(&self.shared))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
