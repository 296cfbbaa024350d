//! Refusals about money: a call that nobody can pay, or of which nobody knows the price. Statuses, codes and
//! words; who may spend what is the sidecar's to know.

use super::Short;

/// Why a call is not paid for, and so not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpaid {
    /// What is left does not cover the call.
    WalletEmpty {
        /// The team whose purse it is; `None` for the organization's wallet.
        team: Option<String>,
    },
    /// The wallet is frozen, by hand or because its book does not add up: nothing is paid from it until somebody has
    /// looked.
    WalletFrozen,
    /// What is left of a budget in its window does not cover the call.
    BudgetSpent {
        /// Whose budget, in words: `the organization`, `team 'payments'`.
        scope: String,
        /// `daily` or `monthly`.
        window: String,
        /// Seconds until the window ends and the budget begins anew.
        resets_in_s: u64,
    },
    /// The table has no price for the model, and the configuration has none for models that are not in it.
    NoPrice {
        /// Whose model.
        provider: String,
        /// The model.
        model: String,
    },
    /// The request asks for prices that the table does not have: another service tier, a tool of the provider's.
    PricedApart {
        /// The field that asks for them.
        field: String,
    },
    /// The ledger cannot be written, or its clock was set back: a call that could not be charged is not made.
    LedgerUnavailable,
}

/// A number of seconds as people say it, in its two largest units.
struct Span(u64);

// === impl Unpaid ===

impl Unpaid {
    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::WalletEmpty { .. } | Self::WalletFrozen => 402,
            Self::BudgetSpent { .. } => 429,
            Self::NoPrice { .. } | Self::PricedApart { .. } => 403,
            Self::LedgerUnavailable => 503,
        }
    }

    pub(super) const fn code(&self) -> &'static str {
        match self {
            // OpenAI's own word, by which its clients tell an empty account from being too fast.
            Self::WalletEmpty { .. } => "insufficient_quota",
            Self::WalletFrozen => "wallet_frozen",
            Self::BudgetSpent { .. } => "budget_exceeded",
            Self::NoPrice { .. } => "model_not_priced",
            Self::PricedApart { .. } => "priced_apart",
            Self::LedgerUnavailable => "wallet_unavailable",
        }
    }

    pub(super) fn param(&self) -> Option<&str> {
        match self {
            Self::NoPrice { .. } => Some("model"),
            Self::PricedApart { field } => Some(field),
            Self::WalletEmpty { .. }
            | Self::WalletFrozen
            | Self::BudgetSpent { .. }
            | Self::LedgerUnavailable => None,
        }
    }

    pub(super) fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::BudgetSpent { resets_in_s, .. } => Some((*resets_in_s).max(1)),
            Self::LedgerUnavailable => Some(1),
            Self::WalletEmpty { .. }
            | Self::WalletFrozen
            | Self::NoPrice { .. }
            | Self::PricedApart { .. } => None,
        }
    }

    /// Whether an SDK that tries again at once, or in a moment, tries in vain.
    pub(super) const fn is_final(&self) -> bool {
        match self {
            Self::WalletEmpty { .. }
            | Self::WalletFrozen
            | Self::BudgetSpent { .. }
            | Self::NoPrice { .. }
            | Self::PricedApart { .. } => true,
            Self::LedgerUnavailable => false,
        }
    }

    /// Whether money is what is missing: for dialects that have a word for that.
    #[must_use]
    pub const fn is_out_of_funds(&self) -> bool {
        match self {
            Self::WalletEmpty { .. } | Self::WalletFrozen | Self::BudgetSpent { .. } => true,
            Self::NoPrice { .. } | Self::PricedApart { .. } | Self::LedgerUnavailable => false,
        }
    }
}

impl std::fmt::Display for Unpaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WalletEmpty { team: None } => f.write_str("What is left in the organization's wallet does not cover this call. Ask your platform team to fund it; with a lower limit of output tokens the call may still fit."),
            Self::WalletEmpty { team: Some(team) } => write!(f, "What is left in the purse of team '{}' does not cover this call. Ask your platform team to fund it; with a lower limit of output tokens the call may still fit.", Short(team)),
            Self::WalletFrozen => f.write_str("The organization's wallet is frozen, by an operator or because its book does not add up, and pays for no call until somebody has looked at it. Ask your platform team."),
            Self::BudgetSpent { scope, window, resets_in_s } => write!(f, "What is left of the {window} budget of {} does not cover this call. It begins anew in {}; until then ask your platform team, or try with a lower limit of output tokens.", Short(scope), Span(*resets_in_s)),
            Self::NoPrice { provider, model } => write!(f, "No price is known for the model '{}' of provider '{provider}', so that it cannot be paid for. GET /v1/models lists other models; your platform team can add a price under 'pricing'.", Short(model)),
            Self::PricedApart { field } => write!(f, "'{}' asks for what the provider prices apart, and this gateway knows ordinary prices only. Send the request without it.", Short(field)),
            Self::LedgerUnavailable => f.write_str("The gateway cannot write its ledger, and makes no call that it could not charge. Try again in a moment."),
        }
    }
}

// === impl Span ===

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rounded up, like the moment from which a retry may succeed.
        let minutes = self.0.div_ceil(60).max(1);
        let (days, hours) = (minutes / (24 * 60), minutes / 60 % 24);
        match (days, hours, minutes % 60) {
            (0, 0, minutes) => write!(f, "{minutes} min"),
            (0, hours, minutes) => write!(f, "{hours} h {minutes} min"),
            (days, hours, _) => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Problem;
    use super::*;

    fn spent(resets_in_s: u64) -> Unpaid {
        let (scope, window) = ("team 'payments'".to_owned(), "monthly".to_owned());
        Unpaid::BudgetSpent { scope, window, resets_in_s }
    }

    #[test]
    fn each_refusal_about_money_says_whether_and_when_to_come_again() {
        let text = || "x".to_owned();
        for (unpaid, status, code, retry_after_s, is_final) in [
            (Unpaid::WalletEmpty { team: None }, 402, "insufficient_quota", None, true),
            (Unpaid::WalletEmpty { team: Some(text()) }, 402, "insufficient_quota", None, true),
            (Unpaid::WalletFrozen, 402, "wallet_frozen", None, true),
            (spent(90), 429, "budget_exceeded", Some(90), true),
            // Not "at once", whatever became of the seconds.
            (spent(0), 429, "budget_exceeded", Some(1), true),
            (
                Unpaid::NoPrice { provider: text(), model: text() },
                403,
                "model_not_priced",
                None,
                true,
            ),
            (Unpaid::PricedApart { field: text() }, 403, "priced_apart", None, true),
            (Unpaid::LedgerUnavailable, 503, "wallet_unavailable", Some(1), false),
        ] {
            let problem = Problem::Unpaid(unpaid);
            let said = (problem.status(), problem.code(), problem.retry_after_s());
            assert_eq!(said, (status, code, retry_after_s), "{problem:?}");
            assert_eq!(problem.is_final(), is_final, "{problem:?}");
        }
    }

    #[test]
    fn a_refusal_names_whose_money_it_is_and_what_to_do() {
        let words = |unpaid: Unpaid| Problem::Unpaid(unpaid).to_string();
        assert!(words(Unpaid::WalletEmpty { team: None }).contains("the organization's wallet"));
        let team = Some("payments".to_owned());
        assert!(words(Unpaid::WalletEmpty { team }).contains("the purse of team 'payments'"));
        let budget = words(spent(90));
        assert!(budget.contains("the monthly budget of team 'payments'"), "{budget}");
        let no_price = Unpaid::NoPrice { provider: "openai".into(), model: "gpt-9".into() };
        let no_price = Problem::Unpaid(no_price);
        assert_eq!(no_price.param(), Some("model"));
        let no_price = no_price.to_string();
        assert!(no_price.contains("'gpt-9' of provider 'openai'"), "{no_price}");
        assert!(no_price.contains("'pricing'"), "{no_price}");
        let apart = Problem::Unpaid(Unpaid::PricedApart { field: "service_tier".into() });
        assert_eq!(apart.param(), Some("service_tier"));
        assert!(apart.to_string().starts_with("'service_tier' asks"), "{apart}");
    }

    #[test]
    fn a_budgets_next_window_is_told_in_the_units_of_people() {
        for (seconds, words) in [
            (0, "in 1 min;"),
            (61, "in 2 min;"),
            (3_600, "in 1 h 0 min;"),
            (86_399, "in 1 d 0 h;"),
            (2 * 86_400 + 5 * 3_600, "in 2 d 5 h;"),
        ] {
            let told = spent(seconds).to_string();
            assert!(told.contains(words), "{seconds}: {told}");
        }
    }
}
