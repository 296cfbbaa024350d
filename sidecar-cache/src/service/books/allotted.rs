//! Calls that are reserved here, out of allotments, without a question to the ledger: it is told of each when it has
//! ended, many at once, and what has ended lies in the spool before anybody is shown the end of its answer. Which calls,
//! and out of what, [`crate::allotment`] decides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use kt_contract::money::MicroUsd;
use kt_contract::time::MonoMillis;
use tokio::time::{sleep, timeout};

use super::super::lock;
use super::replay::late;
use super::spool::{Kept, Room};
use super::{ANSWER_MAX, Books, Granted};
use crate::allotment::{Part, Pool, Size};
use crate::ledger::account::Account;
use crate::ledger::request::{Draw, DrawnEnd, Extend, Funding, Purpose, Reserve};
use crate::ledger::{Operation, Refused, TransferId};
use crate::random;
use crate::store::ledger::Payers;

/// How long ends of calls are gathered before the ledger is told of them together.
const LINGER: Duration = Duration::from_millis(200);
/// Of how many it is told at once.
const BATCH: usize = 256;
/// How many allotments are given back at once.
const GIVES_BACK_MAX: usize = 256;
/// What allotments stand under in the books. Nothing is ever posted there, so that all sidecars can have one account.
const HOLDER: &str = "sidecars";

/// Who pays together, as far as it is known here: an organization, for its calls without a team or for those of one.
type Who = (String, Option<String>);

type Pools = Arc<Mutex<HashMap<Who, Pool>>>;

/// The allotments of this sidecar.
#[derive(Default)]
pub(super) struct Allotted {
    pools: Pools,
    booking: Mutex<Booking>,
    /// Whether the ledger did not say what there is to allot, when it was asked last.
    is_blind: AtomicBool,
}

/// What the ledger is to be told, and whether somebody tells it.
#[derive(Default)]
struct Booking {
    waiting: Vec<(Kept, Operation)>,
    /// How many it is being told of.
    telling: usize,
    is_busy: bool,
}

/// What a call holds of an allotment. Dropped before the call has ended, it is left to time with the allotment.
pub(in crate::service) struct Share {
    pools: Pools,
    who: Who,
    allotment: TransferId,
    reserve: Reserve,
    stage: Mutex<Stage>,
}

/// Where the money of a share is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In the allotment.
    Here,
    /// The ledger was asked to give the call a hold of its own, and has not answered.
    Asked,
    /// In that hold.
    HandedOver,
    /// The call has ended.
    Ended,
}

// === impl Books ===

impl Books {
    /// Reserves out of an allotment. `None`: out of none, and the ledger is to be asked. Where a wallet is hot and has
    /// no allotment, one is asked for meanwhile.
    pub(super) fn reserve_here(
        self: &Arc<Self>,
        reserve: &Reserve,
        size: Option<Size>,
    ) -> Option<Arc<Share>> {
        // A budget's limit is not split: what falls under one is reserved where all is counted.
        let is_prepaid = reserve.funding == Funding::Prepaid;
        let size = size.filter(|_| is_prepaid && reserve.budgets.is_empty());
        // What has ended here has to outlive this process.
        let takes = self.spool.as_ref().is_some_and(|spool| spool.takes());
        let size = size.filter(|_| takes)?;
        let who = (reserve.org.clone(), reserve.team.clone());
        let now = self.clock.mono();
        let (part, wants) = {
            let mut pools = lock(&self.allotted.pools);
            let pool = pools.entry(who.clone()).or_default();
            let part = pool.reserve(reserve.amount, now);
            (part, !self.drain.is_draining() && pool.wants(now))
        };
        if wants {
            self.ask_for_one(who.clone(), size, reserve.clone());
        }
        let Part { allotment, call } = part?;
        self.metrics.ledger_operated("reserve", "allotted");
        let pools = Arc::clone(&self.allotted.pools);
        let stage = Mutex::new(Stage::Here);
        let reserve = Reserve { id: call, ..reserve.clone() };
        Some(Arc::new(Share { pools, who, allotment, reserve, stage }))
    }

    /// Asks for an allotment, for calls like this one.
    fn ask_for_one(self: &Arc<Self>, who: Who, size: Size, like: Reserve) {
        let (books, served) = (Arc::clone(self), self.drain.enter());
        tokio::spawn(async move {
            let granted = books.allot(&who, size, like).await;
            let given_back = {
                let mut pools = lock(&books.allotted.pools);
                let pool = pools.entry(who).or_default();
                match granted {
                    Some((id, amount)) => (!pool.granted(id, amount, size.ttl)).then_some(id),
                    None => {
                        pool.not_granted(books.clock.mono());
                        None
                    }
                }
            };
            if let Some(hold) = given_back {
                books.end(Operation::Release { hold }).await;
            }
            drop(served);
        });
    }

    /// Sets a part of what is available aside.
    async fn allot(
        self: &Arc<Self>,
        (org, team): &Who,
        size: Size,
        like: Reserve,
    ) -> Option<(TransferId, MicroUsd)> {
        let payers = self.payers(org).await?;
        // As the ledger finds who pays: a team that was ever given a purse pays from it.
        let of_team = |(name, purse): &&(String, Account)| {
            Some(name) == team.as_ref() && purse.credits.posted > 0
        };
        let purse = payers.purses.iter().find(of_team).map(|(_, purse)| purse);
        let available = purse.unwrap_or(&payers.wallet).available();
        let amount = size.of(available, like.amount)?;
        let id = TransferId::from_128(random::bytes().ok()?);
        let (purpose, cost_max) = (Purpose::Allotment(HOLDER.to_owned()), MicroUsd::ZERO);
        let asked = Reserve { id, purpose, amount, cost_max, ttl: size.ttl, ..like };
        match timeout(ANSWER_MAX, self.ask(Operation::Reserve(asked))).await {
            Ok(Ok(verdict)) => {
                if matches!(verdict, Err(Refused::Frozen)) {
                    self.allotted.retire(org);
                }
                verdict.is_ok().then_some((id, amount))
            }
            Ok(Err(_)) | Err(_) => {
                // Nobody uses it, whether it was done or not.
                self.give_up(id);
                None
            }
        }
    }

    /// Who pays for an organization's calls. That the ledger does not say is told once, until it does.
    async fn payers(&self, org: &str) -> Option<Payers> {
        let answer = timeout(ANSWER_MAX, self.ledger.payers(org.to_owned())).await;
        match answer.unwrap_or_else(|_| Err(late(ANSWER_MAX))) {
            Ok(payers) => {
                self.allotted.is_blind.store(false, Ordering::Relaxed);
                Some(payers)
            }
            Err(error) => {
                self.metrics.ledger_operated("allot", "unavailable");
                if !self.allotted.is_blind.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        org, %error,
                        "no allotment is asked for: the ledger does not say what there is to allot"
                    );
                }
                None
            }
        }
    }

    /// A call goes on that was reserved here: it is given a hold of its own in the ledger, which then grows or lives
    /// longer like any other.
    pub(in crate::service) fn extend_share(
        self: &Arc<Self>,
        share: &Arc<Share>,
        extend: Extend,
        granted: &Arc<Granted>,
    ) {
        let (books, share, granted) = (Arc::clone(self), Arc::clone(share), Arc::clone(granted));
        let served = self.drain.enter();
        tokio::spawn(async move {
            if books.hand_over(&share).await {
                books.extend(extend, &granted);
            }
            drop(served);
        });
    }

    /// Nobody knows what has become of a call: its money waits in a hold of its own, or, where the ledger does not make
    /// one, with its allotment.
    pub(in crate::service) fn leave(self: &Arc<Self>, share: Arc<Share>) {
        let (books, served) = (Arc::clone(self), self.drain.enter());
        tokio::spawn(async move {
            books.hand_over(&share).await;
            drop(served);
        });
    }

    /// Whether a share's call has a hold of its own in the ledger.
    async fn hand_over(&self, share: &Share) -> bool {
        match share.asks() {
            Stage::Here | Stage::Asked => {}
            Stage::HandedOver => return true,
            Stage::Ended => return false,
        }
        let operation = Operation::Draw(share.draw(None));
        let answer = timeout(ANSWER_MAX, self.ask(operation)).await;
        let is_there = matches!(answer, Ok(Ok(Ok(_))));
        if is_there {
            share.is_handed_over();
        }
        is_there
    }

    /// Ends a call that was reserved here. `true`: that lies in the spool, or the ledger has it.
    pub(in crate::service) async fn end_share(
        self: &Arc<Self>,
        share: &Share,
        end: DrawnEnd,
    ) -> bool {
        let operation = Operation::Draw(share.ends(end));
        let Some(spool) = &self.spool else { return self.end(operation).await };
        // Should it come to lie there after that, it is told twice, and exists.
        let kept = timeout(ANSWER_MAX, spool.keep(&operation, Room::Whole)).await;
        match kept.ok().flatten() {
            Some(kept) => {
                self.book(kept, operation);
                true
            }
            // Without room, or a disk that answers, it is asked like any other end.
            None => self.end(operation).await,
        }
    }

    /// Has the ledger told, with what else comes meanwhile.
    fn book(self: &Arc<Self>, kept: Kept, operation: Operation) {
        let mut booking = lock(&self.allotted.booking);
        booking.waiting.push((kept, operation));
        if booking.is_busy {
            return;
        }
        booking.is_busy = true;
        let (books, served) = (Arc::clone(self), self.drain.enter());
        tokio::spawn(async move {
            books.book_all().await;
            drop(served);
        });
    }

    async fn book_all(&self) {
        let mut is_behind = false;
        loop {
            // What has waited for the ones before it has been gathered for long enough.
            if !is_behind {
                sleep(LINGER).await;
            }
            let batch: Vec<_> = {
                let mut booking = lock(&self.allotted.booking);
                let count = booking.waiting.len().min(BATCH);
                (booking.telling, booking.is_busy) = (count, count > 0);
                booking.waiting.drain(..count).collect()
            };
            is_behind = batch.len() == BATCH;
            if batch.is_empty() {
                return;
            }
            let asked = batch.into_iter().map(|(kept, operation)| async move {
                let asking = self.ask_quietly(operation.clone());
                match timeout(ANSWER_MAX, asking).await {
                    Ok(Ok(verdict)) => {
                        self.ended(&operation, &verdict);
                        Some((kept, operation, verdict))
                    }
                    // It stays where it is, and is told again from there.
                    Ok(Err(_)) | Err(_) => None,
                }
            });
            let answered = join_all(asked).await.into_iter().flatten().collect();
            if let Some(spool) = &self.spool {
                spool.answered_all(answered).await;
            }
            lock(&self.allotted.booking).telling = 0;
        }
    }

    /// The ledger has taken an operation.
    pub(super) fn is_booked(&self, operation: &Operation) {
        let Operation::Draw(Draw { reserve, end: Some(_), .. }) = operation else { return };
        // From here on an audit finds it.
        self.has_made(reserve.org.clone(), reserve.id);
        self.allotted.in_pool(reserve, |pool| pool.told(reserve.id));
    }

    /// The ledger has refused an operation for good.
    pub(super) fn is_not_booked(&self, operation: &Operation) {
        let Operation::Draw(Draw { reserve, end: Some(_), .. }) = operation else { return };
        self.allotted.in_pool(reserve, |pool| pool.refused(reserve.id));
    }

    /// Reserves no more out of what is allotted of an organization's wallet: something has changed about it.
    pub(in crate::service) fn retire_allotments(&self, org: &str) {
        self.allotted.retire(org);
    }

    /// Gives back what is left of allotments that are not used any more, and of which the ledger knows all.
    pub(in crate::service) async fn give_back(self: &Arc<Self>) {
        let now = self.clock.mono();
        stream::iter(self.allotted.to_give_back(now))
            .for_each_concurrent(GIVES_BACK_MAX, |hold| async move {
                self.end(Operation::Release { hold }).await;
            })
            .await;
    }

    /// Sets nothing aside from now on, and gives back what can be.
    pub(in crate::service) async fn leave_allotments(self: &Arc<Self>) {
        lock(&self.allotted.pools).values_mut().for_each(Pool::close);
        self.give_back().await;
    }

    /// What this sidecar may spend of what the ledger believes to be in its allotments.
    pub(in crate::service) fn allotted(&self) -> MicroUsd {
        let pools = lock(&self.allotted.pools);
        pools.values().map(Pool::exposure).fold(MicroUsd::ZERO, MicroUsd::plus)
    }
}

// === impl Allotted ===

impl Allotted {
    /// How many ends lie in the spool that the ledger is told of for the first time, now or in a moment.
    pub(super) fn in_hand(&self) -> usize {
        let booking = lock(&self.booking);
        booking.waiting.len().saturating_add(booking.telling)
    }

    fn in_pool(&self, reserve: &Reserve, act: impl FnOnce(&mut Pool)) {
        let who = (reserve.org.clone(), reserve.team.clone());
        if let Some(pool) = lock(&self.pools).get_mut(&who) {
            act(pool);
        }
    }

    /// Something has changed about the wallet of an organization.
    pub(super) fn retire(&self, org: &str) {
        let mut pools = lock(&self.pools);
        pools.iter_mut().filter(|((of, _), _)| of == org).for_each(|(_, pool)| pool.retire());
    }

    fn to_give_back(&self, now: MonoMillis) -> Vec<TransferId> {
        let mut pools = lock(&self.pools);
        let back = pools.values_mut().flat_map(|pool| pool.to_give_back(now)).collect();
        pools.retain(|_, pool| !pool.is_idle(now));
        back
    }
}

// === impl Share ===

impl Share {
    /// The id of the call's own hold.
    pub(in crate::service) const fn hold(&self) -> TransferId {
        self.reserve.id
    }

    fn draw(&self, end: Option<DrawnEnd>) -> Draw {
        Draw { allotment: self.allotment, reserve: self.reserve.clone(), end }
    }

    /// The ledger is about to be asked for a hold of its own. Says where the money is.
    fn asks(&self) -> Stage {
        let mut stage = lock(&self.stage);
        if *stage == Stage::Here {
            *stage = Stage::Asked;
        }
        *stage
    }

    fn is_handed_over(&self) {
        let mut stage = lock(&self.stage);
        if *stage == Stage::Asked {
            *stage = Stage::HandedOver;
            self.in_pool(|pool| pool.handed_over(self.reserve.id));
        }
    }

    /// The call has ended. What it has not taken can be reserved again, unless nobody knows whether the ledger has taken
    /// all of it.
    fn ends(&self, end: DrawnEnd) -> Draw {
        let draw = self.draw(Some(end));
        let before = std::mem::replace(&mut *lock(&self.stage), Stage::Ended);
        let taken = match before {
            Stage::Here => Some(draw.taken()),
            Stage::Asked => Some(self.reserve.amount),
            Stage::HandedOver | Stage::Ended => None,
        };
        if let Some(taken) = taken {
            self.in_pool(|pool| pool.ended(self.reserve.id, taken));
        }
        draw
    }

    fn in_pool(&self, act: impl FnOnce(&mut Pool)) {
        if let Some(pool) = lock(&self.pools).get_mut(&self.who) {
            act(pool);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let stage = *lock(&self.stage);
        match stage {
            Stage::Here | Stage::Asked => self.in_pool(|pool| pool.lost(self.reserve.id)),
            Stage::HandedOver | Stage::Ended => {}
        }
    }
}
