//! What was charged and what was saved, for operators: over whole days of the wallet's time zone.

use kt_contract::wire::admin::savings::{By, SavingsReply};

use super::{Failure, Sidecar};
use crate::report::{self, BadDays, Days};

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
        let zone = &accounts.zone;
        let today = zone.date(self.clock.wall());
        let Days { since, until } = Days::read(since.as_deref(), until.as_deref(), today)
            .map_err(|BadDays { field, what }| Failure::Invalid { field, what })?;
        self.note_savings().await;
        let (begin, end) = (zone.begin_of(since), zone.begin_of(until));
        let (since, until) = (since.to_string(), until.to_string());
        let billed = ledger.billed(org.clone(), begin, end).await?;
        let saved = savings.saved(org, since.clone(), until.clone()).await?;
        let (rows, total) = report::rows(by, &billed, &saved);
        Ok(SavingsReply { since, until, time_zone: zone.name(), by, rows, total })
    }
}

fn read_by(text: &str) -> Result<By, Failure> {
    By::ALL.into_iter().find(|by| by.as_str() == text).ok_or(Failure::Invalid {
        field: "by",
        what: "is none of org, team, user, model and codebase",
    })
}
