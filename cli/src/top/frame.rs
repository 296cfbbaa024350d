//! One frame of `kt top`, from two looks at a sidecar. Pure: no clock, no terminal.

use kt_contract::time::{MonoMillis, UnixMillis};
use kt_contract::wire::admin::{CacheStatsReply, Condition, GatewayStatus, Presence, StatusReply};

use super::metrics::Metrics;
use super::savings::Savings;
use crate::commands::config::is_behind;
use crate::money::{dollars, moment, signed_dollars};
use crate::table;

/// What a sidecar said at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When it was asked.
    pub(crate) at: MonoMillis,
    pub(crate) status: StatusReply,
    pub(crate) cache: CacheStatsReply,
    /// Else why there are none, or what to do.
    pub(crate) metrics: Result<Metrics, String>,
}

/// What there is to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now<'a> {
    /// The sidecar's socket.
    pub(crate) socket: &'a str,
    /// The time of day.
    pub(crate) at: UnixMillis,
    /// The same moment on the clock of the looks.
    pub(crate) mono: MonoMillis,
    /// The last look, however old.
    pub(crate) sample: Option<&'a Sample>,
    /// Why there is no newer one, and for how long, in milliseconds.
    pub(crate) lost: Option<(&'a str, u64)>,
    /// What the ledger has said.
    pub(crate) savings: &'a Savings,
}

/// What has happened between two looks, per second.
struct Rates<'a> {
    pair: Option<(&'a Sample, &'a Sample)>,
}

/// The frame, at most `width` characters wide. `previous` is the look before; without one there are no rates.
pub(crate) fn frame(previous: Option<&Sample>, now: Now<'_>, width: usize) -> String {
    let Now { socket, at, sample, lost, .. } = now;
    let mut lines = vec![format!("kt top  {}  {socket}", moment(at))];
    if let Some((why, ms)) = lost {
        let seconds = ms / 1_000;
        lines.push(format!("SIDECAR LOST for {seconds} s, trying again: {why}"));
        if sample.is_some() {
            lines.push("what follows is what it said last".to_owned());
        }
    }
    if let Some(sample) = sample {
        lines.push(sidecar(&sample.status));
        lines.push(String::new());
        let rates = Rates::between(previous, sample, lost.is_some());
        lines.extend(numbers(&rates, sample));
        lines.push(spend(sample, now));
        lines.extend(just_spent(&rates));
        lines.push(String::new());
        lines.extend(gateways(&sample.status).lines().map(str::to_owned));
    }
    let cut: Vec<String> = lines.iter().map(|line| cut(line, width)).collect();
    cut.join("\n")
}

fn sidecar(status: &StatusReply) -> String {
    let condition = match status.status {
        Condition::Ok => "ok",
        Condition::Degraded => "DEGRADED (kt gateway status says why)",
        Condition::Draining => "DRAINING",
    };
    format!("sidecar {} is {condition}, config {}", status.version, status.config.version)
}

fn numbers(rates: &Rates<'_>, sample: &Sample) -> Vec<String> {
    let Sample { cache, metrics, .. } = sample;
    let total = cache.hits.saturating_add(cache.misses);
    let per_second =
        |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}/s"));
    let lookups = |it: &Sample| count(it.cache.hits.saturating_add(it.cache.misses));
    let (what, rate) = match metrics {
        Ok(_) => ("requests", rates.of_metric("llm_requests_total")),
        Err(_) => ("lookups", rates.of(lookups)),
    };
    let mut lines = vec![
        format!("{what:<10}{}", per_second(rate)),
        format!(
            "hit ratio {} now, {} since the start ({} of {total} lookups)",
            percent(rates.change(|it| count(it.cache.hits)), rates.change(lookups)),
            percent(Some(count(cache.hits)), Some(count(total))),
            cache.hits,
        ),
        format!("entries   {} ({} bytes)", cache.entries, cache.entry_bytes),
    ];
    lines.push(match metrics {
        Ok(metrics) => format!(
            "flights   {} live with {} followers; {} led, {} followed, {} taken over",
            cache.flights,
            metrics.get("kt_flight_followers"),
            per_second(rates.of_metric("kt_flight_leads_total")),
            per_second(rates.of_metric("kt_flight_follows_total")),
            per_second(rates.of_metric("kt_flight_takeovers_total")),
        ),
        Err(why) => format!("flights   {} live ({why})", cache.flights),
    });
    lines
}

/// The month by the ledger; where none is kept, what calls cost by the metrics.
fn spend(sample: &Sample, now: Now<'_>) -> String {
    match (now.savings, &sample.metrics) {
        (Savings::Told { reply, at }, _) => format!(
            "spend     billed {}, saved {} since {} (told {} s ago)",
            signed_dollars(reply.total.billed_micro_usd),
            dollars(reply.total.saved_micro_usd),
            reply.since,
            now.mono.0.saturating_sub(at.0) / 1_000,
        ),
        // Without a ledger nobody is charged, and calls have a price all the same.
        (none @ (Savings::Awaited | Savings::Refused(_)), Ok(metrics)) => format!(
            "spend     calls cost ${:.6}, saved ${:.6} since the start ({})",
            metrics.get("llm_cost_usd_total"),
            metrics.get("kt_saved_usd_total"),
            none.lack(),
        ),
        (none @ (Savings::Awaited | Savings::Refused(_)), Err(_)) => {
            format!("spend     not known ({})", none.lack())
        }
    }
}

/// What calls cost between two looks. By the metrics: a ledger is asked too rarely to say that.
fn just_spent(rates: &Rates<'_>) -> Option<String> {
    let cost = rates.change_of_metric("llm_cost_usd_total")?;
    let saved = rates.change_of_metric("kt_saved_usd_total")?;
    Some(format!("just now  calls cost ${cost:.6}, saved ${saved:.6}"))
}

fn gateways(status: &StatusReply) -> String {
    let live = status.gateways.iter().filter(|it| it.state == Presence::Live);
    let behind = live.clone().filter(|it| is_behind(it)).count();
    let (live, all) = (live.count(), status.gateways.len());
    let rows: Vec<_> = status.gateways.iter().map(row).collect();
    let head = ["gateway", "role", "group", "state", "runs", "last seen"];
    let summary =
        format!("gateways  {live} live, {} lost, {behind} behind", all.saturating_sub(live));
    match rows.is_empty() {
        true => summary,
        false => format!("{summary}\n{}", table::layout(head, &rows)),
    }
}

fn row(status: &GatewayStatus) -> [String; 6] {
    let GatewayStatus { gateway, config, state, last_seen_ms, .. } = status;
    let state = match (state, is_behind(status)) {
        (Presence::Lost, _) => "LOST",
        (Presence::Live, true) => "BEHIND",
        (Presence::Live, false) => "live",
    };
    [
        gateway.id.clone(),
        gateway.role.as_str().to_owned(),
        gateway.group.clone().unwrap_or_else(|| "-".to_owned()),
        state.to_owned(),
        config.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{}.{} s ago", last_seen_ms / 1_000, last_seen_ms % 1_000 / 100),
    ]
}

// === impl Rates ===

impl<'a> Rates<'a> {
    /// Nothing is told of a sidecar that was lost, nor across its restart: counters begin anew with it.
    fn between(previous: Option<&'a Sample>, new: &'a Sample, is_lost: bool) -> Self {
        let pair = previous
            .filter(|old| !is_lost && old.at < new.at && old.status.epoch == new.status.epoch)
            .map(|old| (old, new));
        Self { pair }
    }

    fn change(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let (old, new) = self.pair?;
        Some((of(new) - of(old)).max(0.0))
    }

    fn of(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let (old, new) = self.pair?;
        let seconds = count(new.at.0.saturating_sub(old.at.0)) / 1_000.0;
        Some(self.change(of)? / seconds)
    }

    fn of_metric(&self, name: &str) -> Option<f64> {
        self.have_metrics()?;
        self.of(|it| metric(it, name))
    }

    fn change_of_metric(&self, name: &str) -> Option<f64> {
        self.have_metrics()?;
        self.change(|it| metric(it, name))
    }

    fn have_metrics(&self) -> Option<()> {
        let (old, new) = self.pair?;
        (old.metrics.is_ok() && new.metrics.is_ok()).then_some(())
    }
}

fn metric(sample: &Sample, name: &str) -> f64 {
    sample.metrics.as_ref().map_or(0.0, |metrics| metrics.get(name))
}

fn percent(part: Option<f64>, of: Option<f64>) -> String {
    match (part, of) {
        (Some(part), Some(of)) if of > 0.0 => format!("{:.1} %", 100.0 * part / of),
        (_, _) => "-".to_owned(),
    }
}

/// A number for a rate: what is lost beyond 2^53 is no more than a shade of it.
#[expect(clippy::cast_precision_loss, reason = "for people, who read three digits of it")]
const fn count(number: u64) -> f64 {
    number as f64
}

/// A line as far as there is room.
fn cut(line: &str, width: usize) -> String {
    match line.chars().count() > width {
        true => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
