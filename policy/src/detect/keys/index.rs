//! Which forms to ask about a word, by its first bytes.

use super::forms::{FORMS, Form};

/// Which pairs of bytes a form may begin with. Most words are passed over by one look at it.
const HEADS: [u64; 64] = pairs(0);
/// Which pairs of bytes may follow the first byte of a form.
const SECONDS: [u64; 64] = pairs(1);
/// So many bytes are in ASCII.
const ASCII: usize = 128;
/// The forms by their first byte, and in their order where that is the same.
const BY_FIRST: [u16; FORMS.len()] = by_first().0;
/// Where the forms with a first byte begin in that.
const FROM: [u16; ASCII + 1] = by_first().1;

const fn pairs(skipped: usize) -> [u64; 64] {
    let mut pairs = [0; 64];
    let mut rest: &[Form] = &FORMS;
    while let Some((form, others)) = rest.split_first() {
        let (_, tail) = form.prefix.split_at(skipped);
        #[expect(
            clippy::indexing_slicing,
            reason = "a word is below 64, and this is known when compiled"
        )]
        if let [first, second, ..] = tail {
            let (word, bit) = place(*first, *second);
            pairs[word] |= bit;
        } else if let [first] = tail {
            pairs[(*first & 63) as usize] = u64::MAX;
        }
        rest = others;
    }
    pairs
}

const fn place(first: u8, second: u8) -> (usize, u64) {
    ((first & 63) as usize, 1 << (second & 63))
}

fn has_pair(pairs: &[u64; 64], first: u8, second: u8) -> bool {
    let (word, bit) = place(first, second);
    pairs.get(word).is_some_and(|pairs| pairs & bit != 0)
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "there are few forms, all in ASCII, and this is known when compiled"
)]
const fn by_first() -> ([u16; FORMS.len()], [u16; ASCII + 1]) {
    let (mut order, mut from) = ([0; FORMS.len()], [0; ASCII + 1]);
    let (mut byte, mut filled) = (0, 0);
    while byte < ASCII {
        from[byte] = filled as u16;
        let mut nth = 0;
        while nth < FORMS.len() {
            if FORMS[nth].prefix[0] as usize == byte {
                order[filled] = nth as u16;
                filled += 1;
            }
            nth += 1;
        }
        byte += 1;
    }
    from[ASCII] = filled as u16;
    (order, from)
}

/// Whether a form may begin with these three bytes.
#[inline]
pub(super) fn may_begin_with(first: u8, second: u8, third: u8) -> bool {
    has_pair(&HEADS, first, second) && has_pair(&SECONDS, second, third)
}

/// The forms that begin with these two bytes.
pub(super) fn beginning_with(first: u8, second: u8) -> impl Iterator<Item = &'static Form> {
    let at = |nth: usize| FROM.get(nth).map_or(0, |from| usize::from(*from));
    let first_of = usize::from(first);
    let places = BY_FIRST.get(at(first_of)..at(first_of + 1)).unwrap_or_default();
    let forms = places.iter().filter_map(|nth| FORMS.get(usize::from(*nth)));
    forms.filter(move |form| form.prefix.get(1) == Some(&second))
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn every_form_is_found_by_its_first_bytes_and_stands_there_once() {
        for (nth, form) in FORMS.iter().enumerate() {
            let [first, second, ..] = form.prefix else { panic!("too short") };
            let same: Vec<_> = beginning_with(*first, *second).collect();
            assert!(same.iter().any(|one| one.prefix == form.prefix), "{:?}", form.prefix);
            assert!(may_begin_with(*first, *second, *form.prefix.get(2).unwrap_or(&b'0')));
            let is_twice = |other: &Form| {
                other.prefix == form.prefix
                    && other.class == form.class
                    && other.bytes_min == form.bytes_min
            };
            assert!(!FORMS[..nth].iter().any(is_twice), "twice: {:?}", form.prefix);
        }
    }
}
