//! The change feed: what workers must know, as soon as there is something, and at the latest after a hold.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kt_contract::limits::FEED_HOLD;
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire;
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest};
use tokio::sync::watch;

use super::settings::Settings;
use super::{Failure, Sidecar, lock};

/// How many events are kept for workers that are behind. One that is further behind starts over.
const EVENTS_MAX: usize = 1_024;

/// How many configurations before the one in use are known by name.
const NAMES_MAX: usize = 256;

/// For how long requests that were planned by one of them are decided by it: so long it is kept whole.
const KEPT_FOR: Millis = Millis(60_000);

/// What has changed since the start.
#[derive(Debug)]
pub struct Feed {
    epoch: String,
    state: Mutex<State>,
    /// Counts changes of any kind, to wake those who wait.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    settings: Arc<Settings>,
    /// Since when.
    since: MonoMillis,
    /// Those before, newest first, each with the moment at which another one took its place.
    earlier: VecDeque<(MonoMillis, Arc<Settings>)>,
    /// The names of more of them, newest first.
    names: VecDeque<Name>,
    /// What is wrong with the configuration file, if it is not what is in use.
    faults: Vec<String>,
    events: Events,
}

/// What is known for longer of a configuration that is not in use any more.
#[derive(Debug)]
struct Name {
    /// The version of its snapshot.
    snapshot: String,
    /// Its own version.
    version: String,
    /// When another one took its place.
    replaced: MonoMillis,
}

/// The newest events, each with its number.
#[derive(Debug, Default)]
struct Events {
    seq: u64,
    kept: VecDeque<Event>,
}

// === impl Feed ===

impl Feed {
    /// The feed of a new epoch.
    #[must_use]
    pub fn new(epoch: String, settings: Settings, now: MonoMillis) -> Self {
        let state = State {
            settings: Arc::new(settings),
            since: now,
            earlier: VecDeque::new(),
            names: VecDeque::new(),
            faults: Vec::new(),
            events: Events::default(),
        };
        Self { epoch, state: Mutex::new(state), changes: watch::Sender::new(0) }
    }

    /// The identity of this sidecar since its start.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The configuration in use.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.state).settings)
    }

    /// For how long it has been in use.
    #[must_use]
    pub fn settled_for(&self, now: MonoMillis) -> Millis {
        now.since(lock(&self.state).since)
    }

    /// The configuration by which the rest of a request is decided that a filter has decided by `snapshot`: the newest
    /// that has this snapshot. A worker learns of another one a moment after this sidecar, and no request is to be
    /// decided half by one and half by the other. What was replaced too long ago is not kept for a worker that does
    /// not hear: then the configuration in use decides.
    #[must_use]
    pub fn settings_of(&self, snapshot: &str, now: MonoMillis) -> Arc<Settings> {
        let state = lock(&self.state);
        let is_of = |settings: &Settings| settings.snapshot.version == snapshot;
        let earlier = || {
            let kept = |(replaced, _): &&(MonoMillis, _)| now.since(*replaced) <= KEPT_FOR;
            state.earlier.iter().take_while(kept).find(|(_, settings)| is_of(settings))
        };
        match is_of(&state.settings) {
            true => Arc::clone(&state.settings),
            false => Arc::clone(earlier().map_or(&state.settings, |(_, settings)| settings)),
        }
    }

    /// The version of the configuration that a snapshot is of, as far back as is known.
    #[must_use]
    pub fn version_of(&self, snapshot: &str) -> Option<String> {
        let state = lock(&self.state);
        if state.settings.snapshot.version == snapshot {
            return Some(state.settings.version.clone());
        }
        let named = state.names.iter().find(|name| name.snapshot == snapshot);
        named.map(|name| name.version.clone())
    }

    /// For how long a worker that has this snapshot has not had the one in use. Of one that nobody remembers, for as long
    /// as the one in use has been that: at least so long.
    #[must_use]
    pub fn outdated_for(&self, snapshot: Option<&str>, now: MonoMillis) -> Millis {
        let state = lock(&self.state);
        if snapshot == Some(state.settings.snapshot.version.as_str()) {
            return Millis(0);
        }
        let named = state.names.iter().find(|name| Some(name.snapshot.as_str()) == snapshot);
        now.since(named.map_or(state.since, |name| name.replaced))
    }

    /// What is wrong with the configuration file, if it is not what is in use.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        lock(&self.state).faults.clone()
    }

    /// Puts another configuration into use.
    pub fn configure(&self, settings: Settings, now: MonoMillis) {
        {
            let mut state = lock(&self.state);
            if *state.settings != settings {
                let before = std::mem::replace(&mut state.settings, Arc::new(settings));
                state.since = now;
                let (snapshot, version) = (before.snapshot.version.clone(), before.version.clone());
                state.names.push_front(Name { snapshot, version, replaced: now });
                state.names.truncate(NAMES_MAX);
                state.earlier.retain(|(replaced, _)| now.since(*replaced) <= KEPT_FOR);
                state.earlier.push_front((now, before));
            }
            state.faults = Vec::new();
        }
        self.wake();
    }

    /// The configuration file is bad or needs a restart; what is in use stays.
    pub fn keep_last_good(&self, faults: Vec<String>) {
        lock(&self.state).faults = faults;
    }

    /// Tells every worker.
    pub fn publish(&self, event: Event) {
        lock(&self.state).events.push(event);
        self.wake();
    }

    /// Tells every worker to drop all that it holds: principals and entries.
    pub fn reset(&self) {
        lock(&self.state).events.reset();
        self.wake();
    }

    /// What is new for a worker, held back for a while if there is nothing.
    pub async fn poll(&self, request: &FeedRequest) -> FeedReply {
        // Subscribed before looking, so that nothing falls between.
        let mut changes = self.changes.subscribe();
        let hold = tokio::time::sleep(Duration::from_millis(FEED_HOLD.0));
        tokio::pin!(hold);
        loop {
            let reply = self.since(request);
            if reply.reset || reply.snapshot.is_some() || !reply.events.is_empty() {
                return reply;
            }
            tokio::select! {
                () = &mut hold => return self.since(request),
                _ = changes.changed() => {}
            }
        }
    }

    fn since(&self, request: &FeedRequest) -> FeedReply {
        let state = lock(&self.state);
        let is_ours = request.epoch.as_deref() == Some(self.epoch.as_str());
        let events = if is_ours { state.events.after(request.seq) } else { None };
        let snapshot = &state.settings.snapshot;
        let has_it = request.snapshot.as_deref() == Some(snapshot.version.as_str());
        FeedReply {
            version: wire::VERSION,
            epoch: self.epoch.clone(),
            seq: state.events.seq,
            snapshot: (!has_it).then(|| snapshot.as_ref().clone()),
            reset: events.is_none(),
            events: events.unwrap_or_default(),
        }
    }

    fn wake(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

// === impl Events ===

impl Events {
    fn push(&mut self, event: Event) {
        if self.kept.len() >= EVENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
        self.seq += 1;
    }

    /// What was before is not told any more, and whoever has not got this far starts over.
    fn reset(&mut self) {
        self.kept.clear();
        self.seq += 1;
    }

    /// The events after number `seq`; `None` where they are not all known any more, or not yet.
    fn after(&self, seq: u64) -> Option<Vec<Event>> {
        let missed = usize::try_from(self.seq.checked_sub(seq)?).ok()?;
        let from = self.kept.len().checked_sub(missed)?;
        Some(self.kept.iter().skip(from).cloned().collect())
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// A worker's poll: registers its gateway, counts what it served, puts on record what it has refused, then answers
    /// with what is new.
    ///
    /// # Errors
    /// Another version of the wire.
    pub async fn poll_feed(self: &Arc<Self>, request: &FeedRequest) -> Result<FeedReply, Failure> {
        expect_version(request.version)?;
        self.gateways.polled(request, self.clock.mono());
        if let Some(batch) = &request.hits
            && self.count_hits(batch)
        {
            self.hear_of_refusals(&request.gateway.id, batch);
        }
        Ok(self.feed.poll(request).await)
    }
}

/// Refuses another version of the wire.
pub(super) fn expect_version(theirs: u16) -> Result<(), Failure> {
    let ours = wire::VERSION;
    if theirs == ours { Ok(()) } else { Err(Failure::WireVersion { theirs, ours }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_once_in_order_and_forgotten_from_the_oldest() {
        let mut events = Events::default();
        assert_eq!(events.after(0), Some(vec![]));
        assert_eq!(events.after(1), None, "nobody can be ahead");
        for _ in 0..EVENTS_MAX {
            events.push(Event::Purged);
        }
        assert_eq!(events.after(0).map(|new| new.len()), Some(EVENTS_MAX));
        events.push(Event::Purged);
        assert_eq!(events.after(0), None, "the first is forgotten");
        assert_eq!(events.after(1).map(|new| new.len()), Some(EVENTS_MAX));
        assert_eq!(events.after(EVENTS_MAX as u64), Some(vec![Event::Purged]));
        assert_eq!(events.after(EVENTS_MAX as u64 + 1), Some(vec![]));
    }

    #[test]
    fn after_a_reset_everybody_starts_over_once() {
        let mut events = Events::default();
        events.push(Event::Purged);
        events.reset();
        assert_eq!((events.after(0), events.after(1)), (None, None));
        assert_eq!(events.after(2), Some(vec![]));
        events.push(Event::Purged);
        assert_eq!((events.after(1), events.after(2)), (None, Some(vec![Event::Purged])));
    }
}
