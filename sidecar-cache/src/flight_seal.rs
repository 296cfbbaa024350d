//! Seals on what a flight's log holds: nothing that a store hands out is believed, and what is read live is no exception.
//!
//! ```text
//! version (2) | what was written | MAC (16): keyed BLAKE3 of (cache key, flight, attempt, place, what was written)
//! ```
//!
//! The key is the organization's; like that of entries it is no secret, and finds what is damaged, cut, or out of its
//! place, and what belongs to somebody else.

use bytes::{BufMut, Bytes, BytesMut};
use kt_contract::key::CacheKey;

use crate::flight::FlightId;

/// A log of another version is nobody's: whoever reads it makes its own call.
const VERSION: u8 = 2;
const MAC_BYTES: usize = 16;
const CONTEXT: &str = "kt 2026-11 flight v2 log mac";

/// How much longer a part is with its seal.
pub const SEAL_BYTES: usize = 1 + MAC_BYTES;

/// Seals for one flight of one organization.
pub struct Seal {
    key: [u8; 32],
    at: CacheKey,
    id: FlightId,
}

/// A part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For whom it is.
    Head,
    /// The piece with this number.
    Piece(u64),
    /// How it ends, after so many pieces.
    End(u64),
}

/// Why a part is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsealed {
    /// It is of a version that is not known here.
    Version,
    /// It is not what was written there.
    Corrupt,
}

// === impl Seal ===

impl Seal {
    /// For a flight of `org`.
    #[must_use]
    pub fn new(org: &str, at: CacheKey, id: FlightId) -> Self {
        Self { key: blake3::derive_key(CONTEXT, org.as_bytes()), at, id }
    }

    /// A part of an attempt, as it goes into the log.
    #[must_use]
    pub fn seal(&self, attempt: u64, part: Part, written: &[u8]) -> Bytes {
        let mut sealed = BytesMut::with_capacity(written.len() + SEAL_BYTES);
        sealed.put_u8(VERSION);
        sealed.put_slice(written);
        sealed.put_slice(&self.mac(attempt, part, written));
        sealed.freeze()
    }

    /// What was written.
    ///
    /// # Errors
    /// What was written otherwise, elsewhere, or by a later version.
    pub fn open(&self, attempt: u64, part: Part, sealed: &Bytes) -> Result<Bytes, Unsealed> {
        match sealed.first() {
            Some(&VERSION) => {}
            Some(_) => return Err(Unsealed::Version),
            None => return Err(Unsealed::Corrupt),
        }
        let end = sealed.len().checked_sub(MAC_BYTES).filter(|end| *end > 0);
        let written = sealed.slice(1..end.ok_or(Unsealed::Corrupt)?);
        let (_, found) = sealed.split_at(sealed.len() - MAC_BYTES);
        // No secret: nothing is learnt from how long this takes.
        if self.mac(attempt, part, &written) == found {
            Ok(written)
        } else {
            Err(Unsealed::Corrupt)
        }
    }

    fn mac(&self, attempt: u64, part: Part, written: &[u8]) -> [u8; MAC_BYTES] {
        let (kind, number) = match part {
            Part::Head => (0, 0),
            Part::Piece(number) => (1, number),
            Part::End(pieces) => (2, pieces),
        };
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.at.0.0);
        hasher.update(&self.id.0.to_be_bytes());
        hasher.update(&attempt.to_be_bytes());
        hasher.update(&[kind]);
        hasher.update(&number.to_be_bytes());
        hasher.update(written);
        let mut mac = [0; MAC_BYTES];
        hasher.finalize_xof().fill(&mut mac);
        mac
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;

    const AT: CacheKey = CacheKey(Digest([1; 32]));
    const ID: FlightId = FlightId(7);

    #[test]
    fn what_was_sealed_is_read() {
        let seal = Seal::new("acme", AT, ID);
        for part in [Part::Head, Part::Piece(0), Part::Piece(9), Part::End(9)] {
            for written in [&b""[..], b"x", b"data: {}\n\n"] {
                let sealed = seal.seal(3, part, written);
                assert_eq!(sealed.len(), written.len() + SEAL_BYTES);
                assert_eq!(seal.open(3, part, &sealed).as_deref(), Ok(written));
            }
        }
    }

    #[test]
    fn what_is_out_of_its_place_is_not() {
        let sealed = Seal::new("acme", AT, ID).seal(3, Part::Piece(1), b"secret");
        let here = |org, at, id, attempt, part| Seal::new(org, at, id).open(attempt, part, &sealed);
        assert!(here("acme", AT, ID, 3, Part::Piece(1)).is_ok());
        for elsewhere in [
            here("globex", AT, ID, 3, Part::Piece(1)),
            here("acme", CacheKey(Digest([2; 32])), ID, 3, Part::Piece(1)),
            here("acme", AT, FlightId(8), 3, Part::Piece(1)),
            here("acme", AT, ID, 4, Part::Piece(1)),
            here("acme", AT, ID, 3, Part::Piece(2)),
            here("acme", AT, ID, 3, Part::Head),
            here("acme", AT, ID, 3, Part::End(1)),
        ] {
            assert_eq!(elsewhere, Err(Unsealed::Corrupt));
        }
    }

    #[test]
    fn an_end_is_that_of_so_many_pieces() {
        let seal = Seal::new("acme", AT, ID);
        let end = seal.seal(3, Part::End(10), b"end");
        assert!(seal.open(3, Part::End(10), &end).is_ok());
        for pieces in [0, 3, 9, 11] {
            let opened = seal.open(3, Part::End(pieces), &end);
            assert_eq!(opened, Err(Unsealed::Corrupt), "{pieces}");
        }
    }

    #[test]
    fn a_flipped_bit_and_a_cut_are_found_wherever_they_are() {
        let seal = Seal::new("acme", AT, ID);
        let sealed = seal.seal(3, Part::Head, b"for one");
        for at in 0..sealed.len() {
            let cut = sealed.slice(..at);
            assert_eq!(seal.open(3, Part::Head, &cut), Err(Unsealed::Corrupt), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = sealed.to_vec();
                bytes[at] ^= 1 << bit;
                let flaw = if at == 0 { Unsealed::Version } else { Unsealed::Corrupt };
                assert_eq!(seal.open(3, Part::Head, &bytes.into()), Err(flaw), "{at} {bit}");
            }
        }
    }
}
