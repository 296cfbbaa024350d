//! The data socket: the wire of the filters, and the lane.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use kt_contract::wire::admit::{AdmitRequest, Admitted};
use kt_contract::wire::{PATH_ADMIT, PATH_FEED, PATH_OPEN_CALLS, PATH_PRINCIPAL, headers};
use serde::Serialize;

use super::{Answer, json, lane, mark, problem, read};
use crate::http::ReplyBody;
use crate::service::admit::Admission;
use crate::service::{Failure, Sidecar};
use crate::ticket::Peer;

/// Where messages of the wire go.
const PATHS: [&str; 4] = [PATH_ADMIT, PATH_FEED, PATH_OPEN_CALLS, PATH_PRINCIPAL];

/// Answers one request. One with a ticket is on the lane, whatever its path.
pub(super) async fn answer(
    sidecar: Arc<Sidecar>,
    peer: Peer,
    request: Request<Incoming>,
) -> Answer {
    mark(if request.headers().contains_key(headers::TICKET) {
        lane::answer(sidecar, peer, request).await
    } else if !PATHS.contains(&request.uri().path()) {
        problem::unknown_path()
    } else if request.method() != Method::POST {
        problem::wrong_method()
    } else {
        wire(&sidecar, peer, request).await
    })
}

async fn wire(sidecar: &Arc<Sidecar>, peer: Peer, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let bytes = match read::whole(body, read::MESSAGE_BYTES_MAX, sidecar.timeouts.upload_idle).await
    {
        Ok(bytes) => bytes,
        Err(unread) => return problem::bad_message(&unread),
    };
    macro_rules! message {
        () => {
            match serde_json::from_slice(&bytes) {
                Ok(message) => message,
                Err(error) => return problem::bad_message(&error.into()),
            }
        };
    }
    match head.uri.path() {
        PATH_ADMIT => {
            let message: AdmitRequest = message!();
            sidecar.admit(message, peer).await.map_or_else(|f| problem::failed(&f), admitted)
        }
        PATH_FEED => reply(sidecar.poll_feed(&message!()).await),
        PATH_OPEN_CALLS => reply(sidecar.book_open_calls(message!()).await),
        PATH_PRINCIPAL => reply(sidecar.principal(&message!()).await),
        _ => problem::unknown_path(),
    }
}

fn reply(result: Result<impl Serialize, Failure>) -> Answer {
    match result {
        Ok(message) => json(StatusCode::OK, &message),
        Err(failure) => problem::failed(&failure),
    }
}

/// The decision travels in a header, so that the body can be the answer itself.
fn admitted(admission: Admission) -> Answer {
    let Admission { decision, body } = admission;
    let mut answer = Answer::new(ReplyBody::whole(body));
    let map = answer.headers_mut();
    if let Admitted::Hit { content_type, .. } = &decision
        && let Ok(content_type) = HeaderValue::from_str(content_type)
    {
        map.insert(header::CONTENT_TYPE, content_type);
    }
    let text = serde_json::to_vec(&decision).unwrap_or_default();
    if let Ok(text) = HeaderValue::from_bytes(&text) {
        map.insert(headers::ADMIT, text);
    }
    answer
}
