//! Who asks: organizations and rights that are easily taken for one another.

use std::collections::BTreeSet;

use kt_contract::key::OrgKeys;
use kt_contract::principal::Principal;

use super::credentials::Credential;
use crate::choices::Choices;
use crate::filter::play;

/// Names that meet when they are put together without care, or are equal to some readers.
const NAMES: [&str; 24] = [
    "a",
    "b",
    "ab",
    "a|b",
    "b|c",
    "a/b",
    "a\0b",
    "a\0",
    "A",
    "a ",
    " a",
    "",
    "acme",
    "acme2",
    "acm",
    "Acme",
    "acme.",
    "\u{e9}",
    "e\u{301}",
    "\u{430}cme",
    "null",
    "0",
    "a,b",
    "{a}",
];

const CALLERS: usize = 100;

/// A credential and what it stands for.
pub(super) struct Caller {
    pub(super) credential: Credential,
    pub(super) principal: Principal,
    pub(super) keys: OrgKeys,
    /// The codebase to which the request narrows it.
    pub(super) hint: Option<String>,
}

// === impl Caller ===

impl Caller {
    /// One of few, who come again and again.
    pub(super) fn choose(choices: &mut Choices) -> Self {
        let choices = &mut Choices::of(&[u8::try_from(choices.below(CALLERS)).unwrap()]);
        let principal = Principal {
            org: name(choices),
            group: (choices.below(2) == 0).then(|| name(choices)),
            codebases: names(choices),
            entitlements: names(choices),
            ..play::principal()
        };
        let hint = principal.codebases.first().filter(|_| choices.below(3) == 0).cloned();
        Self::new(principal, hint)
    }

    fn new(principal: Principal, hint: Option<String>) -> Self {
        // One credential for each principal, whoever makes it.
        let digest = blake3::hash(format!("{principal:?}").as_bytes());
        let credential = Credential::of(digest.as_bytes());
        let key_id = credential.name().unwrap_or_else(|| format!("gk_{}", &digest.to_hex()[..8]));
        let keys = OrgKeys::derive(&principal.org);
        Self { credential, principal: Principal { key_id, ..principal }, keys, hint }
    }

    /// The same rights in another organization. Half of them got its name by moving a field's end.
    pub(super) fn of_another_organization(&self, choices: &mut Choices) -> Self {
        loop {
            let mut other = Principal { key_id: String::new(), ..self.principal.clone() };
            match choices.below(6) {
                0 => {
                    let moved = other.org.pop();
                    other.group = moved
                        .map(|end| end.to_string() + other.group.as_deref().unwrap_or_default());
                }
                1 => other.org += other.group.take().as_deref().unwrap_or("|"),
                2 => other.org += &other.codebases.pop_first().unwrap_or_default(),
                _ => other.org = name(choices),
            }
            if other.org != self.principal.org {
                let hint = self.hint.clone().filter(|hint| other.codebases.contains(hint));
                return Self::new(other, hint);
            }
        }
    }

    /// The same organization, and one gate that is another one.
    pub(super) fn with_another_gate(&self, choices: &mut Choices) -> Self {
        loop {
            let mut other = Principal { key_id: String::new(), ..self.principal.clone() };
            match choices.below(4) {
                0 => other.group = (choices.below(3) > 0).then(|| name(choices)),
                1 => other.codebases = names(choices),
                2 => other.entitlements = names(choices),
                // What was an entitlement is a codebase.
                _ => other.codebases.extend(other.entitlements.pop_first()),
            }
            let other = Self::new(other, None);
            let [ours, theirs] = [self, &other].map(|caller| {
                let Principal { group, entitlements, .. } = &caller.principal;
                (group, caller.codebases(), entitlements)
            });
            if ours != theirs {
                return other;
            }
        }
    }

    /// The codebases in question.
    pub(super) fn codebases(&self) -> BTreeSet<String> {
        self.hint
            .as_ref()
            .map_or_else(|| self.principal.codebases.clone(), |hint| BTreeSet::from([hint.clone()]))
    }
}

fn name(choices: &mut Choices) -> String {
    NAMES[choices.below(NAMES.len())].to_owned()
}

/// Up to three, without those that no header can say.
fn names(choices: &mut Choices) -> BTreeSet<String> {
    let count = choices.below(4);
    (0..count)
        .map(|_| name(choices))
        .filter(|name| name == name.trim() && !name.is_empty() && !name.contains('\0'))
        .collect()
}
