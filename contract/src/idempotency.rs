//! `Idempotency-Key`: a client's own name for a request, so that trying again does not make it twice. Read alike
//! on both sides; what it is worth, the sidecar says.

use crate::problem::Problem;

/// How long a key may be.
pub const KEY_BYTES_MAX: usize = 255;

/// A client's key. Any bytes that a header may have; quotes, as the IETF's draft has them, are part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Box<[u8]>);

// === impl IdempotencyKey ===

impl IdempotencyKey {
    /// The key of a request, from all values of its header; `None` where it has none. An empty one names nothing, and
    /// counts as none.
    ///
    /// # Errors
    /// Several of them, or one that is too long: whoever sends it relies on it.
    pub fn read<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, Problem> {
        match (values.next().map(<[u8]>::trim_ascii), values.next()) {
            (None, _) | (Some([]), None) => Ok(None),
            (Some(value), None) if (1..=KEY_BYTES_MAX).contains(&value.len()) => {
                Ok(Some(Self(value.into())))
            }
            (Some(_), _) => Err(Problem::InvalidField {
                field: "Idempotency-Key".to_owned(),
                what: format!("must be given once, with at most {KEY_BYTES_MAX} characters"),
            }),
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for IdempotencyKey {
    // The client's own words: they may say what they like, in its logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_once_and_has_up_to_255_characters() {
        let longest = "x".repeat(255);
        for (values, expected) in [
            (&[][..], None),
            (&[""], None),
            (&[" \t"], None),
            (&["a"], Some("a")),
            (&[" \"a b\"\t"], Some("\"a b\"")),
            (&[longest.as_str()], Some(longest.as_str())),
        ] {
            let read = IdempotencyKey::read(values.iter().map(|value| value.as_bytes()));
            let key = read.unwrap().map(|key| key.as_bytes().to_vec());
            assert_eq!(key.as_deref(), expected.map(str::as_bytes), "{values:?}");
        }
        let too_long = "x".repeat(256);
        for values in [&["", ""][..], &["", "a"], &["a", ""], &["a", "a"], &[too_long.as_str()]] {
            let read = IdempotencyKey::read(values.iter().map(|value| value.as_bytes()));
            let problem = read.unwrap_err();
            assert_eq!((problem.status(), problem.param()), (400, Some("Idempotency-Key")));
            assert!(problem.to_string().contains("at most 255 characters"), "{problem}");
        }
    }
}
