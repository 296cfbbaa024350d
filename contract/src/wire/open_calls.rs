//! What a gateway has let pass while its sidecar could not be reached (`wallet.open_with_cap`): told by any of its
//! workers until the sidecar says that it is in the ledger.

use serde::{Deserialize, Serialize};

use crate::money::MicroUsd;

/// The body of `POST /v1/open-calls`. A batch has the same content whenever it is told, and by whichever worker:
/// gateway, epoch and number name it, and it is booked once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenCallsRequest {
    /// [`super::VERSION`].
    pub version: u16,
    /// `gateway.id`.
    pub gateway: String,
    /// The life of the gateway's Envoy: 32 hexadecimal digits, random.
    pub epoch: String,
    /// The number of the batch in that life. Numbers begin at 1.
    pub number: u64,
    /// The calls, by organization: each once, at most [`crate::limits::OPEN_ORGS_MAX`].
    pub orgs: Vec<OpenCalls>,
}

/// The calls of one organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenCalls {
    /// Whose wallet pays.
    pub org: String,
    /// How many; at least one.
    pub calls: u64,
    /// What they were counted as, all together; more than nothing.
    pub micro_usd: MicroUsd,
}

/// The body of the reply: all of the batch is in the ledger, and stays there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenCallsReply {
    /// [`super::VERSION`].
    pub version: u16,
    /// The epoch of the batch.
    pub epoch: String,
    /// Its number.
    pub number: u64,
}
