//! What a Redis may send: the same is refused however the bytes are cut, nothing after it is looked at again, and
//! what passes has no reply that is larger, longer or deeper than a reply may be.

use sidecar_cache::resp::{Frames, Hostile};

use crate::choices::Choices;

const REPLY_BYTES_MAX: u64 = 512;
/// Beyond a reply's own bytes, one line may stand around it.
const AROUND_BYTES: usize = 64 << 10;

/// Takes whatever a server sends.
pub fn check(sent: &[u8]) {
    let mut choices = Choices::of(sent);
    let (whole, at) = feed(&[sent]);
    let single: Vec<_> = sent.chunks(1).collect();
    let (byte_by_byte, refused_at) = feed(&single);
    assert_eq!(whole, byte_by_byte);
    assert_eq!(whole, feed(&choices.pieces(sent)).0);
    // Whatever comes before the byte that is refused is not, and neither is a part of it.
    let before = if whole.is_ok() { at } else { refused_at };
    assert_eq!(feed(&[&sent[..before]]).0, Ok(()));
    if let Some(announced) = announced(sent) {
        let is_refused = whole.is_err();
        assert!(is_refused || announced <= REPLY_BYTES_MAX, "{announced} bytes were announced");
    }
    // An endless reply is refused, and so is one whose parts are each small enough.
    if !sent.is_empty() && whole.is_ok() && choices.below(64) == 0 {
        let line = [b"-".as_slice(), &sent.repeat(2 * AROUND_BYTES / sent.len() + 1)].concat();
        let text: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\r').collect();
        assert!(text.len() <= AROUND_BYTES + 2 || feed(&[&text]).0.is_err());
    }
}

/// How it ends, and how many of the bytes were taken before that.
fn feed(pieces: &[&[u8]]) -> (Result<(), Hostile>, usize) {
    let mut frames = Frames::new(REPLY_BYTES_MAX);
    let mut taken = 0;
    for piece in pieces {
        if let Err(hostile) = frames.feed(piece) {
            return (Err(hostile), taken);
        }
        taken += piece.len();
    }
    (Ok(()), taken)
}

/// The length that a bulk at the start announces.
fn announced(sent: &[u8]) -> Option<u64> {
    let line = sent.strip_prefix(b"$")?.split(|byte| *byte == b'\r').next()?;
    let is_whole = sent.get(line.len() + 1..line.len() + 3) == Some(b"\r\n");
    std::str::from_utf8(line).ok().filter(|_| is_whole)?.parse().ok()
}
