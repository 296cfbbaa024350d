//! `gateway`: the gateway that is started with this file.

use crate::limits;
use crate::snapshot::OnSidecarLoss;
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
}

pub(super) fn check(raw: raw::Gateway, report: &mut Report) -> Gateway {
    let raw::Gateway { id, role, agent_gateway_group_id, port, request_bytes_max, on_sidecar_loss } =
        raw;
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
    }
}
