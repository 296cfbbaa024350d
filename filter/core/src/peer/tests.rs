//! Certificates and metadata as Envoy tells them, good and bad.

use std::collections::BTreeSet;

use kt_contract::hex::Digest;
use wasm_bindgen_test::wasm_bindgen_test;

use super::written::{entry, field};
use super::*;

const ID: &str = "spiffe://td/ns/agents/sa/a";

fn wanted(certificates: bool, tokens: bool) -> Wanted {
    let claims = ["dep", "sub"].map(str::to_owned).into();
    Wanted { certificates, tokens, claims, rules: Digest([0; 32]) }
}

fn certificate<'a>(uri: &'a str, uris: &'a str) -> Peer<'a> {
    Peer { mtls: true, uri: uri.as_bytes(), uris: uris.as_bytes(), metadata: &[] }
}

fn said(text: &str) -> Vec<u8> {
    field(3, text.as_bytes())
}

fn number(value: f64) -> Vec<u8> {
    [vec![2 << 3 | 1], value.to_le_bytes().to_vec()].concat()
}

fn payload(claims: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let fields: Vec<u8> = claims.iter().flat_map(|(name, value)| entry(name, value)).collect();
    field(5, &fields)
}

fn metadata(payload: &[u8]) -> Vec<u8> {
    let other = entry("envoy.other", &entry("kt_jwt", &said("not this")));
    let verified = [entry("kt_header", &said("x")), entry(JWT_PAYLOAD, payload)].concat();
    [other, entry(JWT_AUTHN, &verified), field(2, b"typed")].concat()
}

fn asked(payload: &[u8]) -> Result<Option<Identity>, Problem> {
    let metadata = metadata(payload);
    Peer { metadata: &metadata, ..Peer::default() }.identity(&wanted(true, true))
}

fn good() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("iss", said("https://id.example")),
        ("exp", number(1.9e9)),
        ("dep", said("research")),
        ("sub", said("ada")),
        ("other", said("is not asked for")),
    ]
}

#[wasm_bindgen_test(unsupported = test)]
fn a_certificate_with_one_spiffe_id_says_who_it_is() {
    let spiffe = Some(ID.to_owned());
    let expected = Ok(Some(Identity { spiffe, jwt: None }));
    assert_eq!(certificate(ID, ID).identity(&wanted(true, false)), expected);
}

#[wasm_bindgen_test(unsupported = test)]
fn who_brings_no_certificate_or_is_not_asked_for_one_has_no_identity() {
    let unverified = Peer { mtls: false, ..certificate(ID, ID) };
    for (peer, wanted) in [
        (Peer::default(), wanted(true, true)),
        (certificate("", ""), wanted(true, true)),
        (unverified, wanted(true, true)),
        (certificate(ID, ID), wanted(false, true)),
        (certificate(ID, "several,of,them"), wanted(false, false)),
    ] {
        assert_eq!(peer.identity(&wanted), Ok(None), "{peer:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_certificate_of_several_or_of_none_names_nobody() {
    let two = format!("{ID},spiffe://td/b");
    let twice = format!("{ID},{ID}");
    for (uri, uris) in [
        (ID, two.as_str()),
        (ID, &twice),
        // Envoy that does not tell all of them, and one that tells another.
        (ID, ""),
        ("", ID),
        (ID, "spiffe://td/b"),
        ("https://td/a", "https://td/a"),
        (&two, &two),
    ] {
        let refused = certificate(uri, uris).identity(&wanted(true, false));
        assert_eq!(refused, Err(Problem::UnknownIdentity), "{uri} {uris}");
    }
    let not_utf8 =
        Peer { mtls: true, uri: b"spiffe://td/\xff", uris: b"spiffe://td/\xff", metadata: &[] };
    assert_eq!(not_utf8.identity(&wanted(true, false)), Err(Problem::UnknownIdentity));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_verified_token_says_what_is_asked_for_and_no_more() {
    let identity = asked(&payload(&good())).unwrap().unwrap();
    let jwt = identity.jwt.unwrap();
    assert_eq!((jwt.issuer.as_str(), jwt.subject.as_str()), ("https://id.example", "ada"));
    assert_eq!(
        jwt.claims.into_iter().collect::<Vec<_>>(),
        [("dep".to_owned(), "research".to_owned())]
    );
    assert_eq!(identity.spiffe, None);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_no_text_is_no_claim() {
    // A number whose bytes are those of a text, a list, a truth, nothing, a text with another field beside it.
    let looks_like = f64::from_le_bytes(*b"research");
    let listed = field(6, &field(1, &said("research")));
    let beside = [said("research"), said("admin")].concat();
    for value in
        [number(looks_like), listed, vec![4 << 3, 1], vec![0], vec![], beside, field(5, b"")]
    {
        let mut claims = good();
        claims[2] = ("dep", value.clone());
        let identity = asked(&payload(&claims)).unwrap().unwrap();
        assert!(identity.jwt.unwrap().claims.is_empty(), "{value:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_token_that_names_nobody_is_refused() {
    for without in ["iss", "sub"] {
        let claims: Vec<_> = good().into_iter().filter(|(name, _)| *name != without).collect();
        assert_eq!(asked(&payload(&claims)), Err(Problem::UnknownIdentity), "{without}");
    }
    let mut twice = good();
    twice.push(("sub", said("root")));
    assert_eq!(asked(&payload(&twice)), Err(Problem::UnknownIdentity));
    assert_eq!(asked(&said("no payload")), Err(Problem::UnknownIdentity));
    let mut spaced = good();
    spaced[3] = ("sub", said("ada\nroot"));
    assert_eq!(asked(&payload(&spaced)), Err(Problem::UnknownIdentity));
}

#[wasm_bindgen_test(unsupported = test)]
fn only_what_the_verifying_filter_says_is_a_token() {
    let payload = payload(&good());
    let others = entry("envoy.other", &entry(JWT_PAYLOAD, &payload));
    let typed = field(2, &[field(1, JWT_AUTHN.as_bytes()), field(2, &payload)].concat());
    let unnamed = entry(JWT_AUTHN, &entry("other", &payload));
    for metadata in [vec![], others, typed, unnamed] {
        let peer = Peer { metadata: &metadata, ..Peer::default() };
        assert_eq!(peer.identity(&wanted(true, true)), Ok(None));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn no_bytes_trap_and_what_is_cut_off_names_nobody_else() {
    let whole = metadata(&payload(&good()));
    let expected = asked(&payload(&good()));
    let mut seen = BTreeSet::new();
    for at in 0..whole.len() {
        let cut = Peer { metadata: &whole[..at], ..Peer::default() }.identity(&wanted(true, true));
        seen.insert(matches!(cut, Err(Problem::UnknownIdentity)));
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let flipped = Peer { metadata: &bytes, ..Peer::default() };
            let _ = flipped.identity(&wanted(true, true));
        }
    }
    assert!(seen.contains(&true) && expected.is_ok());
    for bytes in
        [&[0xff; 32][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]]
    {
        let peer = Peer { metadata: bytes, ..Peer::default() };
        assert_eq!(peer.identity(&wanted(true, true)), Err(Problem::UnknownIdentity));
    }
}
