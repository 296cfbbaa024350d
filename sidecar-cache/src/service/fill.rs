//! Storing an answer, under the lease of its flight.

use kt_contract::outcome::Reason;
use kt_contract::time::UnixMillis;
use kt_providers::{Recorded, Usage};

use super::cache::{Filling, Unfit};
use super::fault::SUPERSEDED;
use super::pilot::Pilot;
use super::shared::role::Role;
use crate::entry::Header;
use crate::flight::{Ending, Held};

// === impl Pilot ===

impl Pilot {
    /// Stores an answer under the lease, if there is one and it still counts.
    pub(super) async fn fill(
        &mut self,
        recorded: Recorded,
        body: &[u8],
        usage: Option<Usage>,
    ) -> Result<(), &'static str> {
        let (_, reason) = self.seat.cache();
        let Some(lease) = &self.lease else { return Err(reason.as_str()) };
        // A whole lifetime from now on: nobody can take over while the store works.
        let (Held::Current, Some(token)) = (lease.renew(), lease.token()) else {
            return Err(SUPERSEDED);
        };
        // The group's token, where there is a group.
        let (token, herald) = match &self.standing.role {
            Role::Single => (token, None),
            Role::Leads(herald) => (herald.token(), Some(herald)),
            Role::Apart(apart) => return Err(apart.as_str()),
            Role::Follows(_) => return Err(SUPERSEDED),
        };
        let grant = &self.seat.grant;
        let header = Header {
            gates: grant.gates.clone(),
            check: grant.check,
            generations: self.flight.generations(),
            token,
            created: self.sidecar.clock.wall(),
            fresh_until: UnixMillis(0),
            recorded,
            usage,
            served_by: grant.gates.model.served_by(),
        };
        let filling = Filling {
            keys: &grant.caller.keys,
            at: grant.at,
            header,
            body,
            ttl: grant.settings.ttl,
        };
        let cache = &self.sidecar.cache;
        let entry = cache.entry_of(filling).map_err(|unfit| match unfit {
            Unfit::Invalidated => SUPERSEDED,
            Unfit::Unknown => Reason::GenerationsUnknown.as_str(),
        })?;
        let stored = match herald {
            None => cache.store(entry).await.map(|()| Held::Current),
            Some(herald) => herald.fills(entry).await,
        };
        match stored {
            Ok(Held::Current) => {}
            Ok(Held::Superseded) => return Err(SUPERSEDED),
            Err(error) => {
                if error.is_news() {
                    tracing::warn!(%error, "fill failed");
                }
                return Err("store");
            }
        }
        match self.end(Ending::Filled) {
            Held::Current => Ok(()),
            Held::Superseded => Err(SUPERSEDED),
        }
    }
}
