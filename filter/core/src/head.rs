//! Header fields as bytes, in the order in which they came. Nothing here assumes UTF-8, and a name may occur
//! more than once: who decides about rights looks at every value.

/// The header fields of a message, borrowed from wherever they were read to. Envoy has lower-cased the names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a>(&'a [(&'a [u8], &'a [u8])]);

// === impl Head ===

impl<'a> Head<'a> {
    /// The head of `fields`.
    #[must_use]
    pub const fn new(fields: &'a [(&'a [u8], &'a [u8])]) -> Self {
        Self(fields)
    }

    /// The first value of `name`.
    #[must_use]
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every value of `name`.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(at, _)| *at == name.as_bytes()).map(|(_, value)| *value)
    }

    /// Every field.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.0.iter().copied()
    }
}

/// The value without spaces and tabs around it.
#[must_use]
pub const fn trimmed(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// The members of a comma-separated value.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trimmed)
}
