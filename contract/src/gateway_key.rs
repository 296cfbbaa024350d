//! The gateway key as text: `kt_gk_` and 32 random base-62 characters, then six that are their checksum, so
//! that a typo is refused without asking anybody and a leaked key can be found by pattern.

use crate::hex::Digest;
use crate::principal::KeyHash;

/// What every gateway key begins with.
pub const PREFIX: &str = "kt_gk_";
/// How many random characters follow.
pub const RANDOM_CHARS: usize = 32;
/// How many checksum characters end it.
pub const CHECKSUM_CHARS: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key whose form and checksum are right. Whether anybody knows it is another question.
pub struct GatewayKey(String);

// === impl GatewayKey ===

impl GatewayKey {
    /// Makes a key from 32 random bytes. Bytes of 248 and above are folded, which costs less than one
    /// bit of the 190 that a key has.
    #[must_use]
    pub fn from_random(random: &[u8; RANDOM_CHARS]) -> Self {
        let mut text = String::from(PREFIX);
        text.extend(random.iter().map(|byte| base62(u32::from(*byte))));
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self(text)
    }

    /// Reads a key. `None` if its form or its checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let random = text.strip_prefix(PREFIX)?;
        if random.len() != RANDOM_CHARS + CHECKSUM_CHARS
            || !random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return None;
        }
        let (body, given) = text.split_at_checked(text.len() - CHECKSUM_CHARS)?;
        (checksum(body) == given).then(|| Self(text.to_owned()))
    }

    /// The digest under which the key is stored and looked up.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Digest(*blake3::hash(self.0.as_bytes()).as_bytes()))
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("kt_gk_…")
    }
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut chars = [0; CHECKSUM_CHARS];
    for slot in chars.iter_mut().rev() {
        *slot = rest % 62;
        rest /= 62;
    }
    chars.iter().map(|digit| base62(*digit)).collect()
}

fn base62(number: u32) -> char {
    let at = usize::try_from(number % 62).unwrap_or(0);
    ALPHABET.get(at).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_key_reads_what_it_writes() {
        let key = GatewayKey::from_random(&std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        let read = GatewayKey::parse(key.reveal()).unwrap();
        assert_eq!(read.reveal(), key.reveal());
        assert_eq!(read.hash(), key.hash());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn every_changed_character_is_noticed() {
        let key = GatewayKey::from_random(&[9; 32]).reveal().to_owned();
        for at in 0..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(GatewayKey::parse(&changed).is_none(), "{changed}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_key_does_not_show_itself_in_logs() {
        assert_eq!(format!("{:?}", GatewayKey::from_random(&[1; 32])), "kt_gk_…");
    }
}
