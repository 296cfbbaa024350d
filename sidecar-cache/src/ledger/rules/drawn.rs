//! What may be drawn from an allotment.

use kt_contract::money::MicroUsd;

use super::super::answer::Refused;
use super::super::clock::Now;
use super::super::request::{Draw, Purpose};
use super::super::transfer::{Hold, Kind, State, Terms};
use super::{Entry, Known, Plan, is_same};

/// What a draw does before its call ends: to the allotment, unless nothing is taken from there, and then for the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// What is taken out of the allotment.
    pub taken: Option<Plan>,
    /// The hold of the call.
    pub pledged: Plan,
}

/// Makes the hold of a call that was reserved from an allotment, with money out of there; `None`: it was made before.
/// An allotment that time has ended is drawn from suspense. Of one that was given back nothing is left: who pays for
/// it pays anew, as for evidence that comes after a return.
///
/// # Errors
/// The first rule that refuses.
pub fn draw(
    now: &Now,
    asked: &Draw,
    known: Option<&Known>,
    allotment: Option<&Hold>,
) -> Result<Option<Drawing>, Refused> {
    let Draw { allotment: from, reserve, end: _ } = asked;
    match known {
        Some(Known::Hold(hold)) if is_same(hold, reserve) && hold.terms.drawn == Some(from.0) => {
            return Ok(None);
        }
        Some(Known::Hold(_) | Known::Transfer(_)) => return Err(Refused::ExistsDifferent),
        None => {}
    }
    let allotment = allotment.filter(|hold| is_allotment_of(hold, &reserve.org));
    let allotment = allotment.ok_or(Refused::NotFound)?;
    let left = match allotment.state {
        State::Open { .. } | State::Expired { .. } => allotment.held,
        State::Settled { .. }
        | State::Released
        | State::Returned
        | State::LateSettled { .. }
        | State::LateReleased => MicroUsd::ZERO,
    };
    let taken = asked.taken().min(left);
    let id = reserve.id.of_step("draw", 0);
    let entry = Entry { id, kind: Kind::Draw, amount: taken };
    let after = Hold { held: allotment.held.less(taken), ..allotment.clone() };
    let taken = (!taken.is_zero()).then(|| Plan::of(vec![entry], Some(after)));
    let hold = Hold {
        id: reserve.id,
        org: reserve.org.clone(),
        first: reserve.amount,
        held: reserve.amount,
        refunded: MicroUsd::ZERO,
        terms: Terms {
            purpose: reserve.purpose.clone(),
            // Whoever paid for the allotment, whatever purses there are by now.
            payer: allotment.terms.payer.clone(),
            shard: 0,
            cost_max: reserve.cost_max,
            charges: Vec::new(),
            prices: reserve.prices.clone(),
            drawn: Some(from.0),
        },
        state: State::Open { due_at: now.after(reserve.ttl) },
    };
    let entry = Entry { id: reserve.id, kind: Kind::Pending, amount: reserve.amount };
    Ok(Some(Drawing { taken, pledged: Plan::of(vec![entry], Some(hold)) }))
}

fn is_allotment_of(hold: &Hold, org: &str) -> bool {
    match hold.terms.purpose {
        Purpose::Allotment(_) => hold.org == org,
        Purpose::Call(_) => false,
    }
}
