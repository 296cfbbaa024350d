//! The numbers of a sidecar's `/metrics`, each summed up over its labels. Pure.

use std::collections::BTreeMap;

/// What was read, by the names that a scrape shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

// === impl Metrics ===

impl Metrics {
    /// Reads Prometheus' text.
    pub(crate) fn read(text: &str) -> Self {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (Some(name), Ok(value)) = (series.split('{').next(), value.parse::<f64>()) else {
                continue;
            };
            *sums.entry(name.to_owned()).or_default() += value;
        }
        Self(sums)
    }

    /// The sum; a metric with labels that has not counted yet is absent, which is 0.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
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
}
