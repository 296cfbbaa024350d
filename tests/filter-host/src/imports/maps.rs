//! Header and trailer maps. Envoy gives access while it waits for the filter, and to read while it logs.

use wasmtime::Linker;

use super::provide;
use crate::abi::{MapKind, Status};
use crate::callout::Delivered;
use crate::exchange::Exchange;
use crate::headers::{HeaderMap, is_sendable};
use crate::memory::{Done, Guest, Span, give, read};
use crate::raw::Noted;
use crate::state::State;

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_get_header_map_pairs" => |guest, kind, ptr_to, len_to|
            get_pairs(guest, kind, (ptr_to, len_to));
        "proxy_set_header_map_pairs" => |guest, kind, ptr, len|
            set_pairs(guest, kind, Span(ptr, len));
        "proxy_get_header_map_value" => |guest, kind, name, name_len, ptr_to, len_to|
            get_value(guest, kind, Span(name, name_len), (ptr_to, len_to));
        "proxy_remove_header_map_value" => |guest, kind, name, name_len|
            remove(guest, kind, Span(name, name_len));
        "proxy_replace_header_map_value" => |guest, kind, name, name_len, value, value_len|
            put(guest, kind, (Span(name, name_len), Span(value, value_len)), HeaderMap::replace);
        "proxy_add_header_map_value" => |guest, kind, name, name_len, value, value_len|
            put(guest, kind, (Span(name, name_len), Span(value, value_len)), HeaderMap::add);
    });
    Ok(())
}

fn get_pairs(guest: &mut Guest<'_>, kind: u32, to: (u32, u32)) -> Done {
    let kind = MapKind::from_code(kind)?;
    let pairs =
        with_map(
            guest.data(),
            kind,
            |map| {
                if map.is_empty() { Vec::new() } else { map.to_pairs() }
            },
        )?;
    give(guest, &pairs, to.0, to.1)
}

fn get_value(guest: &mut Guest<'_>, kind: u32, name: Span, to: (u32, u32)) -> Done {
    let kind = MapKind::from_code(kind)?;
    let name = read(guest, name)?;
    let value = with_map(guest.data(), kind, |map| map.first(&name).map(<[u8]>::to_vec))?;
    give(guest, &value.ok_or(Status::NotFound)?, to.0, to.1)
}

fn set_pairs(guest: &mut Guest<'_>, kind: u32, pairs: Span) -> Done {
    let kind = MapKind::from_code(kind)?;
    let new = HeaderMap::from_pairs(&read(guest, pairs)?)?;
    guest.data_mut().asks(|| Noted::SetMap(kind, new.clone()))?;
    change_map(guest.data(), kind, |map| *map = new)
}

fn remove(guest: &mut Guest<'_>, kind: u32, name: Span) -> Done {
    let kind = MapKind::from_code(kind)?;
    let name = read(guest, name)?;
    guest.data_mut().asks(|| Noted::Remove(kind, name.clone()))?;
    change_map(guest.data(), kind, |map| map.remove(&name))
}

fn put(
    guest: &mut Guest<'_>,
    kind: u32,
    (name, value): (Span, Span),
    put: fn(&mut HeaderMap, &[u8], &[u8]),
) -> Done {
    let kind = MapKind::from_code(kind)?;
    let (name, value) = (read(guest, name)?, read(guest, value)?);
    guest.data_mut().asks(|| Noted::Put(kind, name.clone(), value.clone()))?;
    if name.is_empty() || !is_sendable(&name) || !is_sendable(&value) {
        return Err(Status::BadArgument.into());
    }
    change_map(guest.data(), kind, |map| put(map, &name, &value))
}

fn with_map<T>(
    state: &State,
    kind: MapKind,
    look: impl FnOnce(&HeaderMap) -> T,
) -> Result<T, Status> {
    match (kind, &state.delivered) {
        (MapKind::CalloutHeaders, Some(Delivered::Whole { headers, .. })) => Ok(look(headers)),
        (MapKind::CalloutTrailers, Some(Delivered::Whole { trailers, .. })) => Ok(look(trailers)),
        (MapKind::CalloutHeaders | MapKind::CalloutTrailers, _) => Err(Status::BadArgument),
        (
            MapKind::RequestHeaders
            | MapKind::RequestTrailers
            | MapKind::ResponseHeaders
            | MapKind::ResponseTrailers,
            _,
        ) => {
            let exchange = state.exchange()?;
            let mut exchange = exchange.borrow_mut();
            let (map, is_open) = map(&mut exchange, kind).ok_or(Status::BadArgument)?;
            let map: &HeaderMap = map;
            let look = is_open.then(|| look(map));
            look.ok_or(Status::BadArgument)
        }
    }
}

fn change_map(state: &State, kind: MapKind, change: impl FnOnce(&mut HeaderMap)) -> Done {
    let exchange = state.exchange()?;
    let mut exchange = exchange.borrow_mut();
    if exchange.logging {
        return Err(Status::BadArgument.into());
    }
    match map(&mut exchange, kind) {
        Some((map, true)) => {
            change(map);
            Ok(())
        }
        Some((_, false)) | None => Err(Status::BadArgument.into()),
    }
}

/// A map of the exchange, and whether the filter has access to it.
fn map(exchange: &mut Exchange, kind: MapKind) -> Option<(&mut HeaderMap, bool)> {
    let logging = exchange.logging;
    let (request, response) = (&mut exchange.request, &mut exchange.response);
    match kind {
        MapKind::RequestHeaders => Some((&mut request.headers, request.headers_open || logging)),
        MapKind::RequestTrailers => Some((&mut request.trailers, request.trailers_open)),
        MapKind::ResponseHeaders => Some((&mut response.headers, response.headers_open || logging)),
        MapKind::ResponseTrailers => {
            Some((&mut response.trailers, response.trailers_open || logging))
        }
        MapKind::CalloutHeaders | MapKind::CalloutTrailers => None,
    }
}
