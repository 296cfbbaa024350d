//! How much of each budget is spent in the day or month that is now: of every one that is configured by name, and of
//! every user who has spent anything. Pure.

use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::wallet::BudgetEntry;

use super::told::signed;
use crate::ledger::account::{Account, AccountName, Scope};
use crate::ledger::window::Period;
use crate::service::settings::Accounts;

/// The budgets of an organization that has these accounts.
pub(super) fn current(
    accounts: &Accounts,
    held: &[(String, Account)],
    now: UnixMillis,
) -> Vec<BudgetEntry> {
    let users = accounts.budgets.user_daily.map(|limit| {
        let window = accounts.zone.window(Period::Daily, now);
        let ending = format!(":{}:{}", window.period.as_str(), window.name);
        let names = held.iter().filter_map(|(name, _)| {
            let user = name.strip_prefix("budget:user:")?.strip_suffix(&ending)?;
            Some((Scope::User(user.to_owned()), Period::Daily, limit))
        });
        names.collect::<Vec<_>>()
    });
    let limits = named(accounts).into_iter().chain(users.into_iter().flatten());
    limits
        .map(|(scope, period, limit)| {
            let window = accounts.zone.window(period, now);
            let name = AccountName::budget(&scope, &window).to_string();
            let account = held.iter().find(|(held, _)| *held == name).map(|(_, account)| *account);
            let Account { debits, credits } = account.unwrap_or_default();
            BudgetEntry {
                scope: scope.to_string(),
                period: period.as_str().to_owned(),
                window: window.name,
                until: window.until,
                limit_micro_usd: limit.micros(),
                spent_micro_usd: signed(i128::from(debits.posted) - i128::from(credits.posted)),
                pending_micro_usd: debits.pending(),
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
