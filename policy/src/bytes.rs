//! Looking for single bytes, eight at a time. Most of a text is passed over so.

const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// Where the first of some ASCII bytes stands, from `from` on.
#[inline]
pub(crate) fn find_any<const N: usize>(text: &[u8], from: usize, wanted: [u8; N]) -> Option<usize> {
    find(text, from, wanted, 0)
}

/// Where the first byte stands, from `from` on, that is no ASCII or one of some.
#[inline]
pub(crate) fn find_foreign_or<const N: usize>(
    text: &[u8],
    from: usize,
    wanted: [u8; N],
) -> Option<usize> {
    find(text, from, wanted, HIGHS)
}

/// The high bit of each byte that is this one; what stands behind one that is may be marked as well.
#[inline]
pub(crate) const fn marks(eight: u64, wanted: u8) -> u64 {
    // A byte that is 0 borrows from its highest bit.
    let same = eight ^ (ONES * wanted as u64);
    same.wrapping_sub(ONES) & !same & HIGHS
}

#[inline]
fn find<const N: usize>(text: &[u8], from: usize, wanted: [u8; N], foreign: u64) -> Option<usize> {
    let (eights, rest) = text.get(from..)?.as_chunks::<8>();
    let mut at = from;
    for eight in eights {
        let eight = u64::from_le_bytes(*eight);
        let met = wanted.iter().fold(eight & foreign, |met, byte| met | marks(eight, *byte));
        if met != 0 {
            // The lowest mark is one that is: only behind it may others be marked.
            return Some(at + met.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_wanted = |byte: &u8| wanted.contains(byte) || (foreign != 0 && !byte.is_ascii());
    rest.iter().position(is_wanted).map(|found| at + found)
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_found_is_what_a_look_at_each_byte_finds() {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Bytes that differ in one bit, or by one, from those that are looked for.
            b"aaaaaaa\"!#\x22\xA2\x5C\x5B\x5D\xDC\x00\x01\x80\xFF"[(state >> 16) as usize % 20]
        };
        for length in 0..64 {
            let text: Vec<u8> = (0..length).map(|_| next()).collect();
            for from in 0..=length {
                let naive = |is: &dyn Fn(u8) -> bool| (from..length).find(|at| is(text[*at]));
                let wanted = |byte: u8| byte == b'"' || byte == b'\\';
                assert_eq!(find_any(&text, from, *b"\"\\"), naive(&wanted), "{text:?} {from}");
                let foreign = |byte: u8| wanted(byte) || byte >= 0x80;
                assert_eq!(find_foreign_or(&text, from, *b"\"\\"), naive(&foreign));
            }
            assert_eq!(find_any(&text, length + 1, *b"a"), None);
        }
    }
}
