//! Metrics of the process: all VMs that define one name share it, as in Envoy's stats.

use std::collections::BTreeMap;

use crate::abi::{MetricKind, Status};

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its kind.
    pub kind: MetricKind,
    /// Its value; of a histogram, the last sample.
    pub value: u64,
    /// The samples of a histogram.
    pub samples: Vec<u64>,
}

/// All metrics, by name.
#[derive(Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, Metric>);

// === impl Metrics ===

impl Metrics {
    pub(crate) fn define(&mut self, kind: MetricKind, name: &str) -> Result<(), Status> {
        let metric =
            self.0.entry(name.to_owned()).or_insert(Metric { kind, value: 0, samples: Vec::new() });
        if metric.kind == kind { Ok(()) } else { Err(Status::BadArgument) }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Metric> {
        self.0.get(name)
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Metric> {
        self.0.clone()
    }

    /// Envoy takes no increment of a counter that is not above zero, and none of a histogram.
    pub(crate) fn increment(&mut self, name: &str, offset: i64) -> Result<(), Status> {
        let metric = self.0.get_mut(name).ok_or(Status::NotFound)?;
        match metric.kind {
            MetricKind::Counter if offset > 0 => {
                metric.value = metric.value.saturating_add(offset.unsigned_abs());
                Ok(())
            }
            MetricKind::Gauge => {
                metric.value = metric.value.saturating_add_signed(offset);
                Ok(())
            }
            MetricKind::Counter | MetricKind::Histogram => Err(Status::BadArgument),
        }
    }

    /// Envoy adds to a counter that is recorded, sets a gauge, samples a histogram.
    pub(crate) fn record(&mut self, name: &str, value: u64) -> Result<(), Status> {
        let metric = self.0.get_mut(name).ok_or(Status::NotFound)?;
        match metric.kind {
            MetricKind::Counter => metric.value = metric.value.saturating_add(value),
            MetricKind::Gauge => metric.value = value,
            MetricKind::Histogram => {
                metric.value = value;
                metric.samples.push(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_takes_only_what_is_above_zero() {
        let mut metrics = Metrics::default();
        metrics.define(MetricKind::Counter, "hits").unwrap();
        assert_eq!(metrics.increment("hits", 2), Ok(()));
        for offset in [0, -1] {
            assert_eq!(metrics.increment("hits", offset), Err(Status::BadArgument), "{offset}");
        }
        assert_eq!(metrics.get("hits").unwrap().value, 2);
    }

    #[test]
    fn one_name_has_one_kind() {
        let mut metrics = Metrics::default();
        metrics.define(MetricKind::Counter, "x").unwrap();
        assert_eq!(metrics.define(MetricKind::Counter, "x"), Ok(()));
        assert_eq!(metrics.define(MetricKind::Gauge, "x"), Err(Status::BadArgument));
    }
}
