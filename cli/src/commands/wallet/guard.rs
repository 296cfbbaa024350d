//! What guards a wallet: `kt wallet audit`, `freeze`, `unfreeze`.

use kt_contract::wire::admin::endpoint::Endpoint;
use kt_contract::wire::admin::wallet::{AuditReply, BreachEntry, FreezeRequest, FrozenReply};

use super::{Asking, Common, print_json};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::money::moment;
use crate::report;

/// `kt wallet audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    /// Only say what the last one found, which may be a minute old, or twenty times as old as an audit is long.
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    asking: Asking,
}

/// `kt wallet freeze`.
#[derive(Debug, clap::Args)]
pub(crate) struct Freeze {
    /// Why, for whoever finds it frozen.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// `kt wallet unfreeze`.
#[derive(Debug, clap::Args)]
pub(crate) struct Unfreeze {
    #[command(flatten)]
    common: Common,
}

// === impl Audit ===

impl Audit {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { last, asking } = self;
        let admin = asking.admin(environment);
        let audit: AuditReply = if last {
            admin.get(&Endpoint::LastAudit.path("")).await?
        } else {
            admin.post_patiently(&Endpoint::Audit.path("")).await?
        };
        if asking.json {
            print_json(&audit)?;
        } else if audit.breaches_total == 0 {
            report::say(told(&audit));
        }
        match audit.breaches_total {
            0 => Ok(()),
            _ => Err(broken(&audit)),
        }
    }
}

fn told(audit: &AuditReply) -> String {
    let AuditReply { at, took_ms, transfers, .. } = audit;
    let (seconds, tenths) = (took_ms / 1_000, took_ms % 1_000 / 100);
    format!("{transfers} transfers add up ({}, in {seconds}.{tenths} s)", moment(*at))
}

fn broken(audit: &AuditReply) -> Failure {
    let AuditReply { breaches_total, breaches, .. } = audit;
    let mut found: Vec<_> = breaches.iter().map(finding).collect();
    let untold = breaches_total.saturating_sub(breaches.len() as u64);
    if untold > 0 {
        found.push(format!("and {untold} more"));
    }
    Failure::new(format!("the ledger does not add up in {breaches_total} places"))
        .hint("the wallets that are named are frozen; docs/reference/wallet.md says what to do")
        .found(found)
}

fn finding(breach: &BreachEntry) -> String {
    let BreachEntry { invariant, org, account, expected, found } = breach;
    format!("{org}: {invariant}: {account}: expected {expected}, found {found}")
}

// === impl Freeze ===

impl Freeze {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { reason, common } = self;
        let path = common.path(Endpoint::WalletFreeze);
        let reply: FrozenReply =
            common.admin(environment).post(&path, &FreezeRequest { reason }).await?;
        say(&common, &reply)
    }
}

// === impl Unfreeze ===

impl Unfreeze {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { common } = self;
        let path = common.path(Endpoint::WalletUnfreeze);
        let reply: FrozenReply = common.admin(environment).post_patiently(&path).await?;
        say(&common, &reply)
    }
}

fn say(common: &Common, reply: &FrozenReply) -> Result<(), Failure> {
    if common.asking.json {
        return print_json(reply);
    }
    report::say(match &reply.frozen {
        None => format!("{} is not frozen", reply.org),
        Some(frozen) => {
            format!("{} is frozen since {}: {}", reply.org, moment(frozen.since), frozen.reason)
        }
    });
    Ok(())
}
