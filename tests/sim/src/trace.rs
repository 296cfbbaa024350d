//! What happened, as a hash that two runs of a seed must share, and in words for whoever replays one.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A trace.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: DefaultHasher,
    steps: u64,
    lines: Option<Vec<String>>,
}

// === impl Trace ===

impl Trace {
    /// An empty one. `tells`: with words.
    #[must_use]
    pub(crate) fn new(tells: bool) -> Self {
        Self { hash: DefaultHasher::new(), steps: 0, lines: tells.then(Vec::new) }
    }

    /// Another step.
    pub(crate) fn step(&mut self, now: u64, what: &impl Hash) {
        self.steps = self.steps.saturating_add(1);
        (now, what).hash(&mut self.hash);
    }

    /// Something came of a step.
    pub(crate) fn mark(&mut self, what: &impl Hash) {
        what.hash(&mut self.hash);
    }

    /// It, in words.
    pub(crate) fn say(&mut self, now: u64, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>4}.{:03}  {}", now / 1_000, now % 1_000, words()));
        }
    }

    /// How many steps there were.
    #[must_use]
    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash of all.
    #[must_use]
    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// The words.
    #[must_use]
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
