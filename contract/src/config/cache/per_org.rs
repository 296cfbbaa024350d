//! `workflow_cache.per_org`: what one organization may have under way in a sidecar, so that others have room beside it.

use super::super::raw;
use super::super::report::{Bounds, Report};

/// More than a sidecar can hold.
const COUNT: Bounds<u64> = Bounds { min: 1, max: 1_000_000, default: 0 };
const BYTES: Bounds<u64> = Bounds { min: 1, max: 1 << 40, default: 0 };

/// What one organization may have under way. `None`: as much as there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerOrg {
    /// `max_requests`: how many requests may be answered at once.
    pub max_requests: Option<u64>,
    /// `max_streams`: how many of them may be streams.
    pub max_streams: Option<u64>,
    /// `max_bytes`: how many bytes of requests and answers may be kept for them.
    pub max_bytes: Option<u64>,
}

pub(super) fn check(raw: raw::PerOrg, request_bytes_max: u64, report: &mut Report) -> PerOrg {
    let raw::PerOrg { max_requests, max_streams, max_bytes } = raw;
    let at = |field: &str| format!("workflow_cache.per_org.{field}");
    if let Some(bytes) = max_bytes.filter(|bytes| *bytes < request_bytes_max) {
        let one = format!(
            "{bytes} has no room for one request: gateway.request_bytes_max is {request_bytes_max}"
        );
        report.error(at("max_bytes"), one);
    }
    if let (Some(streams), Some(requests)) = (max_streams, max_requests)
        && streams > requests
    {
        let problem = format!("{streams} is more than max_requests ({requests}) allows");
        report.error(at("max_streams"), problem);
    }
    let mut within = |field: &str, value: Option<u64>, bounds: Bounds<u64>| {
        value.map(|value| report.within(&at(field), Some(value), bounds))
    };
    PerOrg {
        max_requests: within("max_requests", max_requests, COUNT),
        max_streams: within("max_streams", max_streams, COUNT),
        max_bytes: within("max_bytes", max_bytes, BYTES),
    }
}
