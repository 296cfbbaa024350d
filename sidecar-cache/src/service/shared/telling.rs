//! The task of a [`Herald`](super::herald::Herald): it has the lease, and writes the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::time::Millis;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::drain::Served;
use super::herald::{Order, Seen};
use super::{Group, Shared};
use crate::flight::{Ending, Failed, Held, LEASE_TTL, RENEW_EVERY, Token};
use crate::flight_seal::{Part, Seal};
use crate::flight_text::End;
use crate::generation::Generation;
use crate::metrics::SharedFlight;
use crate::store::flight_log::{Appended, BYTES_MAX, LogAt};
use crate::store::leases::{AfterFailure, Renewed};
use crate::store::{Answer, NewEntry, StoreError};

/// A first look soon: somebody may have followed before this task could hear of it.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const RENEW: Duration = Duration::from_millis(RENEW_EVERY.0);
/// Between two renewals that each take long, something else is done for so long.
const BETWEEN: Duration = Duration::from_millis(100);
/// After so long without a renewal nobody follows.
const RUNS_OUT: Duration = Duration::from_millis(LEASE_TTL.0);
/// A store that takes longer than this for one step has not done it.
const STEP_WITHIN: Duration = Duration::from_secs(2);
/// How much is written in one step, about.
const BATCH_BYTES: usize = 256 << 10;

/// The task.
pub(super) struct Telling {
    shared: Shared,
    group: Arc<Group>,
    at: LogAt,
    token: Token,
    seen: Arc<Seen>,
    voice: Voice,
    lease: Lease,
    head: Option<(Arc<Seal>, Bytes)>,
    /// Not written yet, and how many pieces were.
    unsaid: VecDeque<Bytes>,
    said: u64,
    /// Since when the store refuses what is written.
    refused: Option<Instant>,
    /// Whether those who ask are told that they cannot read.
    is_muted: bool,
    /// When the lease is renewed next, and when it was last.
    renew_at: Instant,
    renewed: Instant,
    /// How many follow, whether or not they can read: they wait for what follows on a failure.
    waiting: u32,
    /// A sidecar that ends waits for what is to be told.
    _served: Served,
}

/// Whether the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// Nobody reads it: what comes is kept.
    Quiet,
    /// Somebody does. Whether it has begun.
    Speaking(bool),
    /// It cannot be told any more, from its start on.
    Mute,
}

/// What becomes of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    Held,
    /// It ends so, once all is told.
    Ends(Ending, Generation),
    Over,
}

// === impl Telling ===

impl Telling {
    pub(super) fn new(group: &Arc<Group>, at: LogAt, token: Token, seen: Arc<Seen>) -> Self {
        Self {
            shared: group.shared.clone(),
            group: Arc::clone(group),
            at,
            token,
            seen,
            voice: Voice::Quiet,
            lease: Lease::Held,
            head: None,
            unsaid: VecDeque::new(),
            said: 0,
            refused: None,
            is_muted: false,
            renew_at: Instant::now() + FIRST_LOOK,
            renewed: Instant::now(),
            waiting: 0,
            _served: group.drain.enter(),
        }
    }

    pub(super) async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        let leases = Arc::clone(&self.shared.leases);
        let LogAt { key, id } = self.at;
        let mut followed = leases.followed(key, id);
        loop {
            tokio::select! {
                // The lease first: orders may come faster than the store takes them.
                biased;
                () = sleep_until(self.renew_at), if self.lease != Lease::Over => self.renew().await,
                order = orders.recv() => {
                    let Some(order) = order else { break };
                    self.carry_out(order).await;
                    // What came together is told together.
                    while let Ok(order) = orders.try_recv() {
                        self.carry_out(order).await;
                        self.renew_if_due().await;
                    }
                }
                () = &mut followed, if self.voice == Voice::Quiet => {
                    followed = leases.followed(key, id);
                    self.renew().await;
                }
            }
            self.speak().await;
        }
        self.close().await;
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Begins(seal, head) => self.head = Some((Arc::new(seal), head)),
            Order::Says(piece) => self.keep(piece),
            Order::Outgrows => {
                self.look_once_more().await;
                if self.voice == Voice::Quiet {
                    self.falls_silent().await;
                }
            }
            Order::Ends(how, under) => {
                if self.lease == Lease::Held {
                    self.lease = Lease::Ends(how, under);
                }
                if self.voice == Voice::Mute {
                    self.end_lease().await;
                }
            }
            Order::Fills(entry, reply) => {
                let _ = reply.send(self.fill(entry).await);
            }
            Order::Fails(failed, end, reply) => {
                let failed = self.fail(failed).await;
                let (end, is_known) = (after(end, &failed), failed.is_ok());
                let _ = reply.send(failed);
                if !is_known {
                    // It may be there still, for a flight that is over.
                    self.end_lease().await;
                }
                self.finish(end, Instant::now() + RUNS_OUT).await;
            }
            Order::Finishes(end) => {
                let by = Instant::now() + RUNS_OUT;
                self.look_once_more().await;
                self.speak_out(by).await;
                self.end_lease().await;
                self.finish(end, by).await;
            }
        }
    }

    fn keep(&mut self, piece: Bytes) {
        if self.voice != Voice::Mute {
            self.unsaid.push_back(piece);
        }
    }

    /// Before what cannot be taken back: has anybody come?
    async fn look_once_more(&mut self) {
        if self.voice == Voice::Quiet && self.lease != Lease::Over {
            self.renew().await;
        }
    }

    async fn renew(&mut self) {
        if self.lease == Lease::Over {
            return;
        }
        let asked = Instant::now();
        match within(self.shared.leases.renew(self.at.key, self.token)).await {
            Ok(Renewed::Current { followers }) => {
                (self.renewed, self.waiting) = (asked, followers);
                if followers > 0 && self.voice == Voice::Quiet {
                    self.voice = Voice::Speaking(false);
                }
                // What was not told from its start on, nobody reads.
                let reading = if self.voice == Voice::Mute { 0 } else { followers };
                self.seen.followers.store(reading, Ordering::Relaxed);
                if self.voice == Voice::Mute {
                    self.mute().await;
                }
            }
            Ok(Renewed::Superseded) => self.lose(),
            Err(error) => {
                tracing::debug!(%error, "a shared lease was not renewed");
                if self.renewed.elapsed() >= RUNS_OUT {
                    self.is_read_by_nobody();
                }
            }
        }
        self.renew_at = (asked + RENEW).max(Instant::now() + BETWEEN);
    }

    async fn renew_if_due(&mut self) {
        if self.lease != Lease::Over && Instant::now() >= self.renew_at {
            self.renew().await;
        }
    }

    /// The call goes on for its own clients alone.
    fn is_read_by_nobody(&self) {
        self.seen.followers.store(0, Ordering::Relaxed);
    }

    fn lose(&mut self) {
        self.waiting = 0;
        self.is_read_by_nobody();
        if !self.seen.is_lost.swap(true, Ordering::Relaxed) {
            self.group.metrics.shared(SharedFlight::Superseded);
        }
    }

    /// Writes what has not been written, where somebody reads. What cannot be written now is tried again with the
    /// next renewal.
    async fn speak(&mut self) {
        let Voice::Speaking(has_begun) = self.voice else { return };
        let Some((seal, head)) = self.head.clone() else { return };
        if !has_begun {
            let head = seal.seal(self.token.counter, Part::Head, &head);
            match written(self.shared.logs.begin(self.at, self.token, head)).await {
                Ok(Held::Current) => self.voice = Voice::Speaking(true),
                Ok(Held::Superseded) => {
                    self.lose();
                    return self.falls_silent().await;
                }
                Err(error) => return self.could_not(&error).await,
            }
        }
        while !self.unsaid.is_empty() {
            let batch = self.batch(&seal);
            let count = batch.len();
            match written(self.shared.logs.append(self.at, self.token, self.said, batch)).await {
                Ok(Appended::Done) => {
                    self.unsaid.drain(..count);
                    self.said += count as u64;
                    self.refused = None;
                    self.renew_if_due().await;
                }
                Ok(Appended::Superseded) => return self.falls_silent().await,
                // Too long to be stored, too: those who follow are told that there is no more.
                Ok(Appended::Full) => {
                    self.end_lease().await;
                    return self.tell_end(BROKEN, Instant::now() + RUNS_OUT).await;
                }
                Err(error) => return self.could_not(&error).await,
            }
        }
    }

    /// What is written next.
    fn batch(&self, seal: &Seal) -> Vec<Bytes> {
        let mut bytes = 0;
        let fits = |piece: &&Bytes| {
            bytes += piece.len();
            bytes <= BATCH_BYTES
        };
        let count = self.unsaid.iter().take_while(fits).count().max(1);
        let numbered = (self.said..).zip(&self.unsaid).take(count);
        let sealed =
            |(at, piece): (u64, &Bytes)| seal.seal(self.token.counter, Part::Piece(at), piece);
        numbered.map(sealed).collect()
    }

    async fn could_not(&mut self, error: &StoreError) {
        tracing::debug!(%error, "a shared flight's log was not written");
        let is_refused = match error {
            // It may have been done, or be done soon.
            StoreError::Away(_) => false,
            StoreError::Transient(_) | StoreError::Corrupt(_) | StoreError::Permanent(_) => {
                let since = *self.refused.get_or_insert_with(Instant::now);
                // Whoever has read some waits so long for more; whoever has read nothing makes a call of its own.
                self.said == 0 || since.elapsed() >= RUNS_OUT
            }
        };
        let unsaid: u64 = self.unsaid.iter().map(|piece| piece.len() as u64).sum();
        if is_refused || unsaid > BYTES_MAX {
            self.falls_silent().await;
        }
    }

    /// It cannot be told from its start on. Nobody is kept waiting for that.
    async fn falls_silent(&mut self) {
        self.voice = Voice::Mute;
        self.unsaid.clear();
        self.is_read_by_nobody();
        match self.lease {
            Lease::Ends(..) => self.end_lease().await,
            Lease::Held => self.mute().await,
            Lease::Over => {}
        }
    }

    /// Lets those know who ask for the lease. What the store does not take is said again with the next renewal.
    async fn mute(&mut self) {
        if self.is_muted {
            return;
        }
        match within(self.shared.leases.mute(self.at.key, self.token)).await {
            Ok(Held::Current | Held::Superseded) => self.is_muted = true,
            Err(error) => {
                tracing::debug!(%error, "nobody was told that a shared flight is not told");
            }
        }
    }

    async fn fill(&mut self, entry: NewEntry) -> Result<Held, StoreError> {
        self.renew().await;
        self.speak().await;
        let held = within(self.shared.leases.fill(self.token, entry)).await?;
        match held {
            Held::Current => self.is_over(),
            Held::Superseded => self.lose(),
        }
        Ok(held)
    }

    async fn fail(&mut self, failed: Failed) -> Result<AfterFailure, StoreError> {
        self.renew().await;
        self.speak().await;
        let elsewhere = usize::try_from(self.waiting).unwrap_or(usize::MAX);
        let failed = Failed { waiting: failed.waiting.saturating_add(elsewhere), ..failed };
        let after = within(self.shared.leases.fail(self.at.key, self.token, failed)).await;
        if after.is_ok() {
            self.is_over();
        }
        after
    }

    async fn end_lease(&mut self) {
        let (key, token, leases) = (self.at.key, self.token, &self.shared.leases);
        let ended = match self.lease {
            Lease::Over | Lease::Ends(Ending::Filled, _) => Ok(Held::Current),
            Lease::Ends(Ending::Uncacheable, under) => {
                within(leases.end_uncacheable(key, token, under)).await
            }
            Lease::Held | Lease::Ends(..) => within(leases.abandon(key, token)).await,
        };
        self.is_over();
        if let Err(error) = ended {
            // It runs out.
            tracing::debug!(%error, "a shared lease was not ended");
        }
    }

    fn is_over(&mut self) {
        self.lease = Lease::Over;
        self.is_read_by_nobody();
    }

    /// The last of it. Whoever has read what came before waits for this: a store that does not take it is asked
    /// again for as long as they do.
    async fn speak_out(&mut self, by: Instant) {
        loop {
            self.speak().await;
            let is_told = self.voice != Voice::Speaking(true) || self.unsaid.is_empty();
            if is_told || Instant::now() >= by {
                return;
            }
            sleep(BETWEEN).await;
            self.renew_if_due().await;
        }
    }

    async fn finish(&mut self, end: End, by: Instant) {
        self.speak_out(by).await;
        let end = if self.unsaid.is_empty() { end } else { BROKEN };
        self.tell_end(end, by).await;
    }

    async fn tell_end(&mut self, end: End, by: Instant) {
        let told = self
            .head
            .as_ref()
            .map(|(seal, _)| seal.seal(self.token.counter, Part::End(self.said), &end.encode()));
        while let (Voice::Speaking(true), Some(end)) = (self.voice, told.clone()) {
            match within(self.shared.logs.finish(self.at, self.token, end)).await {
                Err(error) if Instant::now() < by => {
                    tracing::debug!(%error, "the end of a shared flight was not told");
                    sleep(BETWEEN).await;
                }
                Ok(Held::Current | Held::Superseded) | Err(_) => break,
            }
        }
        self.voice = Voice::Mute;
        self.is_over();
        self.unsaid.clear();
    }

    /// Nobody flies any more. What was not ended is over.
    async fn close(mut self) {
        if self.lease != Lease::Over {
            self.end_lease().await;
        }
        self.finish(BROKEN, Instant::now() + RUNS_OUT).await;
    }
}

/// There is no more, and what there is has no end.
const BROKEN: End = End { is_whole: false, is_last: false, again_after: Millis(0), cost: None };

/// The end of a failed attempt, by what follows on it.
fn after(end: End, failed: &Result<AfterFailure, StoreError>) -> End {
    match failed {
        Ok(AfterFailure::TakeOver { after }) => End { again_after: *after, ..end },
        Ok(AfterFailure::Over) => End { is_last: true, ..end },
        Ok(AfterFailure::Voided) | Err(_) => end,
    }
}

async fn within<T>(step: Answer<'_, T>) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::Transient("took too long".to_owned()));
    timeout(STEP_WITHIN, step).await.unwrap_or_else(late)
}

/// The same for what is written into the log: what is late is not refused.
async fn written<T>(step: Answer<'_, T>) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::Away("took too long".to_owned()));
    timeout(STEP_WITHIN, step).await.unwrap_or_else(late)
}
