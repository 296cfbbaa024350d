//! What a flight is among those of its group.

use std::sync::{Arc, Mutex};

use kt_contract::outcome::{Outcome as Cached, Reason};

use super::Apart;
use super::herald::Herald;
use super::remote::Outcome;
use crate::flight::FlightId;

/// What this flight is among those of its group.
#[derive(Default)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// The shared flight of which an attempt has failed, and which attempt that was.
    pub(super) before: Option<(FlightId, u64)>,
    /// Whether whoever led does not any more: the next call is made in another one's name.
    pub(super) is_vacant: bool,
    /// What the cache did for whoever leads, until it waited for another sidecar's call.
    pub(super) was: Option<(Cached, Reason)>,
}

/// Whose call it waits for.
#[derive(Default)]
pub(crate) enum Role {
    /// Its own, and there is no group that it was asked of.
    #[default]
    Single,
    /// Its own, for the whole group.
    Leads(Herald),
    /// Another sidecar's, and what is known of it.
    Follows(Arc<Mutex<Outcome>>),
    /// Its own, beside the group: nothing is stored.
    Apart(Apart),
}

// === impl Standing ===

impl Standing {
    /// An attempt of a shared flight has failed, and with it whoever led it.
    pub(crate) const fn has_failed(&mut self, id: FlightId, attempt: u64) {
        (self.before, self.is_vacant) = (Some((id, attempt)), true);
    }
}

// === impl Role ===

impl Role {
    pub(crate) const fn herald(&mut self) -> Option<&mut Herald> {
        match self {
            Self::Leads(herald) => Some(herald),
            Self::Single | Self::Follows(_) | Self::Apart(_) => None,
        }
    }

    pub(crate) const fn follows(&self) -> bool {
        matches!(self, Self::Follows(_))
    }

    /// Whether what comes may be stored, as far as the group is concerned.
    pub(crate) fn may_fill(&self) -> bool {
        match self {
            Self::Single => true,
            Self::Leads(herald) => !herald.is_lost(),
            Self::Follows(_) | Self::Apart(_) => false,
        }
    }

    /// How many other sidecars read.
    pub(crate) fn followers(&self) -> u32 {
        match self {
            Self::Leads(herald) => herald.followers(),
            Self::Single | Self::Follows(_) | Self::Apart(_) => 0,
        }
    }
}
