//! Dispatching HTTP callouts. What Envoy refuses at once is refused here at once.

use std::time::Duration;

use wasmtime::Linker;

use crate::abi::Status;
use crate::callout::{Asked, Pending};
use crate::headers::HeaderMap;
use crate::memory::{Done, Guest, Span, finish, read, read_text, write};
use crate::raw::Noted;
use crate::state::State;

/// The arguments of `proxy_http_call`.
struct Call {
    cluster: Span,
    headers: Span,
    body: Span,
    trailers: Span,
    timeout_ms: u32,
    token_to: u32,
}

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |mut guest: Guest<'_>,
         c: u32,
         cl: u32,
         h: u32,
         hl: u32,
         b: u32,
         bl: u32,
         t: u32,
         tl: u32,
         timeout_ms: u32,
         token_to: u32| {
            let call = Call {
                cluster: Span(c, cl),
                headers: Span(h, hl),
                body: Span(b, bl),
                trailers: Span(t, tl),
                timeout_ms,
                token_to,
            };
            let done = dispatch(&mut guest, &call);
            finish(&mut guest, "proxy_http_call", done)
        },
    )?;
    Ok(())
}

fn dispatch(guest: &mut Guest<'_>, call: &Call) -> Done {
    let cluster = read_text(guest, call.cluster)?;
    let mut headers = HeaderMap::from_pairs(&read(guest, call.headers)?)?;
    let body = read(guest, call.body)?;
    let trailers = HeaderMap::from_pairs(&read(guest, call.trailers)?)?;
    let timeout = Duration::from_millis(u64::from(call.timeout_ms));
    guest.data_mut().asks(|| Noted::Callout {
        headers: headers.clone(),
        body: body.clone(),
        timeout,
    })?;
    let process = guest.data().process.clone();
    let is_complete =
        [":method", ":path", ":authority"].iter().all(|name| headers.bytes(name).is_some());
    if !process.settings.clusters.contains(&cluster) || !is_complete {
        return Err(Status::BadArgument.into());
    }
    if process.overflowing.borrow().contains(&cluster) {
        return Err(Status::InternalFailure.into());
    }
    if !body.is_empty() {
        headers.replace(b"content-length", body.len().to_string().as_bytes());
    }
    let sent_at = process.clock.mono();
    let state = guest.data_mut();
    let token = state.next_token;
    state.next_token = token.saturating_add(1);
    let until = (call.timeout_ms > 0).then(|| sent_at.saturating_add(timeout));
    let asked = Asked { cluster, headers, body, trailers, timeout, sent_at };
    state.pending.push(Pending { token, asked, until });
    Ok(write(guest, call.token_to, &token.to_le_bytes())?)
}
