//! Generations: what was made before an invalidation is told from what was made after it. Everything that an
//! entry belongs to has a tag; to invalidate a tag is to give it another generation. An entry carries the
//! generations of its tags from the moment its lease was acquired, and whoever reads it compares them with
//! those of that moment. Pure tables; what makes them durable is the business of
//! [`crate::store::GenerationStore`].

use std::collections::HashMap;

use kt_contract::gates::Gates;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;

/// A number that a store gives once, larger each time. Zero is the generation of what was never invalidated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What can be invalidated together, always within one organization.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// Everything of the organization.
    Org,
    /// What was made for a codebase, others beside it or not.
    Codebase(String),
    /// What was made with a version of a fabric artifact set.
    Fabric(String),
    /// What a served model answered, whichever provider has it.
    Model(String),
    /// What was made under a policy.
    Policy(Digest),
    /// One entry.
    Entry(CacheKey),
}

/// The generations of all tags of one entry, in an order that follows from its gates: two vectors compare only
/// behind equal gates and under the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector(Vec<Generation>);

/// The generations of every tag that was ever invalidated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    orgs: HashMap<String, OfOrg>,
}

/// What one organization has invalidated. A tag that is not in here has generation zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfOrg {
    org: Generation,
    codebases: HashMap<String, Generation>,
    fabrics: HashMap<String, Generation>,
    models: HashMap<String, Generation>,
    policies: HashMap<Digest, Generation>,
    entries: HashMap<CacheKey, Generation>,
}

// === impl Tag ===

impl Tag {
    /// The word in stores, logs and messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Codebase(_) => "codebase",
            Self::Fabric(_) => "fabric",
            Self::Model(_) => "model",
            Self::Policy(_) => "policy",
            Self::Entry(_) => "entry",
        }
    }

    /// What it is called among those of its kind, as stores keep it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Org => b"",
            Self::Codebase(name) | Self::Fabric(name) | Self::Model(name) => name.as_bytes(),
            Self::Policy(digest) | Self::Entry(CacheKey(digest)) => &digest.0,
        }
    }

    /// The tag of a kind and a name; `None` where there is none.
    #[must_use]
    pub fn of(kind: &str, name: &[u8]) -> Option<Self> {
        let digest = || name.try_into().ok().map(Digest);
        let text = || std::str::from_utf8(name).ok().map(str::to_owned);
        match kind {
            "org" => Some(Self::Org),
            "codebase" => text().map(Self::Codebase),
            "fabric" => text().map(Self::Fabric),
            "model" => text().map(Self::Model),
            "policy" => digest().map(Self::Policy),
            "entry" => digest().map(|digest| Self::Entry(CacheKey(digest))),
            _ => None,
        }
    }
}

// === impl Vector ===

impl Vector {
    /// A vector as an entry holds it.
    #[must_use]
    pub const fn from_numbers(numbers: Vec<Generation>) -> Self {
        Self(numbers)
    }

    /// The newest of its generations: it grows with every invalidation of what has it.
    #[must_use]
    pub fn newest(&self) -> Generation {
        self.0.iter().copied().max().unwrap_or_default()
    }

    /// The numbers, in order.
    #[must_use]
    pub fn numbers(&self) -> &[Generation] {
        &self.0
    }

    /// Whether it knows of an invalidation of the same tags that `other` does not know of.
    #[must_use]
    pub fn is_ahead_of(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(ours, theirs)| ours > theirs)
    }
}

// === impl Table ===

impl Table {
    /// Gives a tag another generation. A whole organization's covers its narrower ones, which are forgotten:
    /// nothing that was made under them can be current any more. In whatever order they come, and however
    /// often: what is older than what is known changes nothing. Says whether it was news.
    pub fn set(&mut self, org: &str, tag: Tag, generation: Generation) -> bool {
        let of = self.orgs.entry(org.to_owned()).or_default();
        if generation <= of.org {
            return false;
        }
        match tag {
            Tag::Org => of.cover(generation),
            Tag::Codebase(name) => raise(&mut of.codebases, name, generation),
            Tag::Fabric(version) => raise(&mut of.fabrics, version, generation),
            Tag::Model(name) => raise(&mut of.models, name, generation),
            Tag::Policy(digest) => raise(&mut of.policies, digest, generation),
            Tag::Entry(key) => raise(&mut of.entries, key, generation),
        }
    }

    /// The generations of an entry's tags.
    #[must_use]
    pub fn vector(&self, gates: &Gates, key: &CacheKey) -> Vector {
        // Destructured, so that a new gate does not compile until somebody decides.
        let Gates { org, scope: _, codebases, fabric, policy, model, entitlements: _ } = gates;
        let count = 4 + usize::from(fabric.is_some()) + codebases.len();
        let Some(of) = self.orgs.get(org) else {
            return Vector(vec![Generation::default(); count]);
        };
        let mut numbers = Vec::with_capacity(count);
        numbers.push(of.org);
        numbers.push(number(&of.models, &model.served_model));
        numbers.push(number(&of.policies, policy));
        numbers.push(number(&of.entries, key));
        numbers.extend(fabric.iter().map(|version| number(&of.fabrics, version)));
        numbers.extend(codebases.iter().map(|name| number(&of.codebases, name)));
        Vector(numbers)
    }

    /// How many tags were invalidated, and are not covered by a later invalidation of their organization.
    #[must_use]
    pub fn count(&self) -> usize {
        self.orgs.values().map(OfOrg::count).sum()
    }

    /// The newest generation of anything.
    #[must_use]
    pub fn newest(&self) -> Generation {
        self.orgs.values().map(OfOrg::newest).max().unwrap_or_default()
    }
}

// === impl OfOrg ===

impl OfOrg {
    /// The whole organization has another generation; only what is newer stands beside it.
    fn cover(&mut self, generation: Generation) -> bool {
        let Self { org, codebases, fabrics, models, policies, entries } = self;
        *org = generation;
        for named in [codebases, fabrics, models] {
            named.retain(|_, narrower| *narrower > generation);
        }
        policies.retain(|_, narrower| *narrower > generation);
        entries.retain(|_, narrower| *narrower > generation);
        true
    }

    fn count(&self) -> usize {
        let Self { org, codebases, fabrics, models, policies, entries } = self;
        let tags = [codebases.len(), fabrics.len(), models.len(), policies.len(), entries.len()];
        usize::from(org.0 > 0) + tags.into_iter().sum::<usize>()
    }

    fn newest(&self) -> Generation {
        let Self { org, codebases, fabrics, models, policies, entries } = self;
        let named = [codebases, fabrics, models].into_iter().flat_map(HashMap::values);
        let all = named.chain(policies.values()).chain(entries.values()).chain([org]);
        all.copied().max().unwrap_or_default()
    }
}

fn raise<K: std::hash::Hash + Eq>(
    of: &mut HashMap<K, Generation>,
    name: K,
    generation: Generation,
) -> bool {
    let known = of.entry(name).or_default();
    let is_newer = generation > *known;
    *known = generation.max(*known);
    is_newer
}

fn number<K, Q>(of: &HashMap<K, Generation>, name: &Q) -> Generation
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    of.get(name).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kt_contract::gates::{ModelGate, Scope};

    use super::*;

    const KEY: CacheKey = CacheKey(Digest([1; 32]));
    const OTHER: CacheKey = CacheKey(Digest([2; 32]));

    fn gates() -> Gates {
        Gates {
            org: "acme".to_owned(),
            scope: Scope::OrgShared { group: None },
            codebases: ["acme/api", "acme/web"].map(str::to_owned).into(),
            fabric: Some("f-7".to_owned()),
            policy: Digest([5; 32]),
            model: ModelGate {
                dialect: "openai_chat".to_owned(),
                path: "/v1/chat/completions".to_owned(),
                provider: "openai".to_owned(),
                upstream: "https://api.openai.com".to_owned(),
                served_model: "gpt-4o".to_owned(),
                version: None,
            },
            entitlements: BTreeSet::new(),
        }
    }

    fn all_tags() -> [Tag; 7] {
        [
            Tag::Org,
            Tag::Codebase("acme/api".to_owned()),
            Tag::Codebase("acme/web".to_owned()),
            Tag::Fabric("f-7".to_owned()),
            Tag::Model("gpt-4o".to_owned()),
            Tag::Policy(Digest([5; 32])),
            Tag::Entry(KEY),
        ]
    }

    #[test]
    fn every_tag_of_an_entry_makes_another_vector() {
        let before = Table::default().vector(&gates(), &KEY);
        for tag in all_tags() {
            let mut table = Table::default();
            table.set("acme", tag.clone(), Generation(1));
            assert_ne!(table.vector(&gates(), &KEY), before, "{tag:?}");
            let once = table.vector(&gates(), &KEY);
            table.set("acme", tag.clone(), Generation(2));
            assert_ne!(table.vector(&gates(), &KEY), once, "{tag:?} again");
        }
    }

    #[test]
    fn what_an_entry_does_not_belong_to_leaves_its_vector() {
        let before = Table::default().vector(&gates(), &KEY);
        let mut table = Table::default();
        for (org, tag) in [
            ("acme", Tag::Codebase("acme/other".to_owned())),
            ("acme", Tag::Fabric("f-8".to_owned())),
            ("acme", Tag::Model("gpt-4o-mini".to_owned())),
            ("acme", Tag::Policy(Digest([6; 32]))),
            ("acme", Tag::Entry(OTHER)),
        ] {
            table.set(org, tag, Generation(1));
        }
        for tag in all_tags() {
            table.set("globex", tag, Generation(1));
        }
        assert_eq!(table.vector(&gates(), &KEY), before);
    }

    #[test]
    fn a_name_is_not_mistaken_for_another_kind_of_name() {
        let mut gates = gates();
        gates.model.served_model = "acme/api".to_owned();
        gates.fabric = Some("acme/api".to_owned());
        let mut seen = Vec::new();
        for tag in [Tag::Codebase, Tag::Fabric, Tag::Model] {
            let mut table = Table::default();
            table.set("acme", tag("acme/api".to_owned()), Generation(1));
            let vector = table.vector(&gates, &KEY);
            assert!(!seen.contains(&vector));
            seen.push(vector);
        }
    }

    #[test]
    fn in_whatever_order_generations_come_the_table_is_the_same() {
        let given: Vec<(Tag, Generation)> =
            all_tags().into_iter().chain(all_tags()).zip((1..).map(Generation)).collect();
        let table = |order: &[usize]| {
            let mut table = Table::default();
            for at in order {
                let (tag, generation) = given[*at].clone();
                table.set("acme", tag, generation);
            }
            table
        };
        let count = given.len();
        let in_order: Vec<usize> = (0..count).collect();
        let expected = table(&in_order);
        for step in [1, 3, 5, 9, 11, 13] {
            // Steps that have nothing in common with the count reach all of them; and some come twice.
            let order: Vec<usize> =
                (0..2 * count).map(|n| (count - 1 + n * step) % count).collect();
            assert_eq!(table(&order), expected, "{order:?}");
        }
    }

    #[test]
    fn what_is_known_already_is_no_news() {
        let mut table = Table::default();
        for (tag, number, is_news) in [
            (Tag::Model("m".to_owned()), 3, true),
            (Tag::Model("m".to_owned()), 3, false),
            (Tag::Model("m".to_owned()), 2, false),
            (Tag::Org, 3, true),
            (Tag::Org, 3, false),
            (Tag::Model("m".to_owned()), 3, false),
            (Tag::Model("m".to_owned()), 4, true),
        ] {
            assert_eq!(
                table.set("acme", tag.clone(), Generation(number)),
                is_news,
                "{tag:?} {number}"
            );
        }
    }

    #[test]
    fn an_organizations_generation_covers_its_narrower_ones() {
        let mut table = Table::default();
        let mut number = 0;
        let mut seen = vec![table.vector(&gates(), &KEY)];
        // However often: no vector comes back.
        for _ in 0..3 {
            for tag in all_tags().into_iter().rev() {
                number += 1;
                table.set("acme", tag, Generation(number));
                let vector = table.vector(&gates(), &KEY);
                assert!(!seen.contains(&vector), "after {number}");
                seen.push(vector);
            }
            assert_eq!((table.count(), table.newest()), (1, Generation(number)));
        }
    }
}
