//! The calls to the host that the SDK would answer with a panic: a panic here ends every stream of the worker.
//! The only file with `unsafe`; every function in it is safe to call and returns what the host said.
#![expect(unsafe_code, reason = "the host's functions are C functions over raw memory")]

use std::time::Duration;

use kt_contract::identity::PEER_URIS;
use kt_contract::time::MonoMillis;
use kt_filter_core::pairs::{self, Pair};
use kt_filter_core::peer::Peer;

/// The host did not do it. `status` is the ABI's: 1 not found, 2 bad argument, 10 internal failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// As the host gave it.
    pub(crate) status: u32,
}

/// What the host returns for success.
const OK: u32 = 0;
/// And where there is nothing of that name.
const NOT_FOUND: u32 = 1;
/// And where shared data has another version than the one that was named.
const CAS_MISMATCH: u32 = 8;
/// A version that nothing has: the host counts them from 1, one for each change in the process, and takes 0 for "whatever
/// it is". With it, a value is made where there is none, and what another VM has made meanwhile is not replaced.
const NO_VERSION: u32 = u32::MAX;
/// WASI's clock of the calendar.
const CLOCK_REALTIME: u32 = 0;
/// WASI's clock that never goes back.
const CLOCK_MONOTONIC: u32 = 1;
/// The ABI's kind of metric that only grows.
const METRIC_COUNTER: u32 = 0;
/// The ABI's kind of metric that is set.
const METRIC_GAUGE: u32 = 1;
/// The ABI's name for the request half of a stream.
const STREAM_REQUEST: u32 = 0;
/// What the ABI takes for "this is no gRPC".
const NO_GRPC_STATUS: i32 = -1;
/// `response.code_details` of a reply by this filter: none, unlike every reply that Envoy makes itself. The
/// local reply mapping in `envoy/` tells them apart by it.
const REPLY_DETAILS: &[u8] = b"";
/// The path of the property that says who made a response, and its value where it was the upstream.
const DETAILS: &[u8] = b"response\0code_details";
const DETAILS_OF_UPSTREAM: &[u8] = b"via_upstream";
/// What Envoy says of a client: nothing in it is a header.
const MTLS: &[u8] = b"connection\0mtls";
const URI: &[u8] = b"connection\0uri_san_peer_certificate";
const METADATA: &[u8] = b"metadata";
/// The status to report when the host lied about memory.
const INVALID_MEMORY: u32 = 6;

/// The header maps that the host has.
#[derive(Clone, Copy)]
pub(crate) enum Map {
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
    CalloutResponse = 6,
}

/// The buffers that the host has.
#[derive(Clone, Copy)]
pub(crate) enum Buffer {
    RequestBody = 0,
    CalloutResponseBody = 4,
    PluginConfiguration = 7,
}

/// How loud a message is.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Warn = 3,
    Error = 4,
}

/// What Envoy says of a client, as its properties have it. What it does not say is empty.
#[derive(Default)]
pub(crate) struct PeerProperties {
    mtls: bool,
    uri: Vec<u8>,
    uris: Vec<u8>,
    metadata: Vec<u8>,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, bytes: usize) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, bytes: *mut usize) -> u32;
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, bytes: usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_bytes: usize,
        value: *const u8,
        value_bytes: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_bytes: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        bytes_max: usize,
        data: *mut *mut u8,
        bytes: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        bytes_max: usize,
        data: *const u8,
        bytes: usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_bytes: usize,
        body: *const u8,
        body_bytes: usize,
        headers: *const u8,
        headers_bytes: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_bytes: usize,
        data: *mut *mut u8,
        bytes: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_bytes: usize,
        value: *const u8,
        value_bytes: usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_bytes: usize,
        data: *mut *mut u8,
        bytes: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_bytes: usize,
        value: *const u8,
        value_bytes: usize,
        version: u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_bytes: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(data: *mut u8, bytes: usize) -> u32;
    fn clock_time_get(clock: u32, precision_ns: u64, time_ns: *mut u64) -> u32;
}

// === impl PeerProperties ===

impl PeerProperties {
    /// Asks for all of them.
    pub(crate) fn read() -> Self {
        let state = [b"filter_state\0", PEER_URIS.as_bytes()].concat();
        Self {
            mtls: property(MTLS).is_ok_and(|truth| truth == [1]),
            uri: property(URI).unwrap_or_default(),
            uris: property(&state).unwrap_or_default(),
            metadata: property(METADATA).unwrap_or_default(),
        }
    }

    /// The same, for the core.
    pub(crate) fn peer(&self) -> Peer<'_> {
        let Self { mtls, uri, uris, metadata } = self;
        Peer { mtls: *mtls, uri, uris, metadata }
    }
}

/// Writes a line to Envoy's log. A message that is not taken is lost.
pub(crate) fn log(level: Level, message: &str) {
    // SAFETY: the host reads the message before it returns.
    unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// The monotonic clock. A host without one leaves time standing, and nothing that is held expires early.
pub(crate) fn now() -> MonoMillis {
    let mut time_ns = 0;
    // SAFETY: the host writes eight bytes.
    unsafe { clock_time_get(CLOCK_MONOTONIC, 1, &raw mut time_ns) };
    MonoMillis(time_ns / 1_000_000)
}

/// The wall clock, in whole seconds since 1970: for a metric, and for nothing that is decided.
pub(crate) fn wall_seconds() -> u64 {
    let mut time_ns = 0;
    // SAFETY: the host writes eight bytes.
    unsafe { clock_time_get(CLOCK_REALTIME, 1, &raw mut time_ns) };
    time_ns / 1_000_000_000
}

/// Fills `bytes` with random ones.
pub(crate) fn randomize(bytes: &mut [u8]) -> Result<(), Refused> {
    // SAFETY: the host writes as many bytes as there are.
    done(unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) })
}

/// Asks for a tick every so often.
pub(crate) fn tick_every(period: Duration) -> Result<(), Refused> {
    let period = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: no memory is shared.
    done(unsafe { proxy_set_tick_period_milliseconds(period) })
}

/// A whole header map in one call, in the form that [`pairs::parse`] reads.
pub(crate) fn header_map(map: Map) -> Result<Vec<u8>, Refused> {
    owned(|data, bytes| {
        // SAFETY: the host writes the two results.
        unsafe { proxy_get_header_map_pairs(map as u32, data, bytes) }
    })
}

/// Replaces a whole header map.
pub(crate) fn set_header_map<'a, I>(map: Map, fields: I) -> Result<(), Refused>
where
    I: IntoIterator<Item = Pair<'a>>,
    I::IntoIter: ExactSizeIterator + Clone,
{
    let bytes = pairs::write(fields).ok_or(Refused { status: INVALID_MEMORY })?;
    // SAFETY: the host reads the bytes before it returns.
    done(unsafe { proxy_set_header_map_pairs(map as u32, bytes.as_ptr(), bytes.len()) })
}

/// Sets a header to one value.
pub(crate) fn set_header(map: Map, name: &str, value: &str) -> Result<(), Refused> {
    // SAFETY: the host reads name and value before it returns.
    done(unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes a header, all its values.
pub(crate) fn remove_header(map: Map, name: &[u8]) -> Result<(), Refused> {
    // SAFETY: the host reads the name before it returns.
    done(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// A whole buffer. Empty where there is none.
pub(crate) fn buffer(buffer: Buffer) -> Vec<u8> {
    owned(|data, bytes| {
        // SAFETY: the host writes the two results.
        unsafe { proxy_get_buffer_bytes(buffer as u32, 0, usize::MAX, data, bytes) }
    })
    .unwrap_or_default()
}

/// Replaces a whole buffer.
pub(crate) fn set_buffer(buffer: Buffer, bytes: &[u8]) -> Result<(), Refused> {
    // SAFETY: the host reads the bytes before it returns.
    done(unsafe {
        proxy_set_buffer_bytes(buffer as u32, 0, usize::MAX, bytes.as_ptr(), bytes.len())
    })
}

/// Answers the client.
pub(crate) fn reply<'a, I>(status: u16, fields: I, body: &[u8]) -> Result<(), Refused>
where
    I: IntoIterator<Item = Pair<'a>>,
    I::IntoIter: ExactSizeIterator + Clone,
{
    let headers = pairs::write(fields).ok_or(Refused { status: INVALID_MEMORY })?;
    // SAFETY: the host reads everything before it returns.
    done(unsafe {
        proxy_send_local_response(
            u32::from(status),
            REPLY_DETAILS.as_ptr(),
            REPLY_DETAILS.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Lets a held request go on.
pub(crate) fn resume_request() -> Result<(), Refused> {
    // SAFETY: no memory is shared.
    done(unsafe { proxy_continue_stream(STREAM_REQUEST) })
}

/// Whether Envoy is known to have made the response itself. Where it cannot be known, an upstream has.
pub(crate) fn is_envoys_response() -> bool {
    property(DETAILS).is_ok_and(|details| !details.is_empty() && details != DETAILS_OF_UPSTREAM)
}

/// A property by its path, with zero bytes between its segments.
fn property(path: &[u8]) -> Result<Vec<u8>, Refused> {
    owned(|data, bytes| {
        // SAFETY: the host reads the path before it returns and writes the two results.
        unsafe { proxy_get_property(path.as_ptr(), path.len(), data, bytes) }
    })
}

/// Sets a value in the stream's filter state, for the access log.
pub(crate) fn set_property(key: &str, value: &str) -> Result<(), Refused> {
    // SAFETY: the host reads key and value before it returns.
    done(unsafe { proxy_set_property(key.as_ptr(), key.len(), value.as_ptr(), value.len()) })
}

/// A value that every VM of this process shares, and its version.
pub(crate) fn shared_data(key: &str) -> Result<Option<(Vec<u8>, u32)>, Refused> {
    let mut version = 0;
    let value = owned(|data, bytes| {
        // SAFETY: the host reads the key before it returns and writes the three results.
        unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, bytes, &raw mut version) }
    });
    match value {
        Ok(value) => Ok(Some((value, version))),
        Err(Refused { status: NOT_FOUND }) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Replaces such a value, if it has version `seen`; with `None`, if there is none. Says whether it did.
pub(crate) fn replace_shared_data(
    key: &str,
    value: &[u8],
    seen: Option<u32>,
) -> Result<bool, Refused> {
    // A version of 0 would replace whatever is there.
    let version = seen.filter(|version| *version != 0).unwrap_or(NO_VERSION);
    // SAFETY: the host reads key and value before it returns.
    let status = unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version)
    };
    if status == CAS_MISMATCH { Ok(false) } else { done(status).map(|()| true) }
}

/// Defines a counter; the same name gives the same metric in every VM.
pub(crate) fn define_counter(name: &str) -> Result<u32, Refused> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes the id before it returns.
    done(unsafe { proxy_define_metric(METRIC_COUNTER, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Defines a gauge; the same name gives the same metric in every VM.
pub(crate) fn define_gauge(name: &str) -> Result<u32, Refused> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes the id before it returns.
    done(unsafe { proxy_define_metric(METRIC_GAUGE, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Sets a gauge.
pub(crate) fn set(gauge: u32, value: u64) -> Result<(), Refused> {
    // SAFETY: no memory is shared.
    done(unsafe { proxy_record_metric(gauge, value) })
}

/// Adds to a counter. The host takes nothing below one.
pub(crate) fn add(counter: u32, count: i64) -> Result<(), Refused> {
    // SAFETY: no memory is shared.
    done(unsafe { proxy_increment_metric(counter, count) })
}

/// Takes memory that the host has allocated in the VM, through the SDK's `malloc`.
fn owned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Refused> {
    let mut data: *mut u8 = std::ptr::null_mut();
    let mut bytes = 0;
    done(call(&raw mut data, &raw mut bytes))?;
    if data.is_null() || bytes == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the SDK's `malloc` made it as a boxed slice of `bytes` bytes and forgot it.
    Ok(unsafe { Vec::from_raw_parts(data, bytes, bytes) })
}

const fn done(status: u32) -> Result<(), Refused> {
    if status == OK { Ok(()) } else { Err(Refused { status }) }
}
