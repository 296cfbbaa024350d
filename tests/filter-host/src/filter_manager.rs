//! What Envoy does with an exchange around the filter: shows it headers, body and trailers, obeys what it
//! answers, and ends the exchange. The order of steps is Envoy's, as measured on a real one.

use crate::abi::{ACTION_CONTINUE, ACTION_PAUSE};
use crate::exchange::{Direction, Iteration, Over, SharedExchange};
use crate::headers::HeaderMap;
use crate::instance::{Instance, Trap};
use crate::state::{Deferred, LocalReply};

/// One exchange of an instance.
#[derive(Clone)]
pub(crate) struct Here {
    pub(crate) context: u32,
    pub(crate) exchange: SharedExchange,
}

/// What a callback asked for, after Envoy's own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Hold,
    /// A local reply has been made, or a number came that is no action.
    Stop,
}

/// Headers arrive.
pub(crate) fn headers(
    instance: &mut Instance,
    here: &Here,
    direction: Direction,
    headers: HeaderMap,
    end: bool,
) -> Result<(), Trap> {
    let count = headers.len();
    {
        let mut exchange = here.exchange.borrow_mut();
        let half = exchange.half(direction);
        half.headers = headers;
        half.headers_open = true;
        half.started = true;
        half.ended = end;
    }
    let action = instance.headers(direction, here.context, count, end)?;
    let verdict = settle(instance, here, direction, action)?;
    let may_stop = instance.state().process.settings.allow_on_headers_stop_iteration;
    let mut exchange = here.exchange.borrow_mut();
    let half = exchange.half(direction);
    match verdict {
        Verdict::Pass => {
            half.headers_open = false;
            half.release();
        }
        // Without the flag Envoy shows the filter nothing more until it resumes.
        Verdict::Hold if !may_stop => half.iteration = Iteration::StoppedAll,
        Verdict::Hold => half.iteration = Iteration::Stopped,
        Verdict::Stop => {}
    }
    Ok(())
}

/// A piece of body arrives. Envoy shows the filter all that is held back, not only the piece.
pub(crate) fn body(
    instance: &mut Instance,
    here: &Here,
    direction: Direction,
    piece: &[u8],
    end: bool,
) -> Result<(), Trap> {
    let Some(len) = offer(here, direction, piece, end) else { return Ok(()) };
    if overflows(instance, here, direction) {
        return too_large(instance, here, direction);
    }
    let action = instance.body(direction, here.context, len, end)?;
    let verdict = settle(instance, here, direction, action)?;
    {
        let mut exchange = here.exchange.borrow_mut();
        let half = exchange.half(direction);
        let piece = half.piece.take().unwrap_or_default();
        match verdict {
            Verdict::Pass => {
                half.buffered.extend(piece);
                half.release();
            }
            Verdict::Hold => {
                half.buffered.extend(piece);
                half.buffering = true;
                half.iteration = Iteration::Stopped;
            }
            Verdict::Stop => {}
        }
    }
    if overflows(instance, here, direction) {
        return too_large(instance, here, direction);
    }
    Ok(())
}

/// Trailers arrive: the end, and no callback of the body has said so.
pub(crate) fn trailers(
    instance: &mut Instance,
    here: &Here,
    direction: Direction,
    trailers: HeaderMap,
) -> Result<(), Trap> {
    let count = trailers.len();
    {
        let mut exchange = here.exchange.borrow_mut();
        let half = exchange.half(direction);
        if half.ended {
            return Ok(());
        }
        if half.iteration == Iteration::StoppedAll {
            half.held.trailers = Some(trailers);
            return Ok(());
        }
        half.trailers = trailers;
        half.trailers_open = true;
        half.ended = true;
    }
    let action = instance.trailers(direction, here.context, count)?;
    let verdict = settle(instance, here, direction, action)?;
    let mut exchange = here.exchange.borrow_mut();
    let half = exchange.half(direction);
    match verdict {
        Verdict::Pass => {
            half.trailers_open = false;
            half.release();
        }
        Verdict::Hold => half.iteration = Iteration::Stopped,
        Verdict::Stop => {}
    }
    Ok(())
}

/// Does what the VM asked for while it ran, in its order.
pub(crate) fn run_deferred(instance: &mut Instance) -> Result<(), Trap> {
    while let Some(deferred) = instance.state_mut().deferred.pop_front() {
        let (Deferred::Resume { context, .. }
        | Deferred::LocalReply { context, .. }
        | Deferred::Close { context }) = deferred;
        let Some(exchange) = instance.state().streams.get(&context).cloned() else { continue };
        let here = Here { context, exchange };
        match deferred {
            Deferred::Resume { direction, .. } => resume(instance, &here, direction)?,
            Deferred::LocalReply { reply, .. } => local_reply(instance, &here, reply)?,
            Deferred::Close { .. } => here.exchange.borrow_mut().cut(),
        }
    }
    Ok(())
}

/// Answers in the place of an upstream; the filter sees that answer like any other.
pub(crate) fn local_reply(
    instance: &mut Instance,
    here: &Here,
    reply: LocalReply,
) -> Result<(), Trap> {
    {
        let mut exchange = here.exchange.borrow_mut();
        if exchange.over.is_some() {
            return Ok(());
        }
        if exchange.response.passed.is_some() {
            // The client has headers already: there is no way back but to cut.
            exchange.cut();
            return Ok(());
        }
        exchange.request.abort();
        exchange.local_reply = Some(reply.details.clone());
        let details = reply.details.clone().into_bytes();
        exchange.properties.insert(b"response\0code_details".to_vec(), details);
    }
    let mut map = HeaderMap::of([(":status", reply.status.to_string())]);
    for (name, value) in reply.headers.iter() {
        map.add(name, value);
    }
    if !reply.body.is_empty() {
        map.replace(b"content-length", reply.body.len().to_string().as_bytes());
        if map.bytes("content-type").is_none() {
            map.add(b"content-type", b"text/plain");
        }
    }
    headers(instance, here, Direction::Response, map, reply.body.is_empty())?;
    if reply.body.is_empty() {
        return Ok(());
    }
    body(instance, here, Direction::Response, &reply.body, true)
}

/// Ends what is over: the access log, then `on_done`, then `on_delete`.
pub(crate) fn conclude(instance: &mut Instance) -> Result<(), Trap> {
    let streams: Vec<_> =
        instance.state().streams.iter().map(|(id, ex)| (*id, ex.clone())).collect();
    for (context, exchange) in streams {
        {
            let mut exchange = exchange.borrow_mut();
            if exchange.is_answered() && exchange.over.is_none() {
                exchange.over = Some(Over::Complete);
            }
            if exchange.over.is_none() || exchange.deleted {
                continue;
            }
            exchange.deleted = true;
            exchange.request.abort();
            exchange.response.abort();
            exchange.logging = true;
        }
        instance.log(context)?;
        exchange.borrow_mut().logging = false;
        instance.done(context)?;
        instance.delete(context)?;
        instance.state_mut().streams.remove(&context);
    }
    instance.state_mut().deferred.clear();
    Ok(())
}

fn resume(instance: &mut Instance, here: &Here, direction: Direction) -> Result<(), Trap> {
    let held = {
        let mut exchange = here.exchange.borrow_mut();
        if exchange.over.is_some() {
            return Ok(());
        }
        let half = exchange.half(direction);
        if half.iteration == Iteration::Flowing || !half.started {
            return Ok(());
        }
        half.headers_open = false;
        half.release();
        std::mem::take(&mut half.held)
    };
    if !held.data.is_empty() || held.end {
        body(instance, here, direction, &held.data, held.end)?;
    }
    match held.trailers {
        Some(map) => trailers(instance, here, direction, map),
        None => Ok(()),
    }
}

/// Runs what the callback left behind, then reads its answer.
fn settle(
    instance: &mut Instance,
    here: &Here,
    direction: Direction,
    action: Option<u32>,
) -> Result<Verdict, Trap> {
    let replied = here.exchange.borrow().reply_asked;
    let locally = here.exchange.borrow().local_reply.is_some();
    run_deferred(instance)?;
    let exchange = here.exchange.borrow();
    if exchange.over.is_some() {
        return Ok(Verdict::Stop);
    }
    // The callback that asked for the reply goes no further; the reply's own callbacks do.
    if (replied && direction == Direction::Request) || (!locally && exchange.local_reply.is_some())
    {
        return Ok(Verdict::Stop);
    }
    drop(exchange);
    match action.unwrap_or(ACTION_CONTINUE) {
        ACTION_CONTINUE => Ok(Verdict::Pass),
        ACTION_PAUSE => Ok(Verdict::Hold),
        other => {
            instance.state_mut().note_misuse(format!("a callback answered {other}"));
            Ok(Verdict::Stop)
        }
    }
}

/// Puts a piece where the filter can see it, and says how much that is. `None` if nobody is to see it.
fn offer(here: &Here, direction: Direction, piece: &[u8], end: bool) -> Option<usize> {
    let mut exchange = here.exchange.borrow_mut();
    let half = exchange.half(direction);
    if half.ended && !end {
        return None;
    }
    if half.iteration == Iteration::StoppedAll {
        half.held.data.extend_from_slice(piece);
        half.held.end |= end;
        return None;
    }
    half.ended |= end;
    if half.buffering {
        half.buffered.extend_from_slice(piece);
        return Some(half.buffered.len());
    }
    half.piece = Some(piece.to_vec());
    Some(piece.len())
}

fn overflows(instance: &Instance, here: &Here, direction: Direction) -> bool {
    let bound = instance.state().process.settings.body_bytes_max;
    here.exchange.borrow_mut().half(direction).buffered.len() > bound
}

/// Envoy's own words for a body that outgrows its buffer.
fn too_large(instance: &mut Instance, here: &Here, direction: Direction) -> Result<(), Trap> {
    let (status, body, details) = match direction {
        Direction::Request => (413, "Payload Too Large", "request_payload_too_large"),
        Direction::Response => (500, "Internal Server Error", "response_payload_too_large"),
    };
    if direction == Direction::Response {
        let mut exchange = here.exchange.borrow_mut();
        exchange.response.abort();
        exchange.response.ended = false;
    }
    let reply = LocalReply {
        status,
        body: body.as_bytes().to_vec(),
        details: details.to_owned(),
        ..LocalReply::default()
    };
    local_reply(instance, here, reply)
}
