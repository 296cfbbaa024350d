//! From what stands in the file to checked rules, or to what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::Pattern;
use super::{Identities, Issuer, Proof, Rule, Word};
use crate::config::raw;
use crate::config::report::Report;
use crate::id::{BadId, check_id};
use crate::identity::is_plain;

/// How many rules there may be.
const RULES_MAX: usize = 1_000;
/// How many claims a rule may ask for, and how many codebases or tags it may give, as a key may have.
const NAMES_MAX: usize = 256;

/// One rule's fields in messages: `identities[0].spiffe`.
struct At(usize);

/// A name of a rule, as it stands there: itself, or the claim that says it.
type Named<'a> = (&'a str, Option<&'a String>, Option<&'a String>);

// === impl At ===

impl At {
    fn path(&self) -> String {
        format!("identities[{}]", self.0)
    }

    fn field(&self, name: &str) -> String {
        format!("identities[{}].{name}", self.0)
    }

    fn names(&self, field: &str, names: &[&String], report: &mut Report) {
        if names.len() > NAMES_MAX {
            report.error(self.field(field), format!("has more than {NAMES_MAX} names"));
        }
        let bad = names.iter().find_map(|name| check_id("name", name).err());
        if let Some(BadId { what, .. }) = bad {
            report.error(self.field(field), what);
        }
    }
}

pub(in crate::config) fn check(raw: Vec<raw::Identity>, report: &mut Report) -> Identities {
    let mut checked = Identities::default();
    if raw.len() > RULES_MAX {
        report.error("identities", format!("has more than {RULES_MAX} rules"));
        return checked;
    }
    let mut kept: Vec<(usize, Rule)> = Vec::new();
    for (at, raw) in raw.into_iter().enumerate() {
        let Some(rule) = check_rule(&At(at), raw, &mut checked.issuers, report) else { continue };
        if let Some((first, _)) = kept.iter().find(|(_, earlier)| earlier.covers(&rule)) {
            let first = report.in_file(&At(*first).path());
            let problem =
                format!("is never reached: whatever fits it fits {first}, which is before it");
            report.error(At(at).path(), problem);
        }
        kept.push((at, rule));
    }
    checked.rules = kept.into_iter().map(|(_, rule)| rule).collect();
    checked
}

fn check_rule(
    at: &At,
    raw: raw::Identity,
    issuers: &mut Vec<Issuer>,
    report: &mut Report,
) -> Option<Rule> {
    let raw::Identity { spiffe, jwt, org, .. } = &raw;
    let is_token = jwt.is_some();
    let proof = match (spiffe, jwt) {
        (Some(text), None) => Pattern::spiffe(text)
            .map(Proof::Spiffe)
            .map_err(|problem| report.error(at.field("spiffe"), problem))
            .ok(),
        (None, Some(jwt)) => check_jwt(at, jwt, issuers, report),
        (None, None) | (Some(_), Some(_)) => {
            if ["spiffe", "jwt"].iter().all(|name| report.is_whole(&at.field(name))) {
                let problem = "needs exactly one of 'spiffe' and 'jwt': by what is somebody known?";
                report.error(at.path(), problem);
            }
            None
        }
    };
    if org.is_none() && report.is_whole(&at.field("org")) {
        report.error(at.field("org"), "missing: to which organization do its requests belong?");
    }
    let of = |names: &Option<Vec<String>>| names.iter().flatten().cloned().collect();
    let (codebases, entitlements) = (of(&raw.codebases), of(&raw.entitlements));
    for (field, names) in [("codebases", &codebases), ("entitlements", &entitlements)] {
        at.names(field, &BTreeSet::iter(names).collect::<Vec<_>>(), report);
    }
    for (field, name) in [("org", org), ("group", &raw.group)] {
        at.names(field, &name.iter().collect::<Vec<_>>(), report);
    }
    let mut word = |named: Named<'_>| check_word(at, named, is_token, report);
    let team = word(("team", raw.team.as_ref(), raw.team_claim.as_ref()));
    let user = word(("user", raw.user.as_ref(), raw.user_claim.as_ref()));
    let agent = word(("agent", raw.agent.as_ref(), raw.agent_claim.as_ref()));
    let (org, group) = (raw.org?, raw.group);
    Some(Rule { proof: proof?, org, team, user, agent, group, codebases, entitlements })
}

fn check_word(
    at: &At,
    (field, said, claim): Named<'_>,
    is_token: bool,
    report: &mut Report,
) -> Option<Word> {
    let claimed = at.field(&format!("{field}_claim"));
    match (said, claim) {
        (Some(_), Some(_)) => report.error(claimed, format!("'{field}' says it already")),
        (None, Some(_)) if !is_token => report.error(claimed, "only a 'jwt' has claims"),
        (None, Some(name)) if !is_plain(name) => report.error(claimed, "is no name of a claim"),
        (None, Some(name)) => return Some(Word::Claim(name.clone())),
        (Some(name), None) => {
            at.names(field, &[name], report);
            return Some(Word::Said(name.clone()));
        }
        (None, None) => {}
    }
    None
}

fn check_jwt(
    at: &At,
    raw: &raw::IdentityJwt,
    issuers: &mut Vec<Issuer>,
    report: &mut Report,
) -> Option<Proof> {
    let raw::IdentityJwt { issuer, audiences, jwks_file, claims } = raw;
    let named = |name: &str| at.field(&format!("jwt.{name}"));
    let jwks_file = jwks_file.as_ref().filter(|path| !path.is_empty() && !path.contains('\0'));
    let has_audience = audiences.as_ref().is_some_and(|names| !names.is_empty());
    for (name, is_there, why) in [
        ("issuer", issuer.is_some(), "whose tokens are believed?"),
        ("audiences", has_audience, "a token that was made for others must not do; name yours"),
        ("jwks_file", jwks_file.is_some(), "in which file are the issuer's public keys (JWKS)?"),
    ] {
        if !is_there && report.is_whole(&named(name)) {
            report.error(named(name), format!("missing: {why}"));
        }
    }
    if audiences.iter().flatten().any(|name| !is_plain(name)) {
        let problem = "have a name that is none: 1 to 512 bytes of ASCII, without spaces";
        report.error(named("audiences"), problem);
    }
    let issuer = issuer.clone()?;
    if !is_plain(&issuer) || issuer.contains('#') {
        report
            .error(named("issuer"), "has to have 1 to 512 bytes of ASCII, without spaces and '#'");
        return None;
    }
    let claims = check_claims(&named("claims"), claims.iter().flatten(), report);
    let audiences = audiences.iter().flatten().cloned().collect();
    let verified = Issuer { issuer: issuer.clone(), audiences, jwks_file: jwks_file?.clone() };
    match issuers.iter().find(|it| it.issuer == issuer) {
        Some(before) if *before != verified => {
            let problem = "an earlier rule has other 'audiences' or another 'jwks_file' for this issuer, and Envoy \
                           verifies a token once for all rules";
            report.error(named("issuer"), problem);
        }
        Some(_) => {}
        None => issuers.push(verified),
    }
    Some(Proof::Jwt { issuer, claims })
}

fn check_claims<'a>(
    field: &str,
    claims: impl Iterator<Item = (&'a String, &'a String)>,
    report: &mut Report,
) -> BTreeMap<String, Pattern> {
    let mut patterns = BTreeMap::new();
    for (name, text) in claims {
        let pattern =
            if is_plain(name) { Pattern::claim(text) } else { Err("is no name of a claim") };
        match pattern {
            Ok(pattern) => {
                patterns.insert(name.clone(), pattern);
            }
            Err(problem) => report.error(field, format!("'{name}' {problem}")),
        }
    }
    if patterns.len() > NAMES_MAX {
        report.error(field, format!("has more than {NAMES_MAX} names"));
    }
    patterns
}
