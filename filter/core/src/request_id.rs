//! The request id: minted for every request, whatever the client sent.

use std::rc::Rc;

/// 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Rc<str>);

// === impl RequestId ===

impl RequestId {
    /// Spells 16 random bytes.
    #[must_use]
    pub fn mint(random: [u8; 16]) -> Self {
        let digits: [u8; 32] = std::array::from_fn(|at| {
            let byte = random.get(at / 2).copied().unwrap_or(0);
            let nibble = if at % 2 == 0 { byte >> 4 } else { byte & 0xf };
            if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
        });
        Self(std::str::from_utf8(&digits).unwrap_or("").into())
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_spells_its_bytes() {
        let id = RequestId::mint(std::array::from_fn(|at| u8::try_from(at * 17).unwrap()));
        assert_eq!(id.as_str(), "00112233445566778899aabbccddeeff");
    }
}
