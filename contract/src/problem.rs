//! Refusals as values: a stable code, a status, and words for the reader. The dialects of `kt-providers`
//! put them into the client's own error shape.

mod crowd;
mod repeated;
mod unpaid;

use crate::outcome::Reason;
use crate::rate::RateLimited;

pub use crowd::Crowd;
pub use repeated::Repeated;
pub use unpaid::Unpaid;

/// A refusal. One variant, one stable `code`; the reference page `docs/reference/errors.md` lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The request carries no gateway key.
    MissingKey,
    /// The key is malformed, unknown, or fails its checksum.
    InvalidKey,
    /// The key was revoked.
    RevokedKey,
    /// Who a certificate or a token names is known to nobody here.
    UnknownIdentity,
    /// The key is valid, and its organization has no configuration on this hosted gateway.
    NoTenant,
    /// `x-kt-codebase` names a codebase that the key does not have.
    CodebaseNotAllowed {
        /// What was asked for.
        codebase: String,
    },
    /// The path is none that a dialect knows.
    UnknownPath {
        /// The path as it came.
        path: String,
    },
    /// The path is known, the method is not right.
    WrongMethod {
        /// The method that is.
        allow: &'static str,
    },
    /// No route serves the model.
    ModelNotFound {
        /// The model as the client wrote it.
        model: String,
    },
    /// The model's target serves other paths than the one that was asked.
    OtherPath {
        /// The model.
        model: String,
        /// The paths that it is served on.
        paths: String,
    },
    /// The body is not the JSON it should be.
    InvalidBody {
        /// What is wrong and where.
        what: String,
    },
    /// A field is missing or of the wrong type.
    InvalidField {
        /// The field.
        field: String,
        /// What it should be.
        what: String,
    },
    /// The content type or content encoding is not one that is read.
    UnsupportedMedia {
        /// What came and what is read.
        what: String,
    },
    /// The body is larger than `gateway.request_bytes_max`.
    TooLarge {
        /// The bound in bytes.
        bytes_max: u64,
    },
    /// A policy refused the request.
    PolicyBlocked {
        /// The policy's name in the chain.
        policy: String,
        /// The configured status, 409 by default.
        status: u16,
        /// What was refused, in words.
        what: String,
    },
    /// Too many requests, or tokens, in the last minute.
    RateLimited(RateLimited),
    /// The organization has as much under way as it may.
    OrganizationFull(Crowd),
    /// The call cannot be paid for.
    Unpaid(Unpaid),
    /// The `Idempotency-Key` has been used before.
    Repeated(Repeated),
    /// No snapshot of the configuration has arrived: everything is refused.
    NotReady,
    /// The sidecar cannot be reached and the configuration says to refuse.
    SidecarUnavailable,
    /// Every access must be on record, and this one's record cannot be written.
    AuditUnavailable,
    /// The sidecar is shutting down.
    Draining,
    /// As many requests as may already wait for the identical one that is in flight.
    FlightFull,
    /// The bodies of requests take as much memory as they may already.
    BodiesFull,
    /// The ticket of the lane is unknown, used, too old, or not for this body.
    TicketRefused,
    /// The client asked for a cached answer only, and there is none that may serve it.
    NotCached {
        /// Why not.
        reason: Reason,
    },
    /// The provider could not be reached.
    UpstreamUnreachable {
        /// The target's id.
        target: String,
    },
    /// The provider's answer broke off.
    UpstreamCutShort {
        /// The target's id.
        target: String,
    },
    /// The provider refused the credential that the gateway sent: nothing that a client can mend.
    UpstreamUnauthorized {
        /// The target's id.
        target: String,
    },
    /// Something that should not happen did; it has been counted and logged.
    Internal,
}

/// How much of a value that a client chose its error repeats.
const VALUE_BYTES_MAX: usize = 200;

/// A value that a client chose, cut to a length that a reader wants: a refusal must not be a large answer.
struct Short<'a>(&'a str);

// === impl Problem ===

impl Problem {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::MissingKey | Self::InvalidKey | Self::RevokedKey | Self::UnknownIdentity => 401,
            Self::NoTenant | Self::CodebaseNotAllowed { .. } => 403,
            Self::UnknownPath { .. } | Self::ModelNotFound { .. } | Self::OtherPath { .. } => 404,
            Self::WrongMethod { .. } => 405,
            Self::InvalidBody { .. } | Self::InvalidField { .. } => 400,
            Self::UnsupportedMedia { .. } => 415,
            Self::TooLarge { .. } => 413,
            Self::PolicyBlocked { status, .. } => *status,
            Self::RateLimited(_) | Self::OrganizationFull(_) => 429,
            Self::Unpaid(unpaid) => unpaid.status(),
            Self::Repeated(repeated) => repeated.status(),
            Self::NotReady
            | Self::SidecarUnavailable
            | Self::AuditUnavailable
            | Self::Draining
            | Self::FlightFull
            | Self::BodiesFull
            | Self::TicketRefused => 503,
            Self::UpstreamUnreachable { .. }
            | Self::UpstreamCutShort { .. }
            | Self::UpstreamUnauthorized { .. } => 502,
            Self::NotCached { .. } => 504,
            Self::Internal => 500,
        }
    }

    /// The stable code, also the word in logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingKey => "missing_api_key",
            Self::InvalidKey => "invalid_api_key",
            Self::RevokedKey => "revoked_api_key",
            Self::UnknownIdentity => "unknown_identity",
            Self::NoTenant => "tenant_not_configured",
            Self::CodebaseNotAllowed { .. } => "codebase_not_allowed",
            Self::UnknownPath { .. } => "unknown_path",
            Self::WrongMethod { .. } => "method_not_allowed",
            Self::ModelNotFound { .. } => "model_not_found",
            Self::OtherPath { .. } => "model_on_other_path",
            Self::InvalidBody { .. } => "invalid_json",
            Self::InvalidField { .. } => "invalid_field",
            Self::UnsupportedMedia { .. } => "unsupported_media_type",
            Self::TooLarge { .. } => "request_too_large",
            Self::PolicyBlocked { .. } => "policy_blocked",
            // OpenAI's own word.
            Self::RateLimited(_) => "rate_limit_exceeded",
            Self::OrganizationFull(crowd) => crowd.code(),
            Self::Unpaid(unpaid) => unpaid.code(),
            Self::Repeated(repeated) => repeated.code(),
            Self::NotReady => "not_ready",
            Self::SidecarUnavailable => "sidecar_unavailable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Draining => "draining",
            Self::FlightFull => "flight_full",
            Self::BodiesFull => "bodies_full",
            Self::TicketRefused => "ticket_refused",
            Self::NotCached { .. } => "not_cached",
            Self::UpstreamUnreachable { .. } => "upstream_unreachable",
            Self::UpstreamCutShort { .. } => "upstream_cut_short",
            Self::UpstreamUnauthorized { .. } => "upstream_unauthorized",
            Self::Internal => "internal_error",
        }
    }

    /// The field at fault, for dialects that name one.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidField { field, .. } => Some(field),
            Self::ModelNotFound { .. } | Self::OtherPath { .. } => Some("model"),
            Self::Unpaid(unpaid) => unpaid.param(),
            Self::Repeated(_) => Some("Idempotency-Key"),
            Self::MissingKey
            | Self::InvalidKey
            | Self::RevokedKey
            | Self::UnknownIdentity
            | Self::NoTenant
            | Self::CodebaseNotAllowed { .. }
            | Self::UnknownPath { .. }
            | Self::WrongMethod { .. }
            | Self::InvalidBody { .. }
            | Self::UnsupportedMedia { .. }
            | Self::TooLarge { .. }
            | Self::PolicyBlocked { .. }
            | Self::RateLimited(_)
            | Self::OrganizationFull(_)
            | Self::NotReady
            | Self::SidecarUnavailable
            | Self::AuditUnavailable
            | Self::Draining
            | Self::FlightFull
            | Self::BodiesFull
            | Self::TicketRefused
            | Self::NotCached { .. }
            | Self::UpstreamUnreachable { .. }
            | Self::UpstreamCutShort { .. }
            | Self::UpstreamUnauthorized { .. }
            | Self::Internal => None,
        }
    }

    /// Seconds after which the same request may succeed: the value of `Retry-After`.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::NotReady
            | Self::SidecarUnavailable
            | Self::AuditUnavailable
            | Self::Draining
            | Self::FlightFull
            | Self::BodiesFull
            | Self::OrganizationFull(_)
            | Self::TicketRefused => Some(1),
            Self::RateLimited(limited) => Some(limited.retry_after_s()),
            Self::UpstreamUnreachable { .. } | Self::UpstreamCutShort { .. } | Self::Internal => {
                Some(1)
            }
            Self::Unpaid(unpaid) => unpaid.retry_after_s(),
            Self::Repeated(repeated) => repeated.retry_after_s(),
            Self::MissingKey
            | Self::InvalidKey
            | Self::RevokedKey
            | Self::UnknownIdentity
            | Self::NoTenant
            | Self::CodebaseNotAllowed { .. }
            | Self::UnknownPath { .. }
            | Self::WrongMethod { .. }
            | Self::ModelNotFound { .. }
            | Self::OtherPath { .. }
            | Self::InvalidBody { .. }
            | Self::InvalidField { .. }
            | Self::UnsupportedMedia { .. }
            | Self::TooLarge { .. }
            | Self::PolicyBlocked { .. }
            | Self::NotCached { .. }
            | Self::UpstreamUnauthorized { .. } => None,
        }
    }

    /// Whether a client that tries again soon tries in vain, which it is told with `x-should-retry: false`. A
    /// budget is spent until its next window, whatever `Retry-After` says beside it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        if let Self::Unpaid(unpaid) = self {
            return unpaid.is_final();
        }
        self.retry_after_s().is_none()
    }
}

impl std::fmt::Display for Problem {
    /// What happened and what to do, for the person who reads the client's error.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingKey => f.write_str(
                "No gateway key. Send it as 'Authorization: Bearer kt_gk_…', as 'x-api-key' or as 'api-key'.",
            ),
            Self::InvalidKey => f.write_str("The gateway key is not valid here. Check it for typos, or ask for a new one."),
            Self::RevokedKey => f.write_str("The gateway key was revoked. Ask your platform team for a new one."),
            Self::UnknownIdentity => f.write_str("The client certificate or token is good, and names nobody whom this gateway knows. Ask your platform team."),
            Self::NoTenant => f.write_str("Nothing is configured on this gateway for the organization of this key. Ask your platform team."),
            Self::CodebaseNotAllowed { codebase } => write!(f, "The gateway key has no codebase '{}'; x-kt-codebase may only narrow what the key allows.", Short(codebase)),
            Self::UnknownPath { path } => write!(f, "Unknown path '{}'. This gateway serves POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /v1/messages and their forms under /openai, GET /v1/models and GET /health.", Short(path)),
            Self::WrongMethod { allow } => write!(f, "This path takes {allow} only."),
            Self::ModelNotFound { model } => write!(f, "The model '{}' does not exist or this gateway has no route to it. GET /v1/models lists what it has.", Short(model)),
            Self::OtherPath { model, paths } => write!(f, "The model '{}' is not served on this path, but on {}.", Short(model), paths),
            Self::InvalidBody { what } => write!(f, "The request body is not valid JSON: {}.", Short(what)),
            Self::InvalidField { field, what } => write!(f, "'{}' {}.", Short(field), Short(what)),
            Self::UnsupportedMedia { what } => write!(f, "{}", Short(what)),
            Self::TooLarge { bytes_max } => write!(f, "The request body is larger than this gateway takes ({bytes_max} bytes)."),
            Self::PolicyBlocked { policy, what, .. } => write!(f, "Refused by policy '{policy}': {}.", Short(what)),
            Self::RateLimited(limited) => limited.fmt(f),
            Self::OrganizationFull(crowd) => crowd.fmt(f),
            Self::Unpaid(unpaid) => unpaid.fmt(f),
            Self::Repeated(repeated) => repeated.fmt(f),
            Self::NotReady => f.write_str("The gateway has no configuration yet and refuses everything until it has. Try again in a moment."),
            Self::SidecarUnavailable => f.write_str("The gateway's sidecar cannot be reached. Try again in a moment."),
            Self::AuditUnavailable => f.write_str("The gateway cannot write its audit log, and answers nothing that is not on record. Try again in a moment."),
            Self::Draining => f.write_str("The gateway is restarting. Try again in a moment."),
            Self::FlightFull => f.write_str("Too many requests wait for the same answer already. Try again in a moment."),
            Self::BodiesFull => f.write_str("The gateway has no room for the body of this request beside those that it is answering. Try again in a moment."),
            Self::TicketRefused => f.write_str("The gateway lost track of this request. Try again."),
            Self::NotCached { reason } => write!(f, "The cache has no answer that may serve this request ({}), and the request says 'only-if-cached'. Without that it is answered by the provider.", reason.for_client()),
            Self::UpstreamUnreachable { target } => write!(f, "The provider target '{target}' could not be reached. Try again in a moment."),
            Self::UpstreamCutShort { target } => write!(f, "The answer of provider target '{target}' broke off."),
            Self::UpstreamUnauthorized { target } => write!(f, "The provider refused the gateway's credential for target '{target}'. Ask your platform team."),
            Self::Internal => f.write_str("Something went wrong inside the gateway. The request id leads to its log line."),
        }
    }
}

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.char_indices().find(|(at, _)| *at >= VALUE_BYTES_MAX) {
            Some((end, _)) => write!(f, "{}…", self.0.get(..end).unwrap_or_default()),
            None => f.write_str(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_never_repeats_a_huge_value() {
        for text in ["m", "é"] {
            let model = text.repeat(1_000_000);
            let words = Problem::ModelNotFound { model }.to_string();
            assert!(words.len() < 400 && words.ends_with("what it has."), "{words}");
        }
        let short = Problem::ModelNotFound { model: "é".repeat(100) }.to_string();
        assert!(short.contains(&format!("'{}'", "é".repeat(100))), "{short}");
    }
}
