//! What a wallet is not asked about: money that comes, and money that is spent already.

use super::super::answer::Refused;
use super::super::request::{Fund, OpenCalls};
use super::super::transfer::Kind;
use super::{About, Entry, Known, Plan};

/// Puts money into a wallet.
///
/// # Errors
/// The first rule that refuses.
pub fn fund(asked: &Fund, known: Option<&Known>) -> Result<Plan, Refused> {
    let entry = Entry { id: asked.id, kind: Kind::Fund, amount: asked.amount };
    unasked(entry, (&asked.org, &asked.note), known)
}

/// Pays for calls that passed without a sidecar. They are made, so that nothing is asked of the wallet: it goes below
/// zero, if need be, as an overage does, frozen or not.
///
/// # Errors
/// The first rule that refuses.
pub fn open_calls(asked: &OpenCalls, known: Option<&Known>) -> Result<Plan, Refused> {
    let entry = Entry { id: asked.id, kind: Kind::OpenCalls, amount: asked.amount };
    unasked(entry, (&asked.org, &asked.note), known)
}

/// A row of a wallet that is not asked what it has.
fn unasked(entry: Entry, of: (&str, &str), known: Option<&Known>) -> Result<Plan, Refused> {
    match known {
        Some(known) => known.same_or_refused(of, About::Wallet, entry),
        None if entry.amount.is_zero() => Err(Refused::BadAmount),
        None => Ok(Plan::of(vec![entry], None)),
    }
}
