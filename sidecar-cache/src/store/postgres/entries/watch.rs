//! How the database does as a store of entries: whether it is asked, whether it is there, and what has come of it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kt_contract::time::MonoMillis;
use kt_contract::wire::admin::StoreKind;

use crate::store::health::{Copies, Counts, Health};
use crate::store::postgres::fault::Fault;
use crate::store::redis::breaker::{Admitted, Breaker, Verdict};
use crate::store::redis::presence::{Change, Heard, Presence};

/// What was heard of it.
#[derive(Default)]
pub(super) struct Watch(Mutex<State>);

#[derive(Default)]
struct State {
    breaker: Breaker,
    presence: Presence,
    counts: Counts,
}

/// How something that was asked ended.
#[derive(Debug)]
pub(super) enum Ended<'a> {
    /// With an answer.
    Answered,
    /// Its time was over.
    Late,
    /// Otherwise.
    Failed(&'a Fault),
}

// === impl Watch ===

impl Watch {
    /// Whether it may be asked.
    pub(super) fn admit(&self, now: MonoMillis) -> Option<Admitted> {
        let mut state = self.state();
        let admitted = state.breaker.admit(now);
        if admitted == Admitted::Refused {
            state.counts.skipped = state.counts.skipped.saturating_add(1);
            return None;
        }
        Some(admitted)
    }

    /// It was asked, and that has ended. What people should be told is told here, once each.
    pub(super) fn ended(
        &self,
        admitted: Admitted,
        ended: &Ended<'_>,
        place: &impl fmt::Display,
        now: MonoMillis,
    ) {
        let change = {
            let mut state = self.state();
            let verdict = state.count(ended);
            if state.breaker.ended(admitted, verdict, now) {
                state.counts.opened = state.counts.opened.saturating_add(1);
            }
            let is_asked = !state.breaker.is_open();
            let why = ended.to_string();
            let heard = match verdict {
                Verdict::Answered => Heard::Answer,
                Verdict::Failed => Heard::Nothing(&why),
            };
            state.presence.heard(heard, is_asked, now)
        };
        match change {
            None => {}
            Some(Change::Went(why)) => tracing::warn!(
                store = "postgres",
                %place,
                why,
                "the shared store is away: what is not in this sidecar's memory is a miss, and nothing is stored"
            ),
            Some(Change::Came(away)) => {
                tracing::info!(store = "postgres", %place, away_ms = away.0, "the shared store is back");
            }
        }
    }

    /// How it is.
    pub(super) fn health(&self, place: String, connections: u64, now: MonoMillis) -> Health {
        let state = self.state();
        Health {
            store: StoreKind::Postgres,
            place,
            away: state.presence.away(now),
            unfit: None,
            says: None,
            advice: None,
            away_total: state.presence.away_total(now),
            is_asked: !state.breaker.is_open(),
            counts: Counts { connections, ..state.counts },
            copies: Copies::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn count(&mut self, ended: &Ended<'_>) -> Verdict {
        let counts = &mut self.counts;
        let (counter, verdict) = match ended {
            Ended::Answered => (&mut counts.answered, Verdict::Answered),
            Ended::Failed(Fault::Never(_) | Fault::Failed(_)) => {
                (&mut counts.refused, Verdict::Answered)
            }
            Ended::Failed(Fault::Corrupt(_)) => (&mut counts.malformed, Verdict::Answered),
            Ended::Late => (&mut counts.late, Verdict::Failed),
            Ended::Failed(Fault::Again(_) | Fault::Later(_) | Fault::ReadOnly(_)) => {
                (&mut counts.lost, Verdict::Failed)
            }
        };
        *counter = counter.saturating_add(1);
        verdict
    }
}

// === impl Ended ===

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Late => f.write_str("no answer in time"),
            Self::Failed(
                Fault::Again(why)
                | Fault::Later(why)
                | Fault::ReadOnly(why)
                | Fault::Failed(why)
                | Fault::Never(why),
            ) => f.write_str(why),
            Self::Failed(Fault::Corrupt(what)) => write!(f, "{what} makes no sense"),
        }
    }
}
