//! What a refusal and the log may repeat of what the client sent: enough to recognize it, never the whole of a bomb.

/// How many characters are repeated.
const CHARS_MAX: usize = 128;

/// How much of it a line of the log holds.
const LOGGED_BYTES_MAX: usize = 200;

/// The beginning of `text`, and a sign where it was cut.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// The same of bytes, with a sign for each that is no text.
pub(crate) fn quoted_bytes(bytes: &[u8]) -> String {
    // Four bytes are the longest character.
    let beginning = bytes.get(..CHARS_MAX * 4 + 4).unwrap_or(bytes);
    quoted(&String::from_utf8_lossy(beginning))
}

/// The beginning of `text` for a line of the log: printable ASCII, with a sign for each character that is not.
pub(crate) fn loggable(text: &str) -> String {
    let printable = |char: char| if matches!(char, ' '..='~') { char } else { '?' };
    text.chars().take(LOGGED_BYTES_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_short_is_repeated_and_what_is_long_is_cut_between_characters() {
        assert_eq!(quoted("gpt-4o"), "gpt-4o");
        assert_eq!(quoted(&"ü".repeat(128)), "ü".repeat(128));
        assert_eq!(quoted(&"ü".repeat(129)), format!("{}…", "ü".repeat(128)));
        assert_eq!(quoted_bytes(&[b'a'; 10_000]), format!("{}…", "a".repeat(128)));
        assert_eq!(quoted_bytes(b"a\xffb"), "a\u{fffd}b");
    }
}
