//! Envoy's messages as it writes them, in Protobuf's encoding, as far as it tells of who asks by them: for tests and fuzzing.

/// A field with a length.
#[must_use]
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        field.push(low_bits(length) | 0x80);
        length >>= 7;
    }
    field.push(low_bits(length));
    field.extend_from_slice(bytes);
    field
}

/// An entry of a map of messages.
#[must_use]
pub fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or_default()
}
