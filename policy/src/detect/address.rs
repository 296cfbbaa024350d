//! IP addresses. Those that name nobody are none: unspecified, loopback and broadcast. Private ones are found,
//! because they tell how a network is built.

use std::net::Ipv6Addr;

use super::near::Words;
use super::number::{Number, Separator};
use crate::entity::Entity;
use crate::scan::Match;
use crate::text::{ALNUM, DASHES, DIGIT, HEX, Text, is};

const V6_BYTES_MAX: usize = 45;

/// Words before four numbers with dots that make a version or a section of them.
pub(super) const VERSION: Words = Words {
    ascii: &[
        "annex",
        "appendix",
        "article",
        "bios",
        "build",
        "chapter",
        "clause",
        "clauses",
        "driver",
        "drivers",
        "firmware",
        "fw",
        "kapitel",
        "oid",
        "paragraph",
        "patch",
        "plugin",
        "release",
        "rev",
        "revision",
        "schedule",
        "section",
        "sections",
        "ver",
        "version",
        "versione",
        "versions",
    ],
    other: &["вepcи", "вepcия", "版本", "バージョン", "ファームウェア", "펌웨어", "버전", "固件"],
};
/// Words that make an address of four numbers that are all small.
pub(super) const ADDRESS: Words = Words {
    ascii: &[
        "addr",
        "address",
        "addresses",
        "adres",
        "adresse",
        "client",
        "connect",
        "connected",
        "dns",
        "endpoint",
        "gateway",
        "host",
        "hosts",
        "http",
        "https",
        "indirizzo",
        "ip",
        "ips",
        "ipv4",
        "login",
        "nameserver",
        "node",
        "peer",
        "ping",
        "proxy",
        "remote",
        "resolver",
        "server",
        "servers",
        "source",
        "ssh",
        "upstream",
    ],
    other: &["地址", "アドレス", "주소"],
};
/// Resolvers that everybody knows.
const RESOLVERS: [[u64; 4]; 6] =
    [[1, 0, 0, 1], [1, 1, 1, 1], [4, 2, 2, 1], [8, 8, 4, 4], [8, 8, 8, 8], [9, 9, 9, 9]];
/// Of addresses that are given out at random, four numbers below this are one in four thousand; of versions most.
const SMALL: u64 = 32;

/// The IPv4 address that the number is.
pub(super) fn find_v4(text: &Text<'_>, number: &Number) -> Option<Match> {
    let address = number.prefixes(text).find(|prefix| prefix.groups.len() == 4);
    let address = match address {
        Some(address) => address,
        // With a port.
        None => number.up_to_port(text)?,
    };
    if address.separator() != Some(Separator::Dot) {
        return None;
    }
    let mut octets = [0; 4];
    for (octet, group) in octets.iter_mut().zip(address.groups) {
        let length = group.end - group.start;
        let value = address.value(group.digits_before, group.digits_before + length);
        let is_padded = length > 1 && text.has(group.start, b'0');
        if length > 3 || value > 255 || is_padded {
            return None;
        }
        *octet = value;
    }
    let is_nobody = matches!(octets, [0 | 127, _, _, _] | [255, 255, 255, _]);
    // A mask or a suffix of a version, as in 1.2.3.4-rc1, is not an address either.
    let is_small = octets.iter().all(|octet| *octet < SMALL);
    let is_address = || {
        octets.first() == Some(&10)
            || RESOLVERS.contains(&octets)
            || ADDRESS.are_near(text, address.start, address.end)
    };
    let is_version = VERSION.are_before(text, address.start, if is_small { 64 } else { 24 })
        || (is_small && (text.has(address.end, b'-') || !is_address()));
    (!is_nobody && !is_version).then_some(Match {
        start: address.start,
        end: address.end,
        entity: Entity::IpAddress,
    })
}

/// Whether the colon before an address stands behind a word, as in `ip:2001:db8::1`, and is none of its own.
fn is_named(text: &Text<'_>, at: usize) -> bool {
    let word = text.slice(at.saturating_sub(6), at - 1);
    let word = word.rsplit(|byte| !is(*byte, ALNUM)).next().unwrap_or_default();
    !word.is_empty() && (word.len() > 4 || !word.iter().all(|byte| is(*byte, HEX)))
}

/// The IPv6 address that begins here.
pub(super) fn find_v6(text: &Text<'_>, at: usize) -> Option<Match> {
    let first = text.span(at, HEX, 5);
    if first - at > 4 || !text.has(first, b':') {
        return None;
    }
    if text.before(at).is_some_and(|before| is(before, ALNUM | DASHES) || before == b'.')
        || (text.before(at) == Some(b':') && !is_named(text, at))
    {
        return None;
    }
    let mut end = first;
    let (mut colons, mut digits) =
        (0, usize::from(text.slice(at, first).iter().any(u8::is_ascii_digit)));
    while let Some(byte) =
        text.get(end).filter(|byte| is(*byte, HEX) || matches!(byte, b':' | b'.'))
    {
        colons += usize::from(byte == b':');
        digits += usize::from(is(byte, DIGIT));
        end += 1;
        if end - at > V6_BYTES_MAX {
            return None;
        }
    }
    if text.is(end, ALNUM | DASHES) {
        return None;
    }
    // A point or colon behind it ends the sentence.
    while end > at && text.before(end).is_some_and(|last| last == b'.') {
        end -= 1;
    }
    let written = std::str::from_utf8(text.slice(at, end)).ok()?;
    let (written, end) = match written.strip_suffix(':') {
        Some(shorter) if !shorter.ends_with(':') => (shorter, end - 1),
        Some(_) | None => (written, end),
    };
    let address: Ipv6Addr = written.parse().ok()?;
    let groups = written.split(':').filter(|group| !group.is_empty()).count();
    // Names of programs have two colons too: `dead::beef`.
    let is_name = groups <= 2
        && (first - at < 4 || !written.as_bytes().iter().take(4).any(u8::is_ascii_digit))
        && !written.starts_with("::");
    let is_nobody = address.is_unspecified() || address.is_loopback();
    (colons >= 2 && digits > 0 && !is_name && !is_nobody).then_some(Match {
        start: at,
        end,
        entity: Entity::IpAddress,
    })
}
