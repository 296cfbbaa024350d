//! Strings: their ordinary characters in long steps, their escapes one by one.

use std::borrow::Cow;

use super::{Fault, Read, Reader};

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Reads a string; the reader stands at its opening quote.
    pub(super) fn string(&mut self) -> Read<Cow<'a, str>> {
        self.at += 1;
        let mut run = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            self.at += plain_run(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    let tail = self.slice(run)?;
                    self.at += 1;
                    return Ok(match unescaped {
                        None => Cow::Borrowed(tail),
                        Some(mut whole) => {
                            whole.push_str(tail);
                            Cow::Owned(whole)
                        }
                    });
                }
                Some(b'\\') => {
                    let tail = self.slice(run)?;
                    let whole = unescaped.get_or_insert_default();
                    whole.push_str(tail);
                    self.at += 1;
                    whole.push(self.escape()?);
                    run = self.at;
                }
                Some(_) => return Err(self.refused(Fault::Control)),
                None => return Err(self.refused(Fault::End)),
            }
        }
    }

    fn slice(&self, from: usize) -> Read<&'a str> {
        self.text.get(from..self.at).ok_or_else(|| self.refused(Fault::Utf8))
    }

    fn escape(&mut self) -> Read<char> {
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            Some(_) | None => return Err(self.refused(Fault::Escape)),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Read<char> {
        let high = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&high) {
            // A lone low surrogate is no character either.
            return char::from_u32(high).ok_or_else(|| self.refused(Fault::Escape));
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return Err(self.refused(Fault::Escape));
        }
        let low = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(self.refused(Fault::Escape));
        }
        let scalar = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        char::from_u32(scalar).ok_or_else(|| self.refused(Fault::Escape))
    }

    fn four_digits(&mut self) -> Read<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            value = value << 4 | digit.ok_or_else(|| self.refused(Fault::Escape))?;
            self.at += 1;
        }
        Ok(value)
    }
}

/// How many bytes from the start are ordinary: no quote, no backslash, no control character. Images travel in
/// strings of megabytes, so eight bytes are looked at in one step.
fn plain_run(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let whole = 8 * words.iter().take_while(|word| is_plain(u64::from_ne_bytes(**word))).count();
    let rest = bytes.get(whole..).unwrap_or_default();
    whole
        + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len())
}

/// Whether none of eight bytes is special. The subtraction borrows into a byte's high bit where the byte is
/// below `n`; bytes above 0x7f are no candidates.
fn is_plain(word: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, n: u8| {
        word.wrapping_sub(EACH.wrapping_mul(u64::from(n))) & !word & EACH.wrapping_mul(0x80)
    };
    let equal = |n: u8| below(word ^ EACH.wrapping_mul(u64::from(n)), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) == 0
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_run_ends_at_every_special_byte_and_at_no_other() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(plain_run(&bytes), if special { at } else { 20 }, "{byte:#x} at {at}");
            }
        }
    }
}
