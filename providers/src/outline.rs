//! How a dialect reads what an answer says about itself: it names the fields that it wants, as a struct, and
//! whatever else is there is skipped unread. A field that occurs twice is refused: readers would disagree on
//! it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::answer::Incomplete;

/// An object, and nothing else: serde would fill a struct from an array just as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Object<T>(pub(crate) T);

/// Reads the outline of a whole answer, or of one event's data.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Incomplete> {
    // serde_json does not look into strings that it skips; a client's reader will.
    let text = std::str::from_utf8(bytes).map_err(|_| Incomplete::Malformed)?;
    let read = serde_json::from_str(text).map(|Object(outline)| outline);
    read.map_err(|error| if error.is_eof() { Incomplete::CutShort } else { Incomplete::Malformed })
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
