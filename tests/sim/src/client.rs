//! Clients: they ask, read at their own pace, leave when they like, and try again as the SDKs do.

use std::rc::Rc;

use kt_contract::key::CacheKey;
use kt_contract::wire::admit::ReplyShape;
use kt_filter_core::Exchange;

use crate::event::{Event, Hears};
use crate::lane::Lane;
use crate::swarm::Sharing;
use crate::world::World;

/// How often an SDK asks in all.
const TRIES_MAX: u32 = 3;

/// What somebody wants to know.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Who.
    pub(crate) caller: usize,
    /// What.
    pub(crate) question: u32,
    /// In which shape.
    pub(crate) want: ReplyShape,
    /// The bytes of the request.
    pub(crate) body: Rc<str>,
    /// Its `Idempotency-Key`.
    pub(crate) name: Option<String>,
    /// Whether it wants nothing out of a cache.
    pub(crate) no_cache: bool,
    /// How long it takes from piece to piece.
    pub(crate) pace: u64,
    /// How long after asking it leaves, if it does.
    pub(crate) leaves_in: Option<u64>,
    /// At which gateway it asks.
    pub(crate) gateway: usize,
    /// How often it has asked.
    pub(crate) tries: u32,
    /// What became of it.
    pub(crate) state: AskState,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskState {
    /// Nothing yet.
    Waits,
    /// It has a whole answer.
    Answered(u16),
    /// Its last answer broke off.
    Broken,
    /// Its client has left.
    Left,
}

/// One request on the wire.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) ask: usize,
    pub(crate) gateway: usize,
    /// When it was sent, in true time.
    pub(crate) sent_at: u64,
    pub(crate) exchange: Exchange,
    pub(crate) callouts: u32,
    /// The callout that is under way.
    pub(crate) callout: Option<u32>,
    /// The key that the filter computed.
    pub(crate) key: Option<CacheKey>,
    pub(crate) ticket: Option<Rc<str>>,
    /// As the filter minted it.
    pub(crate) request_id: String,
    /// Where the sidecar has it.
    pub(crate) lane: Option<Lane>,
    /// Whether its answer was told before, to the same name.
    pub(crate) is_replayed: bool,
    /// Whether it led or has taken over: what it reads may be no answer.
    pub(crate) has_led: bool,
    pub(crate) status: Option<u16>,
    pub(crate) got: Vec<u8>,
    pub(crate) is_over: bool,
}

// === impl World ===

impl World<'_> {
    /// A request is sent, perhaps again.
    pub(crate) fn asks_again(&mut self, ask: usize) {
        let now = self.now;
        let Some(asked) = self.asks.get_mut(ask) else { return };
        if asked.state != AskState::Waits {
            return;
        }
        asked.tries += 1;
        let (gateway, leaves_in, question) = (asked.gateway, asked.leaves_in, asked.question);
        let attempt = self.tries.len();
        self.tries.push(Try {
            ask,
            gateway,
            sent_at: now,
            exchange: Exchange::default(),
            callouts: 0,
            callout: None,
            key: None,
            ticket: None,
            request_id: String::new(),
            lane: None,
            is_replayed: false,
            has_led: false,
            status: None,
            got: Vec::new(),
            is_over: false,
        });
        self.say(|| {
            format!("try {attempt}: request {ask} asks gateway {gateway} question {question}")
        });
        if let Some(length) = leaves_in {
            self.push_in(length, Event::Leaves(attempt));
        }
        self.gateway_hears(attempt);
    }

    /// The client leaves.
    pub(crate) fn leaves(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get_mut(attempt).filter(|tried| !tried.is_over) else {
            return;
        };
        tried.is_over = true;
        let ask = tried.ask;
        if let Some(asked) = self.asks.get_mut(ask) {
            asked.state = AskState::Left;
        }
        self.say(|| format!("try {attempt}: the client leaves"));
        self.tally.add("clients that leave");
        self.hangs_up(attempt);
        self.gateway_done(attempt);
    }

    /// The sidecar learns that nobody reads any more.
    pub(crate) fn hangs_up(&mut self, attempt: usize) {
        let place = self.tries.get(attempt).and_then(|tried| tried.lane.as_ref());
        let Some((at, life)) = place.map(|lane| (lane.sidecar, lane.life)) else { return };
        let left = Event::Sidecar { at, life: Some(life), hears: Hears::Left(attempt) };
        self.push_in(1, left);
    }

    /// A whole answer comes at once.
    pub(crate) fn client_gets(&mut self, attempt: usize, status: u16, body: &[u8]) {
        self.client_head(attempt, status);
        self.client_piece(attempt, body);
        self.client_end(attempt);
    }

    /// An answer begins.
    pub(crate) fn client_head(&mut self, attempt: usize, status: u16) {
        let Some(tried) = self.tries.get_mut(attempt).filter(|tried| !tried.is_over) else {
            return;
        };
        if tried.status.replace(status).is_some() {
            self.breach("one reply", format!("try {attempt} is answered twice"));
        }
    }

    /// More of it comes.
    pub(crate) fn client_piece(&mut self, attempt: usize, piece: &[u8]) {
        if let Some(tried) = self.tries.get_mut(attempt).filter(|tried| !tried.is_over) {
            tried.got.extend_from_slice(piece);
        }
    }

    /// All of it has come.
    pub(crate) fn client_end(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get_mut(attempt).filter(|tried| !tried.is_over) else {
            return;
        };
        tried.is_over = true;
        let status = tried.status.unwrap_or(0);
        let length = tried.got.len();
        self.trace.mark(&(attempt, status, length));
        self.say(|| format!("try {attempt}: has all of a {status}, {length} bytes"));
        if status == 200 {
            self.judge_answer(attempt);
        }
        self.gateway_done(attempt);
        match status {
            408 | 409 | 429 | 500.. => self.tries_again(attempt, AskState::Answered(status)),
            _ => self.settles(attempt, AskState::Answered(status)),
        }
    }

    /// It breaks off.
    pub(crate) fn client_broken(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get_mut(attempt).filter(|tried| !tried.is_over) else {
            return;
        };
        tried.is_over = true;
        self.trace.mark(&(attempt, "broken"));
        self.say(|| format!("try {attempt}: breaks off"));
        self.tally.add("answers that break off");
        self.gateway_done(attempt);
        self.tries_again(attempt, AskState::Broken);
    }

    /// Envoy has lost the sidecar.
    pub(crate) fn lane_breaks(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get(attempt).filter(|tried| !tried.is_over) else { return };
        if tried.status.is_some() {
            self.client_broken(attempt);
        } else {
            self.envoy_speaks(attempt);
            self.client_gets(attempt, 503, b"");
        }
    }

    fn settles(&mut self, attempt: usize, state: AskState) {
        let Some(ask) = self.tries.get(attempt).map(|tried| tried.ask) else { return };
        self.ended_at = self.now;
        if let Some(asked) = self.asks.get_mut(ask) {
            asked.state = state;
        }
    }

    fn tries_again(&mut self, attempt: usize, state: AskState) {
        let Some(ask) = self.tries.get(attempt).map(|tried| tried.ask) else { return };
        let tries = self.asks.get(ask).map_or(TRIES_MAX, |asked| asked.tries);
        if tries >= TRIES_MAX {
            return self.settles(attempt, state);
        }
        // Keyed requests find their own answer where there is one sidecar, or at the same gateway.
        let gateways = self.gateways.len().max(1);
        let elsewhere = self.rng.usize(0..gateways);
        let moves = self.rng.bool() && self.swarm.sharing == Sharing::Own;
        if let Some(asked) = self.asks.get_mut(ask)
            && moves
        {
            asked.gateway = elsewhere;
        }
        let pause = (500_u64 << tries.min(3)) - self.rng.u64(0..250);
        self.push_in(pause, Event::Asks(ask));
    }
}
