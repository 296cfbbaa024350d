//! Bounds that filter, sidecar and Envoy configuration share. Everything has one.

use crate::money::MicroUsd;
use crate::time::Millis;

/// The largest request body by default (images travel inside the JSON); `gateway.request_bytes_max`.
pub const REQUEST_BYTES_MAX_DEFAULT: u64 = 32 << 20;

/// The largest value that `gateway.request_bytes_max` may have: a Wasm VM holds three bodies at worst.
pub const REQUEST_BYTES_MAX_LIMIT: u64 = 128 << 20;

/// How deep a request's JSON may nest.
pub const JSON_DEPTH_MAX: usize = 64;

/// How many values a request's JSON may hold.
pub const JSON_NODES_MAX: usize = 500_000;

/// The most terms, and the most patterns, that `content-policy` may look for.
pub const WORDS_MAX: usize = 1_000;

/// The most patterns that all `content-policy` of a chain may have together: each is memory in every worker, and time of
/// every request.
pub const PATTERNS_MAX: usize = 64;

/// The largest snapshot, in bytes of JSON: it is an answer that a filter takes in one piece.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 20;

/// The longest term or pattern of `content-policy`, in bytes.
pub const WORD_BYTES_MAX: usize = 1_024;

/// How much memory one compiled pattern of `content-policy` may take, in bytes: every worker has its own.
pub const PATTERN_BYTES_MAX: usize = 256 << 10;

/// The longest single line of a server-sent event stream.
pub const SSE_LINE_BYTES_MAX: usize = 1 << 20;

/// A hit up to this size answers inside the admit callout; a larger one is served by the lane.
pub const INLINE_BYTES_MAX: usize = 256 << 10;

/// The largest answer that is stored, in bytes, whatever `max_entry_tokens` allows.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// How long a ticket may wait for its lane.
pub const TICKET_TTL: Millis = Millis(2_000);

/// The budget of the admit and principal callouts (pure reads) by default; `gateway.admit_timeout_ms`.
pub const ADMIT_TIMEOUT_DEFAULT: Millis = Millis(300);

/// Less would call a sidecar lost that is merely busy.
pub const ADMIT_TIMEOUT_MIN: Millis = Millis(10);
/// The largest value that `gateway.admit_timeout_ms` may have: a ticket that comes at the last moment still reaches its
/// lane.
pub const ADMIT_TIMEOUT_MAX: Millis = Millis(1_900);

/// How long a provider may take until the first byte of an answer, by default and at most;
/// `providers.targets[].first_byte_timeout_ms`. Envoy's own patience is longer.
pub const FIRST_BYTE_MS_MAX: u64 = 600_000;

/// How long the sidecar holds a feed poll when there is nothing new.
pub const FEED_HOLD: Millis = Millis(400);

/// The budget of the feed callout.
pub const FEED_TIMEOUT: Millis = Millis(900);

/// How old what the feed last told may be for an L1 hit, counted from the sending of the poll that told it.
pub const FEED_FRESH: Millis = Millis(1_000);

/// How many kinds of L1 hits (key, model, provider) a worker holds until the feed has taken them; a hit of one
/// more kind is not served from L1.
pub const HIT_COUNTS_MAX: usize = 256;

/// How many refusals of its own a worker holds one by one until the feed has taken them.
pub const REFUSALS_MAX: usize = 256;

/// How many of these may be of one key, code and finding: who sends many leaves room for others, and for its own others.
pub const REFUSALS_ALIKE_MAX: usize = 16;

/// The most that `wallet.open_with_cap.max_usd` may say: $1,000 in each process of Envoy.
pub const OPEN_CAP_MAX: MicroUsd = MicroUsd::from_usd(1_000);

/// Of how many organizations a gateway lets calls pass without the sidecar, until that has booked them.
pub const OPEN_ORGS_MAX: usize = 256;

/// The budget of the callout that tells of such calls: the ledger writes to a disk, or to a database.
pub const OPEN_CALLS_TIMEOUT: Millis = Millis(3_000);

/// How long a principal counts after what the feed last told (SEMANTICS, "sidecar down": identity).
pub const PRINCIPAL_WITHOUT_FEED: Millis = Millis(60_000);

const _: () = assert!(FEED_HOLD.0 < FEED_TIMEOUT.0);
const _: () = assert!(FEED_TIMEOUT.0 < FEED_FRESH.0);
// A poll's answer counts from its sending, and the next one's comes two holds later: L1 is open all that time.
const _: () = assert!(2 * FEED_HOLD.0 < FEED_FRESH.0);
const _: () = assert!(ADMIT_TIMEOUT_DEFAULT.0 <= ADMIT_TIMEOUT_MAX.0);
const _: () = assert!(ADMIT_TIMEOUT_MAX.0 < TICKET_TTL.0);
const _: () = assert!(REQUEST_BYTES_MAX_DEFAULT <= REQUEST_BYTES_MAX_LIMIT);
