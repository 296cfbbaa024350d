//! The words of rate limits: whom a limit is for, what it counts, and how a refusal says so. How much has been used is
//! the sidecar's to know.

use crate::time::Millis;

/// Whose requests a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Those of one gateway key.
    Key,
    /// Those of one user, whatever the key.
    User,
    /// Those of one team.
    Team,
    /// Those of one organization.
    Org,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Requests, hits and followers included.
    Requests,
    /// Tokens of calls that are made to a provider, in and out.
    Tokens,
}

/// A request that came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// Whose limit it is.
    pub scope: Scope,
    /// What the limit counts.
    pub measure: Measure,
    /// How many a minute.
    pub per_minute: u64,
    /// How many of them are left at this moment.
    pub remaining: u64,
    /// After how long this very request would pass, if nothing else comes.
    pub wait: Millis,
    /// After how long nothing is used any more, if nothing else comes.
    pub reset: Millis,
}

// === impl Scope ===

impl Scope {
    /// Every member, the narrowest first.
    pub const ALL: [Self; 4] = [Self::Key, Self::User, Self::Team, Self::Org];

    /// The word in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Team => "team",
            Self::Org => "org",
        }
    }

    /// As a client is told: it knows by itself which team is its own.
    const fn in_words(self) -> &'static str {
        match self {
            Self::Key => "this gateway key",
            Self::User => "this user",
            Self::Team => "this team",
            Self::Org => "this organization",
        }
    }

    /// The field of the configuration.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Key => "per_key",
            Self::User => "per_user",
            Self::Team => "per_team",
            Self::Org => "per_org",
        }
    }
}

// === impl Measure ===

impl Measure {
    /// Every member.
    pub const ALL: [Self; 2] = [Self::Requests, Self::Tokens];

    /// The word in metric labels, in OpenAI's `type` and at the end of its headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

// === impl RateLimited ===

impl RateLimited {
    /// `Retry-After`: seconds, rounded up, so that who comes then passes.
    #[must_use]
    pub const fn retry_after_s(&self) -> u64 {
        let seconds = self.wait.0.div_ceil(1_000);
        if seconds == 0 { 1 } else { seconds }
    }

    /// What OpenAI's clients read: the limit, what is left of it, and when all of it is there again.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, String); 3] {
        let [limit, remaining, reset] = match self.measure {
            Measure::Requests => [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ],
            Measure::Tokens => [
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ],
        };
        [
            (limit, self.per_minute.to_string()),
            (remaining, self.remaining.to_string()),
            (reset, in_units(self.reset)),
        ]
    }
}

impl std::fmt::Display for RateLimited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scope, measure, per_minute, remaining, .. } = self;
        let (scope, measure, seconds) = (scope.in_words(), measure.as_str(), self.retry_after_s());
        write!(
            f,
            "The limit of {per_minute} {measure} per minute for {scope} is reached; {remaining} are left. Try again in {seconds} s."
        )
    }
}

/// As OpenAI writes spans: `6ms`, `8.64s`, `1m30s`.
fn in_units(Millis(millis): Millis) -> String {
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = match rest % 1_000 {
        0 => format!("{}s", rest / 1_000),
        part => format!("{}.{}s", rest / 1_000, format!("{part:03}").trim_end_matches('0')),
    };
    match (minutes, rest) {
        (0, 0) => "0ms".to_owned(),
        (0, 1..1_000) => format!("{rest}ms"),
        (0, _) => seconds,
        (minutes, 0) => format!("{minutes}m0s"),
        (minutes, _) => format!("{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_openai_writes_it() {
        for (millis, text) in [
            (0, "0ms"),
            (6, "6ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (8_640, "8.64s"),
            (60_000, "1m0s"),
            (90_000, "1m30s"),
            (90_005, "1m30.005s"),
            (60_050, "1m0.05s"),
        ] {
            assert_eq!(in_units(Millis(millis)), text, "{millis}");
        }
    }

    #[test]
    fn a_refusal_names_limit_scope_and_moment_and_rounds_the_wait_up() {
        let limited = RateLimited {
            scope: Scope::Team,
            measure: Measure::Tokens,
            per_minute: 1_000,
            remaining: 7,
            wait: Millis(1_001),
            reset: Millis(59_580),
        };
        let words = "The limit of 1000 tokens per minute for this team is reached; 7 are left. Try again in 2 s.";
        assert_eq!(limited.to_string(), words);
        assert_eq!(limited.retry_after_s(), 2);
        assert_eq!(RateLimited { wait: Millis(0), ..limited }.retry_after_s(), 1, "never at once");
        let headers = limited.headers().map(|(name, value)| format!("{name}: {value}"));
        let expected = [
            "x-ratelimit-limit-tokens: 1000",
            "x-ratelimit-remaining-tokens: 7",
            "x-ratelimit-reset-tokens: 59.58s",
        ];
        assert_eq!(headers, expected);
    }
}
