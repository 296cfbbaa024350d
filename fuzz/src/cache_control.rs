//! The request's `Cache-Control`: read as a plain tokenizer reads it, whatever stands around it; never with
//! more trust than it deserves; and in the order of lines or of one joined line alike.

use kt_filter_core::cache_control::Wish;
use kt_filter_core::head::Head;

/// How many short inputs become one as long as a head can be.
const LONG_BYTES: usize = 60 << 10;

/// Takes the lines of a request's `Cache-Control`.
pub fn check(lines: &[u8]) {
    let values: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
    let wish = wish_of(&values);

    // A further directive can only ask for more.
    let mut stricter = values.clone();
    stricter.push(b"only-if-cached, max-age=0");
    let more = wish_of(&stricter);
    assert_eq!(more.bypass.is_some(), wish.bypass.is_some());
    assert!(more.control.only_if_cached);
    assert_eq!(more.control.max_age_s, Some(0));

    stricter.push(b"no-store");
    assert!(wish_of(&stricter).bypass.is_some());

    // Without quotes, lines are what commas are.
    if !lines.contains(&b'"') {
        let joined = values.join(&b","[..]);
        assert_eq!(wish_of(&[&joined]), wish);
        assert_eq!(wish_of(&[&joined.to_ascii_uppercase()]), wish);
        let mut turned = values;
        turned.reverse();
        assert_eq!(wish_of(&turned), wish);
    }
    if !lines.is_empty() && lines.len() < 8 {
        let _ = wish_of(&[&lines.repeat(LONG_BYTES / lines.len())]);
    }
}

fn wish_of(values: &[&[u8]]) -> Wish {
    let fields: Vec<(&[u8], &[u8])> =
        values.iter().map(|value| (&b"cache-control"[..], *value)).collect();
    Wish::read(Head::new(&fields))
}
