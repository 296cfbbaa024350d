//! Allotments: sums of a hot wallet that this sidecar has set aside for itself in a ledger that several share, and out
//! of which it reserves in its own memory. When one is asked for, how much, which calls it is used for and until when, and
//! when what is left of it goes back. Pure: the time is an argument.
//!
//! An allotment is used for half of its time to live, by the clock of whoever holds it, from before it was asked for: the
//! store would end it later, whatever its clock does. A call that runs longer than that is still paid out of it, for what
//! time has ended lies in suspense and is nobody else's. It is never asked to grow. Instead of being renewed it is
//! replaced, so that what somebody else has changed about its wallet is obeyed within half of that time.

#![deny(clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use kt_contract::money::MicroUsd;
use kt_contract::time::{Millis, MonoMillis};

use crate::ledger::TransferId;

/// So many calls of one wallet within [`HOT_WITHIN`] make it a hot one: asking for an allotment and giving it back costs
/// as much as one call does without.
pub const HOT_CALLS: u32 = 8;
/// How long a wallet's calls are counted together.
pub const HOT_WITHIN: Millis = Millis(10_000);
/// How many calls are reserved from one allotment at most: the ledger reads all that was drawn from one with each draw.
pub const CALLS_MAX: u32 = 1_024;
/// How many allotments wait at most until their calls have ended and were told. Until then none is asked for.
pub const RETIRED_MAX: usize = 3;
/// How long none is asked for after one was not granted.
pub const PAUSE: Millis = Millis(5_000);

/// How large an allotment is, and how long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// No more than this.
    pub most: MicroUsd,
    /// And no more than so many millionths of what is available.
    pub millionths: u64,
    /// How long the store keeps it open. It is used for half of that.
    pub ttl: Millis,
}

/// The allotments of those who pay together: of one organization's wallet, or of one team's calls.
#[derive(Debug, Default)]
pub struct Pool {
    /// Since when calls are counted, how many there were, and how many in the time before.
    counted: (MonoMillis, u32, u32),
    current: Option<Allotment>,
    retired: Vec<Allotment>,
    /// When an allotment was asked for that nobody has answered yet.
    asked: Option<MonoMillis>,
    /// Something has changed about the wallet since it was asked for: it goes back.
    is_outdated: bool,
    /// None is asked for before.
    not_before: MonoMillis,
    /// None is asked for any more.
    is_closed: bool,
}

/// What a call was given of an allotment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The allotment.
    pub allotment: TransferId,
    /// What the call's own hold is called.
    pub call: TransferId,
}

/// An allotment.
#[derive(Debug)]
struct Allotment {
    id: TransferId,
    amount: MicroUsd,
    /// What nobody has reserved or spent.
    free: MicroUsd,
    /// What calls hold that run.
    running: HashMap<TransferId, MicroUsd>,
    /// What was spent by calls that have ended, and the ledger was not told yet.
    untold: HashMap<TransferId, MicroUsd>,
    /// What the ledger was told.
    told: MicroUsd,
    calls: u32,
    use_until: MonoMillis,
    /// A call was lost that may have spent something, or refused: what is left is left to time.
    is_left: bool,
}

// === impl Size ===

impl Size {
    /// How much is asked for, where so much is available; nothing where that is less than a call of `call` needs.
    #[must_use]
    pub fn of(&self, available: i128, call: MicroUsd) -> Option<MicroUsd> {
        let available = u128::try_from(available).ok()?;
        let part = available.checked_mul(u128::from(self.millionths))?.checked_div(1_000_000)?;
        let part = u64::try_from(part).ok().and_then(|part| MicroUsd::new(part).ok());
        let amount = part.unwrap_or(MicroUsd::MAX).min(self.most);
        (!amount.is_zero() && amount >= call).then_some(amount)
    }
}

// === impl Pool ===

impl Pool {
    /// Reserves `amount` for a call. `None`: from no allotment, so that the ledger has to be asked, which alone refuses.
    pub fn reserve(&mut self, amount: MicroUsd, now: MonoMillis) -> Option<Part> {
        self.count(now);
        let current = self.current.as_mut().filter(|current| current.is_usable(now))?;
        current.free = current.free.checked_sub(amount)?;
        current.calls = current.calls.saturating_add(1);
        // Whatever a request is called, and however often: no other call has this id.
        let call = current.id.of_step("call", u64::from(current.calls));
        current.running.insert(call, amount);
        Some(Part { allotment: current.id, call })
    }

    /// Whether an allotment is to be asked for. If so, whoever was told has to say what has come of it.
    pub fn wants(&mut self, now: MonoMillis) -> bool {
        let has_enough = self.current.as_ref().is_some_and(|current| {
            current.is_usable(now) && current.free.micros() >= current.amount.micros() / 4
        });
        let may = !self.is_closed && self.asked.is_none() && now >= self.not_before;
        let wants = may && !has_enough && self.is_hot() && self.retired.len() < RETIRED_MAX;
        if wants {
            self.asked = Some(now);
        }
        wants
    }

    /// One was granted. It takes the place of the one that was used. `false`: it came too late, and is to be given
    /// back.
    #[must_use]
    pub fn granted(&mut self, id: TransferId, amount: MicroUsd, ttl: Millis) -> bool {
        let is_late = std::mem::take(&mut self.is_outdated) || self.is_closed;
        let Some(asked) = self.asked.take().filter(|_| !is_late) else { return false };
        let allotment = Allotment {
            id,
            amount,
            free: amount,
            running: HashMap::new(),
            untold: HashMap::new(),
            told: MicroUsd::ZERO,
            calls: 0,
            use_until: asked.after(Millis(ttl.0 / 2)),
            is_left: false,
        };
        self.retired.extend(self.current.replace(allotment));
        true
    }

    /// None was granted.
    pub fn not_granted(&mut self, now: MonoMillis) {
        (self.asked, self.is_outdated) = (None, false);
        self.not_before = now.after(PAUSE);
    }

    /// A call has ended and takes so much of what it held; the rest is free again.
    pub fn ended(&mut self, call: TransferId, taken: MicroUsd) {
        let Some(of) = self.of_running(call) else { return };
        if let Some(held) = of.running.remove(&call) {
            let taken = taken.min(held);
            of.free = of.free.plus(held.less(taken));
            of.untold.insert(call, taken);
        }
    }

    /// The ledger was told of a call that has ended.
    pub fn told(&mut self, call: TransferId) {
        for of in self.current.iter_mut().chain(&mut self.retired) {
            if let Some(taken) = of.untold.remove(&call) {
                of.told = of.told.plus(taken);
            }
        }
    }

    /// The ledger refuses what a call has cost, for good: it may know nothing of the allotment. That one is used no
    /// longer, and what is left of it is left to time.
    pub fn refused(&mut self, call: TransferId) {
        if self.current.as_ref().is_some_and(|current| current.untold.contains_key(&call)) {
            self.put_aside();
        }
        for of in &mut self.retired {
            if let Some(taken) = of.untold.remove(&call) {
                of.told = of.told.plus(taken);
                of.is_left = true;
            }
        }
    }

    /// A running call has a hold of its own in the ledger, with all that it held of its allotment.
    pub fn handed_over(&mut self, call: TransferId) {
        if let Some(of) = self.of_running(call)
            && let Some(held) = of.running.remove(&call)
        {
            of.told = of.told.plus(held);
        }
    }

    /// Nobody knows what has become of a call, and nobody will say it.
    pub fn lost(&mut self, call: TransferId) {
        if let Some(of) = self.of_running(call) {
            of.is_left = true;
        }
    }

    /// Uses the current one no longer, nor the one that was asked for, for something has changed about their wallet: a
    /// freeze may have come between what the ledger granted and its answer.
    pub fn retire(&mut self) {
        self.is_outdated = self.asked.is_some();
        self.put_aside();
    }

    /// Uses the current one no longer.
    fn put_aside(&mut self) {
        self.retired.extend(self.current.take());
    }

    /// Uses none from now on, and asks for none.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.retire();
    }

    /// The allotments of which nothing is spent or held that the ledger does not know: what is left of them goes back.
    /// Each is named once.
    pub fn to_give_back(&mut self, now: MonoMillis) -> Vec<TransferId> {
        if self.current.as_ref().is_some_and(|current| !current.is_usable(now)) {
            self.put_aside();
        }
        // What was lost is closed by time, and need not be thought of longer than that.
        self.retired.retain(|of| !(of.is_left && of.is_told()));
        let back = self.retired.extract_if(.., |of| of.is_told());
        back.map(|of| of.id).collect()
    }

    /// What this sidecar may have spent or may yet spend of what the ledger believes to be in its allotments.
    #[must_use]
    pub fn exposure(&self) -> MicroUsd {
        let all = self.current.iter().chain(&self.retired);
        all.map(|of| of.amount.less(of.told)).fold(MicroUsd::ZERO, MicroUsd::plus)
    }

    /// Whether it can be forgotten: nothing of it is used, and nobody has called of late.
    #[must_use]
    pub fn is_idle(&self, now: MonoMillis) -> bool {
        let (since, ..) = self.counted;
        let is_empty = self.current.is_none() && self.retired.is_empty() && self.asked.is_none();
        is_empty && now.since(since) > HOT_WITHIN
    }

    fn count(&mut self, now: MonoMillis) {
        let (since, calls, _) = self.counted;
        self.counted = match now.since(since) {
            age if age < HOT_WITHIN => (since, calls.saturating_add(1), self.counted.2),
            age if age.0 / 2 < HOT_WITHIN.0 => (now, 1, calls),
            _ => (now, 1, 0),
        };
    }

    const fn is_hot(&self) -> bool {
        let (_, calls, before) = self.counted;
        calls >= HOT_CALLS || before >= HOT_CALLS
    }

    fn of_running(&mut self, call: TransferId) -> Option<&mut Allotment> {
        let mut all = self.current.iter_mut().chain(&mut self.retired);
        all.find(|of| of.running.contains_key(&call))
    }
}

// === impl Allotment ===

impl Allotment {
    fn is_usable(&self, now: MonoMillis) -> bool {
        now < self.use_until && self.calls < CALLS_MAX
    }

    /// Whether the ledger was told of all that has ended, and nothing runs, unless it is left to time in any case.
    fn is_told(&self) -> bool {
        self.untold.is_empty() && (self.is_left || self.running.is_empty())
    }
}

#[cfg(test)]
mod tests;
