//! How much of each budget is spent in the day or month that is now: of every one that the configuration names, and of
//! every user who has spent anything. Pure.

use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::wallet::BudgetEntry;

use crate::ledger::account::Scope;
use crate::ledger::window::{Period, Zone};
use crate::service::settings::Accounts;
use crate::store::ledger::Level;

/// The budgets of an organization of which the ledger knows these, and whose days are those of this zone.
pub(super) fn current(
    accounts: &Accounts,
    zone: &Zone,
    levels: &[Level],
    now: UnixMillis,
) -> Vec<BudgetEntry> {
    let users = accounts.budgets.user_daily.iter().flat_map(|limit| {
        let is_users = |level: &&Level| match level.scope {
            Scope::User(_) => level.period == Period::Daily,
            Scope::Org | Scope::Team(_) | Scope::Agent(_) | Scope::Workflow(_) | Scope::Pack(_) => {
                false
            }
        };
        let users = levels.iter().filter(is_users);
        users.map(|level| (level.scope.clone(), level.period, *limit))
    });
    let limits = named(accounts).into_iter().chain(users);
    limits
        .map(|(scope, period, limit)| {
            // Until the first reserve in a window the ledger knows none.
            let window = zone.window(period, now);
            let level = levels.iter().find(|level| {
                level.scope == scope && level.period == period && level.window == window.name
            });
            BudgetEntry {
                scope: scope.to_string(),
                period: period.as_str().to_owned(),
                window: window.name,
                until: window.until,
                limit_micro_usd: limit.micros(),
                spent_micro_usd: level.map_or(0, |level| level.spent.micros()),
                pending_micro_usd: level.map_or(0, |level| level.pending.micros()),
            }
        })
        .collect()
}

/// The limits of those whom the configuration names.
fn named(accounts: &Accounts) -> Vec<(Scope, Period, MicroUsd)> {
    let organization = std::iter::once((Scope::Org, &accounts.budgets.organization));
    let teams = accounts.budgets.teams.iter();
    let teams = teams.map(|(team, limits)| (Scope::Team(team.clone()), limits));
    let limits = organization.chain(teams).flat_map(|(scope, limits)| {
        let daily = limits.daily.map(|limit| (scope.clone(), Period::Daily, limit));
        let monthly = limits.monthly.map(|limit| (scope, Period::Monthly, limit));
        daily.into_iter().chain(monthly)
    });
    let pack = accounts.pack_daily.iter();
    let pack = pack.map(|(pack, limit)| (Scope::Pack(pack.clone()), Period::Daily, *limit));
    limits.chain(pack).collect()
}
