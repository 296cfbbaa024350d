//! As much of protocol buffers as it takes to find a text in Envoy's metadata, with its type: a number or a list that looks
//! like a text is none. What cannot be read as one message, and what is there twice, is an error.

/// `envoy.config.core.v3.Metadata.filter_metadata`.
pub(super) const METADATA_FILTERS: u64 = 1;
/// `google.protobuf.Struct.fields`.
pub(super) const STRUCT_FIELDS: u64 = 1;

/// `google.protobuf.Value.string_value` and `struct_value`.
const VALUE_TEXT: u64 = 3;
const VALUE_STRUCT: u64 = 5;
/// The two fields of an entry of a map.
const ENTRY_KEY: u64 = 1;
const ENTRY_VALUE: u64 = 2;

/// A serialized message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a>(&'a [u8]);

/// It is none, or says a thing twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One field: its number, and its bytes where it has a length.
type Field<'a> = (u64, Option<&'a [u8]>);

// === impl Message ===

impl<'a> Message<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value under `key` of the map that is field `number`.
    pub(super) fn entry(self, number: u64, key: &str) -> Result<Option<&'a [u8]>, Malformed> {
        let mut found = None;
        for field in self.fields()? {
            let (at, Some(entry)) = field else { continue };
            if at != number {
                continue;
            }
            let entry = Message(entry);
            if entry.only(ENTRY_KEY)? == Some(key.as_bytes()) {
                let value = entry.only(ENTRY_VALUE)?.unwrap_or_default();
                if found.replace(value).is_some() {
                    return Err(Malformed);
                }
            }
        }
        Ok(found)
    }

    /// The one field of this number, and with a length.
    fn only(self, number: u64) -> Result<Option<&'a [u8]>, Malformed> {
        let mut found = None;
        for (at, bytes) in self.fields()? {
            if at == number && found.replace(bytes.ok_or(Malformed)?).is_some() {
                return Err(Malformed);
            }
        }
        Ok(found)
    }

    fn fields(self) -> Result<Vec<Field<'a>>, Malformed> {
        let (mut rest, mut fields) = (self.0, Vec::new());
        while !rest.is_empty() {
            let (tag, after) = varint(rest)?;
            let (bytes, after) = match tag & 7 {
                0 => (None, varint(after)?.1),
                1 => (None, split(after, 8)?.1),
                2 => {
                    let (length, after) = varint(after)?;
                    let (bytes, after) = split(after, length)?;
                    (Some(bytes), after)
                }
                5 => (None, split(after, 4)?.1),
                _ => return Err(Malformed),
            };
            fields.push((tag >> 3, bytes));
            rest = after;
        }
        Ok(fields)
    }
}

/// What a `google.protobuf.Value` has, if that is a text.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(variant(value, VALUE_TEXT)?).ok()
}

/// What it has, if that is a `google.protobuf.Struct`.
pub(super) fn of_value(value: &[u8]) -> Option<&[u8]> {
    variant(value, VALUE_STRUCT)
}

/// The variant of a value, which has exactly one.
fn variant(value: &[u8], number: u64) -> Option<&[u8]> {
    match Message(value).fields().ok()?.as_slice() {
        [(at, bytes)] if *at == number => *bytes,
        _ => None,
    }
}

fn split(bytes: &[u8], length: u64) -> Result<(&[u8], &[u8]), Malformed> {
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    bytes.split_at_checked(length).ok_or(Malformed)
}

fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        let shift = u32::try_from(at * 7).map_err(|_| Malformed)?;
        let shifted = part.checked_shl(shift).filter(|it| it >> shift == part);
        number |= shifted.ok_or(Malformed)?;
        if byte & 0x80 == 0 {
            return Ok((number, bytes.get(at + 1..).unwrap_or_default()));
        }
    }
    Err(Malformed)
}
