//! Gateway keys: made, listed, revoked. The key itself is shown once and kept nowhere. How one takes another's place
//! is in [`super::rotation`].

use std::collections::BTreeSet;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::id::{BadId, check_id};
use kt_contract::principal::Principal;
use kt_contract::wire::admin::{KeyCreated, KeyEntry, KeyList, KeyRequest};
use kt_contract::wire::feed::Event;
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};

use super::callers::Resolved;
use super::feed::expect_version;
use super::{Failure, Sidecar};
use crate::random;
use crate::store::{KeyRecord, Revoked, StoreError};

/// How many codebases or tags a key may have.
const NAMES_MAX: usize = 256;

// === impl Sidecar ===

impl Sidecar {
    /// Who stands behind a key, for a filter.
    ///
    /// # Errors
    /// Another version of the wire; a store that will never say.
    pub async fn principal(&self, request: &PrincipalRequest) -> Result<PrincipalReply, Failure> {
        expect_version(request.version)?;
        Ok(match self.who(request.key, request.identity.as_ref()).await {
            Ok(Resolved::Known(caller)) => {
                let principal = caller.principal.clone();
                let key_age_ms = caller.key_age(self.clock.wall());
                match (&self.tenants, self.snapshot_for(&principal.org)) {
                    (None, _) => PrincipalReply::Known { principal, key_age_ms },
                    (Some(_), Some(snapshot)) => {
                        let snapshot = Box::new(snapshot.as_ref().clone());
                        PrincipalReply::Tenant { principal, key_age_ms, snapshot }
                    }
                    (Some(_), None) => PrincipalReply::NoTenant,
                }
            }
            Ok(Resolved::Revoked) => PrincipalReply::Revoked,
            Ok(Resolved::Unknown) => PrincipalReply::Unknown,
            // The filter need not take this sidecar for lost, and those whom it knows go on.
            Err(StoreError::Transient(_)) => PrincipalReply::Unavailable,
            Err(error) => return Err(error.into()),
        })
    }

    /// Makes a key.
    ///
    /// # Errors
    /// A name that is none; a store that does not take it.
    pub async fn create_key(&self, request: KeyRequest) -> Result<KeyCreated, Failure> {
        let key = GatewayKey::from_random(&random::bytes()?);
        let key_id = format!("gk_{}", random::hex::<8>()?);
        let record = KeyRecord {
            hash: key.hash(),
            principal: principal(key_id.clone(), request)?,
            created_at: self.clock.wall(),
            revoked_at: None,
            ends_at: None,
            successor: None,
        };
        self.keys.add(record).await?;
        tracing::info!(key_id, "gateway key created");
        Ok(KeyCreated { key_id, key: key.reveal().to_owned() })
    }

    /// All keys there ever were.
    ///
    /// # Errors
    /// A store that cannot say.
    pub async fn list_keys(&self) -> Result<KeyList, Failure> {
        let keys = self.keys.list().await?.into_iter().map(entry).collect();
        Ok(KeyList { keys })
    }

    /// Revokes a key: durably, then for the next request, then on every gateway through the feed.
    ///
    /// # Errors
    /// No such key; a store that does not take it.
    pub async fn revoke_key(&self, key_id: &str) -> Result<KeyEntry, Failure> {
        let not_found = || Failure::NotFound { what: format!("key '{key_id}'") };
        match self.keys.revoke(key_id.to_owned(), self.clock.wall()).await? {
            Revoked::Unknown => return Err(not_found()),
            Revoked::Done(key) => {
                self.callers.forget(&key);
                self.feed.publish(Event::Principal { key });
                tracing::info!(key_id, "gateway key revoked");
            }
        }
        self.keys.find_named(key_id.to_owned()).await?.map(entry).ok_or_else(not_found)
    }
}

fn entry(record: KeyRecord) -> KeyEntry {
    let KeyRecord { hash: _, principal, created_at, revoked_at, ends_at, successor } = record;
    KeyEntry { principal, created_at, revoked_at, ends_at, successor }
}

fn principal(key_id: String, request: KeyRequest) -> Result<Principal, Failure> {
    let KeyRequest { org, team, user, agent, group, codebases, entitlements } = request;
    check("org", Some(&org))?;
    for (field, name) in [("team", &team), ("user", &user), ("agent", &agent), ("group", &group)] {
        check(field, name.as_ref())?;
    }
    Ok(Principal {
        key_id,
        lineage: None,
        org,
        team,
        user,
        agent,
        group,
        codebases: names("codebases", codebases)?,
        entitlements: names("entitlements", entitlements)?,
    })
}

fn names(field: &'static str, names: Vec<String>) -> Result<BTreeSet<String>, Failure> {
    if names.len() > NAMES_MAX {
        return Err(Failure::Invalid { field, what: "has more than 256 names" });
    }
    names.iter().try_for_each(|name| check(field, Some(name)))?;
    Ok(names.into_iter().collect())
}

fn check(field: &'static str, name: Option<&String>) -> Result<(), Failure> {
    name.map_or(Ok(()), |name| check_id(field, name))
        .map_err(|BadId { field, what }| Failure::Invalid { field, what })
}
