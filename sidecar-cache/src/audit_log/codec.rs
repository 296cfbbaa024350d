//! A record as bytes, in one way only: what is hashed is what is kept, and what is read back is what was hashed. Every
//! field has its length before it, and a number of its own where it may be absent; the layout is in
//! `docs/reference/audit.md`.

use kt_contract::hex::Digest;
use kt_contract::time::UnixMillis;

use super::record::{Access, Checkpoint, Event, Fact, Outcome, Record, Stage};

/// The first field of every record. Another layout gets another one.
const VERSION: &str = "kt-audit-1";
const ACCESS: &str = "access";
const CHECKPOINT: &str = "checkpoint";

// === impl Record ===

impl Record {
    /// Its canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { seq, fact: Fact { org, at, event } } = self;
        let mut out = Writer::default();
        out.text(VERSION);
        out.number(*seq);
        out.number(at.0);
        out.text(org);
        match event {
            Event::Access(access) => {
                out.text(ACCESS);
                write_access(&mut out, access);
            }
            Event::Checkpoint(Checkpoint { through, hash }) => {
                out.text(CHECKPOINT);
                out.number(*through);
                out.field(&hash.0);
            }
        }
        out.0
    }

    /// Reads canonical bytes. `None`: they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut read = Reader(bytes);
        if read.text()? != VERSION {
            return None;
        }
        let (seq, at, org) = (read.number()?, UnixMillis(read.number()?), read.text()?.to_owned());
        let event = match read.text()? {
            ACCESS => Event::Access(Box::new(read_access(&mut read)?)),
            CHECKPOINT => {
                let through = read.number()?;
                let hash = Digest(read.field()?.try_into().ok()?);
                Event::Checkpoint(Checkpoint { through, hash })
            }
            _ => return None,
        };
        read.0.is_empty().then_some(Self { seq, fact: Fact { org, at, event } })
    }
}

fn write_access(out: &mut Writer, access: &Access) {
    // Destructured, so that a new field does not compile until it is on record.
    let Access { stage, request_id, gateway, key_id, team, user, agent, model, provider, .. } =
        access;
    let Access { outcome, reason, status, code, policies, cost_micro_usd, times, .. } = access;
    out.text(stage.as_str());
    out.text(request_id);
    out.text(gateway);
    for text in [key_id, team, user, agent, model, provider] {
        out.optional(text.as_deref());
    }
    out.optional(outcome.map(Outcome::as_str));
    out.optional(reason.as_deref());
    out.number(u64::from(*status));
    out.optional(code.as_deref());
    out.count(policies.len());
    for policy in policies {
        out.text(policy);
    }
    out.count(usize::from(cost_micro_usd.is_some()));
    if let Some(cost) = cost_micro_usd {
        out.number(*cost);
    }
    out.number(*times);
}

fn read_access(read: &mut Reader<'_>) -> Option<Access> {
    Some(Access {
        stage: Stage::named(read.text()?)?,
        request_id: read.text()?.to_owned(),
        gateway: read.text()?.to_owned(),
        key_id: read.optional()?,
        team: read.optional()?,
        user: read.optional()?,
        agent: read.optional()?,
        model: read.optional()?,
        provider: read.optional()?,
        outcome: match read.optional()? {
            None => None,
            Some(word) => Some(Outcome::named(&word)?),
        },
        reason: read.optional()?,
        status: u16::try_from(read.number()?).ok()?,
        code: read.optional()?,
        policies: {
            let count = read.count()?;
            (0..count).map(|_| read.text().map(str::to_owned)).collect::<Option<_>>()?
        },
        cost_micro_usd: match read.count()? {
            0 => None,
            1 => Some(read.number()?),
            _ => return None,
        },
        times: read.number()?,
    })
}

/// Writes fields.
#[derive(Default)]
struct Writer(Vec<u8>);

/// Reads them.
struct Reader<'a>(&'a [u8]);

// === impl Writer ===

impl Writer {
    fn count(&mut self, count: usize) {
        // What is longer than 4 GiB is cut short by nobody here: no field of a record comes near.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&count.to_be_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.field(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.field(&number.to_be_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.count(usize::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn count(&mut self) -> Option<usize> {
        let (count, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        usize::try_from(u32::from_be_bytes(*count)).ok()
    }

    fn field(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.field()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.field()?.try_into().ok()?))
    }

    fn optional(&mut self) -> Option<Option<String>> {
        match self.count()? {
            0 => Some(None),
            1 => Some(Some(self.text()?.to_owned())),
            _ => None,
        }
    }
}
