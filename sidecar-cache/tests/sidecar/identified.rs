//! Who is known by an identity: asked for anew each time, by the rules in force, and never by what a filter names.

use kt_contract::gates::Gates;
use kt_contract::identity::{Identity, Jwt};
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::{AdmitRequest, Admitted};
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use sidecar_cache::clock::Clock;

use crate::support::*;

const ID: &str = "spiffe://td/ns/agents/sa/a";
const RULES: &str = "identities:
- {spiffe: 'spiffe://td/ns/agents/*', org: acme, user: ada, codebases: [acme/web], entitlements: [eu]}
- {jwt: {issuer: 'https://id.example', audiences: [kt], jwks_file: k}, org: globex, user_claim: email}
";

fn spiffe(id: &str) -> Identity {
    Identity { spiffe: Some(id.to_owned()), jwt: None }
}

fn token(claims: &[(&str, &str)]) -> Identity {
    let claims = claims.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let jwt = Jwt { issuer: "https://id.example".to_owned(), subject: "bob".to_owned(), claims };
    Identity { spiffe: None, jwt: Some(jwt) }
}

async fn asked(group: &Group, key: KeyHash, identity: &Identity) -> PrincipalReply {
    let request = PrincipalRequest { version: VERSION, key, identity: Some(identity.clone()) };
    group.sidecar.principal(&request).await.unwrap()
}

async fn principal(group: &Group, identity: &Identity) -> Option<Principal> {
    match asked(group, identity.hash(), identity).await {
        PrincipalReply::Known { principal, key_age_ms } => {
            assert_eq!(key_age_ms, None, "an identity has no age");
            Some(principal)
        }
        PrincipalReply::Unknown => None,
        other @ (PrincipalReply::Tenant { .. }
        | PrincipalReply::NoTenant
        | PrincipalReply::Revoked
        | PrincipalReply::Unavailable) => panic!("{other:?}"),
    }
}

async fn knowing() -> Group {
    let group = group_of(settings_with(RULES), Clock::start(), None);
    group.poll().await;
    group
}

/// What a filter asks for who is known by an identity.
async fn ask(group: &Group, identity: &Identity) -> AdmitRequest {
    let principal = principal(group, identity).await.unwrap();
    let as_key = Key { hash: identity.hash(), principal };
    AdmitRequest { identity: Some(identity.clone()), ..group.ask(&as_key, CHAT) }
}

#[tokio::test]
async fn an_identity_is_who_the_rules_say_and_shares_with_keys_of_its_organization() {
    let group = knowing().await;
    let key = group.key().await;
    let known = principal(&group, &spiffe(ID)).await.unwrap();
    assert_eq!((known.key_id.as_str(), known.org.as_str()), (ID, "acme"));
    let asked = ask(&group, &spiffe(ID)).await;
    let of_key: Gates = group.ask(&key, CHAT).plan.gates;
    assert_eq!(asked.plan.gates, of_key);
    let (ticket, _) = group.ticket(asked.clone()).await;
    group.provider.next(answers_json(JSON));
    read(group.lane(&ticket, CHAT).await.unwrap()).await;
    settle().await;
    assert!(group.is_cached(&key, CHAT).await);
    group.hit(asked).await;
}

#[tokio::test]
async fn who_fits_no_rule_or_lacks_a_name_is_unknown() {
    let group = knowing().await;
    for nobody in [
        spiffe("spiffe://td/ns/other/sa/a"),
        spiffe("spiffe://td/ns/agents/../agents/sa/a"),
        Identity::default(),
        token(&[]),
        token(&[("email", "a b")]),
    ] {
        assert_eq!(principal(&group, &nobody).await, None, "{nobody:?}");
    }
    let bob = principal(&group, &token(&[("email", "bob@globex.example")])).await.unwrap();
    assert_eq!(bob.key_id, "jwt:https://id.example#bob");
    assert_eq!((bob.org.as_str(), bob.user.as_deref()), ("globex", Some("bob@globex.example")));
}

#[tokio::test]
async fn an_identity_under_anothers_digest_is_nobody() {
    let group = knowing().await;
    let (key, other) = (group.key().await, spiffe("spiffe://td/ns/agents/sa/b"));
    for hash in [key.hash, other.hash()] {
        assert_eq!(asked(&group, hash, &spiffe(ID)).await, PrincipalReply::Unknown);
        let forged = AdmitRequest { principal: hash, ..ask(&group, &spiffe(ID)).await };
        assert_eq!(group.admit(forged).await, Admitted::Unauthenticated { revoked: false });
    }
    // Nor is the digest of an identity good for anything without it.
    let bare = AdmitRequest { identity: None, ..ask(&group, &spiffe(ID)).await };
    assert_eq!(group.admit(bare).await, Admitted::Unauthenticated { revoked: false });
    assert!(group.metric("kt_gate_mismatch_total{reason=\"identity\"}").ends_with('4'));
}

#[tokio::test]
async fn an_identity_of_one_organization_is_served_nothing_of_another() {
    let group = knowing().await;
    let globex = token(&[("email", "bob@globex.example")]);
    let acme = ask(&group, &spiffe(ID)).await;
    // A filter that names the gates, key and check of another organization gets no use of the cache.
    let stolen =
        AdmitRequest { principal: globex.hash(), identity: Some(globex.clone()), ..acme.clone() };
    let Admitted::Lane { .. } = group.admit(stolen).await else { panic!("served by the cache") };
    assert!(group.metric("kt_gate_mismatch_total{reason=\"org\"}").ends_with('1'));
    let own = ask(&group, &globex).await;
    assert_ne!(
        (own.plan.key, own.plan.check, own.plan.request),
        (acme.plan.key, acme.plan.check, acme.plan.request)
    );
}

#[test]
fn other_rules_are_another_snapshot() {
    let version = |more: &str| settings_with(more).snapshot.version.clone();
    let none = version("");
    let (rules, other) = (version(RULES), version(&RULES.replace("user: ada", "user: bob")));
    assert!(rules != none && rules != other, "filters ask again for everybody");
}
