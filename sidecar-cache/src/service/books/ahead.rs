//! That a ledger's clock is ahead of the wall clock. Its days never go back, so that nothing is reserved until the wall clock
//! is there again: after one that was ahead once, perhaps for a very long time, in which somebody has to know why.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kt_contract::time::{Millis, MonoMillis};

use crate::ledger::Refused;
use crate::service::lock;
use crate::store::ledger::Verdict;

/// Who has not been refused for so long may be asked for no more, and is not spoken of.
const FORGET_AFTER: Millis = Millis(600_000);

/// For whom it is, and when that was seen last.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<BTreeMap<String, MonoMillis>>);

// === impl Ahead ===

impl Ahead {
    /// What the ledger has said to a reserve of an organization.
    pub(super) fn says(&self, org: &str, verdict: &Verdict, now: MonoMillis) {
        let mut orgs = lock(&self.0);
        orgs.retain(|_, seen| now.since(*seen) < FORGET_AFTER);
        match verdict {
            Err(Refused::ClockSetBack) => {
                if orgs.insert(org.to_owned(), now).is_none() {
                    tracing::error!(
                        org,
                        "the wall clock is behind what the ledger has seen of it: nothing is reserved until it is there \
                         again"
                    );
                }
            }
            Ok(_) => {
                if orgs.remove(org).is_some() {
                    tracing::info!(
                        org,
                        "the wall clock is where the ledger has seen it: calls are made again"
                    );
                }
            }
            Err(_) => {}
        }
    }

    /// It in a sentence, with what to do, where it is so.
    pub(super) fn fault(&self, now: MonoMillis) -> Option<String> {
        let mut orgs = lock(&self.0);
        orgs.retain(|_, seen| now.since(*seen) < FORGET_AFTER);
        let first = orgs.keys().next()?;
        let others = match orgs.len() {
            1 => String::new(),
            all => format!(" and {} more", all.saturating_sub(1)),
        };
        Some(format!(
            "the clock was set back: no call of {first}{others} is made until it shows again what it has shown before; set it \
             right, and where it was ahead before, see 'A clock that was ahead' in docs/reference/wallet.md"
        ))
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::money::MicroUsd;

    use super::*;
    use crate::ledger::{Kind, Made, Receipt};

    fn reserved() -> Verdict {
        Ok(Receipt { made: Made::Created, kind: Kind::Pending, amount: MicroUsd::ZERO })
    }

    #[test]
    fn a_clock_that_is_ahead_is_told_of_until_something_is_reserved_or_nobody_asks() {
        let ahead = Ahead::default();
        let says = |org: &str, verdict: Verdict, now: u64| {
            ahead.says(org, &verdict, MonoMillis(now));
            let told = ahead.fault(MonoMillis(now));
            told.map(|told| told.split(" is made").next().unwrap_or_default().to_owned())
        };
        let one = Some("the clock was set back: no call of acme".to_owned());
        let two = Some("the clock was set back: no call of acme and 1 more".to_owned());
        assert_eq!(says("acme", reserved(), 0), None);
        assert_eq!(says("acme", Err(Refused::ClockSetBack), 1), one);
        assert_eq!(says("globex", Err(Refused::ClockSetBack), 2), two);
        assert_eq!(says("globex", reserved(), 3), one);
        assert_eq!(says("acme", Err(Refused::Frozen), 600_000), one, "nothing is reserved yet");
        assert_eq!(ahead.fault(MonoMillis(600_001)), None, "nobody has asked since");
        assert_eq!(says("acme", Err(Refused::ClockSetBack), 600_002), one);
        assert_eq!(says("acme", reserved(), 600_003), None);
    }
}
