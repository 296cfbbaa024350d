//! Where a request stands in somebody's trace, as the W3C's Trace Context (level 1) writes it: the header `traceparent`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A span of somebody else's, which a request is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    /// The trace. Never all zeros.
    pub trace_id: [u8; 16],
    /// The span in it. Never all zeros.
    pub span_id: [u8; 8],
    /// Whether its spans are kept.
    pub is_sampled: bool,
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent: 00-TRACE-SPAN-FLAGS in lower-case hexadecimal digits")]
pub struct NotATraceParent;

/// Which of the flags' bits says that spans are kept.
const SAMPLED: u8 = 1;

// === impl TraceParent ===

impl TraceParent {
    /// Reads the header's value. One of a later version is read as far as this one goes, as the standard wants it.
    ///
    /// # Errors
    /// Anything else: then the request begins a trace of its own.
    pub fn parse(text: &[u8]) -> Result<Self, NotATraceParent> {
        let (head, rest) = text.split_at_checked(55).ok_or(NotATraceParent)?;
        let mut parts = head.split(|byte| *byte == b'-');
        let mut part = || parts.next().ok_or(NotATraceParent);
        let [version] = digits(part()?)?;
        let (trace_id, span_id) = (digits(part()?)?, digits(part()?)?);
        let [flags] = digits(part()?)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        if !is_whole || trace_id == [0; 16] || span_id == [0; 8] {
            return Err(NotATraceParent);
        }
        Ok(Self { trace_id, span_id, is_sampled: flags & SAMPLED != 0 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", u8::from(self.is_sampled))
    }
}

impl TryFrom<String> for TraceParent {
    type Error = NotATraceParent;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(text.as_bytes())
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

/// So many bytes, as twice as many lower-case hexadecimal digits.
fn digits<const N: usize>(text: &[u8]) -> Result<[u8; N], NotATraceParent> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(NotATraceParent);
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Result<u8, NotATraceParent> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotATraceParent),
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_read_is_written_again() {
        let parent = TraceParent::parse(TEXT.as_bytes()).unwrap();
        assert!(parent.is_sampled);
        assert_eq!(parent.to_string(), TEXT);
        let quiet = TraceParent::parse(TEXT.replace("-01", "-00").as_bytes()).unwrap();
        assert_eq!((quiet.trace_id, quiet.is_sampled), (parent.trace_id, false));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in
            [TEXT.replacen("00", "01", 1), format!("{}-more", TEXT.replacen("00", "cc", 1))]
        {
            assert!(TraceParent::parse(later.as_bytes()).is_ok(), "{later}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn anything_else_is_none() {
        for bad in [
            "",
            "00",
            &TEXT[..54],
            &format!("{TEXT}-more"),
            &TEXT.replacen("00", "ff", 1),
            &TEXT.replace("4bf9", "4BF9"),
            &TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &TEXT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &TEXT.replace("-01", "-0g"),
            &TEXT.replace("00-4b", "00_4b"),
            &TEXT.replace("e4736-00f067", "e47-3600f067"),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), Err(NotATraceParent), "{bad}");
        }
    }
}
