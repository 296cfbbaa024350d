//! What sidecars tell each other of a flight. Any bytes are refused or read, and what was read is written and read
//! again the same; a head that was read is its own reader's.

use sidecar_cache::flight_text::{End, Head, Opening, Reading};

/// Takes any bytes.
pub fn check(input: &[u8]) {
    if let Some(head) = Head::decode(input) {
        assert_eq!(head.read_by(&head.gates, &head.check, &head.began), Reading::Mine);
        assert_eq!(Head::decode(&head.encode()), Some(head));
    }
    if let Some(opening) = Opening::decode(input) {
        assert_eq!(Opening::decode(&opening.encode()), Some(opening));
    }
    if let Some(end) = End::decode(input) {
        assert_eq!(End::decode(&end.encode()), Some(end));
    }
}
