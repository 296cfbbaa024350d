//! What waits to be done, and what has come of it.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::facts::Question;
use crate::ledger::{Made, Operation, Receipt, TransferId};
use crate::store::StoreError;
use crate::store::ledger::Verdict;
use crate::store::postgres::fault::Fault;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is to be done.
#[expect(clippy::large_enum_variant, reason = "the largest is asked for with every call")]
pub(super) enum Job {
    /// With the organization, where its asker knows it and the operation does not say it.
    Operate(Operation, Option<String>, Reply<Verdict>),
    Freeze(String, String, Reply<()>),
    Unfreeze(String, Reply<()>),
}

/// What a job has come to, before it is on disk.
pub(super) enum Done {
    Verdict(Verdict),
    Nothing,
}

// === impl Job ===

impl Job {
    /// Whose book it is known to be about.
    pub(super) fn org(&self) -> Option<&str> {
        match self {
            Self::Operate(operation, org, _) => operation.org().or(org.as_deref()),
            Self::Freeze(org, ..) | Self::Unfreeze(org, _) => Some(org),
        }
    }

    /// Adds what has to be read for it at least.
    pub(super) fn ask(&self, question: &mut Question) {
        question.orgs.extend(self.org().map(str::to_owned));
        match self {
            Self::Operate(operation, ..) => {
                question.ids.extend(operation.id());
                question.ids.extend(operation.hold());
            }
            Self::Freeze(..) | Self::Unfreeze(..) => {}
        }
    }

    /// The hold that a reserve makes, if this is one and it has made it just now.
    pub(super) fn reserved(&self, done: &Done) -> Option<TransferId> {
        match (self, done) {
            (
                Self::Operate(Operation::Reserve(asked), ..),
                Done::Verdict(Ok(Receipt { made: Made::Created, .. })),
            ) => Some(asked.id),
            (Self::Operate(..) | Self::Freeze(..) | Self::Unfreeze(..), _) => None,
        }
    }

    /// A reserve that a try before this one has made, and whose commit was not heard of, is made for its caller only now:
    /// `owed` are those of whom nobody was told yet.
    pub(super) fn is_told_at_last(&self, done: &mut Done, owed: &mut BTreeSet<TransferId>) {
        if let Self::Operate(Operation::Reserve(asked), ..) = self
            && let Done::Verdict(Ok(receipt)) = done
            && owed.remove(&asked.id)
        {
            receipt.made = Made::Created;
        }
    }

    /// Answers. A caller that has left does not want it.
    pub(super) fn answer(self, done: Result<Done, Fault>) {
        let _ = match (self, done) {
            (Self::Operate(_, _, reply), Ok(Done::Verdict(verdict))) => {
                reply.send(Ok(verdict)).is_ok()
            }
            (Self::Operate(_, _, reply), Ok(Done::Nothing)) => reply.send(Err(other())).is_ok(),
            (Self::Operate(_, _, reply), Err(fault)) => reply.send(Err(fault.into())).is_ok(),
            (Self::Freeze(_, _, reply) | Self::Unfreeze(_, reply), done) => {
                reply.send(done.map(|_| ()).map_err(StoreError::from)).is_ok()
            }
        };
    }
}

fn other() -> StoreError {
    StoreError::Permanent("an answer to another question".to_owned())
}
