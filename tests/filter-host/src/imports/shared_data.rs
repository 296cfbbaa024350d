//! Shared data of the process.

use wasmtime::Linker;

use super::provide;
use crate::memory::{Done, Guest, Span, give, read, write};
use crate::state::State;

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_get_shared_data" => |guest, key, key_len, ptr_to, len_to, cas_to|
            get(guest, Span(key, key_len), (ptr_to, len_to), cas_to);
        "proxy_set_shared_data" => |guest, key, key_len, value, value_len, cas|
            set(guest, Span(key, key_len), Span(value, value_len), cas);
    });
    Ok(())
}

fn get(guest: &mut Guest<'_>, key: Span, to: (u32, u32), cas_to: u32) -> Done {
    let key = read(guest, key)?;
    let (value, cas) = guest.data().process.shared_data.borrow().get(&key)?;
    give(guest, &value, to.0, to.1)?;
    Ok(write(guest, cas_to, &cas.to_le_bytes())?)
}

fn set(guest: &mut Guest<'_>, key: Span, value: Span, cas: u32) -> Done {
    let (key, value) = (read(guest, key)?, read(guest, value)?);
    Ok(guest.data().process.shared_data.borrow_mut().set(&key, &value, cas)?)
}
