//! The numbers of a sidecar's `/metrics`, each summed up over its labels. Pure.

use std::collections::BTreeMap;

/// What the series that names the snapshot begins with.
const SNAPSHOT: &str = "kt_snapshot_info{version=\"";

/// What was read, by the names that a scrape shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics {
    sums: BTreeMap<String, f64>,
    /// The snapshot of the sidecar that serves them.
    snapshot: Option<String>,
}

// === impl Metrics ===

impl Metrics {
    /// Reads Prometheus' text.
    pub(crate) fn read(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (Some(name), Ok(value)) = (series.split('{').next(), value.parse::<f64>()) else {
                continue;
            };
            if let Some(version) = series.strip_prefix(SNAPSHOT) {
                metrics.snapshot = version.split('"').next().map(str::to_owned);
            }
            *metrics.sums.entry(name.to_owned()).or_default() += value;
        }
        metrics
    }

    /// Whether the sidecar that serves them has this snapshot, as the one that was asked does: whoever listens at the
    /// usual address may be another one.
    pub(crate) fn are_of(&self, snapshot: &str) -> bool {
        self.snapshot.as_deref() == Some(snapshot)
    }

    /// The sum; a metric with labels that has not counted yet is absent, which is 0.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.sums.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_of_its_series() {
        let metrics = Metrics::read(
            "# HELP llm_requests_total Answers.\n# TYPE llm_requests_total counter\n\
             llm_requests_total{model=\"a b\",status=\"200\"} 3\nllm_requests_total{model=\"c\"} 1.5\n\
             kt_flights 2\nbroken\nkt_nan{} what\n",
        );
        assert!((metrics.get("llm_requests_total") - 4.5).abs() < f64::EPSILON);
        assert!((metrics.get("kt_flights") - 2.0).abs() < f64::EPSILON);
        assert!(metrics.get("kt_nan").abs() < f64::EPSILON);
    }

    #[test]
    fn metrics_are_of_the_sidecar_whose_snapshot_they_name() {
        let ours = Metrics::read("kt_snapshot_info{version=\"aa\"} 1\n");
        assert!(ours.are_of("aa") && !ours.are_of("a") && !ours.are_of(""));
        assert!(!Metrics::read("kt_flights 2\n").are_of(""));
    }
}
