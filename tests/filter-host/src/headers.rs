//! Header maps as Envoy keeps them: lower-case names, any bytes as values, several values per name, in
//! order of arrival; and the form in which they cross into a VM.

use crate::abi::{PAIRS_BYTES_MAX, PAIRS_MAX, Status};

/// Headers or trailers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderMap(Vec<(Vec<u8>, Vec<u8>)>);

// === impl HeaderMap ===

impl HeaderMap {
    /// A map of these pairs.
    pub fn of<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut map = Self::default();
        for (name, value) in pairs {
            map.add(name.as_ref(), value.as_ref());
        }
        map
    }

    /// The first value of `name`.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.first(name.as_bytes())
    }

    /// The first value of `name` as text; bytes that are none are replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How many values `name` has.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(have, _)| have.as_slice() == name.as_bytes()).count()
    }

    /// All names, sorted, each once.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.0.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    pub(crate) fn first(&self, name: &[u8]) -> Option<&[u8]> {
        let name = name.to_ascii_lowercase();
        self.0.iter().find(|(have, _)| *have == name).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.0.retain(|(have, _)| *have != name);
    }

    /// Leaves one value, at the place of the first.
    pub(crate) fn replace(&mut self, name: &[u8], value: &[u8]) {
        let lower = name.to_ascii_lowercase();
        let Some(at) = self.0.iter().position(|(have, _)| *have == lower) else {
            return self.add(name, value);
        };
        if let Some(slot) = self.0.get_mut(at) {
            slot.1 = value.to_vec();
        }
        let mut index = 0;
        self.0.retain(|(have, _)| {
            index += 1;
            *have != lower || index - 1 == at
        });
    }

    /// The form for the VM: count, lengths, then names and values, each ended by a zero byte.
    pub(crate) fn to_pairs(&self) -> Vec<u8> {
        let mut out = length(self.0.len()).to_vec();
        for (name, value) in &self.0 {
            out.extend(length(name.len()));
            out.extend(length(value.len()));
        }
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            out.extend_from_slice(text);
            out.push(0);
        }
        out
    }

    /// Reads what a VM wrote.
    ///
    /// Envoy takes something malformed or too large for an empty map; here it is an error, because no
    /// filter wants that.
    pub(crate) fn from_pairs(bytes: &[u8]) -> Result<Self, Status> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if bytes.len() > PAIRS_BYTES_MAX {
            return Err(Status::BadArgument);
        }
        let mut lengths = bytes;
        let count = take_length(&mut lengths)?;
        if count > PAIRS_MAX {
            return Err(Status::BadArgument);
        }
        let mut texts = lengths.get(count.saturating_mul(8)..).ok_or(Status::BadArgument)?;
        let mut map = Self::default();
        for _ in 0..count {
            let name_len = take_length(&mut lengths)?;
            let value_len = take_length(&mut lengths)?;
            let name = take_text(&mut texts, name_len)?;
            let value = take_text(&mut texts, value_len)?;
            if !is_sendable(name) || name.is_empty() || !is_sendable(value) {
                return Err(Status::BadArgument);
            }
            map.add(name, value);
        }
        if texts.is_empty() { Ok(map) } else { Err(Status::BadArgument) }
    }
}

impl std::fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, value)| {
                (name.escape_ascii().to_string(), value.escape_ascii().to_string())
            }))
            .finish()
    }
}

/// Whether Envoy would put these bytes on the wire.
pub(crate) fn is_sendable(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

fn take_length(from: &mut &[u8]) -> Result<usize, Status> {
    let (number, rest) = from.split_first_chunk::<4>().ok_or(Status::BadArgument)?;
    *from = rest;
    usize::try_from(u32::from_le_bytes(*number)).map_err(|_| Status::BadArgument)
}

fn take_text<'a>(from: &mut &'a [u8], len: usize) -> Result<&'a [u8], Status> {
    let (text, rest) = from.split_at_checked(len).ok_or(Status::BadArgument)?;
    *from = rest.strip_prefix(&[0]).ok_or(Status::BadArgument)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_reads_what_it_writes() {
        let map = HeaderMap::of([("a", "1"), ("B", "2"), ("a", ""), ("c", "\u{e9}")]);
        assert_eq!(HeaderMap::from_pairs(&map.to_pairs()), Ok(map));
    }

    #[test]
    fn every_cut_of_the_pairs_is_refused() {
        let whole = HeaderMap::of([("name", "value"), ("other", "")]).to_pairs();
        for end in 1..whole.len() {
            assert_eq!(HeaderMap::from_pairs(&whole[..end]), Err(Status::BadArgument), "{end}");
        }
    }

    #[test]
    fn replacing_leaves_one_value_in_the_first_place() {
        let mut map = HeaderMap::of([("x", "1"), ("a", "1"), ("A", "2"), ("y", "1")]);
        map.replace(b"A", b"3");
        assert_eq!(map, HeaderMap::of([("x", "1"), ("a", "3"), ("y", "1")]));
    }

    #[test]
    fn a_value_that_would_split_a_header_is_refused() {
        for bad in ["a\r\nb: c", "a\nb", "a\0b"] {
            let pairs = HeaderMap::of([("name", bad)]).to_pairs();
            assert_eq!(HeaderMap::from_pairs(&pairs), Err(Status::BadArgument), "{bad:?}");
        }
    }

    #[test]
    fn more_pairs_than_envoy_takes_are_refused() {
        let map = |count: usize| HeaderMap::of((0..count).map(|at| (format!("h{at}"), "v")));
        assert!(HeaderMap::from_pairs(&map(PAIRS_MAX).to_pairs()).is_ok());
        assert!(HeaderMap::from_pairs(&map(PAIRS_MAX + 1).to_pairs()).is_err());
    }
}
