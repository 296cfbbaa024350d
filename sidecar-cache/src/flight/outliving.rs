//! Whether a flight goes on when the last client that waited for it has left: what is paid for should not be
//! thrown away, and what hardly anybody has seen yet should not be paid for. Pure: facts in, a decision out.

use std::collections::HashMap;

use kt_contract::config::CompleteOnDisconnect;
use serde::Deserialize;

/// How many models are remembered.
const MODELS_MAX: usize = 1_024;

/// Events of a stream that hold no token, about.
const EVENTS_BESIDE: u64 = 32;

/// What has come of an answer so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Bytes of the body.
    pub bytes: u64,
    /// Events of the stream, about one a token; zero where it is none.
    pub events: u64,
}

/// How much may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `max_entry_bytes`.
    pub bytes: u64,
    /// `max_entry_tokens`.
    pub tokens: u64,
}

/// What is known when the last client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `complete_on_disconnect`.
    pub configured: CompleteOnDisconnect,
    /// Whether what comes may still be stored. What cannot be stored is for nobody.
    pub may_fill: bool,
    /// What has come.
    pub produced: Produced,
    /// The longest answer that the client asked for, in tokens.
    pub token_limit: Option<u64>,
    /// How long answers of this model are of late, in bytes.
    pub mean_bytes: Option<u64>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outlives {
    /// The flight goes on, within its bounds.
    Yes,
    /// The call is cancelled.
    No,
}

/// A running mean of the length of answers, by model and shape.
#[derive(Debug, Default)]
pub struct Means {
    bytes: HashMap<(String, bool), u64>,
}

/// The length limits that dialects know.
#[derive(Deserialize)]
struct Limits {
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    max_tokens: Option<u64>,
}

/// Decides.
pub fn outlives(rule: Rule) -> Outlives {
    let Rule { configured, may_fill, produced, token_limit, mean_bytes } = rule;
    let goes_on = may_fill
        && match configured {
            CompleteOnDisconnect::Always => true,
            CompleteOnDisconnect::Never => false,
            CompleteOnDisconnect::Auto => is_half_done(produced, token_limit, mean_bytes),
        };
    if goes_on { Outlives::Yes } else { Outlives::No }
}

fn is_half_done(produced: Produced, token_limit: Option<u64>, mean_bytes: Option<u64>) -> bool {
    let (is, expected) = match (token_limit, mean_bytes) {
        (Some(limit), _) => (produced.tokens(), limit),
        (None, Some(mean)) => (produced.bytes, mean),
        (None, None) => return false,
    };
    is > 0 && is.saturating_mul(2) >= expected
}

/// The longest answer that a request asks for, in tokens.
#[must_use]
pub fn token_limit(body: &[u8]) -> Option<u64> {
    let Limits { max_completion_tokens, max_output_tokens, max_tokens } =
        serde_json::from_slice(body).ok()?;
    max_completion_tokens.or(max_output_tokens).or(max_tokens)
}

// === impl Produced ===

impl Produced {
    /// Whether it can still be stored once it is whole. Events are a rough measure of tokens, some are none at
    /// all: only far beyond the bound they tell. What is no stream is measured at its end.
    #[must_use]
    pub const fn fits(self, bounds: Bounds) -> bool {
        let Bounds { bytes, tokens } = bounds;
        let events_max = tokens.saturating_add(tokens / 8).saturating_add(EVENTS_BESIDE);
        self.bytes <= bytes && self.events <= events_max
    }

    /// A token for every event, or for every four bytes of what is no stream.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        if self.events > 0 { self.events } else { self.bytes / 4 }
    }
}

// === impl Means ===

impl Means {
    /// A whole answer had this length.
    pub fn learn(&mut self, model: &str, is_stream: bool, bytes: u64) {
        let room = self.bytes.len() < MODELS_MAX;
        match self.bytes.get_mut(&(model.to_owned(), is_stream)) {
            // An eighth of the way, as round-trip times are smoothed.
            Some(mean) => *mean = (mean.saturating_mul(7).saturating_add(bytes)) / 8,
            None if room => {
                self.bytes.insert((model.to_owned(), is_stream), bytes);
            }
            None => {}
        }
    }

    /// How long answers of a model are of late.
    #[must_use]
    pub fn of(&self, model: &str, is_stream: bool) -> Option<u64> {
        self.bytes.get(&(model.to_owned(), is_stream)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        configured: CompleteOnDisconnect::Auto,
        may_fill: true,
        produced: Produced { bytes: 5_000, events: 50 },
        token_limit: None,
        mean_bytes: None,
    };

    #[test]
    fn a_flight_outlives_its_clients_where_half_of_it_is_there() {
        use CompleteOnDisconnect::{Always, Never};
        use Outlives::{No, Yes};
        let none = Produced::default();
        let no_stream = Produced { bytes: 5_000, events: 0 };
        for (what, rule, expected) in [
            ("nothing is known", RULE, No),
            ("half of the limit", Rule { token_limit: Some(100), ..RULE }, Yes),
            ("less than half of the limit", Rule { token_limit: Some(101), ..RULE }, No),
            (
                "the limit counts before the mean",
                Rule { token_limit: Some(101), mean_bytes: Some(1), ..RULE },
                No,
            ),
            ("half of the mean", Rule { mean_bytes: Some(10_000), ..RULE }, Yes),
            ("less than half of the mean", Rule { mean_bytes: Some(10_001), ..RULE }, No),
            (
                "four bytes a token where it is no stream",
                Rule { produced: no_stream, token_limit: Some(2_500), ..RULE },
                Yes,
            ),
            (
                "and less than half of that",
                Rule { produced: no_stream, token_limit: Some(2_501), ..RULE },
                No,
            ),
            ("nothing has come", Rule { produced: none, token_limit: Some(0), ..RULE }, No),
            ("always", Rule { configured: Always, produced: none, ..RULE }, Yes),
            ("never", Rule { configured: Never, token_limit: Some(1), ..RULE }, No),
            (
                "always, and it cannot be stored",
                Rule { configured: Always, may_fill: false, ..RULE },
                No,
            ),
            ("a mean of nothing", Rule { mean_bytes: Some(u64::MAX), ..RULE }, No),
        ] {
            assert_eq!(outlives(rule), expected, "{what}");
        }
    }

    #[test]
    fn an_answer_fits_until_it_is_certainly_too_long() {
        let bounds = Bounds { bytes: 10_000, tokens: 800 };
        for (bytes, events, expected) in [
            (10_000, 0, true),
            (10_001, 0, false),
            (1, 800 + 100 + EVENTS_BESIDE, true),
            (1, 801 + 100 + EVENTS_BESIDE, false),
        ] {
            assert_eq!(Produced { bytes, events }.fits(bounds), expected, "{bytes} {events}");
        }
        let unbounded = Bounds { bytes: u64::MAX, tokens: u64::MAX };
        assert!(Produced { bytes: u64::MAX, events: u64::MAX }.fits(unbounded));
    }

    #[test]
    fn the_limit_is_the_clients_own() {
        for (body, expected) in [
            (r#"{"max_tokens":7}"#, Some(7)),
            (r#"{"max_tokens":7,"max_completion_tokens":9}"#, Some(9)),
            (r#"{"max_output_tokens":8,"input":"x"}"#, Some(8)),
            (r#"{"messages":[{"max_tokens":7}]}"#, None),
            (r#"{"max_tokens":"many"}"#, None),
            ("{", None),
        ] {
            assert_eq!(token_limit(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_mean_follows_what_comes_and_shapes_are_apart() {
        let mut means = Means::default();
        means.learn("m", true, 8_000);
        means.learn("m", true, 0);
        means.learn("m", false, 100);
        assert_eq!((means.of("m", true), means.of("m", false)), (Some(7_000), Some(100)));
        assert_eq!(means.of("n", true), None);
        for model in 0..2 * MODELS_MAX {
            means.learn(&model.to_string(), true, 1);
        }
        assert_eq!(means.bytes.len(), MODELS_MAX);
    }
}
