//! Money that people and sidecars move beside calls: between a wallet and the purses of teams, back from charges, by
//! hand, and in and out of allotments. Whoever moves some is asked for it again until there is an answer, by messages
//! that get lost and doubled, and later once more by somebody who is not sure.

use std::rc::Rc;

use kt_contract::money::MicroUsd;
use sidecar_cache::ledger::request::{
    Adjust, Allocate, CallOf, Direction, Draw, DrawnEnd, Extend, Funding, Purpose, Refund, Reserve,
};
use sidecar_cache::ledger::window::Zone;
use sidecar_cache::ledger::{Hold, Operation, State, TransferId};

use crate::books::HOLD_TTL;
use crate::event::{Event, Fault};
use crate::fixture::MODEL;
use crate::plant::Plant;
use crate::swarm::{Purse, pick};
use crate::world::World;

/// The team of all callers, and one without any.
const TEAMS: [&str; 2] = ["core", "edge"];
/// How long until somebody asks again who is not sure.
const UNSURE_MS_MAX: u64 = 30_000;

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// From the wallet to a purse.
    Allocate,
    /// From a purse to the wallet.
    Deallocate,
    /// A wallet is corrected.
    Adjust,
    /// Something of a charge is given back.
    Refund,
    /// A hold gets more money.
    Extend,
    /// Something is set aside for a sidecar.
    Allot,
    /// A call was paid out of that.
    Draw,
    /// What is left of it comes back.
    Leave,
}

impl Move {
    const ALL: [Self; 12] = [
        Self::Allocate,
        Self::Allocate,
        Self::Deallocate,
        Self::Deallocate,
        Self::Adjust,
        Self::Refund,
        Self::Refund,
        Self::Extend,
        Self::Allot,
        Self::Draw,
        Self::Draw,
        Self::Leave,
    ];

    /// It in a word, where it has done something.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Allocate => "moves: allocated",
            Self::Deallocate => "moves: taken back from a purse",
            Self::Adjust => "moves: adjusted",
            Self::Refund => "moves: refunded",
            Self::Extend => "moves: extended",
            Self::Allot => "moves: allotted",
            Self::Draw => "moves: drawn",
            Self::Leave => "moves: left of allotments",
        }
    }
}

// === impl World ===

impl World<'_> {
    /// What will be moved, and when.
    pub(crate) fn schedules_moves(&mut self, horizon: u64) {
        if self.swarm.purse == Purse::None {
            return;
        }
        for nth in 0..self.swarm.moves {
            let what = pick(&mut self.rng, &Move::ALL).unwrap_or(Move::Allocate);
            let at = 20 + self.rng.u64(0..horizon);
            let sidecar = self.rng.usize(0..self.sidecars.len().max(1));
            self.push_at(at, Event::Fault(Fault::Moves { sidecar, what, nth }));
        }
    }

    /// Somebody moves money.
    pub(crate) fn moves(&mut self, sidecar: usize, what: Move, nth: u32) {
        let Some(operation) = self.movement(sidecar, what, nth) else { return };
        let operation = Rc::new(operation);
        self.moves_money(sidecar, Rc::clone(&operation), what);
        if self.rng.bool() {
            let length = self.rng.u64(1..UNSURE_MS_MAX);
            self.push_in(length, Event::Fault(Fault::MovesAgain { sidecar, what, operation }));
        }
    }

    /// Somebody who is not sure asks again, at whichever sidecar of the same ledger.
    pub(crate) fn moves_again(&mut self, sidecar: usize, what: Move, operation: &Rc<Operation>) {
        let mut operation = Rc::clone(operation);
        if self.has(Plant::MoveTwice) {
            rename(Rc::make_mut(&mut operation));
        }
        self.moves_money(sidecar, operation, what);
    }

    fn movement(&mut self, sidecar: usize, what: Move, nth: u32) -> Option<Operation> {
        let org_nth = self.rng.usize(0..self.fixture.orgs.len());
        let org = (*self.fixture.orgs.get(org_nth)?).to_owned();
        let amount = self.any_amount();
        let direction = if self.rng.bool() { Direction::Credit } else { Direction::Debit };
        let team = pick(&mut self.rng, &TEAMS)?.to_owned();
        let note = format!("move {nth}");
        let id = TransferId::of_key(&org, "move", &note);
        Some(match what {
            Move::Allocate | Move::Deallocate => {
                let direction =
                    if what == Move::Allocate { Direction::Credit } else { Direction::Debit };
                Operation::Allocate(Allocate { id, org, team, amount, direction, note })
            }
            Move::Adjust => Operation::Adjust(Adjust { id, org, amount, direction, note }),
            Move::Refund => {
                let hold = self.any_hold(sidecar, |hold| hold.charged().is_some())?;
                Operation::Refund(Refund { id, hold: hold.id, amount, note })
            }
            Move::Extend => {
                let is_open = |hold: &Hold| matches!(hold.state, State::Open { .. });
                let hold = self.any_hold(sidecar, is_open)?;
                let total = hold.held.plus(amount);
                Operation::Extend(Extend { hold: hold.id, total, ttl: HOLD_TTL })
            }
            Move::Allot => {
                let purpose = Purpose::Allotment(format!("sidecar-{sidecar}"));
                let team = self.rng.bool().then_some(team);
                Operation::Reserve(self.unbudgeted((id, &org), purpose, team, amount))
            }
            Move::Draw => {
                let allotment = self.any_allotment(sidecar)?;
                let amount = self.gives_out(&allotment, amount)?;
                let purpose = Purpose::Call(CallOf {
                    provider: "openai".to_owned(),
                    model: MODEL.to_owned(),
                    ..CallOf::default()
                });
                let reserve = self.unbudgeted((id, &allotment.org), purpose, None, amount);
                let actual = self.any_amount();
                let ends = [
                    None,
                    Some(DrawnEnd::Release),
                    Some(DrawnEnd::Settle { actual, estimated: false }),
                ];
                let end = pick(&mut self.rng, &ends)?;
                Operation::Draw(Draw { allotment: allotment.id, reserve, end })
            }
            Move::Leave => {
                let allotment = self.any_allotment(sidecar)?;
                self.given_out.insert(allotment.id, allotment.first);
                Operation::Release { hold: allotment.id }
            }
        })
    }

    /// Something to be set aside under no budget.
    fn unbudgeted(
        &self,
        (id, org): (TransferId, &str),
        purpose: Purpose,
        team: Option<String>,
        amount: MicroUsd,
    ) -> Reserve {
        let funding = match self.swarm.purse {
            Purse::Postpaid => Funding::Postpaid,
            Purse::None | Purse::Ample | Purse::Tight => Funding::Prepaid,
        };
        Reserve {
            id,
            org: org.to_owned(),
            funding,
            team,
            purpose,
            amount,
            cost_max: amount,
            ttl: HOLD_TTL,
            budgets: Vec::new(),
            zone: Zone::utc(),
            prices: "v1".to_owned(),
        }
    }

    /// Some are of a call, some of a wallet.
    fn any_amount(&mut self) -> MicroUsd {
        let most = pick(&mut self.rng, &[500, 5_000, 40_000, 600_000_000]).unwrap_or(500);
        MicroUsd::new(self.rng.u64(1..most)).unwrap_or_default()
    }

    fn any_hold(&mut self, sidecar: usize, is_it: impl Fn(&Hold) -> bool) -> Option<Hold> {
        let store = self.sidecars.get(sidecar)?.store;
        let holds: Vec<&Hold> =
            self.stores.get(store)?.book.holds().filter(|hold| is_it(hold)).collect();
        let which = self.rng.usize(0..holds.len().max(1));
        holds.get(which).map(|hold| (*hold).clone())
    }

    /// As much of an allotment as is left of it, at most this. `None`: nothing is.
    fn gives_out(&mut self, allotment: &Hold, amount: MicroUsd) -> Option<MicroUsd> {
        let given = self.given_out.entry(allotment.id).or_default();
        let amount = amount.min(allotment.first.less(*given));
        *given = given.plus(amount);
        (!amount.is_zero()).then_some(amount)
    }

    fn any_allotment(&mut self, sidecar: usize) -> Option<Hold> {
        self.any_hold(sidecar, |hold| matches!(hold.terms.purpose, Purpose::Allotment(_)))
    }
}

/// What a careless service does that mints a key for each try.
fn rename(operation: &mut Operation) {
    match operation {
        Operation::Adjust(asked) => asked.id = asked.id.of_step("again", 0),
        Operation::Allocate(asked) => asked.id = asked.id.of_step("again", 0),
        Operation::Refund(asked) => asked.id = asked.id.of_step("again", 0),
        Operation::Fund(_)
        | Operation::Reserve(_)
        | Operation::Extend(_)
        | Operation::Settle { .. }
        | Operation::Release { .. }
        | Operation::Expire { .. }
        | Operation::LateSettle { .. }
        | Operation::Return { .. }
        | Operation::Draw(_)
        | Operation::OpenCalls(_) => {}
    }
}
