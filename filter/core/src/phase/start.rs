//! Start: the head comes. Whose request is it, may the body come, and who asks?

use kt_contract::problem::Problem;
use kt_providers::{Dialect, Recognized, recognize};

use super::Phase;
use super::buffering::Buffering;
use super::resolving::{Resolving, Wants};
use crate::action::{Flow, LogLine};
use crate::ask::Ask;
use crate::counter::Counter;
use crate::event::Event;
use crate::head::Head;
use crate::peer::Peer;
use crate::quoted::quoted_bytes;
use crate::reply;
use crate::request_id::RequestId;
use crate::turn::{Next, Turn};

/// The header that Anthropic's clients send with every request, whatever its path.
const OF_ANTHROPIC: &str = "anthropic-version";

pub(crate) fn on(event: Event<'_>, turn: &mut Turn<'_>) -> Next {
    match event {
        Event::RequestHeaders { head, end, random, peer } => {
            request(head, (peer, end), RequestId::mint(random), turn)
        }
        // Envoy refused the request before this filter saw it, or nothing of it ever came.
        Event::ResponseHeaders { .. } | Event::Done => (Phase::Done, Flow::Continue),
        Event::RequestBody { .. }
        | Event::RequestTrailers
        | Event::RequestRead { .. }
        | Event::CalloutAnswered(_)
        | Event::Spent(_)
        | Event::HostRefused => turn.unexpected(LogLine::default()),
    }
}

fn request(
    head: Head<'_>,
    (peer, end): (Peer<'_>, bool),
    request_id: RequestId,
    turn: &mut Turn<'_>,
) -> Next {
    let log = LogLine { request_id: Some(request_id.clone()), ..LogLine::default() };
    let target = head.first(":path").unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let fallback = fallback(head, path);
    match recognize(head.first(":method").unwrap_or_default(), target) {
        Recognized::Health => {
            turn.count(Counter::Local);
            let reply = reply::health(turn.now, turn.worker);
            turn.reply(reply, log)
        }
        Recognized::Unknown => {
            let path = quoted_bytes(path);
            turn.refuse(fallback, &Problem::UnknownPath { path }, log)
        }
        Recognized::WrongMethod { allow } => {
            turn.refuse(fallback, &Problem::WrongMethod { allow }, log)
        }
        Recognized::BadVersion => {
            let what = "must be given once, as letters, digits, '-' and '.'".to_owned();
            let problem = Problem::InvalidField { field: "api-version".to_owned(), what };
            turn.refuse(fallback, &problem, log)
        }
        Recognized::Models => {
            let wants = turn.who(head, peer);
            let wants = wants.map(|who| Wants::Models { request_id, who, dialect: fallback });
            resolve(fallback, wants, end, log, turn)
        }
        Recognized::Ours(endpoint) => {
            let dialect = endpoint.dialect();
            let bytes_max = turn.request_bytes_max();
            let who = turn.who(head, peer);
            let ask = who.and_then(|who| Ask::read(head, who, request_id, endpoint, bytes_max));
            resolve(dialect, ask.map(Wants::Answer), end, log, turn)
        }
    }
}

/// What refusals and lists are worded in where no endpoint says whose dialect it is.
fn fallback(head: Head<'_>, path: &[u8]) -> Dialect {
    let is_anthropics = path.starts_with(Dialect::AnthropicMessages.path().as_bytes())
        || head.first(OF_ANTHROPIC).is_some();
    if is_anthropics { Dialect::AnthropicMessages } else { Dialect::OpenAiChat }
}

/// Finds out who asks: from what this worker knows, or else from the sidecar.
fn resolve(
    dialect: Dialect,
    wants: Result<Wants, Problem>,
    end: bool,
    log: LogLine,
    turn: &mut Turn<'_>,
) -> Next {
    // Without a snapshot there are no bounds and no policy to pass: everything is refused.
    let Some(snapshot) = turn.worker.snapshot() else {
        return turn.refuse(dialect, &Problem::NotReady, log);
    };
    let wants = match wants {
        Ok(wants) => wants,
        Err(problem) => return turn.refuse(dialect, &problem, log),
    };
    match (turn.worker.principal(turn.now, &wants.who().key), wants) {
        (None, wants) => Resolving::ask(wants, end, turn),
        (Some(known), Wants::Models { request_id, dialect, .. }) => {
            super::resolving::models(&snapshot, dialect, &known, &request_id, turn)
        }
        (Some(known), Wants::Answer(ask)) => Buffering::enter(ask, known, end),
    }
}
