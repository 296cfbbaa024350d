//! Whether a chain is what it was: a fold over its records, with its own code for hashes and order, so that a mistake of
//! the code that writes is found as well.

use std::collections::BTreeMap;
use std::fmt;

use kt_contract::hex::Digest;

use super::chain::{Chain, GENESIS_CONTEXT, Head, LINK_CONTEXT, Link};
use super::record::{Checkpoint, Event, Record};

/// A chain that is being verified. Records are handed in from the first one that is kept.
#[derive(Clone, Debug)]
pub struct Verification {
    chain: Chain,
    /// Hashes that somebody has written down elsewhere, by number.
    noted: BTreeMap<u64, Digest>,
    at: Head,
    records: u64,
    /// The last word in the chain on what retention has removed.
    checkpoint: Option<Checkpoint>,
}

/// What a chain that holds has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records that are kept.
    pub records: u64,
    /// The last one that retention has removed; 0: none.
    pub removed_through: u64,
    /// The newest one.
    pub head: Head,
    /// How many hashes that were written down elsewhere are in it.
    pub confirmed: u64,
}

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{org:?}, record {seq}: {breach}")]
pub struct Broken {
    /// Whose chain.
    pub org: String,
    /// At which record.
    pub seq: u64,
    /// What is wrong there.
    pub breach: Breach,
}

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The record is not there; the next that is has this number.
    Missing {
        /// What comes in its place.
        found: u64,
    },
    /// A record of this number was there already.
    Repeated,
    /// Its bytes are no record.
    Unreadable,
    /// It says another number, another organization or another time than it is kept under.
    Misplaced,
    /// Its hash does not follow from the record before it and its own bytes.
    Hash,
    /// Everything up to here is gone, and no record says that retention has removed it.
    Unexplained,
    /// Behind it there are no more, and the chain says that it is longer.
    CutOff {
        /// The number that the chain says it has.
        head: u64,
    },
    /// It is the newest, and the chain says another hash.
    OtherHead,
    /// Its hash is another one than was written down elsewhere.
    NotAsNoted,
    /// It was written down elsewhere, and the chain is not that long.
    NotThere,
}

/// Verifies a whole chain.
///
/// # Errors
/// The first place where it breaks.
pub fn verify(
    chain: Chain,
    noted: BTreeMap<u64, Digest>,
    links: impl IntoIterator<Item = Link>,
) -> Result<Verified, Broken> {
    let mut verification = Verification::begin(chain, noted)?;
    for link in links {
        verification.take(&link)?;
    }
    verification.end()
}

// === impl Verification ===

impl Verification {
    /// Begins with what the chain says of its ends.
    ///
    /// # Errors
    /// It has no beginning, or was longer.
    pub fn begin(chain: Chain, noted: BTreeMap<u64, Digest>) -> Result<Self, Broken> {
        let at = chain.base;
        let begun = Self { chain, noted, at, records: 0, checkpoint: None };
        let genesis = blake3::derive_key(GENESIS_CONTEXT, begun.chain.org.as_bytes());
        if at.seq == 0 && at.hash.0 != genesis {
            return Err(begun.broken(0, Breach::Hash));
        }
        let longest = begun.noted.last_key_value().map_or(0, |(seq, _)| *seq);
        if longest > begun.chain.head.seq {
            return Err(begun.broken(longest, Breach::NotThere));
        }
        begun.compare_with_note(at)?;
        Ok(begun)
    }

    /// Behind which record it is.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at.seq
    }

    /// Whether it has come to the end that the chain had when it began.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.at.seq >= self.chain.head.seq
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It is not the next, or not what it was.
    pub fn take(&mut self, link: &Link) -> Result<(), Broken> {
        let expected = self.at.seq.saturating_add(1);
        if link.seq > expected {
            return Err(self.broken(expected, Breach::Missing { found: link.seq }));
        }
        if link.seq < expected {
            return Err(self.broken(link.seq, Breach::Repeated));
        }
        let Some(Record { seq, fact }) = Record::from_bytes(&link.bytes) else {
            return Err(self.broken(expected, Breach::Unreadable));
        };
        if seq != expected || fact.org != self.chain.org || fact.at != link.at {
            return Err(self.broken(expected, Breach::Misplaced));
        }
        let length = u64::try_from(link.bytes.len()).unwrap_or(u64::MAX).to_be_bytes();
        let hashed = [&self.at.hash.0[..], &length, &link.bytes].concat();
        if blake3::derive_key(LINK_CONTEXT, &hashed) != link.hash.0 {
            return Err(self.broken(expected, Breach::Hash));
        }
        if let Event::Checkpoint(checkpoint) = fact.event {
            self.checkpoint = Some(checkpoint);
        }
        self.at = Head { seq, hash: link.hash };
        self.records = self.records.saturating_add(1);
        self.compare_with_note(self.at)
    }

    /// There are no more records.
    ///
    /// # Errors
    /// There should be, or what is gone was not removed by retention.
    pub fn end(self) -> Result<Verified, Broken> {
        let Chain { base, head, .. } = self.chain;
        if self.at.seq < head.seq {
            return Err(self.broken(self.at.seq, Breach::CutOff { head: head.seq }));
        }
        if self.at != head {
            return Err(self.broken(self.at.seq, Breach::OtherHead));
        }
        let explained =
            self.checkpoint.map_or(0, |Checkpoint { through, hash }| match hash == base.hash {
                true => through,
                false => 0,
            });
        if base.seq != explained {
            return Err(self.broken(base.seq, Breach::Unexplained));
        }
        let confirmed = self.noted.range(base.seq..).count();
        Ok(Verified {
            records: self.records,
            removed_through: base.seq,
            head,
            confirmed: u64::try_from(confirmed).unwrap_or(u64::MAX),
        })
    }

    fn compare_with_note(&self, at: Head) -> Result<(), Broken> {
        match self.noted.get(&at.seq) {
            Some(noted) if *noted != at.hash => Err(self.broken(at.seq, Breach::NotAsNoted)),
            Some(_) | None => Ok(()),
        }
    }

    fn broken(&self, seq: u64, breach: Breach) -> Broken {
        Broken { org: self.chain.org.clone(), seq, breach }
    }
}

// === impl Breach ===

impl Breach {
    /// The stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Repeated => "repeated",
            Self::Unreadable => "unreadable",
            Self::Misplaced => "misplaced",
            Self::Hash => "hash",
            Self::Unexplained => "unexplained",
            Self::CutOff { .. } => "cut_off",
            Self::OtherHead => "other_head",
            Self::NotAsNoted => "not_as_noted",
            Self::NotThere => "not_there",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { found } => write!(f, "it is not there; the next one is {found}"),
            Self::Repeated => f.write_str("a record of this number was there already"),
            Self::Unreadable => f.write_str("its bytes are no record"),
            Self::Misplaced => f.write_str(
                "it says another number, organization or time than it is kept under",
            ),
            Self::Hash => f.write_str(
                "its hash does not follow from the record before it and from what it says: one of them was changed",
            ),
            Self::Unexplained => f.write_str(
                "it and all before it are gone, and no record says that retention has removed them",
            ),
            Self::CutOff { head } => {
                write!(f, "it is the last one that is there, and the chain goes up to {head}")
            }
            Self::OtherHead => f.write_str("it is the newest one, and the chain's head has another hash"),
            Self::NotAsNoted => f.write_str("its hash is not the one that was written down"),
            Self::NotThere => f.write_str("it was written down, and the chain is not that long"),
        }
    }
}
