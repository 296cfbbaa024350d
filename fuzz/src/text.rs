//! How inputs are taken apart: as text, so that people can read and write them.

use kt_providers::Dialect;

/// What is before and after the first `at`; all, and nothing, where there is none.
pub(crate) fn halves(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    let mut halves = bytes.splitn(2, |byte| *byte == at);
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

/// The dialect of a name.
pub(crate) fn dialect(name: &[u8]) -> Option<Dialect> {
    Dialect::ALL.iter().copied().find(|dialect| dialect.as_str().as_bytes() == name)
}
