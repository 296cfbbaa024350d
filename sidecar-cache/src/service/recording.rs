//! A stream on its way into the log, as far as it may turn out to be storable: through the policies, with its end held
//! back, in both views.

use bytes::Bytes;
use kt_contract::wire::admit::ReplyShape;
use kt_policy::Triggered;
use kt_providers::UsageHider;

use super::log::Piece;
use super::pilot::Pilot;
use super::police::{Patrol, Stopped};
use super::tail::{Reached, Tail};

/// A stream that may turn out to be storable.
pub(super) struct Recording {
    pub(super) tail: Tail,
    /// For those who have not asked for the usage that we have.
    hider: Option<UsageHider>,
    /// Before everything else: what policies do to it.
    patrol: Option<Patrol>,
    /// Passed by the tail, and not in the log yet; in both views.
    pub(super) out: Vec<u8>,
    pub(super) shown: Vec<u8>,
}

// === impl Recording ===

impl Recording {
    pub(super) fn new(pilot: &Pilot) -> Self {
        let dialect = pilot.seat.grant.dialect;
        let hider = dialect.hider(ReplyShape::Sse { include_usage: false });
        let (tail, patrol) = (Tail::new(dialect), pilot.patrol());
        Self { tail, hider, patrol, out: Vec::new(), shown: Vec::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let Some(patrol) = &mut self.patrol else {
            self.record(bytes);
            return Ok(());
        };
        let mut passed = Vec::with_capacity(bytes.len());
        patrol.push(bytes, &mut passed)?;
        self.record(&passed);
        Ok(())
    }

    /// Nothing more will come of the transport.
    pub(super) fn ends(&mut self) -> Result<(), Stopped> {
        let Some(patrol) = &mut self.patrol else { return Ok(()) };
        let mut passed = Vec::new();
        patrol.end(&mut passed)?;
        self.record(&passed);
        Ok(())
    }

    /// What policies have found in it.
    pub(super) fn triggered(&self) -> Vec<Triggered> {
        self.patrol.as_ref().map(Patrol::triggered).unwrap_or_default()
    }

    /// Whether there is something to show, or nothing holds it back.
    pub(super) const fn has_something(&self) -> bool {
        self.patrol.is_none() || !self.out.is_empty()
    }

    fn record(&mut self, bytes: &[u8]) {
        let from = self.out.len();
        self.out.reserve(self.tail.held().len() + bytes.len());
        self.tail.push(bytes, &mut self.out);
        self.show(from);
    }

    /// The last of it, which was held back.
    pub(super) fn finish(&mut self) {
        let from = self.out.len();
        self.tail.finish(&mut self.out);
        self.show(from);
        if let Some(hider) = &mut self.hider {
            hider.finish(&mut self.shown);
        }
    }

    fn show(&mut self, from: usize) {
        if let Some(hider) = &mut self.hider {
            let passed = self.out.get(from..).unwrap_or_default();
            self.shown.reserve(passed.len());
            hider.push(passed, &mut self.shown);
        }
    }

    /// What may go into the log, no longer than it is: it is kept for as long as the flight. Nothing stays
    /// here: a flight that stands still keeps one copy of what has come.
    pub(super) fn take(&mut self) -> Piece {
        let (all, shown) = (std::mem::take(&mut self.out), std::mem::take(&mut self.shown));
        let is_same = self.hider.is_none() || all == shown;
        let all = fitted(all);
        let shown = if is_same { all.clone() } else { fitted(shown) };
        Piece { all, shown }
    }

    pub(super) fn is_done(&self) -> bool {
        match self.tail.reached() {
            Reached::Events | Reached::LongEvent | Reached::Failed => false,
            Reached::Done | Reached::Overrun => true,
        }
    }
}

/// Bytes without room for more.
fn fitted(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes.into_boxed_slice())
}
