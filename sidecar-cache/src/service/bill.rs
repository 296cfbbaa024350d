//! The money of one upstream call: what is set aside before it is made grows with its answer, and ends once, at what
//! the call has cost. Dropped before that, it is left to time: the hold expires, and what it held is visible in
//! suspense.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::json::{self, Bounds};
use kt_contract::limits::{JSON_DEPTH_MAX, JSON_NODES_MAX};
use kt_contract::money::{MicroUsd, Tokens};
use kt_contract::pricing::{Price, cost};
use kt_contract::problem::Unpaid;
use kt_contract::provider::Provider;
use kt_contract::time::Millis;
use kt_providers::{Delivered, Dialect, Meter};
use tokio::time::Instant;

use super::books::{Books, Exposure, Granted, Share};
use super::fault::Concerns;
use crate::attempt::{Due, Fate, due};
use crate::flight::LEASE_TTL;
use crate::ledger::request::{DrawnEnd, Extend};
use crate::ledger::{Operation, TransferId};
use crate::reserve::Hold;
use crate::tokens::{self, Tokenizer, Used};

/// How long money stays set aside without a sign of life from the call: as long as its lease, and a minute.
pub(super) const HOLD_TTL: Millis = Millis(LEASE_TTL.0 + 60_000);
/// How often a sign of life is given.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Few tokens are shorter: from how much text has come, how far a hold must reach is guessed. What is settled is not.
const BYTES_PER_TOKEN: u64 = 3;

/// What a call holds, and what is known of its cost.
pub(super) struct Bill {
    books: Arc<Books>,
    hold: TransferId,
    covers: Hold,
    /// What the ledger has set aside so far: growth may be refused.
    granted: Arc<Granted>,
    /// Whether more has come by now than that pays for, as far as can be told from the length of it.
    is_outgrown: bool,
    /// Whether more was asked for again since.
    has_asked_again: bool,
    /// Whether all of it has come.
    is_over: bool,
    price: Price,
    fate: Fate,
    /// The request, should its tokens have to be counted.
    asked: Asked,
    /// What comes, where it comes as a stream.
    meter: Option<Meter>,
    renew_at: Instant,
    exposure: Exposure,
    /// What it holds of an allotment, where it was reserved from one.
    share: Option<Arc<Share>>,
}

/// A request whose tokens may have to be counted.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) org: String,
    pub(super) dialect: Dialect,
    pub(super) provider: Provider,
    pub(super) model: String,
    pub(super) body: Bytes,
}

/// What a call has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) amount: MicroUsd,
    /// Whether something of it was counted here.
    pub(super) is_estimated: bool,
}

/// How the money of a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// What it has cost, if anything is known of that.
    pub(super) cost: Option<Cost>,
    /// Whether the ledger has it.
    pub(super) is_booked: bool,
    /// How long the answer was, as far as the provider has told and can be believed.
    pub(super) output: Option<Tokens>,
}

// === impl Bill ===

impl Bill {
    /// Money has been set aside.
    pub(super) fn new(
        books: Arc<Books>,
        hold: TransferId,
        covers: Hold,
        price: Price,
        asked: Asked,
    ) -> Self {
        Self {
            exposure: Exposure::new(&books, covers.cost_max(&price), covers.amount),
            books,
            hold,
            granted: Arc::new(Granted::new(covers.amount)),
            is_outgrown: false,
            has_asked_again: false,
            is_over: false,
            covers,
            price,
            fate: Fate::Unsent,
            asked,
            meter: None,
            renew_at: Instant::now() + RENEW_EVERY,
            share: None,
        }
    }

    /// The money was set aside out of an allotment, if there is a share of one.
    pub(super) fn reserved_from(self, share: Option<Arc<Share>>) -> Self {
        Self { share, ..self }
    }

    /// What became of the call so far.
    pub(super) const fn fate(&mut self, fate: Fate) {
        self.fate = fate;
    }

    /// To be said when the call is sent.
    pub(super) fn sends(&self) -> impl FnOnce() + Send + 'static {
        let (books, org, hold) = (Arc::clone(&self.books), self.asked.org.clone(), self.hold);
        // What was reserved from an allotment has no hold in the ledger before it is booked.
        let is_looked_up = self.share.is_none();
        move || {
            if is_looked_up {
                books.has_made(org, hold);
            }
        }
    }

    /// The id of what is set aside.
    pub(super) const fn hold(&self) -> TransferId {
        self.hold
    }

    /// When a sign of life is due.
    pub(super) const fn renew_at(&self) -> Instant {
        self.renew_at
    }

    /// The call goes on.
    pub(super) fn renew(&mut self) {
        // No more than it has: where growth was refused, more time must not be.
        self.extend(self.granted.amount());
    }

    fn extend(&mut self, total: MicroUsd) {
        self.renew_at = Instant::now() + RENEW_EVERY;
        let extend = Extend { hold: self.hold, total, ttl: HOLD_TTL };
        match &self.share {
            Some(share) => self.books.extend_share(share, extend, &self.granted),
            None => self.books.extend(extend, &self.granted),
        }
    }

    /// Why there is no more money for what has come, and whom that concerns, where there is none.
    pub(super) fn outgrown(&self) -> Option<(Unpaid, Concerns)> {
        let is_asked_in_vain = self.is_outgrown && self.has_asked_again;
        if is_asked_in_vain { self.granted.refused() } else { None }
    }

    /// The dialect has said that it is over: nothing more will be charged.
    pub(super) const fn is_over(&mut self) {
        (self.is_outgrown, self.is_over) = (false, true);
    }

    /// More of a stream has come: the hold grows with it.
    pub(super) fn streamed(&mut self, bytes: &[u8]) {
        let dialect = self.asked.dialect;
        let meter = self.meter.get_or_insert_with(|| dialect.meter());
        meter.push(bytes);
        let text_bytes = meter.text_bytes();
        self.has_produced(Tokens(text_bytes / BYTES_PER_TOKEN));
    }

    /// So much of an answer has come by now that nobody reads, and of which each byte may be text: the hold grows with it.
    pub(super) fn passed(&mut self, bytes: u64) {
        let guessed = Tokens(bytes / BYTES_PER_TOKEN);
        self.has_produced(self.covers.output_max.map_or(guessed, |longest| guessed.min(longest)));
    }

    fn has_produced(&mut self, produced: Tokens) {
        let reached = self.covers.cost_of(produced, &self.price).unwrap_or(MicroUsd::MAX);
        self.is_outgrown = !self.is_over && reached > self.granted.amount();
        self.ask_again(reached);
        if let Some(Ok(grown)) = self.covers.grown(produced, &self.price) {
            let granted = self.granted.amount();
            self.exposure = Exposure::new(&self.books, grown.cost_max(&self.price), granted);
            self.covers = grown;
            self.extend(grown.amount);
        }
    }

    /// More was refused before what there is was used up. Once it is, it is asked for again: others may have
    /// given back by now what they had set aside, and less than a whole step may be there.
    fn ask_again(&mut self, reached: MicroUsd) {
        if !self.is_outgrown {
            self.has_asked_again = false;
        } else if !self.has_asked_again && self.granted.refused().is_some() {
            self.has_asked_again = true;
            self.granted.is_asked_again();
            let granted = self.granted.amount();
            let quarter = self.covers.amount.less(granted).micros() / 4;
            let more = MicroUsd::new(granted.micros().saturating_add(quarter));
            self.extend(more.unwrap_or(MicroUsd::MAX).max(reached));
        }
    }

    /// Ends it, at what has come of an answer in `bytes` of it: `delivered`, if that could be read, or what the
    /// stream has told.
    pub(super) async fn end(self, delivered: Option<Delivered>, bytes: u64) -> Ended {
        let granted = self.granted.amount();
        let Self { books, hold, covers, price, fate, asked, meter, exposure, share, .. } = self;
        match due(fate) {
            Due::Leave => {
                let hold = hold.0.to_hex();
                tracing::warn!(hold, "what became of a call is not known; its money waits");
                if let Some(share) = share {
                    books.leave(share);
                }
                Ended { cost: None, is_booked: true, output: None }
            }
            Due::Release => {
                let is_booked = match share {
                    Some(share) => books.end_share(&share, DrawnEnd::Release).await,
                    None => books.end(Operation::Release { hold }).await,
                };
                Ended { cost: None, is_booked, output: None }
            }
            Due::Settle => {
                let delivered = delivered.or_else(|| meter.map(Meter::finish));
                let delivered = delivered.unwrap_or_else(|| unread(bytes, &covers));
                let delivered = believed(delivered, &covers);
                let output = delivered.usage.map(|usage| Tokens(usage.output_tokens));
                let used = used(asked, delivered).await;
                // What cannot be counted, or is more than any amount, costs what was set aside for it.
                let counted = used
                    .and_then(|used| Some((cost(used.tokens, &price).ok()?, used.is_estimated)));
                let (amount, is_estimated) = counted.unwrap_or((granted, true));
                let (actual, estimated) = (amount, is_estimated);
                let is_booked = match share {
                    Some(share) => {
                        books.end_share(&share, DrawnEnd::Settle { actual, estimated }).await
                    }
                    None => books.end(Operation::Settle { hold, actual, estimated }).await,
                };
                books.settled(amount, granted);
                drop(exposure);
                Ended { cost: Some(Cost { amount, is_estimated }), is_booked, output }
            }
        }
    }
}

/// What was delivered, without a usage that cannot be true: far more input than the request has bytes, far more
/// output than any answer of the call can have.
fn believed(mut delivered: Delivered, covers: &Hold) -> Delivered {
    let is_within = |tokens: u64, most: Tokens| tokens <= most.0.saturating_mul(2);
    let is_absurd = delivered.usage.is_some_and(|usage| {
        !is_within(usage.input_tokens(), covers.input)
            || covers.output_max.is_some_and(|most| !is_within(usage.output_tokens, most))
    });
    if is_absurd {
        tracing::warn!(usage = ?delivered.usage, "a usage that cannot be true; tokens are counted");
        (delivered.usage, delivered.is_final) = (None, false);
    }
    delivered
}

/// What a call has used. Counting takes as long as the texts are, and others do not wait for it. `None`: it cannot
/// be counted.
async fn used(asked: Asked, delivered: Delivered) -> Option<Used> {
    if delivered.is_final && delivered.usage.is_some() {
        return Some(count(&asked, &delivered));
    }
    let counting = tokio::task::spawn_blocking(move || count(&asked, &delivered));
    counting.await.ok()
}

fn count(asked: &Asked, delivered: &Delivered) -> Used {
    let Asked { org: _, dialect, provider, model, body } = asked;
    tokens::used(delivered, Tokenizer::of(*provider, model), |tokenizer| {
        // It was read when it was admitted.
        let bounds = Bounds { depth_max: JSON_DEPTH_MAX, nodes_max: JSON_NODES_MAX };
        let body = json::parse(body, bounds);
        body.map_or(Tokens(0), |body| tokenizer.count(&dialect.countable(&body)))
    })
}

/// An answer that cannot be read, of which so many bytes have come: four of them are taken for a token, and it has no
/// more than any answer of the call can have.
fn unread(bytes: u64, covers: &Hold) -> Delivered {
    let guessed = bytes.div_ceil(4);
    let mut delivered = Delivered::default();
    delivered.text.tokens = covers.output_max.map_or(guessed, |Tokens(most)| guessed.min(most));
    delivered
}
