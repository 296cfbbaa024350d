//! Reading and writing the memory of a VM from inside a host call.

use wasmtime::{AsContext, Caller};

use crate::abi::Status;
use crate::state::State;

/// A VM that has called the host.
pub(crate) type Guest<'a> = Caller<'a, State>;

/// Why a host call did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The VM learns a status.
    With(Status),
    /// The VM trapped while the host asked it for memory.
    Trapped(wasmtime::Error),
}

/// What a host call comes to.
pub(crate) type Done = Result<(), Failed>;

/// A stretch of a VM's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) u32, pub(crate) u32);

// === impl Failed ===

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::With(status)
    }
}

/// The bytes of a span.
pub(crate) fn read(guest: &Guest<'_>, span: Span) -> Result<Vec<u8>, Status> {
    let memory = guest.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    let start = at(span.0);
    let end = start.checked_add(at(span.1)).ok_or(Status::InvalidMemoryAccess)?;
    let bytes = memory.data(guest.as_context()).get(start..end);
    bytes.map(<[u8]>::to_vec).ok_or(Status::InvalidMemoryAccess)
}

/// The text of a span; bytes that are no text are replaced.
pub(crate) fn read_text(guest: &Guest<'_>, span: Span) -> Result<String, Status> {
    Ok(String::from_utf8_lossy(&read(guest, span)?).into_owned())
}

/// Writes bytes where the VM has room for them.
pub(crate) fn write(guest: &mut Guest<'_>, to: u32, bytes: &[u8]) -> Result<(), Status> {
    let memory = guest.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    memory.write(guest, at(to), bytes).map_err(|_| Status::InvalidMemoryAccess)
}

/// Gives bytes to the VM in memory that it allocates, and writes where they are and how many.
/// Nothing is allocated for no bytes: the address is 0.
pub(crate) fn give(guest: &mut Guest<'_>, bytes: &[u8], ptr_to: u32, len_to: u32) -> Done {
    let len = u32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
    let mut ptr = 0;
    if len > 0 {
        let allocate = guest.data().allocate.clone().ok_or(Status::InternalFailure)?;
        ptr = allocate.call(&mut *guest, len).map_err(Failed::Trapped)?;
        write(guest, ptr, bytes)?;
    }
    write(guest, ptr_to, &ptr.to_le_bytes())?;
    write(guest, len_to, &len.to_le_bytes())?;
    Ok(())
}

/// Ends a host call: the VM gets a number, and what no careful filter asks for is noted.
pub(crate) fn finish(guest: &mut Guest<'_>, call: &str, done: Done) -> wasmtime::Result<i32> {
    let status = match done {
        Ok(()) => Status::Ok,
        Err(Failed::With(status)) => status,
        Err(Failed::Trapped(trap)) => return Err(trap),
    };
    if !status.is_ordinary() {
        guest.data_mut().note_misuse(format!("{call}: {status:?}"));
    }
    Ok(status.code())
}

fn at(address: u32) -> usize {
    usize::try_from(address).unwrap_or(usize::MAX)
}
