//! The root context: configuration, the clockwork of the change feed, and the birth of HTTP contexts.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kt_contract::constants::FilterConstants;
use kt_contract::limits::FEED_TIMEOUT;
use kt_contract::wire::PATH_FEED;
use kt_filter_core::event::Answer;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::exchange::HttpExchange;
use crate::host::{self, Level};
use crate::shared::Shared;

/// How soon a lost poll is followed by the next, and how late counts may be.
const TICK: Duration = Duration::from_millis(100);

/// One per VM and plugin configuration.
pub(crate) struct Root {
    shared: Rc<Shared>,
    /// Whether a feed poll is under way.
    polling: Cell<bool>,
}

impl Default for Root {
    fn default() -> Self {
        Self { shared: Rc::new(Shared::unconfigured()), polling: Cell::new(false) }
    }
}

// === impl Root ===

impl Root {
    fn poll(&self) {
        if self.polling.get() {
            return;
        }
        let worker = self.shared.worker.try_borrow_mut().ok();
        let body = worker.and_then(|mut worker| worker.poll(host::now()));
        let sent = body.is_some_and(|body| self.shared.post(PATH_FEED, None, &body, FEED_TIMEOUT));
        self.polling.set(sent);
        if !sent {
            self.polled(Answer::Lost);
        }
    }

    fn polled(&self, answer: Answer<'_>) -> bool {
        let Ok(mut worker) = self.shared.worker.try_borrow_mut() else { return false };
        let mut counters = Vec::new();
        let answered = worker.polled(host::now(), answer, &mut counters);
        counters.into_iter().for_each(|counter| self.shared.count(counter));
        answered
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, num_headers: usize, _: usize, _: usize) {
        self.polling.set(false);
        // After a lost poll the next tick is soon enough.
        if crate::exchange::with_answer(num_headers, |answer| self.polled(answer)) {
            self.poll();
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
