//! A text as its words, in which case does not count.

use super::digest::Digest;

/// The words of a text: runs of letters and digits, and each letter alone of a script that has no spaces. What
/// stands between letters only, an apostrophe, belongs to none, so `don't` is two words everywhere.
pub(super) struct Words<'a> {
    pub(super) text: &'a str,
    /// The byte behind the last word.
    pub(super) at: usize,
}

/// A word of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) start: usize,
    pub(super) end: usize,
    is_ascii: bool,
}

/// What a byte is to words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It stands between them.
    Apart,
    /// A letter or a digit.
    Ascii,
    /// Of a character that is no ASCII.
    Foreign,
}

const KINDS: [Kind; 256] = kinds();

// === impl Words ===

impl<'a> Words<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The character at the next byte, if it is of a word.
    fn letter(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next().filter(|char| char.is_alphanumeric())
    }

    /// The word that begins here and has a character in it that is no ASCII.
    fn word(&mut self) -> Word {
        let (start, mut is_ascii) = (self.at, true);
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += rest.iter().take_while(|byte| Kind::of(**byte) == Kind::Ascii).count();
            let is_foreign = self.text.as_bytes().get(self.at).is_some_and(|byte| !byte.is_ascii());
            let letter = if is_foreign { self.letter() } else { None };
            let Some(letter) = letter else { break };
            let is_alone = is_unspaced(letter);
            if is_alone && self.at > start {
                break;
            }
            is_ascii = false;
            self.at += letter.len_utf8();
            if is_alone {
                break;
            }
        }
        Word { start, end: self.at, is_ascii }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    #[inline]
    fn next(&mut self) -> Option<Word> {
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let apart = rest.iter().position(|byte| Kind::of(*byte) != Kind::Apart)?;
            let start = self.at + apart;
            let rest = rest.get(apart..)?;
            let length = rest.iter().position(|byte| Kind::of(*byte) != Kind::Ascii);
            let length = length.unwrap_or(rest.len());
            let is_ascii = rest.get(length).is_none_or(u8::is_ascii);
            self.at = start;
            if is_ascii {
                self.at += length;
                return Some(Word { start, end: self.at, is_ascii });
            }
            if length > 0 || self.letter().is_some() {
                return Some(self.word());
            }
            // What follows the first byte of a character is of no letter, and no ASCII.
            self.at += 1;
        }
    }
}

// === impl Kind ===

impl Kind {
    #[inline]
    fn of(byte: u8) -> Self {
        KINDS.get(usize::from(byte)).copied().unwrap_or(Self::Foreign)
    }
}

const fn kinds() -> [Kind; 256] {
    let mut kinds = [Kind::Foreign; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        #[expect(clippy::indexing_slicing, reason = "the byte is below 128")]
        {
            let is_of_word = byte.is_ascii_alphanumeric();
            kinds[byte as usize] = if is_of_word { Kind::Ascii } else { Kind::Apart };
        }
        byte += 1;
    }
    kinds
}

// === impl Word ===

impl Word {
    pub(super) fn of<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether it is this word, which is in small letters.
    pub(super) fn is(&self, word: &str, text: &str) -> bool {
        let here = self.of(text);
        if self.is_ascii { here.eq_ignore_ascii_case(word) } else { lowered(here).eq(word.chars()) }
    }

    /// What it is told by, whichever its case.
    #[inline]
    pub(super) fn digest(&self, text: &str) -> Digest {
        if self.is_ascii {
            let word = text.as_bytes().get(self.start..self.end);
            return Digest::of_ascii(word.unwrap_or_default());
        }
        self.digest_of_chars(text)
    }

    fn digest_of_chars(&self, text: &str) -> Digest {
        let lower = lowered(self.of(text));
        if lower.clone().all(|char| char.is_ascii()) {
            Digest::of_ascii(lower.collect::<String>().as_bytes())
        } else {
            Digest::of_chars(lower)
        }
    }
}

pub(super) fn lowered(word: &str) -> impl Iterator<Item = char> + Clone {
    word.chars().flat_map(lower)
}

pub(super) fn lower(char: char) -> impl Iterator<Item = char> + Clone {
    char.to_lowercase().map(like_its_capital)
}

/// Capitals that look Latin are folded to Latin, where their small letters do not look so and are not. For terms, in
/// which case does not count, these have to become the same.
fn like_its_capital(small: char) -> char {
    match small {
        'в' | 'β' => 'b',
        'ε' | 'έ' => 'e',
        'ԍ' => 'g',
        'н' | 'η' | 'ή' => 'h',
        'м' | 'μ' => 'm',
        'ν' => 'n',
        'т' | 'τ' => 't',
        'υ' | 'ύ' | 'ϋ' | 'ү' => 'y',
        'ζ' => 'z',
        other => other,
    }
}

/// Whether a letter is of a script that is written without spaces (Thai, Lao, Khmer, kana, Han), or that ties
/// particles to its words (Hangul).
pub(super) fn is_unspaced(char: char) -> bool {
    matches!(u32::from(char), 0xE00..=0xEFF | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x9FFF | 0xAC00..=0xD7A3 | 0x20000..=0x3FFFF)
}
