//! What the contexts of one VM share: the worker's state, its constants, counts on their way to the host, and
//! a supply of random bytes. One thread, one callback at a time.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use kt_contract::constants::FilterConstants;
use kt_contract::limits::{ADMIT_TIMEOUT_DEFAULT, ADMIT_TIMEOUT_MAX, ADMIT_TIMEOUT_MIN};
use kt_contract::time::Millis;
use kt_contract::wire::feed::{GatewayIdentity, Role};
use kt_filter_core::Worker;
use kt_filter_core::counter::{Counter, SNAPSHOT_CONFIRMED};
use kt_filter_core::event::Answer;
use kt_filter_core::till::{self, Spend, Spent};

use crate::host;
use crate::till::Till;

/// Random bytes are fetched for this many requests at a time.
const IDS_AHEAD: usize = 64;

/// The state of a VM.
pub(crate) struct Shared {
    pub(crate) worker: RefCell<Worker>,
    cluster: String,
    /// How long a question about a request may take.
    pub(crate) admit_timeout: Millis,
    /// A counter's metric, where the host has defined it, and what it has not been told yet.
    counts: Vec<(Counter, Option<u32>, Cell<i64>)>,
    /// The gauge of [`SNAPSHOT_CONFIRMED`], where the host has defined it.
    confirmed: Option<u32>,
    random: RefCell<Vec<[u8; 16]>>,
    till: Till,
}

// === impl Shared ===

impl Shared {
    /// Before the constants are here: a worker without a snapshot, which refuses everything.
    pub(crate) fn unconfigured() -> Self {
        let nobody = GatewayIdentity {
            id: String::new(),
            role: Role::Primary,
            group: None,
            egress: String::new(),
        };
        Self {
            worker: RefCell::new(Worker::new(nobody)),
            cluster: String::new(),
            admit_timeout: ADMIT_TIMEOUT_DEFAULT,
            counts: Vec::new(),
            confirmed: None,
            random: RefCell::default(),
            till: Till::of(""),
        }
    }

    /// The state of a gateway's VM. Defines its metrics.
    pub(crate) fn configured(constants: FilterConstants) -> Self {
        let defined =
            |counter: &Counter| (*counter, host::define_counter(counter.name()).ok(), Cell::new(0));
        let till = Till::of(&constants.gateway.id);
        let shared = Self {
            worker: RefCell::new(Worker::new(constants.gateway)),
            cluster: constants.sidecar_cluster,
            // As `kt config check` bounds it: whoever writes manifests by hand may not have asked.
            admit_timeout: constants.admit_timeout_ms.clamp(ADMIT_TIMEOUT_MIN, ADMIT_TIMEOUT_MAX),
            counts: Counter::ALL.iter().map(defined).collect(),
            confirmed: host::define_gauge(SNAPSHOT_CONFIRMED).ok(),
            random: RefCell::default(),
            till,
        };
        let name = shared.random();
        if let Ok(mut worker) = shared.worker.try_borrow_mut() {
            worker.name(name);
        }
        shared
    }

    /// Counts. The host hears of it at the next tick, because a request should not pay for a call.
    pub(crate) fn count(&self, counter: Counter) {
        if let Some((_, _, count)) = self.counts.get(counter.index()) {
            count.set(count.get().saturating_add(1));
        }
    }

    /// Something that the host did not do.
    pub(crate) fn refused(&self, what: &str, refused: host::Refused) {
        self.count(Counter::HostRefused);
        host::log(host::Level::Warn, &format!("{what}: the host refused ({})", refused.status));
    }

    /// Tells the host what was counted.
    pub(crate) fn flush_counts(&self) {
        for (_, metric, count) in &self.counts {
            let news = count.replace(0);
            if let (Some(metric), true) = (metric, news > 0) {
                // A count that the host does not take is lost; there is nobody to tell.
                let _ = host::add(*metric, news);
            }
        }
    }

    /// The sidecar has said that the snapshot is the one in use, when it was asked at this moment of the wall clock.
    pub(crate) fn confirm(&self, asked_at_seconds: u64) {
        if let Some(gauge) = self.confirmed {
            // As with a count: there is nobody to tell.
            let _ = host::set(gauge, asked_at_seconds);
        }
    }

    /// 16 random bytes that nobody has had.
    pub(crate) fn random(&self) -> [u8; 16] {
        let Ok(mut supply) = self.random.try_borrow_mut() else { return [0; 16] };
        if supply.is_empty() {
            let mut bytes = [0; IDS_AHEAD * 16];
            if let Err(refused) = host::randomize(&mut bytes) {
                self.refused("random bytes", refused);
            }
            let (chunks, _) = bytes.as_chunks::<16>();
            supply.extend_from_slice(chunks);
        }
        supply.pop().unwrap_or_default()
    }

    /// Counts a call that would pass without the sidecar, in the name of all VMs of this process.
    pub(crate) fn spend(&self, spend: &Spend) -> Spent {
        till::spend(&self.till, spend, self.random())
    }

    /// What the sidecar is to be told of such calls, if there is anything.
    pub(crate) fn open_calls(&self) -> Option<Vec<u8>> {
        let gateway = self.worker.try_borrow().ok()?.gateway().id.clone();
        serde_json::to_vec(&till::tell(&self.till, &gateway)?).ok()
    }

    /// How that has ended. Says whether it is booked.
    pub(crate) fn open_calls_told(&self, answer: Answer<'_>) -> bool {
        let is_booked = till::told(&self.till, answer);
        self.count(if is_booked { Counter::OpenBooked } else { Counter::OpenUnbooked });
        is_booked
    }

    /// Sends a POST of JSON to the sidecar. Says by which number its end will be called, if it is under way; that comes to
    /// the context that sent it, or to nobody if that is gone by then.
    pub(crate) fn post(
        &self,
        path: &str,
        request_id: Option<&str>,
        body: &[u8],
        timeout: Millis,
    ) -> Option<u32> {
        let mut headers = vec![
            (":method", "POST"),
            (":path", path),
            (":authority", "sidecar"),
            ("content-type", "application/json"),
        ];
        headers.extend(request_id.map(|id| ("x-request-id", id)));
        // The SDK's own call, because only it can tell the SDK whose answer it will be. All its values are
        // ours and ASCII, and the host answers it with one of the three statuses that it knows.
        let timeout = Duration::from_millis(timeout.0);
        proxy_wasm::hostcalls::dispatch_http_call(
            &self.cluster,
            headers,
            Some(body),
            Vec::new(),
            timeout,
        )
        .ok()
    }
}
