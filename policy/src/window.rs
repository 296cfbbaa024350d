//! A text that comes in pieces: what can be shown of it, and what was found there.

use crate::entity::{EntitySet, Finding};
use crate::fold::Folded;
use crate::scan::{CONTEXT_BYTES, pass, unfold};
use crate::text::Text;

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
        Self { wanted, context: String::new(), held: String::new() }
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
        let whole = format!("{}{}", self.context, self.held);
        let folded = Folded::of(&whole);
        let shown = self.context.len();
        let mut matches = Vec::new();
        let text = Text::new(folded.as_str());
        let settled = pass(&text, shown, self.wanted, &mut |one| matches.push(one));
        let until = if is_end { folded.as_str().len() } else { folded.char_start(settled) };
        matches.retain(|one| one.end <= until);
        let given_until = folded.start(until, whole.len());
        let findings = matches.into_iter().map(|one| unfold(&folded, one)).map(|one| Finding {
            start: one.start.saturating_sub(shown),
            end: one.end.saturating_sub(shown),
            ..one
        });
        let settled = Settled {
            text: whole.get(shown..given_until).unwrap_or_default().to_owned(),
            findings: findings.collect(),
        };
        let keep_from = char_start(folded.as_str(), until.saturating_sub(CONTEXT_BYTES));
        self.context = folded.as_str().get(keep_from..until).unwrap_or_default().to_owned();
        self.held = whole.get(given_until..).unwrap_or_default().to_owned();
        settled
    }
}

/// The start of the character that a byte belongs to.
fn char_start(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
