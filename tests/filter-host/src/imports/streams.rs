//! What a filter does to its stream: resume, reply, close, speak for another context. Envoy acts on it when
//! the callback has returned.

use wasmtime::Linker;

use super::provide;
use crate::abi::Status;
use crate::exchange::Direction;
use crate::headers::HeaderMap;
use crate::memory::{Done, Guest, Span, finish, read, read_text};
use crate::raw::Noted;
use crate::state::{Deferred, LocalReply, State};

/// The arguments of `proxy_send_local_response`.
struct Reply {
    status: u32,
    details: Span,
    body: Span,
    headers: Span,
}

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_continue_stream" => |guest, stream| resume(guest, stream);
        "proxy_close_stream" => |guest, stream| close(guest, stream);
        "proxy_set_effective_context" => |guest, context| set_effective(guest, context);
        "proxy_done" => |guest| { let _ = guest; Ok(()) };
    });
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |mut guest: Guest<'_>,
         status: u32,
         d: u32,
         dl: u32,
         b: u32,
         bl: u32,
         h: u32,
         hl: u32,
         _grpc: i32| {
            let reply =
                Reply { status, details: Span(d, dl), body: Span(b, bl), headers: Span(h, hl) };
            let done = send_local_response(&mut guest, &reply);
            finish(&mut guest, "proxy_send_local_response", done)
        },
    )?;
    Ok(())
}

fn direction(stream: u32) -> Result<Direction, Status> {
    match stream {
        0 => Ok(Direction::Request),
        1 => Ok(Direction::Response),
        _ => Err(Status::BadArgument),
    }
}

/// Envoy takes the request away from the filter, whichever direction goes on.
fn resume(guest: &mut Guest<'_>, stream: u32) -> Done {
    let direction = direction(stream)?;
    let state = guest.data_mut();
    state.asks(|| Noted::Resume)?;
    let Ok(exchange) = state.exchange() else {
        state.note_misuse("proxy_continue_stream: not for a stream");
        return Ok(());
    };
    let mut exchange = exchange.borrow_mut();
    exchange.request.headers_open = false;
    exchange.request.trailers_open = false;
    let context = state.effective;
    state.deferred.push_back(Deferred::Resume { context, direction });
    Ok(())
}

fn close(guest: &mut Guest<'_>, stream: u32) -> Done {
    direction(stream)?;
    let state = guest.data_mut();
    let context = state.effective;
    state.deferred.push_back(Deferred::Close { context });
    Ok(())
}

fn set_effective(guest: &mut Guest<'_>, context: u32) -> Done {
    let state = guest.data_mut();
    if context != state.root && !state.streams.contains_key(&context) {
        return Err(Status::BadArgument.into());
    }
    state.effective = context;
    Ok(())
}

/// Only the first counts, and the filter is not told when one does not.
fn send_local_response(guest: &mut Guest<'_>, reply: &Reply) -> Done {
    let reply = LocalReply {
        status: reply.status,
        headers: HeaderMap::from_pairs(&read(guest, reply.headers)?)?,
        body: read(guest, reply.body)?,
        details: read_text(guest, reply.details)?,
    };
    let state = guest.data_mut();
    state.asks(|| Noted::Reply {
        status: reply.status,
        headers: reply.headers.clone(),
        body: reply.body.clone(),
    })?;
    state.stop_next_iteration = true;
    let Ok(exchange) = state.exchange() else {
        state.note_misuse("proxy_send_local_response: not for a stream");
        return Ok(());
    };
    if std::mem::replace(&mut exchange.borrow_mut().reply_asked, true) {
        state.note_misuse("proxy_send_local_response: a second time");
        return Ok(());
    }
    let context = state.effective;
    state.deferred.push_back(Deferred::LocalReply { context, reply });
    Ok(())
}
