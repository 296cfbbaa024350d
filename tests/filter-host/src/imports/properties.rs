//! Properties: what Envoy knows of an exchange, and what the filter leaves there for the access log.

use wasmtime::Linker;

use super::provide;
use crate::abi::Status;
use crate::memory::{Done, Guest, Span, give, read};
use crate::raw::Noted;
use crate::state::State;

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_get_property" => |guest, path, path_len, ptr_to, len_to|
            get(guest, Span(path, path_len), (ptr_to, len_to));
        "proxy_set_property" => |guest, path, path_len, value, value_len|
            set(guest, Span(path, path_len), Span(value, value_len));
    });
    Ok(())
}

fn get(guest: &mut Guest<'_>, path: Span, to: (u32, u32)) -> Done {
    let path = read(guest, path)?;
    let state = guest.data();
    let of_exchange = state.exchange().ok().and_then(|exchange| {
        let exchange = exchange.borrow();
        exchange.properties.get(&path).or_else(|| exchange.filter_state.get(&path)).cloned()
    });
    let value = of_exchange.or_else(|| state.process.settings.properties.get(&path).cloned());
    give(guest, &value.ok_or(Status::NotFound)?, to.0, to.1)
}

/// A root context has no exchange to leave anything at.
fn set(guest: &mut Guest<'_>, path: Span, value: Span) -> Done {
    let (path, value) = (read(guest, path)?, read(guest, value)?);
    guest.data_mut().asks(|| Noted::Property(path.clone(), value.clone()))?;
    let exchange = guest.data().exchange().map_err(|_| Status::NotFound)?;
    exchange.borrow_mut().filter_state.insert(path, value);
    Ok(())
}
