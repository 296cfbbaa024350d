//! Bodies and configurations: read in part, replaced, prepended, appended.

use wasmtime::Linker;

use super::provide;
use crate::abi::{BufferKind, Status};
use crate::callout::Delivered;
use crate::memory::{Done, Failed, Guest, Span, give, read};
use crate::raw::Noted;
use crate::state::State;

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_get_buffer_bytes" => |guest, kind, start, max, ptr_to, len_to|
            get(guest, kind, Span(start, max), (ptr_to, len_to));
        "proxy_set_buffer_bytes" => |guest, kind, start, len, ptr, size|
            set(guest, kind, (start, len), Span(ptr, size));
    });
    Ok(())
}

fn get(guest: &mut Guest<'_>, kind: u32, part: Span, to: (u32, u32)) -> Done {
    let kind = BufferKind::from_code(kind)?;
    let start = usize::try_from(part.0).unwrap_or(usize::MAX);
    let max = usize::try_from(part.1).unwrap_or(usize::MAX);
    if part.0.checked_add(part.1).is_none() && part.1 != u32::MAX {
        return Err(Failed::With(Status::BadArgument));
    }
    let bytes = cut(guest.data(), kind, start, max)?;
    // Nothing is written for nothing: the VM's own zeros stay.
    if bytes.is_empty() { Ok(()) } else { give(guest, &bytes, to.0, to.1) }
}

fn cut(state: &State, kind: BufferKind, start: usize, max: usize) -> Result<Vec<u8>, Status> {
    let part = |bytes: &[u8]| {
        let end = start.saturating_add(max).min(bytes.len());
        bytes.get(start.min(end)..end).unwrap_or_default().to_vec()
    };
    match kind {
        BufferKind::RequestBody => {
            let exchange = state.exchange()?;
            let mut exchange = exchange.borrow_mut();
            exchange.request.body().map(|body| part(body)).ok_or(Status::NotFound)
        }
        BufferKind::ResponseBody => {
            let exchange = state.exchange()?;
            let mut exchange = exchange.borrow_mut();
            exchange.response.body().map(|body| part(body)).ok_or(Status::NotFound)
        }
        BufferKind::CalloutBody => match &state.delivered {
            Some(Delivered::Whole { body, .. }) => Ok(part(body)),
            Some(Delivered::Broken) | None => Err(Status::NotFound),
        },
        BufferKind::VmConfiguration => Ok(part(&state.process.settings.vm_configuration)),
        BufferKind::PluginConfiguration => Ok(part(&state.process.settings.plugin_configuration)),
    }
}

/// From the start: nothing means before it, all or more means instead of it. From the end on: after it.
/// Envoy knows no other replacement.
fn set(guest: &mut Guest<'_>, kind: u32, place: (u32, u32), bytes: Span) -> Done {
    let kind = BufferKind::from_code(kind)?;
    let new = read(guest, bytes)?;
    guest.data_mut().asks(|| Noted::SetBody(new.clone()))?;
    let exchange = guest.data().exchange()?;
    let mut exchange = exchange.borrow_mut();
    let body = match kind {
        BufferKind::RequestBody => exchange.request.body(),
        BufferKind::ResponseBody => exchange.response.body(),
        BufferKind::CalloutBody | BufferKind::VmConfiguration | BufferKind::PluginConfiguration => {
            None
        }
    };
    let body = body.ok_or(Status::BadArgument)?;
    let (start, len) = (u64::from(place.0), u64::from(place.1));
    let have = u64::try_from(body.len()).unwrap_or(u64::MAX);
    if start == 0 && len == 0 {
        body.splice(0..0, new);
    } else if start == 0 && len >= have {
        *body = new;
    } else if start > 0 && start >= have {
        body.extend(new);
    } else {
        return Err(Failed::With(Status::BadArgument));
    }
    Ok(())
}
