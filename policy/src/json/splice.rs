//! Replacing bytes of a body.

use std::ops::Range;

/// A piece of a body that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Its bytes.
    pub raw: Range<usize>,
    /// What stands there instead.
    pub written: Written,
}

/// What is written in the place of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// A placeholder within a string.
    Within(&'static str),
    /// A placeholder where a value stood: it gets quotes of its own.
    Value(&'static str),
    /// A placeholder where a value stood in JSON that is itself a string: its quotes are escaped.
    ValueInString(&'static str),
    /// Nothing: what it belonged to is replaced elsewhere.
    Nothing,
    /// The value `null`.
    Null,
}

// === impl Edit ===

impl Edit {
    /// `null` in the place of a value.
    #[must_use]
    pub(crate) const fn null(raw: Range<usize>) -> Self {
        Self { raw, written: Written::Null }
    }
}

// === impl Written ===

impl Written {
    fn write(self, out: &mut Vec<u8>) {
        let (quote, text) = match self {
            Self::Within(text) => ("", text),
            Self::Value(text) => ("\"", text),
            Self::ValueInString(text) => ("\\\"", text),
            Self::Nothing => ("", ""),
            Self::Null => ("", "null"),
        };
        for part in [quote, text, quote] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// The body with its edits, which are in order and do not overlap. One that is not is left out.
#[must_use]
pub fn splice(body: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 16 * edits.len());
    let mut at = 0;
    for Edit { raw, written } in edits {
        if let Some(before) = body.get(at..raw.start).filter(|_| body.get(raw.clone()).is_some()) {
            out.extend_from_slice(before);
            written.write(&mut out);
            at = raw.end;
        }
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn everything_beside_an_edit_stays_byte_for_byte() {
        let body = br#"{ "a" : "x@y.z!", "b":4111,"c":"{\"n\":42}" }"#;
        let at = |what: &str| {
            let start = String::from_utf8_lossy(body).find(what).unwrap();
            start..start + what.len()
        };
        let edits = [
            Edit { raw: at("x@y.z"), written: Written::Within("[EMAIL]") },
            Edit { raw: at("4111"), written: Written::Value("[CARD]") },
            Edit { raw: at("42"), written: Written::ValueInString("[N]") },
        ];
        let expected = br#"{ "a" : "[EMAIL]!", "b":"[CARD]","c":"{\"n\":\"[N]\"}" }"#;
        assert_eq!(splice(body, &edits), expected);
        assert_eq!(splice(body, &[]), body);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_edit_that_cannot_be_made_is_left_out() {
        let edit = |raw| Edit { raw, written: Written::Within("_") };
        assert_eq!(splice(b"abcdef", &[edit(2..4), edit(3..5)]), b"ab_ef");
        assert_eq!(splice(b"abc", &[edit(9..12)]), b"abc");
    }
}
