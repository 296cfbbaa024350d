//! What a rule compares with: a text, byte by byte, or the beginning of one. Nothing is folded, decoded or cut.

use serde::Serialize;

use crate::identity::{PART_BYTES_MAX, is_segment, is_spiffe_id, is_trust_domain};

/// A text, or the beginning of one that ends at a border.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Pattern {
    /// The whole text.
    Exactly(String),
    /// All that begin so and go on.
    Beginning(String),
}

const NO_SPIFFE: &str = "is no SPIFFE ID: spiffe://TRUST-DOMAIN/PATH, the domain in lower case, nothing \
                         percent-encoded, and a '*' at its end alone";
const NO_BORDER: &str = "has a '*' before which there is no '/': it would let in whoever has a longer name; write \
                         spiffe://acme.example/ns/agents/sa/*";
const STAR: &str =
    "has a '*' where none may be: one at the end, after a character that is no letter and no digit";

// === impl Pattern ===

impl Pattern {
    /// A SPIFFE ID, or all below a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn spiffe(text: &str) -> Result<Self, &'static str> {
        let Some(beginning) = text.strip_suffix('*') else {
            let good = is_spiffe_id(text);
            return if good { Ok(Self::Exactly(text.to_owned())) } else { Err(NO_SPIFFE) };
        };
        let path = beginning.strip_suffix('/').ok_or(NO_BORDER)?;
        let mut parts = path.strip_prefix("spiffe://").ok_or(NO_SPIFFE)?.split('/');
        let good = parts.next().is_some_and(is_trust_domain) && parts.all(is_segment);
        if good { Ok(Self::Beginning(beginning.to_owned())) } else { Err(NO_SPIFFE) }
    }

    /// A claim's value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn claim(text: &str) -> Result<Self, &'static str> {
        if !(1..=PART_BYTES_MAX).contains(&text.len()) {
            return Err("has to have 1 to 512 bytes");
        }
        let beginning = text.strip_suffix('*');
        if beginning.unwrap_or(text).contains('*') {
            return Err(STAR);
        }
        match beginning {
            None => Ok(Self::Exactly(text.to_owned())),
            Some(part) if part.ends_with(char::is_alphanumeric) => Err(STAR),
            Some(part) => Ok(Self::Beginning(part.to_owned())),
        }
    }

    /// Whether a text is what is meant.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exactly(all) => text == all,
            // What the star stands for is not nothing.
            Self::Beginning(part) => {
                text.strip_prefix(part.as_str()).is_some_and(|rest| !rest.is_empty())
            }
        }
    }

    /// Whether whatever fits `other` fits this one as well.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exactly(text)) => self.fits(text),
            (Self::Beginning(part), Self::Beginning(other)) => other.starts_with(part.as_str()),
            (Self::Exactly(_), Self::Beginning(_)) => false,
        }
    }
}
