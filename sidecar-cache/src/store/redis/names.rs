//! The names of keys. Nothing in them comes from a client or an organization but as a digest; what one script
//! touches has one hash tag.

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;

use crate::rate_limit::Name;
use crate::store::flight_log::LogAt;

/// How many places what belongs to a cache key is spread over. A slot of a cluster has four of 16,384 at most;
/// the leases of a place share a counter.
const PLACE_DIGITS: usize = 3;

/// Names keys under one prefix.
#[derive(Clone, Copy)]
pub(super) struct Names<'a>(pub(super) &'a str);

// === impl Names ===

impl Names<'_> {
    /// An entry.
    pub(super) fn entry(self, key: &CacheKey) -> String {
        self.of_key(key, "e")
    }

    /// The lease of a key.
    pub(super) fn lease(self, key: &CacheKey) -> String {
        self.of_key(key, "l")
    }

    /// What counts the leases of a key's place.
    pub(super) fn counter(self, key: &CacheKey) -> String {
        self.of_place(key, "n")
    }

    /// The log of a flight: what is known of it, and its pieces.
    pub(super) fn log(self, at: LogAt) -> [String; 2] {
        ["h", "g"].map(|part| format!("{}:{}", self.of_key(&at.key, part), at.id.0))
    }

    /// The channel on which it is told that the log of a flight in a key's place has grown.
    pub(super) fn channel(self, key: &CacheKey) -> String {
        self.of_place(key, "w")
    }

    /// The entries of one request, behind whatever gates.
    pub(super) fn near(self, request: &Digest) -> String {
        format!("{}{{r{}}}n", self.0, request.to_hex())
    }

    /// What an organization has: when its entries expire, and how large they are.
    pub(super) fn org(self, org: OrgId) -> [String; 2] {
        ["t", "b"].map(|part| format!("{}{{o{:032x}}}{part}", self.0, org.0))
    }

    /// A bucket of an organization's rate limits: all of them have one hash tag.
    pub(super) fn bucket(self, org: OrgId, name: Name) -> String {
        format!("{}{{o{:032x}}}q:{:032x}", self.0, org.0, u128::from_be_bytes(name.0))
    }

    /// The names of the organizations that have something.
    pub(super) fn orgs(self) -> String {
        format!("{}{{orgs}}", self.0)
    }

    fn of_key(self, key: &CacheKey, part: &str) -> String {
        format!("{}:{}", self.of_place(key, part), key.0.to_hex())
    }

    fn of_place(self, key: &CacheKey, part: &str) -> String {
        let digest = key.0.to_hex();
        let place = digest.get(..PLACE_DIGITS).unwrap_or_default();
        format!("{}{{{place}}}{part}", self.0)
    }
}

/// An organization, by the digest of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OrgId(pub(super) u128);

// === impl OrgId ===

impl OrgId {
    pub(super) fn of(org: &str) -> Self {
        let digest = blake3::derive_key("keeptrusts kt redis organization v1", org.as_bytes());
        let [first, ..] = digest.as_chunks::<16>().0 else { return Self(0) };
        Self(u128::from_be_bytes(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::FlightId;

    #[test]
    fn no_byte_of_a_client_is_in_a_name() {
        let names = Names("kt:cache:");
        let [expires, sizes] = names.org(OrgId::of("a}b {c}\r\nFLUSHALL\r\n"));
        let key = CacheKey(Digest([0xab; 32]));
        let of_key = [names.entry(&key), names.lease(&key), names.counter(&key)];
        let bucket = names.bucket(OrgId::of("a}b"), Name([0xcd; 16]));
        let others =
            [expires, sizes, names.near(&key.0), names.orgs(), names.channel(&key), bucket];
        let log = names.log(LogAt { key, id: FlightId(7) });
        for name in of_key.into_iter().chain(others).chain(log) {
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
            assert_eq!(name.matches(['{', '}']).count(), 2, "{name} has one hash tag");
        }
    }

    #[test]
    fn organizations_have_names_of_their_own() {
        assert_ne!(OrgId::of("acme"), OrgId::of("acme "));
        assert_ne!(OrgId::of(""), OrgId::of("\0"));
    }
}
