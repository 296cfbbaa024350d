//! The form in which the host hands over a header map: a count, then the lengths of all names and values,
//! then the bytes, each ended by a zero; numbers are 32 bits, little endian. Reading never trusts a length.

/// A name and a value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Reads a header map. `None` if the lengths do not fit the bytes.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Vec<Pair<'_>>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (count, rest) = number(bytes)?;
    let (mut lengths, mut content) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut pairs = Vec::with_capacity(count);
    while !lengths.is_empty() {
        let (name_bytes, rest) = number(lengths)?;
        let (value_bytes, rest) = number(rest)?;
        lengths = rest;
        let (name, rest) = terminated(content, name_bytes)?;
        let (value, rest) = terminated(rest, value_bytes)?;
        content = rest;
        pairs.push((name, value));
    }
    Some(pairs)
}

/// Writes a header map. `None` if a length does not fit into 32 bits.
#[must_use]
pub fn write<'a, I>(pairs: I) -> Option<Vec<u8>>
where
    I: IntoIterator<Item = Pair<'a>>,
    I::IntoIter: ExactSizeIterator + Clone,
{
    let pairs = pairs.into_iter();
    let mut bytes = Vec::with_capacity(1_024);
    bytes.extend_from_slice(&u32::try_from(pairs.len()).ok()?.to_le_bytes());
    for (name, value) in pairs.clone() {
        bytes.extend_from_slice(&u32::try_from(name.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
    }
    for (name, value) in pairs {
        for part in [name, value] {
            bytes.extend_from_slice(part);
            bytes.push(0);
        }
    }
    Some(bytes)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

fn terminated(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (value, rest) = bytes.split_at_checked(length)?;
    let (_, rest) = rest.split_first()?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_map_reads_what_it_writes() {
        let pairs: [Pair<'_>; 3] = [(b":path", b"/x"), (b"x-odd", b"\xff\x00y"), (b"empty", b"")];
        let bytes = write(pairs).unwrap();
        assert_eq!(parse(&bytes).unwrap(), pairs);
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn no_cut_or_lie_about_lengths_is_believed() {
        let bytes = write([(&b"name"[..], &b"value"[..])]).unwrap();
        for cut in 1..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(&[0xff; 64]), None);
    }
}
