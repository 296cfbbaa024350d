//! What moves money: `kt wallet fund`, `adjust`, `allocate`, `refund`. Each invocation is one movement: it has a key of its
//! own, under which it can be asked for again where nobody knows what became of it.

use kt_contract::hex::Digest;
use kt_contract::wire::admin::endpoint::Endpoint;
use kt_contract::wire::admin::wallet::{
    AdjustRequest, AllocateRequest, Amount, BalanceReply, Direction, FundRequest, RefundRequest,
    TransferReply,
};
use serde::Serialize;

use super::{Common, print_json};
use crate::environment::{self, Environment};
use crate::failure::Failure;
use crate::idempotency::new_key;
use crate::money::{dollars, read_dollars, signed_dollars};
use crate::report;
use crate::sidecar::NotDone;

/// `kt wallet fund`.
#[derive(Debug, clap::Args)]
pub(crate) struct Fund {
    /// How many dollars, with at most six decimals.
    #[arg(value_name = "USD", value_parser = read_dollars)]
    amount: Amount,
    #[command(flatten)]
    movement: Movement,
}

/// `kt wallet adjust`.
#[derive(Debug, clap::Args)]
pub(crate) struct Adjust {
    /// Into the wallet, or out of it: never to below what is available.
    #[arg(value_enum)]
    direction: Way,
    /// How many dollars, with at most six decimals.
    #[arg(value_name = "USD", value_parser = read_dollars)]
    amount: Amount,
    #[command(flatten)]
    movement: Movement,
}

/// Which way a correction goes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Way {
    Credit,
    Debit,
}

/// `kt wallet allocate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Allocate {
    /// Whose purse. A team that was ever given one pays its calls from it alone.
    #[arg(long)]
    team: String,
    /// How many dollars, with at most six decimals.
    #[arg(value_name = "USD", value_parser = read_dollars)]
    amount: Amount,
    /// Out of the purse, back into the wallet.
    #[arg(long)]
    back: bool,
    #[command(flatten)]
    movement: Movement,
}

/// `kt wallet refund`.
#[derive(Debug, clap::Args)]
pub(crate) struct Refund {
    /// The call's hold, as `kt wallet history` names it.
    #[arg(value_parser = read_hold)]
    hold: Digest,
    /// How many dollars, with at most six decimals.
    #[arg(value_name = "USD", value_parser = read_dollars)]
    amount: Amount,
    #[command(flatten)]
    movement: Movement,
}

/// What all of them have.
#[derive(Debug, clap::Args)]
pub(super) struct Movement {
    /// Why, for those who read the history.
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
    /// The key of an earlier invocation, to ask for the same again [default: a new one]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    common: Common,
}

// === impl Fund ===

impl Fund {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { amount, movement } = self;
        let request = FundRequest { amount_micro_usd: amount, note: movement.note.clone() };
        movement.make(Endpoint::WalletFund, &request, environment).await
    }
}

// === impl Adjust ===

impl Adjust {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { direction, amount, movement } = self;
        let request = AdjustRequest {
            amount_micro_usd: amount,
            direction: match direction {
                Way::Credit => Direction::Credit,
                Way::Debit => Direction::Debit,
            },
            note: movement.note.clone(),
        };
        movement.make(Endpoint::WalletAdjust, &request, environment).await
    }
}

// === impl Allocate ===

impl Allocate {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { team, amount, back, movement } = self;
        let request = AllocateRequest {
            team,
            amount_micro_usd: amount,
            direction: if back { Direction::Debit } else { Direction::Credit },
            note: movement.note.clone(),
        };
        movement.make(Endpoint::WalletAllocate, &request, environment).await
    }
}

// === impl Refund ===

impl Refund {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { hold, amount, movement } = self;
        let note = movement.note.clone();
        let request = RefundRequest { hold, amount_micro_usd: amount, note };
        movement.make(Endpoint::WalletRefund, &request, environment).await
    }
}

// === impl Movement ===

impl Movement {
    pub(super) async fn make(
        self,
        endpoint: Endpoint,
        request: &(impl Serialize + Sync),
        environment: &Environment,
    ) -> Result<(), Failure> {
        let Self { note: _, idempotency_key, common } = self;
        let key = idempotency_key.map_or_else(new_key, Ok)?;
        let admin = common.admin(environment);
        let made = admin.post_once(&common.path(endpoint), &key, request).await;
        let made: TransferReply = made.map_err(|not_done| explained(not_done, &key))?;
        if common.asking.json {
            return print_json(&made);
        }
        // What was done is told, whether or not the balance can be.
        let balance = admin.get(&common.path(Endpoint::WalletBalance)).await.ok();
        report::say(told(&made, balance.as_ref()));
        Ok(())
    }
}

fn told(made: &TransferReply, balance: Option<&BalanceReply>) -> String {
    let TransferReply { created, id: _, kind, amount_micro_usd } = made;
    let what = format!("{} of {}", kind.replace('_', " "), dollars(*amount_micro_usd));
    let done = if *created { "done" } else { "was done before, and not again" };
    match balance {
        None => format!("{what}: {done}"),
        Some(balance) => {
            let available = signed_dollars(balance.available_micro_usd);
            format!("{what}: {done}; {} has {available} available", balance.org)
        }
    }
}

fn explained(not_done: NotDone, key: &str) -> Failure {
    match not_done {
        NotDone::Surely(failure) => failure,
        NotDone::Perhaps(failure) => Failure::new(format!(
            "{failure}\n  nobody knows whether the money was moved. To make sure, without moving it \
             twice:\n    {}",
            again(&environment::arguments(), key)
        )),
    }
}

/// The command that asks for the same again.
fn again(arguments: &[String], key: &str) -> String {
    let is_there = arguments.iter().any(|argument| argument.starts_with("--idempotency-key"));
    let key = [format!("--idempotency-key={key}")];
    let key = key.iter().filter(|_| !is_there);
    let words = arguments.iter().chain(key).map(|word| quoted(word));
    std::iter::once("kt".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn read_hold(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text).map_err(|_| {
        "a hold is named by 64 lower-case hexadecimal digits, as `kt wallet history` shows them"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn what_may_have_happened_is_asked_for_again_under_the_same_key() {
        assert_eq!(
            again(&words("wallet|fund|--org|acme|25|--note|it's on us"), "k1"),
            r"kt wallet fund --org acme 25 --note 'it'\''s on us' --idempotency-key=k1"
        );
        let given = "wallet|fund|--idempotency-key|mine|--org|acme|25";
        let expected = "kt wallet fund --idempotency-key mine --org acme 25";
        assert_eq!(again(&words(given), "mine"), expected);
    }
}
