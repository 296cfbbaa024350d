//! Entries: what is read is what was written, and nothing else is read.

use std::collections::BTreeSet;

use kt_contract::gates::{ModelGate, Scope};
use proptest::prelude::*;

use super::*;
use crate::flight::Epoch;
use crate::generation::Generation;

fn gates() -> Gates {
    Gates {
        org: "acme".to_owned(),
        scope: Scope::OrgShared { group: Some("coders".to_owned()) },
        codebases: BTreeSet::from(["acme/api".to_owned(), "acme/web".to_owned()]),
        fabric: None,
        policy: Digest([5; 32]),
        model: ModelGate {
            dialect: "openai_chat".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            provider: "openai".to_owned(),
            upstream: "https://api.openai.com".to_owned(),
            served_model: "gpt-4o-mini".to_owned(),
            version: None,
        },
        entitlements: BTreeSet::from(["eu".to_owned()]),
    }
}

fn header() -> Header {
    Header {
        gates: gates(),
        check: CheckHash(Digest([6; 32])),
        generations: Vector::from_numbers([0, 3, 0, 9].map(Generation).into()),
        token: Token { epoch: Epoch(7), counter: 8 },
        created: UnixMillis(9),
        fresh_until: UnixMillis(10),
        recorded: Recorded::Sse,
        usage: Some(Usage {
            uncached_input_tokens: 11,
            cache_read_tokens: 12,
            cache_write_tokens: 13,
            cache_write_long_tokens: 14,
            output_tokens: 15,
        }),
        served_by: "openai/gpt-4o-mini".to_owned(),
    }
}

fn encoded() -> Bytes {
    Entry::encode(&header(), b"the answer", &OrgKeys::derive("acme")).into()
}

#[test]
fn an_entry_reads_what_it_writes() {
    let keys = OrgKeys::derive("acme");
    for (scope, usage, recorded, body) in [
        (Scope::OrgShared { group: None }, None, Recorded::Json, &b""[..]),
        (Scope::OrgShared { group: Some(String::new()) }, None, Recorded::Json, b"{}"),
        (Scope::PrivateEdge { key_id: "gk_1".to_owned() }, header().usage, Recorded::Sse, b"data"),
        (Scope::PhysicalGateway { gateway: "gw-a".to_owned() }, None, Recorded::Sse, b"\0\xff"),
    ] {
        let gates = Gates { scope, fabric: Some("f".to_owned()), ..gates() };
        let header = Header { gates, usage, recorded, ..header() };
        let bytes = Entry::encode(&header, body, &keys).into();
        let entry = Entry::decode(&bytes, &keys).unwrap();
        assert_eq!(entry, Entry { header, body: Bytes::copy_from_slice(body) });
    }
}

#[test]
fn no_changed_byte_is_read() {
    let keys = OrgKeys::derive("acme");
    let good = encoded();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        assert!(Entry::decode(&bad.into(), &keys).is_err(), "byte {at}");
    }
}

#[test]
fn no_cut_or_lengthened_entry_is_read() {
    let keys = OrgKeys::derive("acme");
    let good = encoded();
    for length in 0..good.len() {
        assert!(Entry::decode(&good.slice(..length), &keys).is_err(), "length {length}");
    }
    let mut long = good.to_vec();
    long.push(0);
    assert_eq!(Entry::decode(&long.into(), &keys), Err(Corrupt::Mac));
}

/// What it was before, or will be: an upgrade finds a miss, not an answer with other numbers.
#[test]
fn an_entry_of_another_version_is_not_read() {
    let keys = OrgKeys::derive("acme");
    let good = encoded();
    for version in [VERSION - 1, VERSION + 1] {
        let mut other = good[..good.len() - MAC_BYTES].to_vec();
        other[4..6].copy_from_slice(&version.to_be_bytes());
        let mac = keys.entry_mac(&other);
        other.extend_from_slice(&mac.0);
        assert_eq!(Entry::decode(&other.into(), &keys), Err(Corrupt::Format), "{version}");
    }
}

#[test]
fn an_entry_of_another_organization_is_not_read() {
    assert_eq!(Entry::decode(&encoded(), &OrgKeys::derive("globex")), Err(Corrupt::Mac));
}

/// Even somebody who has the MAC key cannot make the reader read beyond what is there.
#[test]
fn a_well_sealed_lie_about_lengths_is_not_read() {
    let keys = OrgKeys::derive("acme");
    let good = encoded();
    let sealed = good.len() - MAC_BYTES;
    let reseal = |mut bytes: Vec<u8>| -> Bytes {
        let mac = keys.entry_mac(&bytes);
        bytes.extend_from_slice(&mac.0);
        bytes.into()
    };
    for (what, length, expected) in [
        ("no header", 0_u32, Corrupt::Header),
        ("a byte less", 1, Corrupt::Header),
        ("beyond the end", 60_000, Corrupt::Header),
        ("huge", u32::MAX, Corrupt::Header),
    ] {
        let mut bytes = good[..sealed].to_vec();
        bytes[6..10].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Entry::decode(&reseal(bytes), &keys), Err(expected), "{what}");
    }
    let mut longer = good[..sealed].to_vec();
    longer.push(b'!');
    assert_eq!(Entry::decode(&reseal(longer), &keys), Err(Corrupt::BodyLength));
}

#[test]
fn each_gate_and_the_check_hash_are_compared() {
    let header = header();
    let same = CheckHash(Digest([6; 32]));
    assert_eq!(header.verify(&gates(), &same), Ok(()));
    assert_eq!(header.verify(&gates(), &CheckHash(Digest([0; 32]))), Err(Mismatch::Check));
    type Change = fn(&mut Gates);
    let changes: [(Reason, Change); 9] = [
        (Reason::Org, |gates| gates.org.push('x')),
        (Reason::Group, |gates| gates.scope = Scope::OrgShared { group: None }),
        (Reason::Tier, |gates| gates.scope = Scope::PrivateEdge { key_id: "coders".to_owned() }),
        (Reason::Codebase, |gates| gates.codebases = BTreeSet::new()),
        (Reason::Fabric, |gates| gates.fabric = Some(String::new())),
        (Reason::Policy, |gates| gates.policy = Digest([0; 32])),
        (Reason::Model, |gates| gates.model.served_model.push('x')),
        (Reason::Model, |gates| gates.model.version = Some(String::new())),
        (Reason::Entitlement, |gates| gates.entitlements = BTreeSet::new()),
    ];
    for (reason, change) in changes {
        let mut other = gates();
        change(&mut other);
        assert_eq!(header.verify(&other, &same), Err(Mismatch::Gate(reason)));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        // Whatever it says, it says it without a panic.
        let _ = Entry::whose(&bytes);
        prop_assert!(Entry::decode(&bytes.into(), &OrgKeys::derive("acme")).is_err());
    }

    #[test]
    fn arbitrary_headers_under_a_good_mac_never_panic(head in proptest::collection::vec(any::<u8>(), 0..300)) {
        let keys = OrgKeys::derive("acme");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(head.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&head);
        let mac = keys.entry_mac(&bytes);
        bytes.extend_from_slice(&mac.0);
        // Whatever it says, it says it without a panic.
        let _ = Entry::decode(&bytes.into(), &keys);
    }

    #[test]
    fn names_survive_whatever_they_contain(org in ".*", served_by in ".*", tag in ".*", version in ".*") {
        let keys = OrgKeys::derive(&org);
        let mut header = header();
        header.gates.org = org;
        header.gates.entitlements = BTreeSet::from([tag]);
        header.gates.model.version = Some(version);
        header.served_by = served_by;
        let bytes: Bytes = Entry::encode(&header, b"x", &keys).into();
        prop_assert_eq!(Entry::whose(&bytes), Some(header.gates.org.clone()));
        prop_assert_eq!(Entry::whose(&bytes[1..]), None);
        prop_assert_eq!(Entry::decode(&bytes, &keys).unwrap().header, header);
    }
}
