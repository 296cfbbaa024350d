//! Escapes of the notations in which texts travel: JSON and programs (`\u0040`, `\x40`, `\n`), URLs (`%40`) and pages
//! (`&#64;`, `&commat;`). What is spelled so is read as what it spells.
//!
//! `\"` and `\\` stay, because the first would end a value that goes on; so do `%2F`, `%3F` and `%23`, which would end
//! the part of a URL that they stand in, and bytes of which several make a character.

/// What an escape begins with.
pub(super) const SIGNS: [u8; 4] = [b'\\', b'%', b'&', ESCAPE];
/// What begins a color of a terminal.
const ESCAPE: u8 = 0x1B;
/// The longest color, without what begins it: `[38;2;255;255;255m`.
const COLOR_BYTES_MAX: usize = 20;
/// What shows nothing, and parts no words.
const NOTHING: char = '\u{AD}';
/// So many backslashes may stand before the letter: a text in JSON that is a text in JSON again.
const BACKSLASHES_MAX: usize = 4;
/// The longest of the names below, and the most digits of a number.
const REFERENCE_BYTES_MAX: usize = 8;

/// Names of pages for characters that detectors look for.
const NAMES: [(&[u8], char); 16] = [
    (b"amp", '&'),
    (b"apos", '\''),
    (b"colon", ':'),
    (b"commat", '@'),
    (b"dash", '-'),
    (b"equals", '='),
    (b"gt", '>'),
    (b"hyphen", '-'),
    (b"lowbar", '_'),
    (b"lt", '<'),
    (b"nbsp", ' '),
    (b"period", '.'),
    (b"plus", '+'),
    (b"quot", '"'),
    (b"shy", '\u{AD}'),
    (b"sol", '/'),
];

/// What stands at a place where an escape could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    /// Something else.
    No,
    /// This character, in so many bytes.
    Is(char, usize),
    /// More text decides.
    Undecided,
}

/// The escape at the beginning of a text.
pub(super) fn read(text: &[u8]) -> Escape {
    match text.first() {
        Some(b'\\') => backslash(text),
        Some(b'%') => percent(text),
        Some(b'&') => reference(text),
        Some(&ESCAPE) => color(text, 1),
        Some(_) | None => Escape::No,
    }
}

fn backslash(text: &[u8]) -> Escape {
    let run = text.iter().take(BACKSLASHES_MAX + 1).take_while(|byte| **byte == b'\\').count();
    if run > BACKSLASHES_MAX {
        return Escape::No;
    }
    let Some(letter) = text.get(run) else { return Escape::Undecided };
    let plain = |char: char| Escape::Is(char, run + 1);
    match letter {
        b'n' => plain('\n'),
        b'r' => plain('\r'),
        b't' => plain('\t'),
        b'/' => plain('/'),
        // Of Markdown, where they would else be marks of its own.
        b'_' | b'.' | b'-' if run == 1 => plain(char::from(*letter)),
        b'u' => colored(text, hexadecimal(text, run + 1, 4)),
        b'x' => colored(text, hexadecimal(text, run + 1, 2)),
        _ => Escape::No,
    }
}

/// The same, with the color that it begins.
fn colored(text: &[u8], escape: Escape) -> Escape {
    match escape {
        Escape::Is('\u{1B}', bytes) => match color(text, bytes) {
            Escape::No => escape,
            color @ (Escape::Is(..) | Escape::Undecided) => color,
        },
        Escape::Is(..) | Escape::No | Escape::Undecided => escape,
    }
}

/// A color of a terminal, `[1;31m`, behind what begins it: it shows nothing.
fn color(text: &[u8], from: usize) -> Escape {
    match text.get(from) {
        None => return Escape::Undecided,
        Some(b'[') => {}
        Some(_) => return Escape::No,
    }
    let numbers = text.get(from + 1..).unwrap_or_default();
    let is_of_numbers = |byte: &&u8| byte.is_ascii_digit() || **byte == b';';
    let length = numbers.iter().take(COLOR_BYTES_MAX).take_while(is_of_numbers).count();
    match numbers.get(length) {
        None => Escape::Undecided,
        Some(b'm' | b'K') => Escape::Is(NOTHING, from + length + 2),
        Some(_) => Escape::No,
    }
}

/// A character by so many digits of base 16. Half of a pair stands for a character that is nobody's.
fn hexadecimal(text: &[u8], from: usize, digits: usize) -> Escape {
    let mut code = 0;
    for nth in from..from + digits {
        let Some(byte) = text.get(nth) else { return Escape::Undecided };
        let Some(digit) = char::from(*byte).to_digit(16) else { return Escape::No };
        code = code * 16 + digit;
    }
    // Two digits are a byte; of several bytes that make a character this knows nothing.
    if digits == 2 && code >= 0x80 {
        return Escape::No;
    }
    Escape::Is(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), from + digits)
}

fn percent(text: &[u8]) -> Escape {
    match hexadecimal(text, 1, 2) {
        Escape::Is(char, bytes) => {
            let is_shown = matches!(char, ' '..='~' | '\n' | '\r' | '\t');
            let stays = matches!(char, '/' | '?' | '#' | '%' | '\\');
            if is_shown && !stays { Escape::Is(char, bytes) } else { Escape::No }
        }
        other @ (Escape::No | Escape::Undecided) => other,
    }
}

fn reference(text: &[u8]) -> Escape {
    let body = text.get(1..).unwrap_or_default();
    let is_numeric = body.first() == Some(&b'#');
    let body = body.get(usize::from(is_numeric)..).unwrap_or_default();
    let run =
        body.iter().take(REFERENCE_BYTES_MAX + 1).take_while(|byte| byte.is_ascii_alphanumeric());
    let length = run.count();
    if length > REFERENCE_BYTES_MAX {
        return Escape::No;
    }
    match body.get(length) {
        None => return Escape::Undecided,
        Some(b';') => {}
        Some(_) => return Escape::No,
    }
    let name = body.get(..length).unwrap_or_default();
    let char = if is_numeric {
        let (digits, base) = match name {
            [b'x' | b'X', digits @ ..] => (digits, 16),
            digits => (digits, 10),
        };
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        u32::from_str_radix(digits, base).ok().and_then(char::from_u32)
    } else {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, char)| *char)
    };
    let bytes = 2 + usize::from(is_numeric) + length;
    char.map_or(Escape::No, |char| Escape::Is(char, bytes))
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_spelled_is_read() {
        let rows = [
            (r"\u0040x", Escape::Is('@', 6)),
            (r"\\u0040x", Escape::Is('@', 7)),
            (r"\x40x", Escape::Is('@', 4)),
            (r"\nx", Escape::Is('\n', 2)),
            (r"\ud83dx", Escape::Is('\u{FFFD}', 6)),
            ("%40x", Escape::Is('@', 3)),
            ("%2bx", Escape::Is('+', 3)),
            ("&#64;", Escape::Is('@', 5)),
            ("&#x40;", Escape::Is('@', 6)),
            ("&commat;", Escape::Is('@', 8)),
            (r"\_x", Escape::Is('_', 2)),
            ("\u{1B}[1;31mx", Escape::Is(NOTHING, 7)),
            (r"\x1b[0mx", Escape::Is(NOTHING, 7)),
            (r"\u001b[mx", Escape::Is(NOTHING, 8)),
            (r"\u001bx", Escape::Is('\u{1B}', 6)),
            ("\u{1B}x", Escape::No),
            ("\u{1B}[2Ax", Escape::No),
            (r#"\""#, Escape::No),
            (r"\\\\\n", Escape::No),
            (r"\u00g0", Escape::No),
            ("%2F", Escape::No),
            ("%e2", Escape::No),
            ("%4x", Escape::No),
            ("&copy;", Escape::No),
            ("&a=b", Escape::No),
            ("&#;", Escape::No),
            ("&#55296;", Escape::No),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_has_only_begun_is_undecided() {
        for whole in [r"\\u0040", r"\x40", "\u{1B}[31m", r"\x1b[31m", "%40", "&#x40;", "&commat;"] {
            for until in 1..whole.len() {
                assert_eq!(read(&whole.as_bytes()[..until]), Escape::Undecided, "{whole} {until}");
            }
        }
    }
}
