//! Whom identities stand for, and which rules are none.

use std::collections::BTreeSet;

use crate::config::{Config, load};
use crate::identity::{Identity, Jwt};
use crate::principal::Principal;

const TARGETS: &str =
    "providers: {targets: [{id: o, provider: openai, base_url: 'http://127.0.0.1:1'}]}\n";
const JWT: &str = "jwt: {issuer: 'https://id.acme.example', audiences: [kt], jwks_file: keys.json";

fn config(rules: &str) -> Config {
    load("f.yaml", &format!("{TARGETS}identities:\n{rules}")).unwrap().config
}

fn problems(rules: &str) -> Vec<String> {
    let loaded = load("f.yaml", &format!("{TARGETS}identities:\n{rules}"));
    loaded.unwrap_err().iter().map(ToString::to_string).collect()
}

fn spiffe(id: &str) -> Identity {
    Identity { spiffe: Some(id.to_owned()), jwt: None }
}

fn token(subject: &str, claims: &[(&str, &str)]) -> Identity {
    let claims = claims.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let issuer = "https://id.acme.example".to_owned();
    Identity { spiffe: None, jwt: Some(Jwt { issuer, subject: subject.to_owned(), claims }) }
}

fn org(config: &Config, identity: &Identity) -> Option<String> {
    config.identities.resolve(identity).map(|principal| principal.org)
}

#[test]
fn an_id_is_who_the_first_rule_says() {
    let config = config(
        "- {spiffe: 'spiffe://td/ns/agents/sa/a', org: acme, team: web, user: ada, agent: bot, group: g, \
            codebases: [c], entitlements: [eu]}\n\
         - {spiffe: 'spiffe://td/ns/agents/sa/*', org: globex}\n\
         - {spiffe: 'spiffe://other/*', org: initech}\n",
    );
    let known = |name: &str| Some(name.to_owned());
    let one = |name: &str| BTreeSet::from([name.to_owned()]);
    assert_eq!(
        config.identities.resolve(&spiffe("spiffe://td/ns/agents/sa/a")),
        Some(Principal {
            key_id: "spiffe://td/ns/agents/sa/a".to_owned(),
            lineage: None,
            org: "acme".to_owned(),
            team: known("web"),
            user: known("ada"),
            agent: known("bot"),
            group: known("g"),
            codebases: one("c"),
            entitlements: one("eu"),
        }),
    );
    for (id, expected) in [
        ("spiffe://td/ns/agents/sa/ab", Some("globex")),
        ("spiffe://td/ns/agents/sa/b/c", Some("globex")),
        ("spiffe://other/x", Some("initech")),
        ("spiffe://td/ns/agents/sa", None),
        ("spiffe://td/ns/agents/sa/", None),
        ("spiffe://td/ns/agents/sab/a", None),
        ("spiffe://td/ns/agents/SA/a", None),
        ("spiffe://td/ns/agents/sa/../sa/a", None),
        ("spiffe://td/ns/agents/s%61/a", None),
        ("spiffe://TD/ns/agents/sa/a", None),
        ("spiffe://other.evil.example/x", None),
        ("spiffe://td/ns/agents/sa/a,spiffe://other/x", None),
    ] {
        assert_eq!(org(&config, &spiffe(id)).as_deref(), expected, "{id}");
    }
}

#[test]
fn a_star_that_lets_in_longer_names_is_an_error() {
    for pattern in ["spiffe://td/ns/agents/sa/a*", "spiffe://td*", "*"] {
        let found = problems(&format!("- {{spiffe: '{pattern}', org: acme}}\n"));
        assert!(found[0].contains("identities[0].spiffe: has a '*' before which"), "{found:?}");
    }
    for pattern in [
        "spiffe://td",
        "https://td/a",
        "spiffe://td/*/a",
        "spiffe://TD/a",
        "spiffe:///*",
        "spiffe://*",
    ] {
        let found = problems(&format!("- {{spiffe: '{pattern}', org: acme}}\n"));
        assert!(found[0].contains("identities[0].spiffe: is no SPIFFE ID"), "{pattern} {found:?}");
    }
    for value in ["resea*", "*search", "a*b-*"] {
        let found = problems(&format!("- {{{JWT}, claims: {{dep: '{value}'}}}}, org: acme}}\n"));
        assert!(
            found[0].contains("identities[0].jwt.claims: 'dep' has a '*' where none"),
            "{found:?}"
        );
    }
}

#[test]
fn a_token_is_who_its_claims_say() {
    let config = config(&format!(
        "- {{{JWT}, claims: {{dep: research, sub: 'svc:*'}}}}, org: acme, user_claim: email, team_claim: team}}\n\
         - {{{JWT}, claims: {{dep: '*'}}}}, org: globex}}\n",
    ));
    let all = [("dep", "research"), ("email", "ada@acme.com"), ("team", "web")];
    let principal = config.identities.resolve(&token("svc:a", &all)).unwrap();
    assert_eq!(principal.key_id, "jwt:https://id.acme.example#svc:a");
    assert_eq!(
        (principal.user.as_deref(), principal.team.as_deref()),
        (Some("ada@acme.com"), Some("web"))
    );
    let nameless = [("dep", "research"), ("team", "web")];
    let misnamed = [("dep", "research"), ("team", "web"), ("email", "a b")];
    for (subject, claims, expected) in [
        ("svc:a", &all[..], Some("acme")),
        ("svc:a", &nameless, None),
        ("svc:a", &misnamed, None),
        ("svc:", &all, Some("globex")),
        ("ada", &all, Some("globex")),
        ("ada", &[("dep", "Research")], Some("globex")),
        ("ada", &[("dep", "")], None),
        ("ada", &[], None),
    ] {
        assert_eq!(
            org(&config, &token(subject, claims)).as_deref(),
            expected,
            "{subject} {claims:?}"
        );
    }
    let mut stranger = token("svc:a", &all);
    stranger.jwt.as_mut().unwrap().issuer = "https://id.acme.example.evil".to_owned();
    assert_eq!(org(&config, &stranger), None);
    let wanted = config.identities.wanted().unwrap();
    assert_eq!((wanted.certificates, wanted.tokens), (false, true));
    let names: Vec<_> = wanted.claims.iter().map(String::as_str).collect();
    assert_eq!(names, ["dep", "email", "sub", "team"]);
}

#[test]
fn with_a_certificate_and_a_token_the_order_of_rules_decides() {
    let by_token = format!("- {{{JWT}}}, org: acme}}\n");
    let by_certificate = "- {spiffe: 'spiffe://td/*', org: globex}\n";
    let both = Identity { spiffe: spiffe("spiffe://td/a").spiffe, ..token("ada", &[]) };
    for (rules, expected) in [
        (format!("{by_token}{by_certificate}"), "acme"),
        (format!("{by_certificate}{by_token}"), "globex"),
    ] {
        assert_eq!(org(&config(&rules), &both).as_deref(), Some(expected));
    }
}

#[test]
fn what_a_rule_lacks_or_says_twice_is_named() {
    for (rule, expected) in [
        ("{org: acme}".to_owned(), "identities[0]: needs exactly one of"),
        (
            format!("{{spiffe: 'spiffe://td/a', {JWT}}}, org: acme}}"),
            "identities[0]: needs exactly one of",
        ),
        ("{spiffe: 'spiffe://td/a'}".to_owned(), "identities[0].org: missing"),
        ("{spiffe: 'spiffe://td/a', org: 'a b'}".to_owned(), "identities[0].org: may have ASCII"),
        (
            "{spiffe: 'spiffe://td/a', org: a, user: ''}".to_owned(),
            "identities[0].user: must not be empty",
        ),
        (
            "{spiffe: 'spiffe://td/a', org: a, entitlements: ['x y']}".to_owned(),
            "identities[0].entitlements:",
        ),
        (
            "{spiffe: 'spiffe://td/a', org: a, user_claim: u}".to_owned(),
            "identities[0].user_claim: only a 'jwt'",
        ),
        (
            format!("{{{JWT}}}, org: a, user: u, user_claim: u}}"),
            "identities[0].user_claim: 'user' says it",
        ),
        (
            "{jwt: {issuer: i, audiences: [kt]}, org: a}".to_owned(),
            "identities[0].jwt.jwks_file: missing",
        ),
        (
            "{jwt: {issuer: i, jwks_file: k}, org: a}".to_owned(),
            "identities[0].jwt.audiences: missing",
        ),
        (
            "{jwt: {issuer: i, audiences: [kt, ''], jwks_file: k}, org: a}".to_owned(),
            "identities[0].jwt.audiences: have a name",
        ),
        (
            "{jwt: {audiences: [kt], jwks_file: k}, org: a}".to_owned(),
            "identities[0].jwt.issuer: missing",
        ),
        (
            "{jwt: {issuer: 'a b', audiences: [k], jwks_file: k}, org: a}".to_owned(),
            "identities[0].jwt.issuer: has",
        ),
        (
            "{spiffe: 'spiffe://td/a', org: a, orgs: b}".to_owned(),
            "identities[0].orgs: unknown field",
        ),
    ] {
        let found = problems(&format!("- {rule}\n"));
        assert!(found[0].contains(expected), "{rule}: {found:?}");
    }
}

#[test]
fn a_rule_that_is_never_reached_is_an_error() {
    for (first, second) in [
        ("{spiffe: 'spiffe://td/*', org: a}", "{spiffe: 'spiffe://td/a', org: b}"),
        ("{spiffe: 'spiffe://td/*', org: a}", "{spiffe: 'spiffe://td/a/*', org: b}"),
        ("{spiffe: 'spiffe://td/a', org: a}", "{spiffe: 'spiffe://td/a', org: a}"),
    ] {
        let found = problems(&format!("- {first}\n- {second}\n"));
        assert!(found[0].contains("identities[1]: is never reached"), "{found:?}");
        assert!(load("f.yaml", &format!("{TARGETS}identities: [{second}]\n")).is_ok());
    }
    let (any, some) =
        (format!("{{{JWT}}}, org: a}}"), format!("{{{JWT}, claims: {{x: y}}}}, org: b}}"));
    assert!(problems(&format!("- {any}\n- {some}\n"))[0].contains("is never reached"));
    assert_eq!(config(&format!("- {some}\n- {any}\n")).identities.orgs().count(), 2);
}

#[test]
fn one_issuer_has_one_set_of_keys() {
    let other = JWT.replace("keys.json", "other.json");
    let found =
        problems(&format!("- {{{JWT}, claims: {{x: y}}}}, org: a}}\n- {{{other}}}, org: b}}\n"));
    assert!(found[0].contains("identities[1].jwt.issuer: an earlier rule"), "{found:?}");
}

#[test]
fn what_envoy_was_not_started_with_needs_a_restart_and_the_rest_is_live() {
    let certificate = "- {spiffe: 'spiffe://td/a', org: a}\n";
    let token = format!("- {{{JWT}}}, org: a}}\n");
    let both = config(&format!("{certificate}{token}"));
    let (only, none) = (config(certificate), load("f.yaml", TARGETS).unwrap().config);
    let other = config("- {spiffe: 'spiffe://td/*', org: b}\n");
    assert_eq!(both.needs_restart(&none).len(), 2);
    assert_eq!(both.needs_restart(&only).len(), 1);
    for live in [&only, &none, &other] {
        assert_eq!(live.needs_restart(&both), []);
    }
    let before = only.identities.wanted().unwrap();
    assert_ne!(before.rules, other.identities.wanted().unwrap().rules);
    assert_eq!(none.identities.wanted(), None);
}
