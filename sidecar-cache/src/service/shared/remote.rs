//! Another sidecar's flight as an upstream: its log is watched first, then read, piece by piece. A leader that dies is
//! noticed here: while nothing comes, the store is asked again who leads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::super::lock;
use super::super::upstream::{Broken, Coming, Pieces};
use super::{Apart, Asking, Group, Place, Turn};
use crate::flight::{LEASE_TTL, RENEW_EVERY};
use crate::flight_seal::{Part, Seal, Unsealed};
use crate::flight_text::{End, Head, Opening};
use crate::metrics::SharedFlight;
use crate::store::StoreError;
use crate::store::flight_log::{Chunk, Cursor, LogAt, Read, Watch};

/// While nobody has read anything: how long nothing may come before it is asked who leads.
const ASK_EVERY: Duration = Duration::from_millis(RENEW_EVERY.0);
/// Once somebody has, only a dead leader matters.
const SILENT_MAX: Duration = Duration::from_millis(LEASE_TTL.0);
/// A store that takes longer has no answer.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// How much is read at once, about.
const READ_BYTES: u64 = 256 << 10;

/// Another sidecar's flight, as it is read.
pub(crate) struct Remote {
    group: Arc<Group>,
    asking: Asking,
    place: Place,
    watch: Box<dyn Watch>,
    seal: Seal,
    cursor: Cursor,
    /// An attempt that has been read to its end.
    past: Option<u64>,
    head: Option<Bytes>,
    pieces: VecDeque<Bytes>,
    end: Option<Bytes>,
    /// Nothing of it is read any more.
    is_unread: bool,
    /// Whether somebody here may have seen something of it.
    is_shown: bool,
    /// When something was last heard of it.
    heard: Instant,
    /// Since when the store has not answered, and since when it could not say who leads.
    unanswered: Option<Instant>,
    unled: Option<Instant>,
    outcome: Arc<Mutex<Outcome>>,
}

/// What is known of a remote flight after its answer has been read, as far as it came.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Which attempt it was.
    pub(crate) attempt: u64,
    /// How it ended; `None` where nobody said so.
    pub(crate) end: Option<End>,
    /// Whose the flight is now, where its leader is gone.
    pub(crate) turn: Option<Turn>,
}

/// How a remote flight begins.
pub(crate) enum Start {
    /// For whom it is, and how its answer begins.
    Opened(Box<Head>, Opening),
    /// Its attempt has come to an end without that.
    Ended,
    /// It is somebody else's by now, or nobody's.
    Lost,
    /// It cannot be read.
    Unreadable,
}

/// What comes next.
enum Step {
    Piece(Bytes),
    End(Option<End>),
    /// Another attempt has taken its place.
    Replaced,
    Lost,
    /// What comes next cannot be read.
    Unread,
}

// === impl Remote ===

impl Remote {
    /// Watches the flight of that organization at which there is this place. An attempt that has been read is passed over.
    pub(super) fn new(place: Place, org: &str, asking: Asking, past: Option<u64>) -> Self {
        let group = Arc::clone(&place.group);
        let watch = group.shared.logs.watch(LogAt { key: asking.key, id: place.id });
        let seal = Seal::new(org, asking.key, place.id);
        Self {
            group,
            asking,
            place,
            watch,
            seal,
            cursor: Cursor::default(),
            past,
            head: None,
            pieces: VecDeque::new(),
            end: None,
            is_unread: false,
            is_shown: false,
            heard: Instant::now(),
            unanswered: None,
            unled: None,
            outcome: Arc::default(),
        }
    }

    pub(super) fn outcome(&self) -> Arc<Mutex<Outcome>> {
        Arc::clone(&self.outcome)
    }

    /// Waits for the head: for whom the flight is.
    pub(super) async fn head(&mut self) -> Result<Head, Start> {
        loop {
            if self.is_unread {
                return Err(Start::Unreadable);
            }
            if let Some(head) = self.head.take() {
                return Head::decode(&head).ok_or_else(|| self.is_in_other_words());
            }
            self.more().await.map_err(|()| Start::Lost)?;
        }
    }

    /// Waits for the answer to begin.
    pub(super) async fn opening(&mut self, head: Head) -> Start {
        match self.step().await {
            Step::Piece(piece) => match Opening::decode(&piece) {
                Some(opening) => Start::Opened(Box::new(head), opening),
                None => self.is_in_other_words(),
            },
            Step::End(end) => {
                lock(&self.outcome).end = end;
                Start::Ended
            }
            Step::Replaced => Start::Ended,
            Step::Lost => Start::Lost,
            Step::Unread => Start::Unreadable,
        }
    }

    /// Waits for the end of an attempt that has no answer.
    pub(super) async fn ended(mut self) {
        while let Some(Ok(_)) = self.following().await {}
    }

    async fn following(&mut self) -> Option<Result<Bytes, Broken>> {
        match self.step().await {
            Step::Piece(piece) => Some(Ok(piece)),
            Step::End(end) => {
                lock(&self.outcome).end = end;
                end.is_none_or(|end| !end.is_whole).then_some(Err(Broken))
            }
            Step::Replaced | Step::Lost | Step::Unread => Some(Err(Broken)),
        }
    }

    async fn step(&mut self) -> Step {
        loop {
            // First: what has come with another head is that one's, which nobody has looked at.
            if self.head.is_some() {
                return Step::Replaced;
            }
            if let Some(piece) = self.pieces.pop_front() {
                self.is_shown = true;
                return Step::Piece(piece);
            }
            if self.is_unread {
                return Step::Unread;
            }
            if let Some(end) = &self.end {
                return Step::End(End::decode(end));
            }
            if self.more().await.is_err() {
                return Step::Lost;
            }
        }
    }

    /// Reads what there is, or waits for it. An error: its leader is gone, and the outcome says who leads.
    async fn more(&mut self) -> Result<(), ()> {
        let at = LogAt { key: self.asking.key, id: self.place.id };
        // Whose the flight is by now.
        let mut over = None;
        loop {
            let read =
                timeout(READ_WITHIN, self.group.shared.logs.read(at, self.cursor, READ_BYTES));
            let late = |_| Err(StoreError::Transient("took too long".to_owned()));
            let looked = Instant::now();
            match read.await.unwrap_or_else(late) {
                Ok(Read::Chunk(chunk)) => {
                    self.unanswered = None;
                    if self.takes(chunk) {
                        (self.heard, self.unled) = (Instant::now(), None);
                        return Ok(());
                    }
                }
                Ok(Read::Absent) => self.unanswered = None,
                Err(error) => {
                    tracing::debug!(%error, "a shared flight's log could not be read");
                    let since = *self.unanswered.get_or_insert(looked);
                    // One answer that is late is no reason for a call, however long the provider has been silent.
                    if since.elapsed() >= self.patience() {
                        return self.loses(Turn::Own(Apart::Unavailable));
                    }
                    self.watch.changed().await;
                    continue;
                }
            }
            if let Some(turn) = over.take() {
                return self.loses(turn);
            }
            if self.heard.elapsed() >= self.patience() {
                over = self.asks_who_leads().await?;
            }
            self.watch.changed().await;
        }
    }

    /// How long nothing may come, and how long the store may have no answer.
    const fn patience(&self) -> Duration {
        if self.is_shown { SILENT_MAX } else { ASK_EVERY }
    }

    /// Asks whose the flight is. Returns that where it is another one's, or nobody's, and what there is of it is to be
    /// looked at once more.
    async fn asks_who_leads(&mut self) -> Result<Option<Turn>, ()> {
        let asked = Instant::now();
        let turn = self.group.ask(self.asking, Some(self.place.id)).await;
        if let Turn::Own(Apart::Unavailable) = turn {
            // That one answer is late says nothing of its leader: it is asked again with the next look.
            let since = *self.unled.get_or_insert(asked);
            return if since.elapsed() >= self.patience() { self.loses(turn) } else { Ok(None) };
        }
        let mut over = None;
        match turn {
            // The place that was there before is given back.
            Turn::Follow(place) if place.id == self.place.id => self.place = place,
            Turn::Own(Apart::LedElsewhere) => {}
            // Its leader has ended the lease, and may still tell.
            Turn::Own(Apart::HitForMiss) if self.is_shown => {}
            // It ends between the last look and the question, too: then the end is there, or comes.
            turn @ (Turn::Lead(_) | Turn::Follow(_) | Turn::Own(_)) if self.is_shown => {
                over = Some(turn);
            }
            turn @ (Turn::Lead(_) | Turn::Follow(_) | Turn::Own(_)) => return self.loses(turn),
        }
        (self.heard, self.unled) = (Instant::now(), None);
        Ok(over)
    }

    fn loses<T>(&self, turn: Turn) -> Result<T, ()> {
        lock(&self.outcome).turn = Some(turn);
        Err(())
    }

    /// What was read already is good; nothing else is read of this flight.
    fn cannot_read(&mut self, flaw: Unsealed) {
        self.is_unread = true;
        match flaw {
            Unsealed::Version => drop(self.is_in_other_words()),
            Unsealed::Corrupt => {
                self.group.metrics.shared(SharedFlight::Corrupt);
                let key = &self.asking.key;
                tracing::warn!(security = true, ?key, "another sidecar's flight was tampered with");
            }
        }
    }

    fn is_in_other_words(&self) -> Start {
        self.group.metrics.shared(SharedFlight::Unreadable);
        Start::Unreadable
    }

    /// Takes what was read. Whether there was anything new.
    fn takes(&mut self, chunk: Chunk) -> bool {
        let Chunk { head, pieces, cursor, end } = chunk;
        if Some(cursor.attempt) == self.past {
            // Read from here on, where there is nothing more.
            self.cursor = cursor;
            return false;
        }
        let is_new = head.is_some() || !pieces.is_empty() || end.is_some();
        let first = cursor.next.saturating_sub(pieces.len() as u64);
        let numbered = (first..).zip(&pieces);
        let open = |part, sealed: &Bytes| self.seal.open(cursor.attempt, part, sealed);
        let opened =
            head.as_ref().map(|head| open(Part::Head, head)).transpose().and_then(|head| {
                let pieces = numbered.map(|(at, piece)| open(Part::Piece(at), piece));
                let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
                // The end is that of so many pieces: after fewer something was lost.
                let last = Part::End(cursor.next);
                let end = end.as_ref().map(|end| open(last, end)).transpose()?;
                Ok((head, pieces, end))
            });
        let (head, pieces, end) = match opened {
            Ok(opened) => opened,
            Err(flaw) => {
                self.cannot_read(flaw);
                return true;
            }
        };
        if head.is_some() {
            // Of what came before, nothing more will come.
            self.pieces.clear();
        }
        let mut outcome = lock(&self.outcome);
        if outcome.attempt == 0 {
            outcome.attempt = cursor.attempt;
        }
        drop(outcome);
        self.head = head.or(self.head.take());
        self.pieces.extend(pieces);
        (self.cursor, self.end) = (cursor, end);
        is_new
    }
}

impl Pieces for Remote {
    fn next(mut self: Pin<&mut Self>) -> Coming<'_, Option<Result<Bytes, Broken>>> {
        Box::pin(async move { self.following().await })
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;
    use kt_contract::key::CacheKey;

    use super::*;
    use crate::clock::Clock;
    use crate::flight::{Acquired, Epoch, Held, Token};
    use crate::generation::Generation;
    use crate::service::drain::Drain;
    use crate::service::shared::Shared;
    use crate::store::Bounds;
    use crate::store::flight_log::{Appended, FlightLog, MemoryLogs};
    use crate::store::leases::{Claim, LeaseStore, MemoryLeases};
    use crate::store::memory::MemoryEntries;
    use crate::store::rates::MemoryRates;

    const BOUNDS: Bounds = Bounds { entries_max: 1, bytes_max: 1, org_bytes_max: 1 };

    /// A sidecar that leads, and another one that reads.
    struct Two {
        leases: Arc<MemoryLeases>,
        logs: Arc<MemoryLogs>,
        seal: Seal,
        at: LogAt,
        token: Token,
        remote: Remote,
    }

    async fn two() -> Two {
        let (clock, key) = (Clock::start(), CacheKey(Digest([1; 32])));
        let entries = Arc::new(MemoryEntries::new(clock, BOUNDS));
        let leases = Arc::new(MemoryLeases::new(Epoch(1), clock, entries));
        let logs = Arc::new(MemoryLogs::new(clock, leases.clone()));
        let rates = Arc::new(MemoryRates::new(clock));
        let shared = Shared { leases: leases.clone(), logs: logs.clone(), rates };
        let group = Arc::new(Group::new(shared, Arc::default(), Drain::default()));
        let Acquired::Lead(token, id) = leases.acquire(key, Claim(1)).await.unwrap() else {
            panic!("nobody else leads");
        };
        let (at, seal) = (LogAt { key, id }, Seal::new("acme", key, id));
        let head = seal.seal(token.counter, Part::Head, b"for one");
        assert_eq!(logs.begin(at, token, head).await.unwrap(), Held::Current);
        let asking = Asking { key, newest: Generation(0), is_alone: false };
        let remote = Remote::new(Place { group, key, id }, "acme", asking, None);
        Two { leases, logs, seal, at, token, remote }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_more_than_came_is_not_read() {
        for (lost, is_read) in [(0, true), (1, false)] {
            let Two { logs, seal, at, token, mut remote, .. } = two().await;
            let of = |part, written| seal.seal(token.counter, part, written);
            remote.more().await.unwrap();
            remote.head = None;
            let pieces = vec![of(Part::Piece(0), b"a"), of(Part::Piece(1), b"b")];
            assert_eq!(logs.append(at, token, 0, pieces).await.unwrap(), Appended::Done);
            let end = of(Part::End(2 + lost), b"end");
            assert_eq!(logs.finish(at, token, end).await.unwrap(), Held::Current);
            // What comes with it is not what follows on it.
            let (first, second) = (remote.step().await, remote.step().await);
            if is_read {
                assert!(matches!((first, second), (Step::Piece(_), Step::Piece(_))));
                assert!(matches!(remote.step().await, Step::End(_)));
            } else {
                assert!(matches!((first, second), (Step::Unread, Step::Unread)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_with_another_attempt_is_not_read_as_this_ones() {
        let Two { leases, logs, seal, at, mut remote, .. } = two().await;
        let LogAt { key, id } = at;
        remote.more().await.unwrap();
        assert_eq!(remote.head.take(), Some("for one".into()));
        tokio::time::advance(SILENT_MAX).await;
        let second = leases.take_over(key, id, Claim(2)).await.unwrap().unwrap();
        // All of it, before anybody looks.
        let of = |part, written| seal.seal(second.counter, part, written);
        let head = of(Part::Head, b"for another");
        assert_eq!(logs.begin(at, second, head).await.unwrap(), Held::Current);
        let appended = logs.append(at, second, 0, vec![of(Part::Piece(0), b"secret")]).await;
        assert_eq!(appended.unwrap(), Appended::Done);
        let finished = logs.finish(at, second, of(Part::End(1), b"end")).await.unwrap();
        assert_eq!(finished, Held::Current);

        assert!(matches!(remote.step().await, Step::Replaced));
        assert_eq!(remote.head.take(), Some("for another".into()));
        assert!(matches!(remote.step().await, Step::Piece(piece) if piece == "secret"));
    }
}
