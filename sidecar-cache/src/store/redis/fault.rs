//! What may go wrong between us and Redis, by what follows from it. What is told of it names no password and no
//! key, and is short.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

const TEXT_CHARS_MAX: usize = 240;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Not within the budget. It may have been done.
    #[error("no answer in time")]
    Late,
    /// The connection broke, or none could be made. It may have been done.
    #[error("no connection: {0}")]
    Lost(String),
    /// The server that is asked cannot do it, and another may: it was demoted, or is still loading.
    #[error("the server cannot serve: {0}")]
    Elsewhere(String),
    /// What is asked for is on its way from one master of a cluster to another: it was not done, and nothing else is amiss.
    #[error("its slot is moving: {0}")]
    Moving(String),
    /// The breaker is open: nothing was asked.
    #[error("it has failed too often and is left alone for a second")]
    Skipped,
    /// As many commands as may are under way: nothing was asked.
    #[error("too many commands are under way")]
    Crowded,
    /// The server has forgotten the script. It was not done.
    #[error("the script is not known")]
    NoScript,
    /// The server has refused: out of memory, no permission, a command that it does not have. It was not done.
    #[error("it was refused: {0}")]
    Refused(String),
    /// The answer is none to what was asked.
    #[error("the answer makes no sense: {0}")]
    Malformed(&'static str),
}

// === impl Fault ===

impl Fault {
    /// Where a connection was to be made: a server that is there and refuses a login is of no more use than none.
    pub(super) fn of_dialing(error: &RedisError) -> Self {
        let fault = Self::of(error);
        if let Self::Refused(why) = fault { Self::Lost(why) } else { fault }
    }

    pub(super) fn of(error: &RedisError) -> Self {
        let text = || error.to_string().chars().take(TEXT_CHARS_MAX).collect::<String>();
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Self::NoScript,
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => Self::Elsewhere(text()),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Self::Moving(text()),
            // A master that has lost its replicas is about to lose its rank.
            ErrorKind::Extension if error.code() == Some("NOREPLICAS") => Self::Elsewhere(text()),
            ErrorKind::Server(_) | ErrorKind::Extension => Self::Refused(text()),
            ErrorKind::UnexpectedReturnType => Self::Malformed("another type"),
            // The connection is of no use, or there is none.
            ErrorKind::Parse
            | ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Io
            | ErrorKind::Client
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel
            | ErrorKind::EmptySentinelList
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::RESP3NotSupported
            | _ => Self::Lost(text()),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(what) => Self::Corrupt(what),
            Fault::Late
            | Fault::Lost(_)
            | Fault::Elsewhere(_)
            | Fault::Moving(_)
            | Fault::Skipped
            | Fault::Crowded => Self::Away(fault.to_string()),
            Fault::NoScript | Fault::Refused(_) => Self::Transient(fault.to_string()),
        }
    }
}
