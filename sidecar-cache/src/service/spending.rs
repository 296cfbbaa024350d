//! What was charged and what was saved, for operators: over whole days, each organization's own.

use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::savings::{By, SavingsReply};

use super::{Failure, Sidecar};
use crate::ledger::bill::Billed;
use crate::ledger::zones::Zones;
use crate::report::{self, BadDays, Days, Today};
use crate::store::StoreError;
use crate::store::ledger::LedgerStore;

/// Which sums are asked for.
#[derive(Clone, Debug, Default)]
pub struct SavingsAsked {
    /// Of one organization, or of all.
    pub org: Option<String>,
    /// By what: see [`By`].
    pub by: Option<String>,
    /// The first day.
    pub since: Option<String>,
    /// The day before which it ends.
    pub until: Option<String>,
}

// === impl Sidecar ===

impl Sidecar {
    /// What was charged and what was saved. What hits have saved by now is noted first; a store may tell it a moment
    /// later.
    ///
    /// # Errors
    /// No ledger; what is no day; a store without an answer.
    pub async fn savings(&self, asked: SavingsAsked) -> Result<SavingsReply, Failure> {
        let SavingsAsked { org, by, since, until } = asked;
        let settings = self.feed.settings();
        let (Some(ledger), Some(savings), Some(accounts)) =
            (&self.ledger, self.savings.store(), &settings.accounts)
        else {
            return Err(Failure::NoLedger);
        };
        let by = by.map_or(Ok(By::default()), |by| read_by(&by))?;
        let zones = &accounts.zones;
        let today = today(zones, org.as_deref(), self.clock.wall());
        let days = Days::read(since.as_deref(), until.as_deref(), today)
            .map_err(|BadDays { field, what }| Failure::Invalid { field, what })?;
        self.note_savings().await;
        let billed = billed(&**ledger, zones, org.as_deref(), days).await?;
        let (since, until) = (days.since.to_string(), days.until.to_string());
        let zone = org.as_deref().map_or(zones.common(), |org| zones.of(org)).name();
        let own_time_zones = org.is_none() && zones.differ();
        let saved = savings.saved(org, since.clone(), until.clone()).await?;
        let (rows, total) = report::rows(by, &billed, &saved);
        Ok(SavingsReply { since, until, time_zone: zone, own_time_zones, by, rows, total })
    }
}

/// The day that it is where an organization is. Of all of them, days are counted back from the common one, and none ends
/// before it is over for everybody.
fn today(zones: &Zones, org: Option<&str>, now: UnixMillis) -> Today {
    match org.map(|org| zones.of(org).date(now)) {
        Some(date) => Today::everywhere(date),
        None => Today { date: zones.common().date(now), latest: zones.latest_date(now) },
    }
}

/// What was charged in these days. Where organizations have days of their own, the ledger counts once for each way in which
/// the same days lie, so that each charge is in one count.
async fn billed(
    ledger: &dyn LedgerStore,
    zones: &Zones,
    org: Option<&str>,
    Days { since, until }: Days,
) -> Result<Vec<Billed>, StoreError> {
    if let Some(org) = org {
        let (begin, end) = zones.of(org).span(since, until);
        return ledger.billed(Some(org.to_owned()), begin, end).await;
    }
    let mut billed = Vec::new();
    for span in zones.spans(since, until) {
        let of_all = ledger.billed(None, span.0, span.1).await?;
        let is_its = |line: &Billed| zones.of(&line.org).span(since, until) == span;
        billed.extend(of_all.into_iter().filter(is_its));
    }
    Ok(billed)
}

fn read_by(text: &str) -> Result<By, Failure> {
    By::ALL.into_iter().find(|by| by.as_str() == text).ok_or(Failure::Invalid {
        field: "by",
        what: "is none of org, team, user, model and codebase",
    })
}
