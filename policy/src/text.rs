//! How detectors read: byte by byte of the folded text, with a note whether they asked for what has not come
//! yet. Nothing that was decided without that note can be changed by more text.

use std::cell::Cell;

/// `0` to `9`.
pub(crate) const DIGIT: u8 = 1;
/// `A` to `Z`.
pub(crate) const UPPER: u8 = 2;
/// `a` to `z`.
pub(crate) const LOWER: u8 = 4;
/// ASCII letters.
pub(crate) const ALPHA: u8 = UPPER | LOWER;
/// ASCII letters and digits.
pub(crate) const ALNUM: u8 = ALPHA | DIGIT;
/// The digits of base 16, in either case.
pub(crate) const HEX: u8 = 8;
/// `-` and `_`.
pub(crate) const DASHES: u8 = 16;
/// `.`, `%` and `+`: with letters, digits and dashes what the local part of an address is made of.
pub(crate) const LOCAL_MARKS: u8 = 32;
/// `+`, `/` and `=`: what base 64 has beside letters and digits.
pub(crate) const BASE64_MARKS: u8 = 64;
/// What can begin something that is no letter or digit: `+`, `(`, `-`, `:` and `=`.
pub(crate) const OPENERS: u8 = 128;
/// What the local part of an address is made of.
pub(crate) const LOCAL: u8 = ALNUM | DASHES | LOCAL_MARKS;

const CLASSES: [u8; 256] = classes();

/// The folded text. Offsets are bytes of it.
pub(crate) struct Text<'a> {
    bytes: &'a [u8],
    /// Before which bytes something stood that may part words: a bit for each.
    seams: &'a [u64],
    has_met_end: Cell<bool>,
    steps: Steps,
}

/// Counts what was looked at, in tests: the promise of linear time is about this number.
#[derive(Default)]
struct Steps {
    #[cfg(test)]
    count: Cell<usize>,
}

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        let mut class = match byte {
            b'0'..=b'9' => DIGIT | HEX,
            b'A'..=b'F' => UPPER | HEX,
            b'a'..=b'f' => LOWER | HEX,
            b'G'..=b'Z' => UPPER,
            b'g'..=b'z' => LOWER,
            b'-' | b'_' => DASHES,
            b'.' | b'%' => LOCAL_MARKS,
            b'+' => LOCAL_MARKS | BASE64_MARKS,
            b'/' | b'=' => BASE64_MARKS,
            _ => 0,
        };
        if matches!(byte, b'+' | b'(' | b'-' | b':' | b'=') {
            class |= OPENERS;
        }
        #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
        {
            classes[byte as usize] = class;
        }
        byte += 1;
    }
    classes
}

/// Whether a byte is of one of the classes.
#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

/// Notes that something stood before a byte.
pub(crate) fn note_seam(seams: &mut Vec<u64>, at: usize) {
    let (word, bit) = (at / 64, at % 64);
    if seams.len() <= word {
        seams.resize(word + 1, 0);
    }
    if let Some(word) = seams.get_mut(word) {
        *word |= 1 << bit;
    }
}

/// Whether something stood before a byte.
pub(crate) fn has_seam(seams: &[u64], at: usize) -> bool {
    seams.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

// === impl Text ===

impl<'a> Text<'a> {
    /// A folded text, and where something stood in it that shows nothing and may part words.
    pub(crate) fn new(text: &'a str, seams: &'a [u64]) -> Self {
        let (bytes, has_met_end) = (text.as_bytes(), Cell::new(false));
        Self { bytes, seams, has_met_end, steps: Steps::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets that the end was met.
    #[inline]
    pub(crate) fn begin(&self) {
        self.has_met_end.set(false);
    }

    /// Whether what has not come yet was asked for since [`Text::begin`].
    #[inline]
    pub(crate) fn has_met_end(&self) -> bool {
        self.has_met_end.get()
    }

    /// The byte at an offset.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<u8> {
        self.steps.add(1);
        let byte = self.bytes.get(at).copied();
        if byte.is_none() {
            self.has_met_end.set(true);
        }
        byte
    }

    /// The byte at an offset, if it is of one of the classes.
    #[inline]
    pub(crate) fn is(&self, at: usize, class: u8) -> bool {
        self.get(at).is_some_and(|byte| is(byte, class))
    }

    /// Whether this very byte stands there.
    #[inline]
    pub(crate) fn has(&self, at: usize, byte: u8) -> bool {
        self.get(at) == Some(byte)
    }

    /// Whether something stood before this byte that shows nothing and may part words.
    pub(crate) fn is_seam(&self, at: usize) -> bool {
        has_seam(self.seams, at)
    }

    /// The byte before an offset.
    #[inline]
    pub(crate) fn before(&self, at: usize) -> Option<u8> {
        self.steps.add(1);
        self.bytes.get(at.checked_sub(1)?).copied()
    }

    /// Whether the byte before an offset is of one of the classes.
    #[inline]
    pub(crate) fn is_before(&self, at: usize, class: u8) -> bool {
        self.before(at).is_some_and(|byte| is(byte, class))
    }

    /// Where the run of bytes of some classes ends that begins at `from`; at most `bytes_max` bytes are looked at.
    #[inline]
    pub(crate) fn span(&self, from: usize, class: u8, bytes_max: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let run = rest.get(..bytes_max).unwrap_or(rest);
        let length = run.iter().position(|byte| !is(*byte, class)).unwrap_or(run.len());
        self.steps.add(length + 1);
        if length == rest.len() && length < bytes_max {
            self.has_met_end.set(true);
        }
        from + length
    }

    /// Whether this stands at an offset, letters in either case; `pattern` is in lower case.
    pub(crate) fn has_word(&self, at: usize, pattern: &[u8]) -> bool {
        pattern.iter().enumerate().all(|(nth, byte)| {
            self.get(at + nth).is_some_and(|given| given.to_ascii_lowercase() == *byte)
        })
    }

    /// Whether this stands at an offset, byte for byte.
    #[inline]
    pub(crate) fn has_all(&self, at: usize, pattern: &[u8]) -> bool {
        pattern.iter().enumerate().all(|(nth, byte)| self.has(at + nth, *byte))
    }

    /// The bytes of a range that were seen already.
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.steps.add(end.saturating_sub(start));
        self.bytes.get(start..end.min(self.bytes.len())).unwrap_or_default()
    }

    /// The first offset from `at` on where something can begin: at the earliest behind the word that `at` is in, but right
    /// behind a finding if something parts it from the rest.
    #[inline]
    pub(crate) fn next_start(&self, at: usize, is_behind_finding: bool) -> Option<usize> {
        let mut at = at;
        if self.is_before(at, ALNUM) && !(is_behind_finding && self.is_seam(at)) {
            at = self.token_end(at);
        }
        let rest = self.bytes.get(at..)?;
        let skipped = rest.iter().position(|byte| is(*byte, ALNUM | OPENERS));
        self.steps.add(skipped.unwrap_or(rest.len()));
        skipped.map(|skipped| at + skipped)
    }

    /// Where the letters and digits end that begin at `from`. What comes later is not asked for.
    #[inline]
    pub(crate) fn token_end(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is(**byte, ALNUM)).count();
        self.steps.add(length);
        from + length
    }

    #[cfg(test)]
    pub(crate) fn steps(&self) -> usize {
        self.steps.count.get()
    }
}

// === impl Steps ===

impl Steps {
    #[inline]
    fn add(&self, steps: usize) {
        #[cfg(test)]
        self.count.set(self.count.get() + steps);
        #[cfg(not(test))]
        let _ = (self, steps);
    }
}
