//! Log, time, timers, randomness.

use std::time::Duration;

use wasmtime::Linker;

use super::provide;
use crate::abi::{LogLevel, RANDOM_BYTES_MAX, Status};
use crate::clock::nanos;
use crate::memory::{Done, Guest, Span, read_text, write};
use crate::state::{State, Tick};

/// `EINVAL` and `ENOTSUP` of WASI.
const ERRNO_INVAL: i32 = 28;
const ERRNO_NOTSUP: i32 = 58;
const ERRNO_FAULT: i32 = 21;

pub(super) fn provide_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    provide!(linker, {
        "proxy_log" => |guest, level, text, len| log(guest, level, Span(text, len));
        // Envoy's default: info.
        "proxy_get_log_level" => |guest, to| log_level(guest, to);
        "proxy_get_current_time_nanoseconds" => |guest, to| wall_clock(guest, to);
        "proxy_set_tick_period_milliseconds" => |guest, period_ms| tick_every(guest, period_ms);
        "proxy_get_status" => |guest, code_to, ptr_to, len_to| no_status(guest, code_to, (ptr_to, len_to));
    });
    linker.func_wrap(
        "wasi_snapshot_preview1",
        "random_get",
        |mut guest: Guest<'_>, to: u32, len: u32| random(&mut guest, to, len),
    )?;
    linker.func_wrap(
        "wasi_snapshot_preview1",
        "clock_time_get",
        |mut guest: Guest<'_>, clock: u32, _precision: u64, to: u32| {
            clock_time(&mut guest, clock, to)
        },
    )?;
    Ok(())
}

fn log(guest: &mut Guest<'_>, level: u32, text: Span) -> Done {
    let level = LogLevel::from_code(level)?;
    let text = read_text(guest, text)?;
    guest.data_mut().log.push((level, text));
    Ok(())
}

fn log_level(guest: &mut Guest<'_>, to: u32) -> Done {
    Ok(write(guest, to, &2_u32.to_le_bytes())?)
}

fn wall_clock(guest: &mut Guest<'_>, to: u32) -> Done {
    let now = nanos(guest.data().process.clock.wall());
    Ok(write(guest, to, &now.to_le_bytes())?)
}

fn tick_every(guest: &mut Guest<'_>, period_ms: u32) -> Done {
    let state = guest.data_mut();
    if state.effective != state.root {
        return Err(Status::BadArgument.into());
    }
    let period = Duration::from_millis(u64::from(period_ms));
    let next_at = state.process.clock.mono().saturating_add(period);
    state.tick = (period_ms > 0).then_some(Tick { period, next_at });
    Ok(())
}

/// Only gRPC has a status, and this host has no gRPC.
fn no_status(guest: &mut Guest<'_>, code_to: u32, to: (u32, u32)) -> Done {
    write(guest, code_to, &0_u32.to_le_bytes())?;
    crate::memory::give(guest, b"", to.0, to.1)
}

fn random(guest: &mut Guest<'_>, to: u32, len: u32) -> i32 {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > RANDOM_BYTES_MAX {
        return ERRNO_INVAL;
    }
    let mut bytes = vec![0; len];
    guest.data_mut().random.fill(&mut bytes);
    if write(guest, to, &bytes).is_ok() { 0 } else { ERRNO_FAULT }
}

fn clock_time(guest: &mut Guest<'_>, clock: u32, to: u32) -> i32 {
    let clocks = &guest.data().process.clock;
    let now = match clock {
        0 => clocks.wall(),
        1 => clocks.mono(),
        _ => return ERRNO_NOTSUP,
    };
    if write(guest, to, &nanos(now).to_le_bytes()).is_ok() { 0 } else { ERRNO_FAULT }
}
