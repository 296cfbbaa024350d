//! What the ABI has and this host does not do: gRPC, shared queues, foreign functions but for one. A module
//! may import it; a call is answered with `Unimplemented` and noted.

use wasmtime::Linker;

use super::provide;
use crate::abi::Status;
use crate::memory::{Done, Guest, Span, read, write};
use crate::state::State;

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_register_shared_queue" => |guest, _a, _b, _c| no(guest);
        "proxy_resolve_shared_queue" => |guest, _a, _b, _c, _d, _e| no(guest);
        "proxy_dequeue_shared_queue" => |guest, _a, _b, _c| no(guest);
        "proxy_enqueue_shared_queue" => |guest, _a, _b, _c| no(guest);
        "proxy_grpc_call" => |guest, _a, _b, _c, _d, _e, _f, _g, _h, _i, _j, _k, _l| no(guest);
        "proxy_grpc_stream" => |guest, _a, _b, _c, _d, _e, _f, _g, _h, _i| no(guest);
        "proxy_grpc_send" => |guest, _a, _b, _c, _d| no(guest);
        "proxy_grpc_cancel" => |guest, _a| no(guest);
        "proxy_grpc_close" => |guest, _a| no(guest);
        "proxy_call_foreign_function" => |guest, name, name_len, _a, _b, ptr_to, len_to|
            foreign(guest, Span(name, name_len), (ptr_to, len_to));
    });
    Ok(())
}

fn no(_guest: &mut Guest<'_>) -> Done {
    Err(Status::Unimplemented.into())
}

/// The route cache is cleared with any change of the request's headers anyway.
fn foreign(guest: &mut Guest<'_>, name: Span, to: (u32, u32)) -> Done {
    if read(guest, name)? != b"clear_route_cache" {
        return Err(Status::NotFound.into());
    }
    write(guest, to.0, &0_u32.to_le_bytes())?;
    Ok(write(guest, to.1, &0_u32.to_le_bytes())?)
}
