//! How a dialect reads what an answer says about itself: it names the fields that it wants, as a struct, and
//! whatever else is there is skipped unread. A field that occurs twice is refused: readers would disagree on
//! it. A stream is read event by event, in one way for all of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::answer::Incomplete;
use crate::sse::{Data, Reader};

/// An object, and nothing else: serde would fill a struct from an array just as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Object<T>(pub(crate) T);

/// Reads the outline of a whole answer.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Incomplete> {
    // serde_json does not look into strings that it skips; a client's reader will.
    let text = std::str::from_utf8(bytes).map_err(|_| Incomplete::Malformed)?;
    let read = serde_json::from_str(text).map(|Object(outline)| outline);
    read.map_err(|error| if error.is_eof() { Incomplete::CutShort } else { Incomplete::Malformed })
}

/// Reads the outline of an event. Its end has come, so half a text is no cut: it came that way.
pub(crate) fn read_event<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Incomplete> {
    read(data).map_err(|_| Incomplete::Malformed)
}

/// Hands on each event of a recorded stream, its name and its data, but for those that say nothing.
///
/// # Errors
/// The stream is cut within an event, or an event is too long, or an error; or what `take` finds wrong.
pub(crate) fn each_event<E: From<Incomplete>>(
    stream: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::default();
    let mut rest = stream;
    while let Some(event) = reader.next(&mut rest) {
        match (event.data, event.name) {
            (Data::TooLong, _) => return Err(Incomplete::EventTooLong.into()),
            (Data::Whole(_), b"error") => return Err(Incomplete::ErrorInBand.into()),
            (Data::Absent, _) | (Data::Whole(_), b"ping") => {}
            (Data::Whole(data), name) => take(name, data)?,
        }
    }
    if !reader.is_between_events() || ends_within_line_end(stream) {
        return Err(Incomplete::CutShort.into());
    }
    Ok(())
}

/// A stream of CRLF lines that ends in a CR lacks its last byte. Readers would not mind; but an entry is all
/// that the provider sent, or it is none.
fn ends_within_line_end(stream: &[u8]) -> bool {
    stream.ends_with(b"\r") && stream.windows(2).any(|pair| pair == b"\r\n")
}

// === impl Object ===

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}
