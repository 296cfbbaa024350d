//! A text that comes in pieces: what can be shown of it, and what was found there.

use crate::entity::{EntitySet, Finding};
use crate::fold::Folded;
use crate::scan::{CONTEXT_BYTES, Match, pass, unfold};
use crate::text::{Text, has_seam, note_seam};

/// How much is held back at most. No candidate is longer than a block of PEM, 8 KiB; the rest is room for
/// characters that show nothing. Whoever puts more of them into one number or key gets its first part shown.
pub const HOLD_BYTES_MAX: usize = 32 * 1024;

/// A text that comes in pieces. All pieces together give the findings of the whole text.
#[derive(Debug)]
pub struct Window {
    wanted: EntitySet,
    /// The end of what was settled, folded: what decisions may look back at.
    context: String,
    /// What came and is not settled.
    held: String,
    /// Whether something that may part words stood at the end of what was settled.
    is_seam: bool,
    /// Whether what was settled ends with a finding.
    ends_with_finding: bool,
}

/// What will not change any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The text, to be shown after what was settled before.
    pub text: String,
    /// What was found in it. Offsets are those of this text.
    pub findings: Vec<Finding>,
}

// === impl Window ===

impl Window {
    /// A window on a text that has not begun.
    #[must_use]
    pub fn new(wanted: EntitySet) -> Self {
        Self {
            wanted,
            context: String::new(),
            held: String::new(),
            is_seam: false,
            ends_with_finding: false,
        }
    }

    /// Takes the next piece and gives what it settles.
    pub fn push(&mut self, piece: &str) -> Settled {
        self.held.push_str(piece);
        let is_full = self.held.len() > HOLD_BYTES_MAX;
        self.settle(is_full)
    }

    /// Gives what is left: nothing more will come.
    pub fn end(&mut self) -> Settled {
        self.settle(true)
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn settle(&mut self, is_end: bool) -> Settled {
        // What was settled is folded already: folded again, `%2540` would become an address.
        let folded = Folded::unescaped(&self.held);
        let seen = if is_end { folded.as_str() } else { folded.decided() };
        let whole = format!("{}{seen}", self.context);
        let shown = self.context.len();
        let mut matches = Vec::new();
        let mut seams = Vec::new();
        if !folded.seams().is_empty() {
            let of_held = (0..=folded.as_str().len()).filter(|at| has_seam(folded.seams(), *at));
            of_held.for_each(|at| note_seam(&mut seams, shown + at));
        }
        if self.is_seam {
            note_seam(&mut seams, shown);
        }
        let text = Text::new(&whole, &seams);
        let from = (shown, self.ends_with_finding);
        let settled = pass(&text, from, self.wanted, &mut |one| matches.push(one));
        let settled = settled.saturating_sub(shown);
        let until = if is_end { seen.len() } else { folded.char_start(settled) };
        let given_until = folded.start(until, self.held.len());
        let in_held = |one: Match| Match { start: one.start - shown, end: one.end - shown, ..one };
        let matches_end = matches.iter().map(|one| one.end).rfind(|end| *end <= shown + until);
        let matches = matches.into_iter().map(in_held).filter(|one| one.end <= until);
        let findings = matches.map(|one| unfold(&folded, one)).collect();
        let text = self.held.get(..given_until).unwrap_or_default().to_owned();
        let until = shown + until;
        if until > shown {
            self.ends_with_finding = matches_end == Some(until);
        }
        self.is_seam = has_seam(&seams, until);
        let keep_from = char_start(&whole, until.saturating_sub(CONTEXT_BYTES));
        self.context = whole.get(keep_from..until).unwrap_or_default().to_owned();
        self.held = self.held.get(given_until..).unwrap_or_default().to_owned();
        Settled { text, findings }
    }
}

/// The start of the character that a byte belongs to.
fn char_start(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
