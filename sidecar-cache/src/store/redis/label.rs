//! What stands before an entry's bytes in Redis: for how long it was filled, and whose it is. It is not under
//! the entry's MAC, so nothing but the store's housekeeping follows from it; what a reader may be told follows
//! from the entry alone.

use bytes::Bytes;
use kt_contract::time::Millis;

use super::names::OrgId;
use crate::store::{Found, Lifetime};

const MAGIC: [u8; 4] = *b"kts1";
/// Magic, fresh, stale, organization.
pub(super) const LABEL_BYTES: usize = 4 + 8 + 8 + 16;

/// The label of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) lifetime: Lifetime,
    pub(super) org: OrgId,
}

// === impl Label ===

impl Label {
    pub(super) fn write(self) -> [u8; LABEL_BYTES] {
        let Self { lifetime, org } = self;
        let parts: [&[u8]; 4] = [
            &MAGIC,
            &lifetime.fresh.0.to_be_bytes(),
            &lifetime.stale.0.to_be_bytes(),
            &org.0.to_be_bytes(),
        ];
        let mut label = [0; LABEL_BYTES];
        label.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        label
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (fresh, rest) = rest.split_first_chunk::<8>()?;
        let (stale, rest) = rest.split_first_chunk::<8>()?;
        let (org, _) = rest.split_first_chunk::<16>()?;
        let lifetime = Lifetime {
            fresh: Millis(u64::from_be_bytes(*fresh)),
            stale: Millis(u64::from_be_bytes(*stale)),
        };
        Some(Self { lifetime, org: OrgId(u128::from_be_bytes(*org)) })
    }
}

/// What a lookup finds in a value that lives so much longer. Whatever has no label is found as it is: the
/// reader refuses it, counts it, and has it purged.
pub(super) fn found(value: Bytes, left: Millis) -> Found {
    let Some(Label { lifetime, .. }) = Label::read(&value) else {
        return Found { bytes: value, age: Millis(0), fresh: left, stale: Millis(0) };
    };
    // What is left was asked first, so it may be that of the entry before: shorter is safe, longer is not.
    let age = whole(lifetime).0.saturating_sub(left.0);
    Found {
        bytes: value.slice(LABEL_BYTES..),
        age: Millis(age),
        fresh: Millis(lifetime.fresh.0.saturating_sub(age)),
        stale: Millis(age.saturating_sub(lifetime.fresh.0)),
    }
}

/// Fresh and stale.
pub(super) const fn whole(lifetime: Lifetime) -> Millis {
    Millis(lifetime.fresh.0.saturating_add(lifetime.stale.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label =
        Label { lifetime: Lifetime { fresh: Millis(1_000), stale: Millis(500) }, org: OrgId(7) };

    fn value(label: Label, bytes: &[u8]) -> Bytes {
        [&label.write(), bytes].concat().into()
    }

    #[test]
    fn times_follow_from_what_is_left() {
        for (left, age, fresh, stale) in [
            (9_999, 0, 1_000, 0),
            (1_500, 0, 1_000, 0),
            (501, 999, 1, 0),
            (500, 1_000, 0, 0),
            (1, 1_499, 0, 499),
        ] {
            let found = found(value(LABEL, b"entry"), Millis(left));
            assert_eq!(found.bytes, "entry");
            let times = (found.age.0, found.fresh.0, found.stale.0);
            assert_eq!(times, (age, fresh, stale), "{left} left");
        }
    }

    #[test]
    fn what_has_no_label_is_found_as_it_is() {
        for bytes in [Bytes::new(), Bytes::from_static(b"kts1"), Bytes::from_static(&[7; 99])] {
            let found = found(bytes.clone(), Millis(9_999));
            assert_eq!((found.bytes, found.age, found.stale), (bytes, Millis(0), Millis(0)));
        }
    }

    #[test]
    fn a_label_is_read_as_it_was_written() {
        assert_eq!(Label::read(&value(LABEL, b"entry")), Some(LABEL));
        assert_eq!(Label::read(&LABEL.write()[1..]), None);
    }
}
