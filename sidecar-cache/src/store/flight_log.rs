//! The log of a flight where other sidecars can read it: what has come of an answer, piece by piece, from its
//! start to its end. The one who leads writes, with its token; whoever follows reads ranges from a cursor of its
//! own, woken when there is more. What heads, pieces and ends mean is the business of those who write and read.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::key::CacheKey;
use kt_contract::limits;
use kt_contract::time::{Millis, MonoMillis};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Answer;
use super::leases::LeaseStore;
use crate::clock::Clock;
use crate::flight::{FlightId, Held, Token};

/// How long a reader waits before it looks by itself: a wake-up may get lost.
pub const POLL_EVERY: Duration = Duration::from_millis(500);
/// How long a log is kept after its last piece; a leader that lives writes or ends before that.
pub const KEPT: Millis = Millis(660_000);
/// How long it is kept after its end.
pub const KEPT_ENDED: Millis = Millis(30_000);
/// How large it may be: what can be stored, and what is said around it and around each piece.
pub const BYTES_MAX: u64 = limits::ENTRY_BYTES_MAX as u64 + (2 << 20);

/// Which flight's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogAt {
    /// Of what.
    pub key: CacheKey,
    /// Which flight.
    pub id: FlightId,
}

/// A reader's place. The default is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Whose attempt is read: the counter of its token.
    pub attempt: u64,
    /// The number of the next piece.
    pub next: u64,
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// It can be read.
    Done,
    /// Somebody else writes, or it has ended.
    Superseded,
    /// The log would be larger than it may.
    Full,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Nobody writes this log, or any more.
    Absent,
    /// What there is from the cursor on.
    Chunk(Chunk),
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How the answer begins, where the cursor was in another attempt or before all: what was read of that is
    /// all that will come of it.
    pub head: Option<Bytes>,
    /// Pieces, in order; none where there is nothing beyond the cursor yet.
    pub pieces: Vec<Bytes>,
    /// Where to go on.
    pub cursor: Cursor,
    /// How it ends, with its last piece.
    pub end: Option<Bytes>,
}

/// Logs of flights.
pub trait FlightLog: Send + Sync {
    /// Begins the log of an attempt, in place of that of the attempt before. Only with the current token.
    fn begin(&self, at: LogAt, token: Token, head: Bytes) -> Answer<'_, Held>;

    /// Adds pieces; `first` is the number of the first. Those that are there already are passed over: whoever has
    /// missed an answer repeats what it was about, with what has come since.
    fn append(
        &self,
        at: LogAt,
        token: Token,
        first: u64,
        pieces: Vec<Bytes>,
    ) -> Answer<'_, Appended>;

    /// Ends it. The lease may have ended before: then the end says how.
    fn finish(&self, at: LogAt, token: Token, end: Bytes) -> Answer<'_, Held>;

    /// Reads from a cursor, about so many bytes; at least one piece, where there is one.
    fn read(&self, at: LogAt, from: Cursor, bytes: u64) -> Answer<'_, Read>;

    /// Watches a log, whether or not there is one yet. Watch first, then read.
    fn watch(&self, at: LogAt) -> Box<dyn Watch>;
}

/// Whoever watches a log.
pub trait Watch: Send {
    /// Waits until something may have been written since the last time, or for [`POLL_EVERY`]: whoever it wakes looks.
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The logs of one process.
pub struct MemoryLogs {
    clock: Clock,
    leases: Arc<dyn LeaseStore>,
    logs: Mutex<HashMap<LogAt, Log>>,
}

struct Log {
    text: Option<Text>,
    until: MonoMillis,
    written: watch::Sender<()>,
}

struct Text {
    token: Token,
    head: Bytes,
    pieces: Vec<Bytes>,
    bytes: u64,
    end: Option<Bytes>,
}

/// Woken through a channel of this process.
pub(super) struct Woken(pub(super) watch::Receiver<()>);

// === impl MemoryLogs ===

impl MemoryLogs {
    /// No logs. Who may begin one, `leases` says.
    #[must_use]
    pub fn new(clock: Clock, leases: Arc<dyn LeaseStore>) -> Self {
        Self { clock, leases, logs: Mutex::default() }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<LogAt, Log>> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.mono();
        logs.retain(|_, log| {
            if log.until <= now {
                log.text = None;
            }
            log.text.is_some() || log.written.receiver_count() > 0
        });
        logs
    }

    /// Writes, where the token is the one that began the log and it has not ended.
    fn write<T>(
        &self,
        at: LogAt,
        token: Token,
        kept: Millis,
        work: impl FnOnce(&mut Text) -> T,
    ) -> Option<T> {
        let mut logs = self.logs();
        let log = logs.get_mut(&at)?;
        let text = log.text.as_mut().filter(|text| text.token == token)?;
        let done = work(text);
        log.until = self.clock.mono().after(kept);
        log.written.send_replace(());
        Some(done)
    }
}

impl FlightLog for MemoryLogs {
    fn begin(&self, at: LogAt, token: Token, head: Bytes) -> Answer<'_, Held> {
        Box::pin(async move {
            if !self.leases.holds(at.key, token).await? {
                return Ok(Held::Superseded);
            }
            let until = self.clock.mono().after(KEPT);
            let mut logs = self.logs();
            let log = logs.entry(at).or_insert_with(|| Log::new(until));
            if log.text.as_ref().is_none_or(|text| text.token != token) {
                let (pieces, bytes, end) = (Vec::new(), head.len() as u64, None);
                log.text = Some(Text { token, head, pieces, bytes, end });
            }
            log.until = until;
            log.written.send_replace(());
            Ok(Held::Current)
        })
    }

    fn append(
        &self,
        at: LogAt,
        token: Token,
        first: u64,
        pieces: Vec<Bytes>,
    ) -> Answer<'_, Appended> {
        Box::pin(async move {
            let appended = self.write(at, token, KEPT, |text| text.append(first, &pieces));
            Ok(appended.unwrap_or(Appended::Superseded))
        })
    }

    fn finish(&self, at: LogAt, token: Token, end: Bytes) -> Answer<'_, Held> {
        Box::pin(async move {
            let finished = self.write(at, token, KEPT_ENDED, |text| {
                text.end.get_or_insert(end);
            });
            Ok(finished.map_or(Held::Superseded, |()| Held::Current))
        })
    }

    fn read(&self, at: LogAt, from: Cursor, bytes: u64) -> Answer<'_, Read> {
        Box::pin(async move {
            let logs = self.logs();
            let text = logs.get(&at).and_then(|log| log.text.as_ref());
            Ok(text.map_or(Read::Absent, |text| Read::Chunk(text.read(from, bytes))))
        })
    }

    fn watch(&self, at: LogAt) -> Box<dyn Watch> {
        let mut logs = self.logs();
        let log = logs.entry(at).or_insert_with(|| Log::new(MonoMillis(0)));
        Box::new(Woken(log.written.subscribe()))
    }
}

// === impl Log ===

impl Log {
    fn new(until: MonoMillis) -> Self {
        Self { text: None, until, written: watch::Sender::new(()) }
    }
}

// === impl Text ===

impl Text {
    fn append(&mut self, first: u64, pieces: &[Bytes]) -> Appended {
        let there = self.pieces.len() as u64;
        let Some(known) = there.checked_sub(first).and_then(|known| usize::try_from(known).ok())
        else {
            return Appended::Superseded;
        };
        let new = pieces.get(known..).unwrap_or_default();
        if new.is_empty() {
            return Appended::Done;
        }
        if self.end.is_some() {
            return Appended::Superseded;
        }
        let bytes = new.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if self.bytes.saturating_add(bytes) > BYTES_MAX {
            return Appended::Full;
        }
        self.bytes += bytes;
        self.pieces.extend_from_slice(new);
        Appended::Done
    }

    fn read(&self, from: Cursor, bytes: u64) -> Chunk {
        let is_anew = from.attempt != self.token.counter;
        let mut next = if is_anew { 0 } else { from.next };
        let mut pieces = Vec::new();
        let mut taken = 0;
        while let Some(piece) = usize::try_from(next).ok().and_then(|at| self.pieces.get(at)) {
            if taken >= bytes && !pieces.is_empty() {
                break;
            }
            taken += piece.len() as u64;
            pieces.push(piece.clone());
            next += 1;
        }
        let is_all = next >= self.pieces.len() as u64;
        Chunk {
            head: is_anew.then(|| self.head.clone()),
            pieces,
            cursor: Cursor { attempt: self.token.counter, next },
            end: self.end.clone().filter(|_| is_all),
        }
    }
}

// === impl Woken ===

impl Watch for Woken {
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // Late, or never again: the reader looks by itself.
            let _ = timeout(POLL_EVERY, self.0.changed()).await;
        })
    }
}
