//! Every function that a module of `proxy-wasm` 0.2.5 may import, and nothing else: an import that is not
//! here keeps the module from loading.

mod buffers;
mod callouts;
mod maps;
mod metrics;
mod properties;
mod shared_data;
mod streams;
mod system;
mod unsupported;

use wasmtime::Linker;

use crate::state::State;

/// Provides host calls whose arguments are all 32 bits wide.
macro_rules! provide {
    ($linker:ident, { $($name:literal => |$guest:ident $(, $arg:ident)*| $body:expr;)* }) => {$(
        $linker.func_wrap("env", $name, |mut guest: crate::memory::Guest<'_> $(, $arg: u32)*| {
            let $guest = &mut guest;
            let done = $body;
            crate::memory::finish(&mut guest, $name, done)
        })?;
    )*};
}
pub(crate) use provide;

/// All host calls.
pub(crate) fn all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    buffers::provide_all(linker)?;
    callouts::provide_all(linker)?;
    maps::provide_all(linker)?;
    metrics::provide_all(linker)?;
    properties::provide_all(linker)?;
    shared_data::provide_all(linker)?;
    streams::provide_all(linker)?;
    system::provide_all(linker)?;
    unsupported::provide_all(linker)
}
