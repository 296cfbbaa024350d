//! How much a call is to reserve before it is made, and how the hold grows with an answer that outgrows it. Pure:
//! no tokenizer is asked, since a bound in bytes is a bound in tokens.

pub mod lengths;

use kt_contract::money::{BadAmount, MicroUsd, Tokens};
use kt_contract::pricing::{CacheWrites, Price, cost_at_most};
use kt_providers::Demand;

/// What the provider's words around a conversation may take, beyond what JSON takes for it.
const FRAME_TOKENS: u64 = 64;
/// What its explanation of tools may take. Anthropic tells of up to 530 tokens.
const TOOLS_TOKENS: u64 = 1_024;
/// What the description of one tool may take that the request only names. Anthropic tells of up to 735.
const HIDDEN_TOOL_TOKENS: u64 = 1_024;
/// The most tokens of a picture that a provider tells of: GPT-4o-mini takes 48,169 for the largest.
const PICTURE_TOKENS: u64 = 50_000;
/// What is reserved for input that nobody sees, of a model whose longest input is not known.
const UNSEEN_TOKENS: u64 = 200_000;
/// The least by which a hold grows: some pages of text.
const STEP_TOKENS: u64 = 1_024;

/// What is known of a call before it is made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What the request demands.
    pub demand: &'a Demand,
    /// The length of its body.
    pub body_bytes: u64,
    /// What its model costs.
    pub price: &'a Price,
    /// How long answers to this agent are of late, where that is known: see [`lengths::Lengths`].
    pub expected_output: Option<Tokens>,
    /// `wallet.default_max_output_tokens`.
    pub default_output: Tokens,
}

/// What is to be reserved, and the tokens that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The amount.
    pub amount: MicroUsd,
    /// Tokens of input, whatever the provider's prompt cache does with them.
    pub input: Tokens,
    /// Tokens of output, of all answers together.
    pub output: Tokens,
    /// The output that no answer of the call can go beyond, where there is such a limit.
    pub output_max: Option<Tokens>,
    /// The most that the provider's prompt cache may be made to keep.
    writes: CacheWrites,
}

/// What a call is to reserve: all of its input at the dearest that it can become, and the output that it may
/// have or, where its client has set no limit, is expected to have.
///
/// # Errors
/// It is more than any amount.
pub fn hold(call: Call<'_>) -> Result<Hold, BadAmount> {
    let Call { demand, body_bytes, price, expected_output, default_output } = call;
    let input = input_at_most(demand, body_bytes, price);
    let limits = [demand.output_max, price.max_output_tokens];
    let limit = limits.into_iter().flatten().min();
    let each = match demand.output_max {
        Some(_) => limit.unwrap_or(default_output),
        None => {
            // Not the model's longest: holds for the worst would starve whoever makes many calls.
            let expected = expected_output.unwrap_or(default_output);
            limit.map_or(expected, |limit| limit.min(expected))
        }
    };
    let of_all = |each: Tokens| Tokens(each.0.saturating_mul(demand.answers));
    let output_max = limit.map(of_all);
    Hold::covering(input, of_all(each), output_max, demand.cache_writes, price)
}

/// No request has more tokens of input than this. A token stands for one byte of text at least, and text is no
/// longer than the JSON that it stands in; what is no text, or does not show, is allowed for.
#[must_use]
pub fn input_at_most(demand: &Demand, body_bytes: u64, price: &Price) -> Tokens {
    let text = body_bytes.saturating_sub(demand.picture_bytes);
    let tools = if demand.has_tools { TOOLS_TOKENS } else { 0 };
    let seen = text
        .saturating_add(FRAME_TOKENS)
        .saturating_add(tools)
        .saturating_add(demand.hidden_tools.saturating_mul(HIDDEN_TOOL_TOKENS))
        .saturating_add(demand.pictures.saturating_mul(PICTURE_TOKENS));
    let unseen = match (demand.has_unseen_input, price.max_input_tokens) {
        (false, _) => 0,
        (true, Some(Tokens(longest))) => longest,
        (true, None) => UNSEEN_TOKENS,
    };
    let bound = seen.saturating_add(unseen);
    Tokens(price.max_input_tokens.map_or(bound, |Tokens(longest)| bound.min(longest)))
}

// === impl Hold ===

impl Hold {
    fn covering(
        input: Tokens,
        output: Tokens,
        output_max: Option<Tokens>,
        writes: CacheWrites,
        price: &Price,
    ) -> Result<Self, BadAmount> {
        let amount = cost_at_most(input, writes, output, price)?;
        Ok(Self { amount, input, output, output_max, writes })
    }

    /// The most that the call can cost, where its answer has a limit; else what is held.
    #[must_use]
    pub fn cost_max(&self, price: &Price) -> MicroUsd {
        let most = self.output_max.map(|longest| {
            cost_at_most(self.input, self.writes, longest, price).unwrap_or(self.amount)
        });
        most.map_or(self.amount, |most| most.max(self.amount))
    }

    /// The most that a call can cost whose answer has so many tokens.
    ///
    /// # Errors
    /// It is more than any amount.
    pub fn cost_of(&self, output: Tokens, price: &Price) -> Result<MicroUsd, BadAmount> {
        cost_at_most(self.input, self.writes, output, price)
    }

    /// The next hold of an answer that has `produced` so many tokens: when three quarters of this one's output
    /// are there, half as much again. `None` while it suffices, and where the call cannot become longer. The
    /// same hold grows into the same one, whoever asks and how often.
    #[must_use]
    pub fn grown(&self, produced: Tokens, price: &Price) -> Option<Result<Self, BadAmount>> {
        let covered = self.output.0;
        if u128::from(produced.0) * 4 < u128::from(covered) * 3 {
            return None;
        }
        let mut output = covered;
        while u128::from(produced.0) * 4 >= u128::from(output) * 3 && output < u64::MAX {
            output = output.saturating_add((output / 2).max(STEP_TOKENS));
        }
        let output = self.output_max.map_or(output, |Tokens(longest)| output.min(longest));
        (output > covered).then(|| {
            Self::covering(self.input, Tokens(output), self.output_max, self.writes, price)
        })
    }
}

#[cfg(test)]
mod tests;
