//! A gzip body without compression: valid, and only there to be one that nobody asked for.

const BLOCK_BYTES_MAX: usize = 65_535;
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// `body` as gzip in stored blocks.
#[must_use]
pub(crate) fn stored(body: &[u8]) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    let blocks: Vec<&[u8]> =
        if body.is_empty() { vec![body] } else { body.chunks(BLOCK_BYTES_MAX).collect() };
    let last = blocks.len().saturating_sub(1);
    for (at, block) in blocks.iter().enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(at == last));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    let size = u32::try_from(body.len() & 0xFFFF_FFFF).unwrap_or_default();
    out.extend_from_slice(&size.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_body_is_one_final_block() {
        let gzip = stored(b"abc");
        assert_eq!(gzip.get(10..15), Some([1, 3, 0, 0xFC, 0xFF].as_slice()));
        assert_eq!(gzip.get(15..18), Some(b"abc".as_slice()));
        assert_eq!(gzip.len(), 10 + 5 + 3 + 8);
    }

    #[test]
    fn only_the_last_block_is_final() {
        let gzip = stored(&vec![7; BLOCK_BYTES_MAX + 1]);
        assert_eq!(gzip.get(10), Some(&0));
        assert_eq!(gzip.get(10 + 5 + BLOCK_BYTES_MAX), Some(&1));
    }
}
