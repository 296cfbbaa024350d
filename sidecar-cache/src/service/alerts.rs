//! Alerts of budgets: once in its window, a budget of which so much is spent that somebody should know. Looked at
//! after what was posted, not with it: no call waits for an alert.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use kt_contract::config::Share;
use kt_contract::time::{Millis, MonoMillis, UnixMillis};

use super::{Sidecar, lock};
use crate::store::ledger::{LedgerStore, Level};

/// How often everybody's budgets are looked at: what was booked late, by hand or before a restart is found then.
const LOOK_AT_ALL_EVERY: Millis = Millis(60_000);

/// Whose budgets are to be looked at, and which have alerted.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    /// Organizations of which something was posted.
    touched: Mutex<BTreeSet<String>>,
    /// When everybody is looked at.
    all_at: Mutex<Option<MonoMillis>>,
    /// The accounts that the ledger knows to have alerted, with the end of their windows: it need not be asked.
    alerted: Mutex<BTreeMap<(String, String), UnixMillis>>,
}

/// Whether somebody should know how a budget stands. What is only set aside may come back, and alerts nobody.
fn is_due(level: &Level, threshold: Share) -> bool {
    level.spent >= threshold.of(level.limit)
}

// === impl Alerts ===

impl Alerts {
    /// Something of an organization was posted.
    pub(super) fn touch(&self, org: &str) {
        let mut touched = lock(&self.touched);
        if !touched.contains(org) {
            touched.insert(org.to_owned());
        }
    }

    /// Whether it is time to look at everybody.
    fn looks_at_all(&self, now: MonoMillis) -> bool {
        let mut at = lock(&self.all_at);
        let is_due = at.is_none_or(|at| now >= at);
        if is_due {
            *at = Some(now.after(LOOK_AT_ALL_EVERY));
        }
        is_due
    }

    /// Whether the ledger is to be asked if this one has alerted; from now on it is not.
    fn is_news(&self, org: &str, level: &Level) -> bool {
        let account = (org.to_owned(), level.account().to_string());
        lock(&self.alerted).insert(account, level.until).is_none()
    }

    /// What is over needs no memory.
    fn forget(&self, now: UnixMillis) {
        lock(&self.alerted).retain(|_, until| *until > now);
    }

    /// The ledger has not answered.
    fn ask_again(&self, org: &str, level: &Level) {
        lock(&self.alerted).remove(&(org.to_owned(), level.account().to_string()));
        self.touch(org);
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Looks at the budgets of those of whom something was posted since the last time, and tells of each that has
    /// reached its threshold.
    pub async fn look_at_budgets(&self) {
        let settings = self.feed.settings();
        let threshold =
            settings.accounts.as_ref().and_then(|accounts| accounts.budgets.alert_threshold);
        let (Some(ledger), Some(threshold)) = (&self.ledger, threshold) else { return };
        let mut orgs = std::mem::take(&mut *lock(&self.alerts.touched));
        if self.alerts.looks_at_all(self.clock.mono()) {
            self.alerts.forget(self.clock.wall());
            match self.keys.list().await {
                Ok(keys) => orgs.extend(keys.into_iter().map(|key| key.principal.org)),
                Err(error) => tracing::warn!(%error, "who has budgets is not known"),
            }
        }
        for org in orgs {
            self.look_at_budgets_of(&**ledger, &org, threshold).await;
        }
    }

    async fn look_at_budgets_of(&self, ledger: &dyn LedgerStore, org: &str, threshold: Share) {
        let levels = match ledger.levels(org.to_owned()).await {
            Ok(levels) => levels,
            Err(error) => {
                tracing::error!(%error, org, "how budgets stand is not known");
                self.alerts.touch(org);
                return;
            }
        };
        for level in levels {
            if !is_due(&level, threshold) {
                continue;
            }
            // Marked before it is told, so that of several sidecars one tells it, and once. So a stop waits between the two,
            // and what is not marked by then is told by whoever starts next.
            let _is_waited_for = self.drain.enter();
            if self.drain.is_draining() {
                return;
            }
            if !self.alerts.is_news(org, &level) {
                continue;
            }
            match ledger.alerted(org.to_owned(), level.account().to_string()).await {
                Ok(true) => self.alert(org, &level, threshold),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, org, "a budget's alert is not out yet");
                    self.alerts.ask_again(org, &level);
                }
            }
        }
    }

    fn alert(&self, org: &str, level: &Level, threshold: Share) {
        let Level { scope, period, window, until: _, limit, spent, pending: _ } = level;
        self.metrics.budget_alerted(scope.kind(), period.as_str());
        tracing::warn!(
            target: "kt::event",
            event = "budget_alert",
            org,
            scope = %scope,
            period = period.as_str(),
            window,
            spent_micro_usd = spent.micros(),
            limit_micro_usd = limit.micros(),
            threshold_micro_usd = threshold.of(*limit).micros(),
            "a budget has reached its alert threshold"
        );
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::money::MicroUsd;

    use super::*;
    use crate::ledger::account::Scope;
    use crate::ledger::window::Period;

    fn level(spent: u64, pending: u64) -> Level {
        let usd = |micros| MicroUsd::new(micros).unwrap();
        Level {
            scope: Scope::Org,
            period: Period::Daily,
            window: "2026-11-28".to_owned(),
            until: UnixMillis(1_000),
            limit: usd(1_001),
            spent: usd(spent),
            pending: usd(pending),
        }
    }

    fn share(text: &str) -> Share {
        let yaml = format!(
            "gateway: {{id: g}}\nproviders: {{targets: [{{id: o, provider: openai, models: [gpt-4o], \
             secret_key_ref: {{env: K}}}}]}}\nbudgets: {{organization: {{daily_limit_usd: 1, \
             alert_threshold: {text}}}}}\n"
        );
        let loaded = kt_contract::config::load("test.yaml", &yaml).unwrap();
        loaded.config.budgets.alert_threshold.unwrap()
    }

    #[test]
    fn what_is_spent_reaches_the_threshold_and_what_is_set_aside_does_not() {
        // A part of a limit is rounded up: 0.8 of 1,001 micro-dollars are 801.
        for (spent, pending, expected) in [
            (800, 0, false),
            (801, 0, true),
            (800, 201, false),
            (1_002, 0, true),
            (0, 1_001, false),
        ] {
            assert_eq!(is_due(&level(spent, pending), share("0.8")), expected, "{spent} {pending}");
        }
        assert!(!is_due(&level(1_000, 0), share("1")) && is_due(&level(1_001, 0), share("1")));
    }

    #[test]
    fn the_ledger_is_asked_once_for_each_window_unless_it_did_not_answer() {
        let alerts = Alerts::default();
        assert!(alerts.is_news("acme", &level(1, 0)));
        assert!(!alerts.is_news("acme", &level(2, 0)));
        assert!(alerts.is_news("globex", &level(1, 0)));
        alerts.ask_again("acme", &level(2, 0));
        assert_eq!(lock(&alerts.touched).len(), 1, "it is looked at again");
        assert!(alerts.is_news("acme", &level(2, 0)));
        alerts.forget(UnixMillis(999));
        assert!(!alerts.is_news("acme", &level(2, 0)));
        alerts.forget(UnixMillis(1_000));
        assert!(lock(&alerts.alerted).is_empty(), "the window is over");
    }

    #[test]
    fn everybody_is_looked_at_at_the_start_and_each_minute() {
        let alerts = Alerts::default();
        for (now, expected) in [(5, true), (6, false), (60_004, false), (60_005, true)] {
            assert_eq!(alerts.looks_at_all(MonoMillis(now)), expected, "{now}");
        }
    }
}
