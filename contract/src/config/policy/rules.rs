//! The list spelling of `policies`: named lists of rules. One rule is known, that of a wallet.

use serde_json::Value;

use super::super::raw::{NamedPolicy, Rule};
use super::super::report::Report;

/// The condition that is known, and the word that it takes.
const WALLET_BALANCE: &str = "wallet_balance";
const SUFFICIENT: &str = "sufficient";
/// What is done where the conditions hold. Where they do not, the request is refused.
const ALLOW: &str = "allow";

/// Whether one of the rules lets calls through only while the wallet has the money for them.
pub(super) fn check(policies: Vec<NamedPolicy>, report: &mut Report) -> bool {
    let mut of_wallet = false;
    for (at, NamedPolicy { name, rules }) in policies.into_iter().enumerate() {
        let name = name.as_deref().unwrap_or("(without a name)");
        let rules = rules.unwrap_or_default();
        let has_conditions =
            rules.iter().any(|rule| rule.conditions.as_ref().is_some_and(|it| !it.is_empty()));
        if !has_conditions {
            let problem = format!("policy '{name}' is configured but not enforced yet");
            report.error(format!("policies[{at}]"), problem);
        }
        for (rule, Rule { action, conditions }) in rules.into_iter().enumerate() {
            let rule = format!("policies[{at}].rules[{rule}]");
            let mut is_of_wallet = false;
            for (condition, value) in conditions.unwrap_or_default() {
                is_of_wallet |= condition == WALLET_BALANCE;
                check_condition(&rule, name, &condition, &value, report);
            }
            if is_of_wallet {
                check_action(&rule, action.as_deref(), report);
            }
            of_wallet |= is_of_wallet;
        }
    }
    of_wallet
}

fn check_condition(rule: &str, policy: &str, condition: &str, value: &Value, report: &mut Report) {
    let field = format!("{rule}.conditions.{condition}");
    if condition != WALLET_BALANCE {
        report.error(
            field,
            format!(
                "the rule '{condition}' of policy '{policy}' is configured but not enforced yet"
            ),
        );
    } else if value.as_str() != Some(SUFFICIENT) {
        report.error(field, format!("is not what belongs here: known is '{SUFFICIENT}'"));
    }
}

fn check_action(rule: &str, action: Option<&str>, report: &mut Report) {
    let field = format!("{rule}.action");
    if action != Some(ALLOW) && report.is_whole(&field) {
        report.error(
            field,
            "must be 'allow': requests go on where the wallet has the money for them, and are \
             refused where it has not",
        );
    }
}
