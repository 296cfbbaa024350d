//! From refusals to answers. The only file of the sidecar that knows statuses.

use http::{HeaderValue, StatusCode, header};
use kt_contract::outcome::{cache_status, not_cached_status};
use kt_contract::problem::Problem;
use kt_contract::wire::admin::wallet::Amount;
use kt_contract::wire::admin::{ErrorBody, ErrorReply};
use kt_contract::wire::headers;
use kt_providers::Dialect;

use super::read::Unread;
use super::{Answer, json, put, with_type};
use crate::ledger::{Refused, Short};
use crate::service::Failure;
use crate::service::lane::Refusal;
use crate::store::StoreError;

/// A refusal on the lane, in the client's dialect.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    let Refusal { dialect, problem, request_id, cache } = refusal;
    // Whoever has no good ticket has not said a dialect either; the first one's error shape is the usual.
    let dialect = dialect.unwrap_or(Dialect::OpenAiChat);
    let mut answer = with_type(
        StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        HeaderValue::from_static("application/json"),
        dialect.error_body(problem).into(),
    );
    let map = answer.headers_mut();
    put(map, headers::REQUEST_ID, request_id);
    if let Some(seconds) = problem.retry_after_s() {
        map.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.is_final() {
        put(map, headers::SHOULD_RETRY, "false");
    }
    if let Problem::RateLimited(limited) = problem {
        limited.headers().iter().for_each(|(name, value)| put(map, name, value));
    }
    if let Problem::NotCached { reason } = problem {
        put(map, headers::CACHE_STATUS, &not_cached_status(*reason));
    }
    if let Some((outcome, reason)) = cache {
        put(map, headers::CACHE_STATUS_SHORT, outcome.as_str());
        put(map, headers::CACHE_STATUS, &cache_status(*outcome, *reason, None));
    }
    answer
}

/// The problem of a body that was not read on the lane.
pub(super) fn unread(unread: &Unread) -> Problem {
    match unread {
        Unread::TooLarge { bytes_max } => Problem::TooLarge { bytes_max: *bytes_max },
        Unread::NoRoom => Problem::BodiesFull,
        Unread::Broken | Unread::Message(_) => {
            Problem::InvalidBody { what: "it did not arrive whole".to_owned() }
        }
    }
}

/// A message that was not read.
pub(super) fn bad_message(unread: &Unread) -> Answer {
    let status = match unread {
        Unread::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Unread::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        Unread::Broken | Unread::Message(_) => StatusCode::BAD_REQUEST,
    };
    error(status, "invalid_message", unread.to_string())
}

/// A use case that has no answer.
pub(super) fn failed(failure: &Failure) -> Answer {
    let (status, code) = match failure {
        Failure::Ledger(refused) => {
            return error(refusal_status(refused), &refused.code(), refusal_message(refused));
        }
        Failure::ConfigRefused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "config_refused"),
        Failure::ConfigNotWritten { .. } => (StatusCode::CONFLICT, "config_not_written"),
        Failure::BreachStands(_) => (StatusCode::CONFLICT, "breach_stands"),
        Failure::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
        Failure::NotRotated(_) => (StatusCode::CONFLICT, "key_not_rotated"),
        Failure::NoLedger => (StatusCode::CONFLICT, "no_ledger"),
        Failure::NoAuditLog => (StatusCode::CONFLICT, "no_audit_log"),
        Failure::NoIdempotencyKey => (StatusCode::BAD_REQUEST, "no_idempotency_key"),
        Failure::WireVersion { .. } => (StatusCode::BAD_REQUEST, "wire_version"),
        Failure::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
        Failure::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid_field"),
        Failure::Refused(problem) => (
            StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_REQUEST),
            problem.code(),
        ),
        Failure::Store(StoreError::Transient(_) | StoreError::Away(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable")
        }
        Failure::Store(StoreError::Corrupt(_)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "store_corrupt")
        }
        Failure::Store(StoreError::Permanent(_)) | Failure::Random(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal_error")
        }
    };
    if status.is_server_error() {
        tracing::error!(%failure, "a use case failed");
    }
    error(status, code, failure.to_string())
}

/// What the ledger does not do, for whoever asks for it by hand.
fn refusal_status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::BadAmount => StatusCode::BAD_REQUEST,
        Refused::Insufficient(_) => StatusCode::PAYMENT_REQUIRED,
        Refused::NotFound => StatusCode::NOT_FOUND,
        Refused::ExistsDifferent | Refused::ExceedsCharge => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::AlreadySettled
        | Refused::AlreadyReleased
        | Refused::NotDue
        | Refused::NotExpired
        | Refused::Expired
        | Refused::NotSettled
        | Refused::Frozen => StatusCode::CONFLICT,
        Refused::ClockSetBack => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal_message(refused: &Refused) -> String {
    match refused {
        Refused::Insufficient(Short::Wallet) => {
            "the wallet has less than that available".to_owned()
        }
        Refused::Insufficient(Short::Team(team)) => {
            format!("the purse of team '{team}' has less than that available")
        }
        Refused::Insufficient(Short::Budget { .. })
        | Refused::ExistsDifferent
        | Refused::BadAmount
        | Refused::NotFound
        | Refused::AlreadySettled
        | Refused::AlreadyReleased
        | Refused::NotDue
        | Refused::NotExpired
        | Refused::Expired
        | Refused::NotSettled
        | Refused::ExceedsCharge
        | Refused::Frozen
        | Refused::ClockSetBack => refused.to_string(),
    }
}

/// A message about money that was not read. Whatever is wrong with it, what an amount is may be it.
pub(super) fn bad_money(unread: &Unread) -> Answer {
    match unread {
        Unread::TooLarge { .. } | Unread::NoRoom | Unread::Broken => bad_message(unread),
        Unread::Message(_) => {
            let message = format!("{unread}. An amount is {}", Amount::IS);
            error(StatusCode::BAD_REQUEST, "invalid_message", message)
        }
    }
}

/// No such path.
pub(super) fn unknown_path() -> Answer {
    error(StatusCode::NOT_FOUND, "unknown_path", "there is nothing at this path".to_owned())
}

/// A task that has not come to its end.
pub(super) fn broke_off(error: &tokio::task::JoinError) -> Answer {
    tracing::error!(%error, "a use case broke off");
    let message = "it broke off; the sidecar's log says why".to_owned();
    self::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
}

/// The path is right and the method is not.
pub(super) fn wrong_method() -> Answer {
    let message = "this path does not take this method".to_owned();
    error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

fn error(status: StatusCode, code: &str, message: String) -> Answer {
    json(status, &ErrorReply { error: ErrorBody { code: code.to_owned(), message } })
}

#[cfg(test)]
mod tests {
    use kt_contract::outcome::Reason;
    use kt_contract::problem::Unpaid;
    use kt_contract::rate::{Measure, RateLimited, Scope};
    use kt_contract::time::Millis;

    use super::*;

    #[test]
    fn a_refusal_says_when_to_come_again_and_whether_trying_soon_is_in_vain() {
        let (scope, window) = ("the organization".to_owned(), "daily".to_owned());
        let spent = Unpaid::BudgetSpent { scope, window, resets_in_s: 5_400 };
        for (problem, status, retry_after, should_retry) in [
            (Problem::Unpaid(Unpaid::WalletEmpty { team: None }), 402, None, Some("false")),
            (Problem::Unpaid(spent), 429, Some("5400"), Some("false")),
            (Problem::Unpaid(Unpaid::LedgerUnavailable), 503, Some("1"), None),
            (Problem::NotCached { reason: Reason::Generation }, 504, None, Some("false")),
            (Problem::FlightFull, 503, Some("1"), None),
            (Problem::AuditUnavailable, 503, Some("1"), None),
            (Problem::BodiesFull, 503, Some("1"), None),
        ] {
            for dialect in [None, Some(Dialect::OpenAiChat), Some(Dialect::AnthropicMessages)] {
                let (problem, request_id) = (problem.clone(), "r".to_owned());
                let refusal = Refusal { dialect, problem, request_id, cache: None };
                let answer = refused(&refusal);
                let field = |name| answer.headers().get(name).and_then(|it| it.to_str().ok());
                let said =
                    (answer.status().as_u16(), field("retry-after"), field("x-should-retry"));
                assert_eq!(said, (status, retry_after, should_retry), "{refusal:?}");
            }
        }
    }

    #[test]
    fn who_comes_too_soon_is_told_the_limit_as_openais_clients_know_it() {
        let limited = RateLimited {
            scope: Scope::Key,
            measure: Measure::Requests,
            per_minute: 60,
            remaining: 0,
            wait: Millis(1_500),
            reset: Millis(61_500),
        };
        let (problem, request_id) = (Problem::RateLimited(limited), "r".to_owned());
        let answer = refused(&Refusal { dialect: None, problem, request_id, cache: None });
        let field = |name| answer.headers().get(name).and_then(|it| it.to_str().ok());
        assert_eq!((answer.status().as_u16(), field("retry-after")), (429, Some("2")));
        assert_eq!(field("x-should-retry"), None);
        assert_eq!(field("x-ratelimit-limit-requests"), Some("60"));
        assert_eq!(field("x-ratelimit-remaining-requests"), Some("0"));
        assert_eq!(field("x-ratelimit-reset-requests"), Some("1m1.5s"));
    }
}
