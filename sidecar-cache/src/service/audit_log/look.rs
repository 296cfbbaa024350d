//! Looking at the audit log: its heads, whether it holds, and what it says.

use std::collections::BTreeMap;

use kt_contract::hex::Digest;
use kt_contract::wire::admin::audit_log::{
    AuditHead, AuditHeads, AuditNotes, AuditRecord, AuditVerified, BrokenChain, RECORDS_MAX,
    VerifiedChain,
};

use crate::audit_log::{
    Access, Broken, Chain, Checkpoint, Event, Fact, Link, Outcome, Record, Verification, Verified,
};
use crate::ledger::window::Zone;
use crate::report::{BadDays, Days, Today};
use crate::service::{Failure, Sidecar};
use crate::store::audit_log::AuditStore;

/// How many records are read at once.
const PAGE: usize = 1_000;
/// Before every record.
const FIRST_DAY: &str = "1970-01-01";
/// How often a chain is verified again whose beginning went meanwhile.
const TRIES: usize = 3;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// Whose.
    pub org: String,
    /// Those with a greater number.
    pub after: u64,
    /// How many at most.
    pub count: Option<usize>,
    /// The first day, in UTC.
    pub since: Option<String>,
    /// The day before which it ends.
    pub until: Option<String>,
}

// === impl Sidecar ===

impl Sidecar {
    /// The newest hash of every chain.
    ///
    /// # Errors
    /// No audit log; a store without an answer.
    pub async fn audit_heads(&self) -> Result<AuditHeads, Failure> {
        let chains = self.audit_store()?.chains().await?;
        let at = self.clock.wall();
        let chains = chains.into_iter().map(|Chain { org, base, head }| AuditHead {
            org,
            seq: head.seq,
            hash: head.hash,
            removed_through: base.seq,
        });
        Ok(AuditHeads { at, chains: chains.collect() })
    }

    /// Verifies every chain, or one, and compares it with what was written down elsewhere.
    ///
    /// # Errors
    /// No audit log, an organization without records, a store without an answer. What does not hold is no error here.
    pub async fn verify_audit_log(&self, notes: AuditNotes) -> Result<AuditVerified, Failure> {
        let store = self.audit_store()?;
        let mut noted: BTreeMap<String, BTreeMap<u64, Digest>> = BTreeMap::new();
        let AuditNotes { org, heads } = notes;
        for AuditHead { org, seq, hash, .. } in heads {
            noted.entry(org).or_default().insert(seq, hash);
        }
        let mut orgs: Vec<String> = match org {
            Some(org) => vec![org],
            None => store.chains().await?.into_iter().map(|chain| chain.org).collect(),
        };
        // A chain that is gone as a whole was written down, too.
        orgs.extend(noted.keys().filter(|org| !orgs.contains(org)).cloned().collect::<Vec<_>>());
        let mut found = AuditVerified::default();
        for org in orgs {
            let noted = noted.remove(&org).unwrap_or_default();
            match verified(&**store, &org, noted).await? {
                None => return Err(Failure::NotFound { what: format!("audit log of '{org}'") }),
                Some(Ok(Verified { records, removed_through, head, confirmed })) => {
                    let (seq, hash) = (head.seq, head.hash);
                    let chain =
                        VerifiedChain { org, records, removed_through, seq, hash, confirmed };
                    found.verified.push(chain);
                }
                Some(Err(Broken { org, seq, breach })) => {
                    let (code, message) = (breach.as_str().to_owned(), breach.to_string());
                    tracing::error!(org, seq, code, "the audit log is broken");
                    found.broken.push(BrokenChain { org, seq, code, message });
                }
            }
        }
        Ok(found)
    }

    /// Records of an organization, oldest first.
    ///
    /// # Errors
    /// No audit log; what is no day; a store without an answer; a record that cannot be read.
    pub async fn export_audit_log(&self, asked: Export) -> Result<Vec<AuditRecord>, Failure> {
        let Export { org, mut after, count, since, until } = asked;
        let store = self.audit_store()?;
        let zone = Zone::utc();
        let today = Today::everywhere(zone.date(self.clock.wall()));
        let since = since.as_deref().unwrap_or(FIRST_DAY);
        let days = Days::read(Some(since), until.as_deref(), today)
            .map_err(|BadDays { field, what }| Failure::Invalid { field, what })?;
        let (begin, end) = (zone.begin_of(days.since), zone.begin_of(days.until));
        let count = count.unwrap_or(RECORDS_MAX).min(RECORDS_MAX);
        let mut records = Vec::new();
        loop {
            let page = store.read(org.clone(), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(records) };
            after = last.seq;
            for link in page {
                if (begin..end).contains(&link.at) {
                    records.push(exported(link)?);
                }
                if records.len() >= count {
                    return Ok(records);
                }
            }
        }
    }

    fn audit_store(&self) -> Result<&std::sync::Arc<dyn AuditStore>, Failure> {
        self.audit_log.as_ref().map(|log| &log.store).ok_or(Failure::NoAuditLog)
    }
}

/// Verifies a chain as it is now. What is put behind it meanwhile is not waited for; where its beginning goes
/// meanwhile, it is begun anew.
async fn verified(
    store: &dyn AuditStore,
    org: &str,
    noted: BTreeMap<u64, Digest>,
) -> Result<Option<Result<Verified, Broken>>, Failure> {
    let mut tries = TRIES;
    loop {
        tries = tries.saturating_sub(1);
        let chain = match store.chain(org.to_owned()).await? {
            Some(chain) => chain,
            // It was written down once, and is gone.
            None if !noted.is_empty() => Chain::new(org.to_owned()),
            None => return Ok(None),
        };
        let found = walked(store, chain.clone(), noted.clone()).await?;
        if found.is_ok() || tries == 0 {
            return Ok(Some(found));
        }
        let base = store.chain(org.to_owned()).await?.map(|chain| chain.base);
        if base.is_none_or(|base| base == chain.base) {
            return Ok(Some(found));
        }
    }
}

async fn walked(
    store: &dyn AuditStore,
    chain: Chain,
    noted: BTreeMap<u64, Digest>,
) -> Result<Result<Verified, Broken>, Failure> {
    let (org, end) = (chain.org.clone(), chain.head.seq);
    let mut verification = match Verification::begin(chain, noted) {
        Ok(verification) => verification,
        Err(broken) => return Ok(Err(broken)),
    };
    while !verification.is_complete() {
        let page = store.read(org.clone(), verification.at(), PAGE).await?;
        let mut links = page.into_iter().take_while(|link| link.seq <= end).peekable();
        if links.peek().is_none() {
            break;
        }
        for link in links {
            if let Err(broken) = verification.take(&link) {
                return Ok(Err(broken));
            }
        }
    }
    Ok(verification.end())
}

/// A record as people read it.
fn exported(link: Link) -> Result<AuditRecord, Failure> {
    const UNREADABLE: crate::store::StoreError = crate::store::StoreError::Corrupt(
        "a record of the audit log; `kt audit verify` says which",
    );
    let Record { seq, fact: Fact { org, at, event } } =
        Record::from_bytes(&link.bytes).ok_or(UNREADABLE)?;
    let record = AuditRecord::new(seq, at, org, link.hash);
    Ok(match event {
        Event::Checkpoint(Checkpoint { through, hash }) => AuditRecord {
            kind: "checkpoint".to_owned(),
            removed_through: Some(through),
            removed_hash: Some(hash),
            ..record
        },
        Event::Access(access) => {
            let Access { stage, request_id, gateway, key_id, team, user, agent, .. } = *access;
            AuditRecord {
                kind: stage.as_str().to_owned(),
                request_id: Some(request_id),
                gateway: Some(gateway),
                key_id,
                team,
                user,
                agent,
                model: access.model,
                provider: access.provider,
                outcome: access.outcome.map(|outcome: Outcome| outcome.as_str().to_owned()),
                reason: access.reason,
                status: (access.status != 0).then_some(access.status),
                code: access.code,
                policies: access.policies,
                cost_micro_usd: access.cost_micro_usd,
                times: access.times,
                ..record
            }
        }
    })
}
