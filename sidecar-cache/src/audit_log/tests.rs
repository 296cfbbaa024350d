//! Chains that grow, go from their beginning, and are tampered with in every way that we know.

use std::collections::BTreeMap;

use kt_contract::hex::Digest;
use kt_contract::time::UnixMillis;

use super::*;

fn access(number: u64) -> Access {
    Access {
        stage: if number.is_multiple_of(2) { Stage::Asked } else { Stage::Ended },
        request_id: format!("{number:032x}"),
        gateway: "gw-a".to_owned(),
        key_id: Some("gk_1".to_owned()),
        team: (number > 1).then(|| "core".to_owned()),
        user: Some(String::new()),
        agent: None,
        model: Some("gpt-4o".to_owned()),
        provider: Some("openai".to_owned()),
        outcome: [None, Some(Outcome::Hit), Some(Outcome::Blocked)][(number % 3) as usize],
        reason: Some("request".to_owned()),
        status: 200,
        code: (number % 3 == 2).then(|| "policy_blocked".to_owned()),
        policies: vec!["pii-detector:email:redact".to_owned(); (number % 3) as usize],
        cost_micro_usd: (number > 2).then_some(number),
        times: 1,
    }
}

/// So many records, a second apart.
fn chain_of(count: u64) -> (Chain, Vec<Link>) {
    let mut chain = Chain::new("acme".to_owned());
    let links = (1..=count)
        .map(|number| {
            chain.append(UnixMillis(number * 1_000), Event::Access(Box::new(access(number))))
        })
        .collect();
    (chain, links)
}

fn check(chain: &Chain, links: &[Link]) -> Result<Verified, Broken> {
    verify(chain.clone(), BTreeMap::new(), links.iter().cloned())
}

fn broken(chain: &Chain, links: &[Link]) -> (u64, &'static str) {
    let Broken { org, seq, breach } = check(chain, links).unwrap_err();
    assert_eq!(org, "acme");
    (seq, breach.as_str())
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let (_, links) = chain_of(9);
    for (number, link) in (1..).zip(&links) {
        let record = Record::from_bytes(&link.bytes).unwrap();
        assert_eq!(record.seq, number);
        assert_eq!(record.fact.at, link.at);
        assert_eq!(record.fact.event, Event::Access(Box::new(access(number))));
        assert_eq!(record.to_bytes(), link.bytes);
    }
}

#[test]
fn a_record_has_one_spelling_and_what_is_cut_or_longer_is_none() {
    let (_, links) = chain_of(5);
    for bytes in links.iter().map(|link| &link.bytes) {
        for at in 0..bytes.len() {
            assert_eq!(Record::from_bytes(&bytes[..at]), None);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                if let Some(record) = Record::from_bytes(&flipped) {
                    assert_eq!(record.to_bytes(), flipped, "byte {at}");
                }
            }
        }
        assert_eq!(Record::from_bytes(&[bytes, &[0][..]].concat()), None);
    }
}

#[test]
fn the_layout_and_the_hash_do_not_change() {
    let (chain, _) = chain_of(3);
    let genesis = Head::genesis("acme").hash.to_hex();
    assert_eq!(genesis, "3ebabd6b57c6a31c6d66480ff1ce2aa862d3e1cc09b68866b64f7ca239a39491");
    assert_eq!(
        chain.head.hash.to_hex(),
        "e2b4055752e3988604bb988cd37aa4fc22c6087f33ab0f9f181c2943adab876d"
    );
}

#[test]
fn a_chain_that_nobody_has_touched_holds() {
    for count in [0, 1, 7] {
        let (chain, links) = chain_of(count);
        let head = chain.head;
        let expected = Verified { records: count, removed_through: 0, head, confirmed: 0 };
        assert_eq!(check(&chain, &links), Ok(expected));
    }
}

#[test]
fn any_byte_that_is_flipped_is_found_at_its_record() {
    let (chain, links) = chain_of(6);
    for nth in 0..links.len() {
        for at in 0..links[nth].bytes.len() {
            let mut flipped = links.clone();
            flipped[nth].bytes[at] ^= 0x20;
            assert_eq!(broken(&chain, &flipped).0, nth as u64 + 1, "record {nth}, byte {at}");
        }
        for at in 0..32 {
            let mut flipped = links.clone();
            flipped[nth].hash.0[at] ^= 1;
            assert_eq!(broken(&chain, &flipped), (nth as u64 + 1, "hash"));
        }
        let mut moved = links.clone();
        moved[nth].at.0 += 1;
        assert_eq!(broken(&chain, &moved), (nth as u64 + 1, "misplaced"));
    }
}

#[test]
fn a_record_that_is_dropped_repeated_added_or_moved_is_found_at_its_place() {
    let (chain, links) = chain_of(6);
    for nth in 0..links.len() {
        let seq = nth as u64 + 1;
        let mut dropped = links.clone();
        dropped.remove(nth);
        let expected = if seq == 6 { (5, "cut_off") } else { (seq, "missing") };
        assert_eq!(broken(&chain, &dropped), expected);

        let mut repeated = links.clone();
        repeated.insert(nth, links[nth].clone());
        assert_eq!(broken(&chain, &repeated), (seq, "repeated"));

        let mut added = links.clone();
        let (_, mut other) = chain_of(6);
        other[nth].bytes =
            Record { seq, fact: Fact::access("acme".to_owned(), links[nth].at, access(99)) }
                .to_bytes();
        added.insert(nth, other[nth].clone());
        assert_eq!(broken(&chain, &added), (seq, "hash"));

        if seq < 6 {
            let mut moved = links.clone();
            moved.swap(nth, nth + 1);
            assert_eq!(broken(&chain, &moved), (seq, "missing"));
            // And under each other's numbers.
            (moved[nth].seq, moved[nth + 1].seq) = (seq, seq + 1);
            assert_eq!(broken(&chain, &moved), (seq, "misplaced"));
        }
    }
}

/// Whoever can write the table can make every hash fit that follows; then only the head is another one.
#[test]
fn a_chain_that_is_made_anew_has_another_head() {
    let (chain, _) = chain_of(6);
    let mut forged = Chain::new("acme".to_owned());
    let links: Vec<_> = (1..=6)
        .map(|number| {
            let told = if number == 3 { access(99) } else { access(number) };
            forged.append(UnixMillis(number * 1_000), Event::Access(Box::new(told)))
        })
        .collect();
    assert_eq!(broken(&chain, &links), (6, "other_head"));
    assert!(check(&forged, &links).is_ok(), "its own head does not tell");
    for (noted, expected) in [
        (chain.head, (6, "not_as_noted")),
        (Head { seq: 7, ..chain.head }, (7, "not_there")),
        (Head { seq: 0, ..chain.head }, (0, "not_as_noted")),
    ] {
        let noted = BTreeMap::from([(noted.seq, noted.hash)]);
        let Broken { seq, breach, .. } = verify(forged.clone(), noted, links.clone()).unwrap_err();
        assert_eq!((seq, breach.as_str()), expected);
    }
    let noted = BTreeMap::from([(2, links[1].hash), (6, links[5].hash)]);
    assert_eq!(verify(forged, noted, links).unwrap().confirmed, 2);
}

#[test]
fn two_organizations_never_share_a_chain() {
    let (chain, links) = chain_of(2);
    let other = Chain { org: "umbrella".to_owned(), ..chain.clone() };
    let broken = check(&other, &links).unwrap_err();
    assert_eq!((broken.seq, broken.breach), (0, Breach::Hash));
    let genesis = Head::genesis("umbrella");
    let other = Chain { org: "umbrella".to_owned(), base: genesis, head: chain.head };
    let broken = check(&other, &links).unwrap_err();
    assert_eq!((broken.seq, broken.breach), (1, Breach::Misplaced));
}

#[test]
fn what_retention_has_removed_is_said_in_the_chain_and_the_rest_still_holds() {
    let (mut chain, mut links) = chain_of(6);
    for (through, at) in [(2, 10_000), (4, 20_000)] {
        let hash = links.iter().find(|link| link.seq == through).unwrap().hash;
        let checkpoint = chain.forget(Head { seq: through, hash }, UnixMillis(at));
        links.push(checkpoint);
        links.retain(|link| link.seq > through);
        let found = check(&chain, &links).unwrap();
        assert_eq!((found.records, found.removed_through), (links.len() as u64, through));
    }
    assert_eq!(chain.head.seq, 8);
    // Older notes cannot be compared any more, and break nothing.
    let noted = BTreeMap::from([(1, Digest([0; 32])), (8, chain.head.hash)]);
    assert_eq!(verify(chain, noted, links).unwrap().confirmed, 1);
}

#[test]
fn a_beginning_that_somebody_else_has_removed_is_found() {
    let (mut chain, links) = chain_of(6);
    chain.base = Head { seq: 2, hash: links[1].hash };
    assert_eq!(broken(&chain, &links[2..]), (2, "unexplained"));
    let hash = links[1].hash;
    let mut further = links.clone();
    further.push(chain.forget(Head { seq: 2, hash }, UnixMillis(9_000)));
    assert!(check(&chain, &further[2..]).is_ok());
    chain.base = Head { seq: 3, hash: links[2].hash };
    assert_eq!(broken(&chain, &further[3..]), (3, "unexplained"), "more than the chain says");
}
