//! What a check has found.

use serde::Serialize;

/// How bad it is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It is as it should be.
    Ok,
    /// It was not looked at.
    Skipped,
    /// It works, and somebody should look.
    Warn,
    /// It does not work, or not safely.
    Fail,
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which check. Stable.
    pub(crate) name: &'static str,
    /// Of what, where there may be several: a gateway, or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<String>,
    /// How bad it is.
    pub(crate) state: State,
    /// What was seen; of one that was skipped, why.
    pub(crate) seen: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) ok: usize,
    pub(crate) warn: usize,
    pub(crate) fail: usize,
    pub(crate) skipped: usize,
}

// === impl Finding ===

impl Finding {
    pub(crate) fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self { name, of: None, state: State::Ok, seen: seen.into(), mend: None }
    }

    pub(crate) fn warn(
        name: &'static str,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { state: State::Warn, mend: Some(mend.into()), ..Self::ok(name, seen) }
    }

    pub(crate) fn fail(
        name: &'static str,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { state: State::Fail, mend: Some(mend.into()), ..Self::ok(name, seen) }
    }

    pub(crate) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { state: State::Skipped, ..Self::ok(name, why) }
    }

    /// Says of what it is.
    pub(crate) fn of(self, of: &str) -> Self {
        Self { of: Some(of.to_owned()), ..self }
    }

    /// The lines for a person.
    fn told(&self) -> String {
        let Self { name, of, state, seen, mend } = self;
        let state = match state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
            State::Skipped => "skipped",
        };
        let of = of.as_ref().map(|of| format!(" of {of}")).unwrap_or_default();
        let mend = mend.as_ref().map(|mend| format!("\n           to mend it: {mend}"));
        format!("{state:<9}{name}{of}: {seen}{}", mend.unwrap_or_default())
    }
}

/// All of them for a person: what is worst stands last, beside the prompt.
pub(crate) fn told(findings: &[Finding]) -> String {
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by_key(|finding| finding.state);
    findings.into_iter().map(Finding::told).collect::<Vec<_>>().join("\n")
}

// === impl Counts ===

impl Counts {
    pub(crate) fn of(findings: &[Finding]) -> Self {
        let count = |state| findings.iter().filter(|finding| finding.state == state).count();
        Self {
            ok: count(State::Ok),
            warn: count(State::Warn),
            fail: count(State::Fail),
            skipped: count(State::Skipped),
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ok, warn, fail, skipped } = self;
        write!(f, "{ok} ok, {warn} to look at, {fail} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_with_what_to_do() {
        let fail = Finding::fail("sidecar", "nobody listens", "start one").of("gw-a");
        assert_eq!(
            fail.told(),
            "FAIL     sidecar of gw-a: nobody listens\n           to mend it: start one"
        );
        assert_eq!(Finding::ok("envoy", "1.40.0").told(), "ok       envoy: 1.40.0");
        let all = [fail, Finding::skipped("redis", "none"), Finding::ok("envoy", "1.40.0")];
        let told = told(&all);
        let states: Vec<_> = told.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(states, ["ok", "skipped", "FAIL", ""], "the worst stands last");
        let counts = Counts::of(&all);
        assert_eq!(counts.to_string(), "1 ok, 0 to look at, 1 failed, 1 skipped");
    }
}
