//! The numbers of proxy-wasm ABI 0.2.1: statuses, maps, buffers, metrics, log levels. No behavior.

/// What a host call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// There is no such thing.
    NotFound,
    /// The arguments make no sense here and now.
    BadArgument,
    /// A pointer or a length leads out of the VM's memory.
    InvalidMemoryAccess,
    /// There is nothing to take.
    Empty,
    /// Somebody else wrote first.
    CasMismatch,
    /// The host failed.
    InternalFailure,
    /// This host does not do that.
    Unimplemented,
}

/// A header map that the VM can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// The request's head.
    RequestHeaders,
    /// The request's trailers.
    RequestTrailers,
    /// The response's head.
    ResponseHeaders,
    /// The response's trailers.
    ResponseTrailers,
    /// The head of a callout's reply.
    CalloutHeaders,
    /// The trailers of a callout's reply.
    CalloutTrailers,
}

/// A buffer that the VM can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferKind {
    RequestBody,
    ResponseBody,
    CalloutBody,
    VmConfiguration,
    PluginConfiguration,
}

/// A kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Takes samples.
    Histogram,
}

/// How loud a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// 0
    Trace,
    /// 1
    Debug,
    /// 2
    Info,
    /// 3
    Warn,
    /// 4
    Error,
    /// 5
    Critical,
}

/// A callback's wish to let headers or data pass.
pub(crate) const ACTION_CONTINUE: u32 = 0;
/// A callback's wish to hold them.
pub(crate) const ACTION_PAUSE: u32 = 1;

/// Envoy takes no more pairs than this in one call from a VM.
pub const PAIRS_MAX: usize = 1024;
/// Nor more bytes of them.
pub const PAIRS_BYTES_MAX: usize = 1 << 20;
/// Envoy's bound on a VM's memory.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;
/// The largest reply of a callout (`http.async_response_buffer_limit`).
pub const CALLOUT_REPLY_BYTES_MAX: usize = 32 << 20;
/// The most that one `random_get` gives.
pub(crate) const RANDOM_BYTES_MAX: usize = 64 << 10;

// === impl Status ===

impl Status {
    /// The number that the VM sees.
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::Ok => 0,
            Self::NotFound => 1,
            Self::BadArgument => 2,
            Self::InvalidMemoryAccess => 6,
            Self::Empty => 7,
            Self::CasMismatch => 8,
            Self::InternalFailure => 10,
            Self::Unimplemented => 12,
        }
    }

    /// Whether a careful filter may see it: the rest means that the filter broke a rule.
    pub(crate) const fn is_ordinary(self) -> bool {
        match self {
            Self::Ok | Self::NotFound | Self::Empty | Self::CasMismatch | Self::InternalFailure => {
                true
            }
            Self::BadArgument | Self::InvalidMemoryAccess | Self::Unimplemented => false,
        }
    }
}

// === impl MapKind ===

impl MapKind {
    pub(crate) fn from_code(code: u32) -> Result<Self, Status> {
        Ok(match code {
            0 => Self::RequestHeaders,
            1 => Self::RequestTrailers,
            2 => Self::ResponseHeaders,
            3 => Self::ResponseTrailers,
            6 => Self::CalloutHeaders,
            7 => Self::CalloutTrailers,
            _ => return Err(Status::BadArgument),
        })
    }
}

// === impl BufferKind ===

impl BufferKind {
    pub(crate) fn from_code(code: u32) -> Result<Self, Status> {
        Ok(match code {
            0 => Self::RequestBody,
            1 => Self::ResponseBody,
            4 => Self::CalloutBody,
            6 => Self::VmConfiguration,
            7 => Self::PluginConfiguration,
            _ => return Err(Status::BadArgument),
        })
    }
}

// === impl MetricKind ===

impl MetricKind {
    pub(crate) fn from_code(code: u32) -> Result<Self, Status> {
        Ok(match code {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Histogram,
            _ => return Err(Status::BadArgument),
        })
    }
}

// === impl LogLevel ===

impl LogLevel {
    pub(crate) fn from_code(code: u32) -> Result<Self, Status> {
        Ok(match code {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            5 => Self::Critical,
            _ => return Err(Status::BadArgument),
        })
    }
}
