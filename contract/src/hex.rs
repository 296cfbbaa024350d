//! 32-byte digests as values: lower-case hexadecimal in text, four bytes of it in logs.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A 256-bit digest. What it is a digest of is the business of the newtypes around it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal digits")]
pub struct NotADigest;

// === impl Digest ===

impl Digest {
    /// Reads 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// Anything else, upper case included: one digest has one spelling.
    pub fn from_hex(text: &str) -> Result<Self, NotADigest> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(NotADigest);
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(bytes))
    }

    /// The 64 digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 0xf));
        }
        text
    }
}

impl std::fmt::Debug for Digest {
    /// Four bytes are enough to tell digests apart in a log and too few to look one up.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}…")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(D::Error::custom)
    }
}

#[cfg(feature = "config")]
impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

fn nibble(digit: u8) -> Result<u8, NotADigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotADigest),
    }
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_digest_reads_what_it_writes() {
        let digest = Digest(std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap()));
        assert_eq!(Digest::from_hex(&digest.to_hex()), Ok(digest));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn only_one_spelling_is_a_digest() {
        let good = "0f".repeat(32);
        for bad in [good.to_uppercase(), good[1..].to_owned(), format!("{good}0"), "zz".repeat(32)]
        {
            assert_eq!(Digest::from_hex(&bad), Err(NotADigest), "{bad}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn debug_shows_four_bytes_only() {
        assert_eq!(format!("{:?}", Digest([0xab; 32])), "abababab…");
    }
}
