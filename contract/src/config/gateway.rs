//! `gateway`: the gateway that is started with this file.

use crate::limits::{
    self, ADMIT_TIMEOUT_DEFAULT, ADMIT_TIMEOUT_MAX, ADMIT_TIMEOUT_MIN, TICKET_TTL,
};
use crate::snapshot::OnSidecarLoss;
use crate::time::Millis;
use crate::wire::feed::Role;

use super::raw;
use super::report::{Bounds, Report};

/// The port of the seeds.
const PORT_DEFAULT: u16 = 41_002;
/// Less would refuse ordinary requests.
const REQUEST_BYTES_MIN: u64 = 1 << 10;

/// `gateway`: what a gateway started with this file is, where its flags do not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gateway {
    /// `gateway.id`.
    pub id: Option<String>,
    /// `gateway.role`.
    pub role: Role,
    /// `gateway.agent_gateway_group_id`.
    pub group: Option<String>,
    /// `gateway.port`.
    pub port: u16,
    /// `gateway.request_bytes_max`.
    pub request_bytes_max: u64,
    /// `gateway.on_sidecar_loss`.
    pub on_sidecar_loss: OnSidecarLoss,
    /// `gateway.admit_timeout_ms`.
    pub admit_timeout: Millis,
}

pub(super) fn check(raw: raw::Gateway, report: &mut Report) -> Gateway {
    let raw::Gateway {
        id,
        role,
        agent_gateway_group_id,
        port,
        request_bytes_max,
        on_sidecar_loss,
        admit_timeout_ms,
    } = raw;
    for (field, name) in
        [("gateway.id", &id), ("gateway.agent_gateway_group_id", &agent_gateway_group_id)]
    {
        if let Some(name) = name {
            report.name(field, name);
        }
    }
    Gateway {
        id,
        role: role.unwrap_or_default(),
        group: agent_gateway_group_id,
        port: report.within(
            "gateway.port",
            port,
            Bounds { min: 1, max: u16::MAX, default: PORT_DEFAULT },
        ),
        request_bytes_max: report.within(
            "gateway.request_bytes_max",
            request_bytes_max,
            Bounds {
                min: REQUEST_BYTES_MIN,
                max: limits::REQUEST_BYTES_MAX_LIMIT,
                default: limits::REQUEST_BYTES_MAX_DEFAULT,
            },
        ),
        on_sidecar_loss: on_sidecar_loss.unwrap_or(OnSidecarLoss::Unavailable),
        admit_timeout: admit_timeout(admit_timeout_ms, report),
    }
}

fn admit_timeout(ms: Option<u64>, report: &mut Report) -> Millis {
    let Some(ms) = ms else { return ADMIT_TIMEOUT_DEFAULT };
    let (Millis(min), Millis(max), Millis(ticket)) =
        (ADMIT_TIMEOUT_MIN, ADMIT_TIMEOUT_MAX, TICKET_TTL);
    if ms < min {
        let why = "less would take a busy sidecar for a lost one";
        report.error(
            "gateway.admit_timeout_ms",
            format!("{ms} is not between {min} and {max}: {why}"),
        );
    } else if ms > max {
        let why =
            format!("the ticket that such an answer may bring is good for {ticket} ms in all");
        report.error(
            "gateway.admit_timeout_ms",
            format!("{ms} is not between {min} and {max}: {why}"),
        );
    }
    Millis(ms.clamp(min, max))
}
