//! What the ledger has said of this month, and when. For an answer it reads the whole month, so it is asked rarely, and
//! whoever waits for it shows everything else meanwhile. Pure.

use kt_contract::time::MonoMillis;
use kt_contract::wire::admin::savings::SavingsReply;

use crate::failure::Failure;

/// What is known by now.
#[derive(Clone, Debug, Default)]
pub(crate) enum Savings {
    /// It was asked and has not answered yet.
    #[default]
    Awaited,
    /// It has never told anything, and why.
    Refused(String),
    /// What it told last.
    Told {
        /// Its sums.
        reply: SavingsReply,
        /// When they came.
        at: MonoMillis,
    },
}

// === impl Savings ===

impl Savings {
    /// Takes an answer. What was told once stands until there is something newer.
    pub(crate) fn hear(&mut self, answer: Result<SavingsReply, Failure>, at: MonoMillis) {
        match (answer, &self) {
            (Ok(reply), _) => *self = Self::Told { reply, at },
            (Err(_), Self::Told { .. }) => {}
            (Err(failure), Self::Awaited | Self::Refused(_)) => {
                *self = Self::Refused(failure.what().to_owned());
            }
        }
    }

    /// Why there are no sums, in a few words: what stands before the colon.
    pub(crate) fn lack(&self) -> &str {
        match self {
            Self::Awaited => "the ledger has not answered yet",
            Self::Refused(why) => why.split(": ").next().unwrap_or(why),
            Self::Told { .. } => "",
        }
    }
}
