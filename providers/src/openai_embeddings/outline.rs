//! What an answer says, without the numbers.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The outline of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Outline {
    pub(super) model: Option<String>,
    pub(super) data: Option<Vec<Embedding>>,
    pub(super) usage: Option<Box<RawValue>>,
    pub(super) error: Option<IgnoredAny>,
}

/// One embedding.
#[derive(Debug, Deserialize)]
pub(super) struct Embedding {
    pub(super) index: Option<u64>,
    #[serde(rename = "embedding")]
    _vector: Vector,
}

/// Numbers, or bytes in base64; at least one of either.
#[derive(Debug)]
struct Vector;

// === impl Vector ===

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(VectorVisitor)
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vector, E> {
        if text.is_empty() { Err(E::invalid_length(0, &self)) } else { Ok(Vector) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vector, A::Error> {
        let mut is_empty = true;
        // A null among them is a number that the provider could not write.
        while items.next_element::<f64>()?.is_some() {
            is_empty = false;
        }
        if is_empty { Err(A::Error::invalid_length(0, &self)) } else { Ok(Vector) }
    }
}
