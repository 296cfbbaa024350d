//! Sets of what a scan can find, and how a finding is told.

pub use kt_contract::policy::{Entity, Family};

/// A set of entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntitySet(u16);

/// One entity in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The byte it begins at, in the text as it was given.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
    /// What it is.
    pub entity: Entity,
}

// === impl EntitySet ===

impl EntitySet {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Everything that a scan can find.
    #[must_use]
    pub fn all() -> Self {
        Entity::ALL.into_iter().collect()
    }

    /// All entities of a family.
    #[must_use]
    pub const fn family(family: Family) -> Self {
        match family {
            Family::Pii => Self(0b11_1111),
            Family::Secret => Self(0b11_1100_0000),
        }
    }

    /// The set and one entity more.
    #[must_use]
    pub fn with(self, entity: Entity) -> Self {
        Self(self.0 | 1 << entity as u16)
    }

    /// Whether an entity is in it.
    #[must_use]
    pub fn has(self, entity: Entity) -> bool {
        self.0 & 1 << entity as u16 != 0
    }

    /// Whether the two have an entity in common.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its entities, in the order of [`Entity::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Entity> {
        Entity::ALL.into_iter().filter(move |entity| self.has(*entity))
    }
}

impl FromIterator<Entity> for EntitySet {
    fn from_iter<I: IntoIterator<Item = Entity>>(entities: I) -> Self {
        entities.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_set_has_what_was_put_in() {
        let set = EntitySet::NONE.with(Entity::Email).with(Entity::Password);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Entity::Email, Entity::Password]);
        assert!(EntitySet::NONE.is_empty());
        assert_eq!(EntitySet::all().iter().count(), Entity::ALL.len());
        for family in [Family::Pii, Family::Secret] {
            let all = Entity::ALL.into_iter().filter(|entity| entity.family() == family);
            assert_eq!(EntitySet::family(family), all.collect());
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_placeholder_is_found_by_nobody() {
        for (one, other) in Entity::ALL.iter().flat_map(|a| Entity::ALL.map(|b| (a, b))) {
            for between in [" ", ": ", "@", "password = ", "Bearer ", "ssn "] {
                let text = format!("{}{between}{}", one.placeholder(), other.placeholder());
                let mut found = Vec::new();
                crate::scan(&text, EntitySet::all(), &mut found);
                assert_eq!(found, [], "{text}");
            }
        }
    }
}
