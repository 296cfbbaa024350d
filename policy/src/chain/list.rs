//! Terms and patterns of the configuration, as one list.

use crate::words::{Patterns, Rejected, Terms};

/// How much of a text that goes on is held back for patterns: a match that is longer may be shown before its end has come.
const PATTERN_HOLD_BYTES: usize = 256;

/// What `content-policy` looks for.
#[derive(Debug)]
pub(super) struct List {
    terms: Terms,
    patterns: Patterns,
    hold_bytes: usize,
}

// === impl List ===

impl List {
    pub(super) fn new(terms: &[String], patterns: &[String]) -> Result<Self, Rejected> {
        // Its letters may be wider, and between its words may stand what is none: room for some of it.
        let of_terms = terms.iter().map(|term| 4 * term.len() + 16).max().unwrap_or(0);
        let of_patterns = if patterns.is_empty() { 0 } else { PATTERN_HOLD_BYTES };
        Ok(Self {
            terms: Terms::new(terms)?,
            patterns: Patterns::new(patterns)?,
            hold_bytes: of_terms.max(of_patterns),
        })
    }

    /// How much of a text that goes on is held back, so that most is found whole.
    pub(super) const fn hold_bytes(&self) -> usize {
        self.hold_bytes
    }

    /// Says where each term begins and ends, and the first match of each pattern: enough, where nothing is replaced.
    pub(super) fn find_some(&self, text: &str, found: &mut impl FnMut(usize, usize)) {
        self.terms.find(text, &mut |hit| found(hit.start, hit.end));
        self.patterns.find_first(text, &mut |range| found(range.start, range.end));
    }

    /// Says where each match begins and ends.
    pub(super) fn find(&self, text: &str, found: &mut impl FnMut(usize, usize)) {
        self.terms.find(text, &mut |hit| found(hit.start, hit.end));
        self.patterns.find_all(text, &mut |range| found(range.start, range.end));
    }
}
