//! How a store is that is somewhere else: whether it is there, and what has come of all that it was asked.

use kt_contract::time::Millis;
use kt_contract::wire::admin::StoreKind;

/// A store as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Which it is.
    pub store: StoreKind,
    /// Where it is, for people. No login is told.
    pub place: String,
    /// For how long it has been away, and why; `None`: it is there.
    pub away: Option<(Millis, String)>,
    /// Why it is not what is needed, though it is there.
    pub unfit: Option<String>,
    /// What it says of itself, as it was last asked: its version, and what it holds and evicts.
    pub says: Option<String>,
    /// What its owner should change, though it serves.
    pub advice: Option<&'static str>,
    /// For how long it has been away since the start, in all.
    pub away_total: Millis,
    /// Whether it is asked: its breaker is closed.
    pub is_asked: bool,
    /// What has come of what it was asked.
    pub counts: Counts,
    /// What is held of it in memory.
    pub copies: Copies,
}

/// Entries of another store that are held in memory as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// How many.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many lookups they have answered since the start.
    pub hits: u64,
}

/// What has come of the commands to a store since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands that were answered as they should be.
    pub answered: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Commands that got no answer in time.
    pub late: u64,
    /// Commands that were lost with their connection, or for which none could be made.
    pub lost: u64,
    /// Commands that Redis refused: out of memory, no permission.
    pub refused: u64,
    /// Commands whose answers made no sense.
    pub malformed: u64,
    /// Commands that were not sent because the breaker was open, or too many were under way.
    pub skipped: u64,
    /// How often the breaker has opened.
    pub opened: u64,
}

// === impl Health ===

impl Health {
    /// What an operator should know, if anything is wrong.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let place = &self.place;
        match (&self.away, &self.unfit) {
            (Some((since, why)), _) => {
                Some(format!("{place} is away since {} s: {why}", since.0 / 1_000))
            }
            (None, Some(why)) => Some(format!("{place}: {why}")),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_by_what_hides_the_rest() {
        let well = Health {
            store: StoreKind::Redis,
            place: "redis at cache:6379".to_owned(),
            away: None,
            unfit: None,
            says: None,
            advice: None,
            away_total: Millis(0),
            is_asked: true,
            counts: Counts::default(),
            copies: Copies::default(),
        };
        assert_eq!(well.fault(), None);
        let unfit = Health { unfit: Some("it is a replica".to_owned()), ..well };
        assert_eq!(unfit.fault().unwrap(), "redis at cache:6379: it is a replica");
        let away = Health { away: Some((Millis(12_900), "late".to_owned())), ..unfit };
        assert_eq!(away.fault().unwrap(), "redis at cache:6379 is away since 12 s: late");
    }
}
