//! How a running gateway's Envoy is, by what its admin API says. Facts in, findings out. Pure.

use serde_json::Value;

use super::envoy_config::{self, Needs};
use super::finding::Finding;
use crate::envoy::binary::Version;

/// What counts replies that the filter could not use.
const UNREAD: &str = "kt_filter_wire_errors_total";

/// What an Envoy's admin API said.
#[derive(Debug)]
pub(crate) struct Running {
    /// `/server_info`: what it is.
    pub(crate) version: Option<Version>,
    /// `/config_dump`: what it runs; else why that is not known.
    pub(crate) config: Result<Value, String>,
    /// `/stats` of the filter.
    pub(crate) stats: String,
    /// The same a moment later, where there was something in it that only matters if it grows.
    pub(crate) stats_later: Option<String>,
}

/// Every check of a running gateway.
pub(crate) fn examine(running: &Running, request_bytes_max: u64) -> Vec<Finding> {
    let Running { version, config, stats, stats_later } = running;
    let mut findings = vec![release(*version)];
    match config {
        Ok(config) => {
            let envoy = version.unwrap_or(Version::TESTED);
            findings.extend(envoy_config::examine(config, Needs { request_bytes_max, envoy }));
        }
        Err(why) => findings.push(Finding::skipped("filter", format!("no configuration: {why}"))),
    }
    findings.push(callouts(stats, stats_later.as_deref()));
    findings
}

/// Whether it takes a second look to say what the counts mean: they are kept since Envoy's start.
pub(crate) fn wants_another_look(stats: &str) -> bool {
    count(stats, UNREAD) > 0
}

fn release(version: Option<Version>) -> Finding {
    const NAME: &str = "running envoy";
    match version {
        Some(version) if version < Version::MIN => Finding::fail(
            NAME,
            format!("it is Envoy {version}; kt needs {} or newer", Version::MIN),
            "run a newer one; Istio has had one since 1.28",
        ),
        Some(version) => Finding::ok(NAME, format!("Envoy {version}")),
        None => Finding::skipped(NAME, "it does not say its version"),
    }
}

/// Whether the filter and the sidecar understand each other.
fn callouts(stats: &str, later: Option<&str>) -> Finding {
    const NAME: &str = "callouts";
    let answered = count(stats, "kt_filter_callouts_total.call.feed.result.answered");
    let lost = count(stats, "kt_filter_callouts_total.call.feed.result.lost");
    let unread = count(stats, UNREAD);
    let more = later.map_or(0, |later| count(later, UNREAD).saturating_sub(unread));
    let mend = "run filter and sidecar of one release; kt_sidecar must lead to the sidecar's socket, which Envoy's user \
                may open";
    let causes =
        "the two are of different releases, or the policies of a snapshot cannot be compiled";
    let mend_unread = "run filter and sidecar of one release; if they are, look for what changed last in `policies` \
                       (`kt config diff`), and `kt config rollback`";
    match (answered, lost, unread) {
        (_, _, 1..) if more > 0 => Finding::fail(
            NAME,
            format!(
                "the filter cannot use what the sidecar replies, {more} times within two seconds: {causes}"
            ),
            mend_unread,
        ),
        (_, _, 1..) => Finding::warn(
            NAME,
            format!(
                "the filter could not use {unread} replies of the sidecar since this Envoy began, and none within the \
                 last two seconds: {causes}"
            ),
            "nothing, where releases or policies were just changed; else the same as if it went on: one release, and \
             policies that work",
        ),
        (0, 1.., 0) => Finding::fail(
            NAME,
            format!("the filter has asked {lost} times for news and had no answer"),
            mend,
        ),
        (0, 0, 0) => Finding::skipped(NAME, "the filter has not counted anything yet"),
        (answered, lost, 0) => {
            Finding::ok(NAME, format!("{answered} polls were answered, {lost} lost"))
        }
    }
}

/// The sum of the lines whose name ends so: `wasmcustom.NAME: 2`.
fn count(stats: &str, name: &str) -> u64 {
    let lines = stats.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(line, _)| line.ends_with(name))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_filter_that_the_sidecar_does_not_understand_is_found() {
        let answered = "wasmcustom.kt_filter_callouts_total.call.feed.result.answered: 7\n";
        let lost = "wasmcustom.kt_filter_callouts_total.call.feed.result.lost: 2\n";
        let unread = "wasmcustom.kt_filter_wire_errors_total: 1\n";
        for (stats, state, told) in [
            (format!("{answered}{lost}"), State::Ok, "7 polls were answered, 2 lost"),
            (lost.to_owned(), State::Fail, "asked 2 times"),
            (
                format!("{answered}{unread}"),
                State::Warn,
                "1 replies of the sidecar since this Envoy",
            ),
            (String::new(), State::Skipped, "not counted"),
        ] {
            assert_eq!(wants_another_look(&stats), stats.contains("wire_errors"));
            let found = callouts(&stats, Some(&stats));
            assert!(found.state == state && found.seen.contains(told), "{stats}: {found:?}");
        }
    }

    #[test]
    fn replies_that_cannot_be_used_fail_only_while_there_are_more_of_them() {
        let unread = |count| format!("wasmcustom.kt_filter_wire_errors_total: {count}\n");
        for (later, state) in [
            (Some(unread(5)), State::Fail),
            (Some(unread(3)), State::Warn),
            // It was started anew in between.
            (Some(unread(0)), State::Warn),
            (None, State::Warn),
        ] {
            let found = callouts(&unread(3), later.as_deref());
            assert_eq!(found.state, state, "{found:?}");
            assert!(
                found.seen.contains("releases") && found.seen.contains("compiled"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn an_envoy_that_is_too_old_is_found_where_it_runs() {
        let old = Version::of_build("c/1.35.9/Clean/RELEASE/BoringSSL");
        let of = |version| release(version).state;
        assert_eq!(
            (of(old), of(Some(Version::MIN)), of(None)),
            (State::Fail, State::Ok, State::Skipped)
        );
        let running = Running {
            version: old,
            config: Err("refused".to_owned()),
            stats: String::new(),
            stats_later: None,
        };
        let found = examine(&running, 1);
        let states: Vec<_> = found.iter().map(|it| it.state).collect();
        assert_eq!(states, [State::Fail, State::Skipped, State::Skipped]);
    }
}
