//! `identities`: rules by which an identity that Envoy has verified stands for somebody, as a gateway key does. The first
//! rule that an identity fits decides, and one that fits none is nobody's.

mod check;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::hex::Digest;
use crate::id::check_id;
use crate::identity::{Identity, Jwt, Wanted};
use crate::principal::Principal;
use pattern::Pattern;

pub(super) use check::check;

/// The checked rules, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    rules: Vec<Rule>,
    issuers: Vec<Issuer>,
}

/// Whose JWTs Envoy verifies, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// `issuer`: what `iss` has to be.
    pub issuer: String,
    /// `audiences`: one of them has to be in `aud`.
    pub audiences: BTreeSet<String>,
    /// `jwks_file`: where its public keys are, relative to the folder of the configuration.
    pub jwks_file: String,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Rule {
    proof: Proof,
    org: String,
    team: Option<Word>,
    user: Option<Word>,
    agent: Option<Word>,
    group: Option<String>,
    codebases: BTreeSet<String>,
    entitlements: BTreeSet<String>,
}

/// What an identity has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Proof {
    Spiffe(Pattern),
    Jwt { issuer: String, claims: BTreeMap<String, Pattern> },
}

/// A name that the rule says, or one that a claim does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Word {
    Said(String),
    Claim(String),
}

// === impl Identities ===

impl Identities {
    /// Whether nobody is known by anything but a key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a client certificate may say who somebody is.
    #[must_use]
    pub fn want_certificates(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.proof, Proof::Spiffe(_)))
    }

    /// Whose JWTs are verified.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// The organization of each rule, in their order.
    pub fn orgs(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.org.as_str())
    }

    /// What filters have to find out; `None` where there is no rule.
    #[must_use]
    pub fn wanted(&self) -> Option<Wanted> {
        // Rules are lists, and maps with texts as keys, which can always be written.
        let text = serde_json::to_vec(&self.rules).unwrap_or_default();
        (!self.is_empty()).then(|| Wanted {
            certificates: self.want_certificates(),
            tokens: !self.issuers.is_empty(),
            claims: self.rules.iter().flat_map(Rule::claims).map(str::to_owned).collect(),
            rules: Digest(*blake3::hash(&text).as_bytes()),
        })
    }

    /// Who an identity is, by the first rule that it fits. `None` where it fits none, where it has a form that nobody has
    /// to believe, or where a claim that is to name somebody does not.
    #[must_use]
    pub fn resolve(&self, identity: &Identity) -> Option<Principal> {
        if !identity.is_sound() {
            return None;
        }
        let (rule, name) = self.rules.iter().find_map(|rule| Some((rule, rule.name(identity)?)))?;
        rule.principal(name, identity.jwt.as_ref())
    }
}

// === impl Rule ===

impl Rule {
    fn claims(&self) -> Vec<&str> {
        let asked = match &self.proof {
            Proof::Spiffe(_) => Vec::new(),
            Proof::Jwt { claims, .. } => claims.keys().map(String::as_str).collect(),
        };
        let words = [&self.team, &self.user, &self.agent].into_iter().flatten();
        asked.into_iter().chain(words.filter_map(Word::claim)).collect()
    }

    /// The name of an identity that the rule is for.
    fn name(&self, identity: &Identity) -> Option<String> {
        match &self.proof {
            Proof::Spiffe(pattern) => {
                identity.spiffe.as_ref().filter(|id| pattern.fits(id)).cloned()
            }
            Proof::Jwt { issuer, claims } => {
                let jwt = identity.jwt.as_ref().filter(|jwt| jwt.issuer == *issuer)?;
                let fits = |(name, pattern): (&String, &Pattern)| {
                    claim(jwt, name).is_some_and(|value| pattern.fits(value))
                };
                claims.iter().all(fits).then(|| jwt.name())
            }
        }
    }

    fn principal(&self, name: String, jwt: Option<&Jwt>) -> Option<Principal> {
        let Self { proof: _, org, team, user, agent, group, codebases, entitlements } = self;
        let word = |word: &Option<Word>| match word {
            None => Some(None),
            Some(Word::Said(name)) => Some(Some(name.clone())),
            // Who is to be named and is not must not come in as somebody without a name: budgets and limits hang on it.
            Some(Word::Claim(name)) => {
                let value = claim(jwt?, name)?;
                check_id("claim", value).is_ok().then(|| Some(value.to_owned()))
            }
        };
        Some(Principal {
            key_id: name,
            lineage: None,
            org: org.clone(),
            team: word(team)?,
            user: word(user)?,
            agent: word(agent)?,
            group: group.clone(),
            codebases: codebases.clone(),
            entitlements: entitlements.clone(),
        })
    }

    /// Whether whatever fits `later` fits this one as well.
    fn covers(&self, later: &Self) -> bool {
        match (&self.proof, &later.proof) {
            (Proof::Spiffe(all), Proof::Spiffe(part)) => all.covers(part),
            (Proof::Jwt { issuer, claims }, Proof::Jwt { issuer: other, claims: narrower }) => {
                let covered = |(name, all): (&String, &Pattern)| {
                    narrower.get(name).is_some_and(|part| all.covers(part))
                };
                issuer == other && claims.iter().all(covered)
            }
            (Proof::Spiffe(_), Proof::Jwt { .. }) | (Proof::Jwt { .. }, Proof::Spiffe(_)) => false,
        }
    }
}

// === impl Word ===

impl Word {
    fn claim(&self) -> Option<&str> {
        match self {
            Self::Said(_) => None,
            Self::Claim(name) => Some(name),
        }
    }
}

fn claim<'a>(jwt: &'a Jwt, name: &str) -> Option<&'a str> {
    match name {
        "iss" => Some(&jwt.issuer),
        "sub" => Some(&jwt.subject),
        other => jwt.claims.get(other).map(String::as_str),
    }
}

#[cfg(test)]
mod tests;
