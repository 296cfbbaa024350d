//! Metrics: defined by name, changed by number.

use wasmtime::Linker;

use super::provide;
use crate::abi::{MetricKind, Status};
use crate::memory::{Done, Guest, Span, finish, read_text, write};
use crate::raw::Noted;
use crate::state::State;

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_define_metric" => |guest, kind, name, name_len, id_to|
            define(guest, kind, Span(name, name_len), id_to);
        "proxy_get_metric" => |guest, id, value_to| get(guest, id, value_to);
    });
    linker.func_wrap(
        "env",
        "proxy_increment_metric",
        |mut guest: Guest<'_>, id: u32, by: i64| {
            let done = increment(&mut guest, id, by);
            finish(&mut guest, "proxy_increment_metric", done)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_record_metric",
        |mut guest: Guest<'_>, id: u32, value: u64| {
            let done = record(&guest, id, value);
            finish(&mut guest, "proxy_record_metric", done)
        },
    )?;
    Ok(())
}

fn define(guest: &mut Guest<'_>, kind: u32, name: Span, id_to: u32) -> Done {
    let kind = MetricKind::from_code(kind)?;
    let name = read_text(guest, name)?;
    let state = guest.data_mut();
    state.process.metrics.borrow_mut().define(kind, &name)?;
    state.metrics.push((kind, name));
    let id = u32::try_from(state.metrics.len()).unwrap_or(u32::MAX);
    Ok(write(guest, id_to, &id.to_le_bytes())?)
}

fn get(guest: &mut Guest<'_>, id: u32, value_to: u32) -> Done {
    let name = name(guest, id)?;
    let value = guest.data().process.metrics.borrow().get(&name).map(|metric| metric.value);
    Ok(write(guest, value_to, &value.ok_or(Status::NotFound)?.to_le_bytes())?)
}

fn increment(guest: &mut Guest<'_>, id: u32, by: i64) -> Done {
    let name = name(guest, id)?;
    guest.data_mut().asks(|| Noted::Count(name.clone(), by))?;
    Ok(guest.data().process.metrics.borrow_mut().increment(&name, by)?)
}

fn record(guest: &Guest<'_>, id: u32, value: u64) -> Done {
    let name = name(guest, id)?;
    Ok(guest.data().process.metrics.borrow_mut().record(&name, value)?)
}

/// Numbers count from 1; a VM knows only what it defined itself.
fn name(guest: &Guest<'_>, id: u32) -> Result<String, Status> {
    let at =
        usize::try_from(id).ok().and_then(|id| id.checked_sub(1)).ok_or(Status::BadArgument)?;
    let metric = guest.data().metrics.get(at).ok_or(Status::BadArgument)?;
    Ok(metric.1.clone())
}
