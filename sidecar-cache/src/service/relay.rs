//! An answer on its way into the log: event by event where it is a stream, held back at the end until it is
//! stored, and as it comes where nothing can be said about it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::outcome::Reason;
use kt_providers::Recorded;
use tokio::time::{Instant, timeout_at};

use super::bill::Bill;
use super::call::Concluded;
use super::fault::{Failed, Fault, Unkept};
use super::judging::KeptBack;
use super::log::Piece;
use super::pilot::Pilot;
use super::police::Stopped;
use super::reader::cut_short;
use super::recording::Recording;
use super::seat::{End, Failure, Opened, Whole};
use super::shared::words::opening;
use super::tail::Reached;
use super::upstream::{Broken, Pieces, Timeouts};
use crate::attempt::Transport;
use crate::flight::Held;

/// How large a piece may be. Whoever takes one has made progress.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// The body of an answer, with its deadlines.
pub(super) struct Source {
    body: Pin<Box<dyn Pieces>>,
    due: Due,
    /// Until when all of it must have come; from its first byte on.
    whole_by: Option<Instant>,
    timeouts: Timeouts,
}

/// When the next step of a body must have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The first byte, until then.
    First(Instant),
    /// The next bytes, within the idle time.
    Next,
    /// The end, until then, whatever comes in the meantime.
    End(Instant),
}

/// What came of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Bytes(Bytes),
    End,
    Broken,
}

/// How much of a stream its readers have.
struct Shown {
    is_open: bool,
    bytes: usize,
    /// Nothing of it before its end, where this is there.
    kept_back: Option<KeptBack>,
}

/// How an answer ends for those who have begun to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BegunEnd {
    /// With its end.
    Clean,
    /// With its end, and it is no answer.
    Faulty,
    /// With the dialect's error event, and without an end.
    Error,
    /// Without an end: it has all of the answer, or the provider's own error event.
    Cut,
}

// === impl Source ===

impl Source {
    pub(super) fn new(body: Pin<Box<dyn Pieces>>, first_by: Instant, timeouts: Timeouts) -> Self {
        Self { body, due: Due::First(first_by), whole_by: None, timeouts }
    }

    /// Of what somebody else waits for: how long it may take, that one decides.
    pub(super) fn unhurried(body: Pin<Box<dyn Pieces>>) -> Self {
        let ever = Duration::from_secs(7 * 86_400);
        let timeouts = Timeouts { idle: ever, whole: ever, ending: ever, ..Timeouts::default() };
        Self::new(body, Instant::now() + ever, timeouts)
    }

    /// The next bytes, in time.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            let by = match self.due {
                Due::First(by) | Due::End(by) => by,
                Due::Next => Instant::now() + self.timeouts.idle,
            };
            let by = self.whole_by.map_or(by, |whole_by| by.min(whole_by));
            // A body that always has something ready would never meet its deadline.
            if Instant::now() >= by {
                return Step::Broken;
            }
            match timeout_at(by, self.body.as_mut().next()).await {
                Ok(Some(Ok(bytes))) if bytes.is_empty() => {}
                Ok(Some(Ok(bytes))) => {
                    if let Due::First(_) = self.due {
                        self.due = Due::Next;
                        self.whole_by = Some(Instant::now() + self.timeouts.whole);
                    }
                    return Step::Bytes(bytes);
                }
                Ok(None) => return Step::End,
                Ok(Some(Err(Broken))) | Err(_) => return Step::Broken,
            }
        }
    }

    /// The dialect has said that it is over: the end should follow at once.
    fn ends_soon(&mut self) {
        match self.due {
            Due::First(_) | Due::Next => self.due = Due::End(Instant::now() + self.timeouts.ending),
            Due::End(_) => {}
        }
    }
}

// === impl Pilot ===

impl Pilot {
    /// Writes a stream into the log, once there is something to write: until then a failure is a clean error.
    pub(super) async fn stream(
        &mut self,
        opened: Opened,
        mut source: Source,
    ) -> Result<(), Failed> {
        let mut recording = Recording::new(self);
        match self.over(source.next()).await? {
            Step::Bytes(first) => {
                self.first_byte();
                if let Err(stopped) = self.record(&mut recording, &first) {
                    return self.stops(stopped, false).await;
                }
            }
            Step::End | Step::Broken => return Err(self.failed(cut_short(&self.seat))),
        }
        let opened = Arc::new(Opened { recorded: Some(Recorded::Sse), ..opened });
        let mut shown = Shown { is_open: false, bytes: 0, kept_back: self.keeps_back() };
        let transport = loop {
            match self.shows(&opened, &mut recording, &mut shown) {
                Ok(()) => {}
                Err(Unkept::Unstorable(_)) => {
                    return self.stops(Stopped::Unreadable, shown.is_open).await;
                }
                Err(Unkept::NoRoom) => return Err(self.failed(cut_short(&self.seat))),
            }
            match recording.tail.reached() {
                Reached::Overrun => break Transport::Broken,
                Reached::Done => {
                    source.ends_soon();
                    self.bill.iter_mut().for_each(Bill::is_over);
                }
                Reached::Failed => {
                    // Whoever has read that it failed may leave at once: it is no less a failure.
                    source.ends_soon();
                    while let Step::Bytes(_) = source.next().await {}
                    break Transport::Clean;
                }
                Reached::Events | Reached::LongEvent => {}
            }
            self.room().await?;
            match self.over(source.next()).await? {
                Step::Bytes(bytes) => {
                    if let Err(stopped) = self.record(&mut recording, &bytes) {
                        return self.stops(stopped, shown.is_open).await;
                    }
                }
                Step::End => break Transport::Clean,
                Step::Broken => break Transport::Broken,
            }
        };
        if let Err(stopped) = self.passes_whole(&mut recording, transport, &mut shown).await? {
            return self.stops(stopped, shown.is_open).await;
        }
        if !shown.is_open {
            self.opens(&opened);
        }
        self.append(recording.take());
        self.conclude_stream(opened, recording, transport).await
    }

    /// Shows what may be shown by now. Why not, where it is kept back and is too much for that.
    fn shows(
        &mut self,
        opened: &Arc<Opened>,
        recording: &mut Recording,
        shown: &mut Shown,
    ) -> Result<(), Unkept> {
        if let Some(kept_back) = &mut shown.kept_back {
            kept_back.grows_to(recording)?;
            return if self.has_room() { Ok(()) } else { Err(Unkept::NoRoom) };
        }
        if !shown.is_open && recording.has_something() {
            shown.is_open = true;
            self.opens(opened);
        }
        shown.bytes += recording.out.len();
        self.append(recording.take());
        if let Some(why) = self.outgrows(shown.bytes) {
            self.outgrow(why);
        }
        Ok(())
    }

    /// All of it has come that will: whether the rest of it may be shown.
    async fn passes_whole(
        &mut self,
        recording: &mut Recording,
        transport: Transport,
        shown: &mut Shown,
    ) -> Result<Result<(), Stopped>, Failed> {
        let ended = recording.ends();
        self.found(&recording.triggered());
        if ended.is_err() {
            return Ok(ended);
        }
        let is_whole = transport == Transport::Clean && recording.is_done();
        let is_kept_back = shown.kept_back.is_some();
        if is_kept_back && !is_whole {
            // Nobody has judged what broke off, and nobody has read of it.
            return Err(self.failed(cut_short(&self.seat)));
        }
        if !is_whole {
            return Ok(Ok(()));
        }
        let judged = self.judges_stream(recording).await?;
        // From here on the log has it.
        shown.kept_back = None;
        Ok(judged)
    }

    fn record(&mut self, recording: &mut Recording, bytes: &[u8]) -> Result<(), Stopped> {
        // What was said is paid for, whatever becomes of it.
        if let Some(bill) = &mut self.bill {
            bill.streamed(bytes);
        }
        self.produced.bytes += bytes.len() as u64;
        let passed = recording.push(bytes);
        self.produced.events = recording.tail.events();
        if passed.is_err() {
            self.found(&recording.triggered());
        }
        passed
    }

    async fn conclude_stream(
        &mut self,
        opened: Arc<Opened>,
        mut recording: Recording,
        transport: Transport,
    ) -> Result<(), Failed> {
        let (is_done, reached) = (recording.is_done(), recording.tail.reached());
        let body = self.flight.log.whole().map(|mut body| {
            body.extend_from_slice(recording.tail.held());
            Bytes::from(body)
        });
        // The provider says that there is no answer, or it is too large to be judged whole and has no end: that
        // much is known.
        let is_cut = reached == Reached::Failed || body.is_none() && !is_done;
        let transport = if is_cut { Transport::Broken } else { transport };
        if let Some(herald) = self.standing.role.herald() {
            // Before it is stored: the others hold it back themselves until they learn how it ended.
            herald.says(&Bytes::copy_from_slice(if is_done { recording.tail.held() } else { &[] }));
            if transport == Transport::Clean {
                herald.is_whole();
            }
        }
        let concluded = self.conclude(Recorded::Sse, body.as_ref(), transport).await;
        if is_done {
            recording.finish();
        } else if reached == Reached::LongEvent {
            // Ends the event whose start has passed: the error is none of its lines.
            recording.out.extend_from_slice(b"\n\n");
            recording.shown.extend_from_slice(b"\n\n");
        }
        let last = recording.take();
        let begun = match ending(concluded, reached) {
            // Whoever can read it has all that its dialect promises.
            BegunEnd::Clean => {
                // Kept for those who wait for it in another shape. Nobody joins any more.
                let whole = body.filter(|_| self.flight.log.promote().is_some());
                let whole = whole.map(|body| {
                    let org = &self.seat.grant.caller.principal.org;
                    let mut charge = self.sidecar.logs.charge(org);
                    charge.grow(body.len() as u64);
                    Whole::new(opened, Recorded::Sse, body, charge)
                });
                let end = whole.map_or(End::Clean, End::Whole);
                // In one step: whoever sees the last event knows that it is the last.
                self.finish_with(pieces(last), end);
                return Ok(());
            }
            BegunEnd::Faulty => Some(End::Faulty),
            BegunEnd::Cut => Some(End::Cut),
            BegunEnd::Error => None,
        };
        self.append_here(last);
        // The leader reads what there is, however fast it breaks off.
        Err(Fault { begun, leader: None, ..self.fault() }.into())
    }

    /// Writes an answer into the log as it comes; `head` has come already. It is not stored, for this reason.
    /// Until its first byte there is no answer: what breaks off before is for the leader alone.
    pub(super) async fn pass(
        &mut self,
        opened: Arc<Opened>,
        mut source: Source,
        head: Vec<u8>,
        why: Unkept,
    ) -> Result<(), Failed> {
        let mut is_empty = head.is_empty();
        self.opens(&opened);
        if !is_empty {
            self.has_passed();
            self.append(plain(head));
            self.not_stored(why.as_str());
            self.outgrow(why);
        }
        loop {
            self.room().await?;
            match self.over(source.next()).await? {
                Step::Bytes(bytes) => {
                    self.produced.bytes += bytes.len() as u64;
                    self.has_passed();
                    self.append(plain(bytes));
                    if is_empty {
                        self.first_byte();
                        self.not_stored(why.as_str());
                        self.outgrow(why);
                    }
                    is_empty = false;
                }
                Step::End if is_empty => {
                    self.tells_whole();
                    let opened = opened.as_ref().clone();
                    self.pays(None).await;
                    let empty = Failure::Answer(opened, Bytes::new(), cut_short(&self.seat));
                    self.not_stored(why.as_str());
                    let _: Held = self.end(why.ending());
                    self.finish(End::Failed(Arc::new(empty)));
                    return Ok(());
                }
                Step::End => {
                    self.tells_whole();
                    self.pays(None).await;
                    self.finish(End::Clean);
                    return Ok(());
                }
                Step::Broken if is_empty => return Err(self.failed(cut_short(&self.seat))),
                Step::Broken => {
                    let begun = Some(End::Cut);
                    return Err(Fault { begun, leader: None, ..self.fault() }.into());
                }
            }
        }
    }

    /// More of an answer has come that nobody reads: it is held for by its length, as it will be settled.
    pub(super) fn has_passed(&mut self) {
        let bytes = self.produced.bytes;
        self.bill.iter_mut().for_each(|bill| bill.passed(bytes));
    }

    /// Why so many bytes of an answer cannot be kept whole, if that is so.
    pub(super) fn outgrows(&self, bytes: usize) -> Option<Unkept> {
        if self.unkept.is_some() {
            None
        } else if bytes > ENTRY_BYTES_MAX {
            Some(Unkept::Unstorable(Reason::EntryTooLarge))
        } else {
            (!self.has_room()).then_some(Unkept::NoRoom)
        }
    }

    /// Whether what grows may be kept whole, by what all logs and those of its organization keep.
    fn has_room(&self) -> bool {
        let grant = &self.seat.grant;
        let bytes_max = grant.settings.per_org.max_bytes;
        self.sidecar.logs.have_room_for(&grant.caller.principal.org, bytes_max)
    }

    /// Whatever comes will not be stored, and is not kept for those who are far behind.
    fn outgrow(&mut self, why: Unkept) {
        self.unkept = Some(why);
        let _: Held = self.end(why.ending());
        if let Some(herald) = self.standing.role.herald() {
            herald.outgrows();
        }
        self.flight.log.outgrow(self.now().0);
    }

    /// An answer begins that is read as it comes.
    fn opens(&mut self, opened: &Arc<Opened>) {
        self.tells_opening(opened);
        self.flight.log.open(Arc::clone(opened));
    }

    /// How an answer begins, for other sidecars.
    pub(super) fn tells_opening(&mut self, opened: &Opened) {
        if let Some(herald) = self.standing.role.herald() {
            herald.opens(&opening(opened));
        }
    }

    /// All of the answer has come: so much for the other sidecars.
    fn tells_whole(&mut self) {
        if let Some(herald) = self.standing.role.herald() {
            herald.is_whole();
        }
    }

    /// An answer has come that is told all at once, for other sidecars.
    pub(super) fn tells(&mut self, opened: &Opened, body: &Bytes) {
        if let Some(herald) = self.standing.role.herald() {
            herald.opens(&opening(opened));
            herald.says(body);
            herald.is_whole();
        }
    }

    /// Waits for the fastest reader, where not everything is kept.
    async fn room(&mut self) -> Result<(), Failed> {
        let flight = Arc::clone(&self.flight);
        self.over(poll_fn(|context| flight.log.poll_room(context))).await
    }

    fn append(&mut self, piece: Piece) {
        if let Some(herald) = self.standing.role.herald() {
            herald.says(&piece.all);
        }
        self.append_here(piece);
    }

    fn append_here(&self, piece: Piece) {
        pieces(piece).for_each(|piece| self.flight.log.append(piece, self.now().0));
    }
}

/// A piece in pieces that are not too large.
fn pieces(piece: Piece) -> impl Iterator<Item = Piece> {
    let Piece { mut all, mut shown } = piece;
    std::iter::from_fn(move || {
        (!all.is_empty() || !shown.is_empty()).then(|| Piece {
            all: all.split_to(all.len().min(PIECE_BYTES_MAX)),
            shown: shown.split_to(shown.len().min(PIECE_BYTES_MAX)),
        })
    })
}

/// A piece that everybody sees.
fn plain(bytes: impl Into<Bytes>) -> Piece {
    let all = bytes.into();
    Piece { shown: all.clone(), all }
}

/// A client that has all that its dialect promises is not told of an error, and none is told of two.
const fn ending(concluded: Concluded, reached: Reached) -> BegunEnd {
    match (reached, concluded) {
        (Reached::Done | Reached::Overrun, Concluded::Served) => BegunEnd::Clean,
        (Reached::Done | Reached::Overrun, Concluded::Faulty) => BegunEnd::Faulty,
        (Reached::Done | Reached::Overrun, Concluded::CutShort) => BegunEnd::Cut,
        (Reached::Failed, Concluded::Served | Concluded::Faulty | Concluded::CutShort) => {
            BegunEnd::Cut
        }
        (
            Reached::Events | Reached::LongEvent,
            Concluded::Served | Concluded::Faulty | Concluded::CutShort,
        ) => BegunEnd::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending() {
        use Concluded::{CutShort, Faulty, Served};
        use Reached::{Done, Events, Failed, LongEvent, Overrun};
        for (concluded, reached, expected) in [
            (Served, Done, BegunEnd::Clean),
            (Faulty, Done, BegunEnd::Faulty),
            (CutShort, Done, BegunEnd::Cut),
            (CutShort, Overrun, BegunEnd::Cut),
            (CutShort, Events, BegunEnd::Error),
            (CutShort, LongEvent, BegunEnd::Error),
            (Faulty, Events, BegunEnd::Error),
            (Served, Events, BegunEnd::Error),
            (CutShort, Failed, BegunEnd::Cut),
            (Faulty, Failed, BegunEnd::Cut),
        ] {
            assert_eq!(ending(concluded, reached), expected, "{concluded:?} at {reached:?}");
        }
    }
}
