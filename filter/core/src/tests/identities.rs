//! Who brings no key: what Envoy has verified of a client, from the head to the sidecar and back.

use kt_contract::hex::Digest;
use kt_contract::identity::{Identity, Wanted};
use kt_contract::principal::Principal;
use kt_contract::snapshot::Snapshot;
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};

use super::rig::{Rig, feed_reply, principal, snapshot};
use crate::action::Flow;
use crate::event::Event;
use crate::head::Head;
use crate::peer::Peer;

const ID: &str = "spiffe://td/ns/agents/sa/a";
const BODY: &str = r#"{"model":"gpt-4o","messages":[]}"#;

fn wanted(rules: u8) -> Wanted {
    Wanted { certificates: true, tokens: false, claims: [].into(), rules: Digest([rules; 32]) }
}

fn with_rules(rules: Option<u8>) -> Snapshot {
    let version = format!("{:016x}", rules.unwrap_or_default());
    Snapshot { version, identities: rules.map(wanted), ..snapshot() }
}

fn identity() -> Identity {
    Identity { spiffe: Some(ID.to_owned()), jwt: None }
}

fn named() -> Principal {
    Principal { key_id: ID.to_owned(), ..principal() }
}

/// The head of a chat request without a key, by a client whose certificate has these URIs.
fn head(rig: &mut Rig, uris: &str, more: &[(&str, &str)]) {
    rig.fresh();
    let fields: Vec<(&[u8], &[u8])> = [(":method", "POST"), (":path", "/v1/chat/completions")]
        .iter()
        .chain(more)
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let uri = uris.split(',').next().unwrap_or_default().as_bytes();
    let peer = Peer { mtls: true, uri, uris: uris.as_bytes(), metadata: &[] };
    let head = Head::new(&fields);
    let peer = if rig.worker.reads_peer(head) { peer } else { Peer::default() };
    let flow = rig.turn(Event::RequestHeaders { head, end: false, random: [0xab; 16], peer });
    assert_eq!(flow, Flow::Pause);
}

fn asked(rig: &Rig) -> PrincipalRequest {
    serde_json::from_slice(&rig.callout().unwrap().body).unwrap()
}

fn body(rig: &mut Rig) {
    let bytes = BODY.len() as u64;
    assert_eq!(rig.turn(Event::RequestBody { bytes, end: true }), Flow::ReadBody);
    assert_eq!(rig.turn(Event::RequestRead { body: BODY.as_bytes() }), Flow::Pause);
}

#[test]
fn an_identity_is_asked_for_once_and_told_with_each_question() {
    let mut rig = Rig::with(with_rules(Some(1)));
    head(&mut rig, ID, &[]);
    let question = asked(&rig);
    assert_eq!((question.key, question.identity), (identity().hash(), Some(identity())));
    let _ = rig.answer_principal(&PrincipalReply::Known { principal: named(), key_age_ms: None });
    rig.actions.clear();
    body(&mut rig);
    let admit = rig.admit();
    assert_eq!((admit.principal, admit.identity), (identity().hash(), Some(identity())));
    head(&mut rig, ID, &[]);
    assert!(rig.callout().is_none(), "it is known");
    assert!(!rig.replied());
}

#[test]
fn who_is_known_by_no_rule_is_refused_and_forgotten() {
    let mut rig = Rig::with(with_rules(Some(1)));
    head(&mut rig, ID, &[]);
    let _ = rig.answer_principal(&PrincipalReply::Unknown);
    assert_eq!(rig.refusal().1, "unknown_identity");
    // A rule that goes away between two questions.
    head(&mut rig, ID, &[]);
    let _ = rig.answer_principal(&PrincipalReply::Known { principal: named(), key_age_ms: None });
    rig.actions.clear();
    body(&mut rig);
    let _ = rig.answer_admit(&Admitted::Unauthenticated { revoked: false }, b"");
    assert_eq!(rig.refusal().1, "unknown_identity");
    head(&mut rig, ID, &[]);
    assert_eq!(asked(&rig).identity, Some(identity()));
}

#[test]
fn other_rules_are_asked_again_for_everybody() {
    let mut rig = Rig::with(with_rules(Some(1)));
    for (seq, rules) in [(1, Some(2)), (2, Some(2)), (3, None)] {
        head(&mut rig, ID, &[]);
        if rig.callout().is_some() {
            let _ = rig
                .answer_principal(&PrincipalReply::Known { principal: named(), key_age_ms: None });
        }
        rig.feed(kt_contract::wire::feed::FeedReply {
            snapshot: Some(with_rules(rules)),
            ..feed_reply(seq)
        });
        head(&mut rig, ID, &[]);
        match (seq, rules) {
            (1, _) => assert_eq!(asked(&rig).identity, Some(identity())),
            (_, None) => assert_eq!(rig.refusal().1, "missing_api_key"),
            (_, Some(_)) => assert!(!rig.replied()),
        }
    }
}

#[test]
fn a_key_decides_alone_and_a_bad_one_is_not_passed_over() {
    let mut rig = Rig::with(with_rules(Some(1)));
    let bearer = format!("Bearer {}", rig.key.reveal());
    head(&mut rig, ID, &[("authorization", &bearer)]);
    let question = asked(&rig);
    assert_eq!((question.key, question.identity), (rig.key.hash(), None));
    for bad in
        [("authorization", "Bearer kt_gk_x"), ("x-api-key", "x"), ("authorization", "Bearer a.b.c")]
    {
        head(&mut rig, ID, &[bad]);
        assert_eq!(rig.refusal().1, "invalid_api_key", "{bad:?}");
    }
}

#[test]
fn without_rules_or_with_several_names_nobody_is_asked_for() {
    let mut none = Rig::with(with_rules(None));
    head(&mut none, ID, &[]);
    assert_eq!(none.refusal().1, "missing_api_key");
    let mut rig = Rig::with(with_rules(Some(1)));
    for (uris, code) in
        [("spiffe://td/a,spiffe://td/b", "unknown_identity"), ("", "missing_api_key")]
    {
        head(&mut rig, uris, &[("x-forwarded-client-cert", "URI=spiffe://td/ns/agents/sa/a")]);
        assert_eq!(rig.refusal().1, code, "{uris}");
        assert!(rig.callout().is_none());
    }
}
