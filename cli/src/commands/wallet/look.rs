//! What can be looked at: `kt wallet balance`, `history`, `holds`, `export`.

use kt_contract::wire::admin::endpoint::Endpoint;
use kt_contract::wire::admin::wallet::{
    BalanceReply, BudgetEntry, HistoryReply, HoldEntry, HoldState, HoldsReply, PurseEntry,
    TRANSFERS_MAX, TransferEntry,
};

use super::{Common, print_json};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::money::{dollars, moment, signed_dollars};
use crate::report;
use crate::table;

/// `kt wallet balance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Balance {
    #[command(flatten)]
    common: Common,
}

/// `kt wallet history`.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// How many, at most 1000.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Only what is older than this one, by its number.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// `kt wallet holds`.
#[derive(Debug, clap::Args)]
pub(crate) struct Holds {
    #[command(flatten)]
    common: Common,
}

/// `kt wallet export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Only what is newer than this one, by its number.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    common: Common,
}

// === impl Balance ===

impl Balance {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { common } = self;
        let path = common.path(Endpoint::WalletBalance);
        let balance: BalanceReply = common.admin(environment).get(&path).await?;
        if common.asking.json {
            return print_json(&balance);
        }
        report::say(table::layout(["wallet", &balance.org], &rows(&balance)));
        if !balance.purses.is_empty() {
            let rows: Vec<_> = balance.purses.iter().map(purse).collect();
            let head = ["purse", "available", "posted", "pending"];
            report::say(format_args!("\n{}", table::layout(head, &rows)));
        }
        if !balance.budgets.is_empty() {
            let rows: Vec<_> = balance.budgets.iter().map(budget).collect();
            let head = ["budget", "window", "spent", "pending", "limit"];
            report::say(format_args!("\n{}", table::layout(head, &rows)));
        }
        if !balance.is_prepaid {
            report::note("no wallet is configured: calls are made whatever stands here");
        }
        Ok(())
    }
}

fn rows(balance: &BalanceReply) -> [[String; 2]; 6] {
    let state = match &balance.frozen {
        None => "open".to_owned(),
        Some(frozen) => format!("frozen since {}: {}", moment(frozen.since), frozen.reason),
    };
    [
        ["available", &signed_dollars(balance.available_micro_usd)],
        ["posted", &signed_dollars(balance.posted_micro_usd)],
        ["pending", &dollars(balance.pending_micro_usd)],
        ["suspense", &dollars(balance.suspense_micro_usd)],
        ["may fall short by", &dollars(balance.shortfall_max_micro_usd)],
        ["state", &state],
    ]
    .map(|row| row.map(str::to_owned))
}

fn purse(purse: &PurseEntry) -> [String; 4] {
    let PurseEntry { team, available_micro_usd, posted_micro_usd, pending_micro_usd } = purse;
    let (available, posted) = (signed_dollars(*available_micro_usd), *posted_micro_usd);
    [team.clone(), available, signed_dollars(posted), dollars(*pending_micro_usd)]
}

fn budget(budget: &BudgetEntry) -> [String; 5] {
    [
        format!("{} {}", budget.scope, budget.period),
        budget.window.clone(),
        dollars(budget.spent_micro_usd),
        dollars(budget.pending_micro_usd),
        dollars(budget.limit_micro_usd),
    ]
}

// === impl History ===

impl History {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { count, before, common } = self;
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        let path = format!("{}?count={count}{before}", common.path(Endpoint::WalletHistory));
        let history: HistoryReply = common.admin(environment).get(&path).await?;
        if common.asking.json {
            return print_json(&history);
        }
        let rows: Vec<_> = history.transfers.iter().map(row).collect();
        let head = ["number", "when", "kind", "amount", "about", "note"];
        report::say(table::layout(head, &rows));
        if let Some(before) = history.before {
            report::note(format_args!("older ones: --before {before}"));
        }
        Ok(())
    }
}

fn row(transfer: &TransferEntry) -> [String; 6] {
    let TransferEntry { number, id, kind, hold, team, amount_micro_usd, at, note, terms: _ } =
        transfer;
    // A hold is known by its own id, what refers to it by the hold's.
    let about = match (kind.as_str(), hold, team) {
        ("pending", _, _) => format!("hold {}", id.to_hex()),
        (_, Some(hold), _) => format!("hold {}", hold.to_hex()),
        (_, None, Some(team)) => format!("team {team}"),
        (_, None, None) => "-".to_owned(),
    };
    let (number, amount) = (number.to_string(), dollars(*amount_micro_usd));
    [number, moment(*at), kind.clone(), amount, about, note.clone()]
}

// === impl Holds ===

impl Holds {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { common } = self;
        let path = common.path(Endpoint::WalletHolds);
        let reply: HoldsReply = common.admin(environment).get(&path).await?;
        if common.asking.json {
            return print_json(&reply);
        }
        let rows: Vec<_> = reply.holds.iter().map(hold).collect();
        let head = ["hold", "state", "until", "held", "at most", "payer", "for"];
        report::say(table::layout(head, &rows));
        if reply.total > rows.len() as u64 {
            report::say(format!("and {} more, which end later", reply.total - rows.len() as u64));
        }
        Ok(())
    }
}

fn hold(hold: &HoldEntry) -> [String; 7] {
    let HoldEntry { id, state, held_micro_usd, until, terms } = hold;
    let state = match state {
        HoldState::Open => "open",
        HoldState::Suspended => "suspended",
    };
    let purpose = match (&terms.call, &terms.allotment) {
        (Some(call), _) => format!("{}/{} by {}", call.provider, call.model, call.key_id),
        (None, Some(sidecar)) => format!("the sidecar {sidecar}"),
        (None, None) => "-".to_owned(),
    };
    [
        id.to_hex(),
        state.to_owned(),
        moment(*until),
        dollars(*held_micro_usd),
        dollars(terms.cost_max_micro_usd),
        terms.payer.clone(),
        purpose,
    ]
}

// === impl Export ===

impl Export {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { mut after, common } = self;
        let admin = common.admin(environment);
        loop {
            let path = common.path(Endpoint::WalletExport);
            let page = admin.text(&format!("{path}?after={after}&count={TRANSFERS_MAX}")).await?;
            let Some(last) = page.lines().last() else { return Ok(()) };
            let last: TransferEntry = serde_json::from_str(last).map_err(|error| {
                Failure::new(format!("the sidecar's answer is no transfer: {error}"))
            })?;
            report::say(page.trim_end_matches('\n'));
            after = last.number;
        }
    }
}
