//! A new gateway key in the place of an old one, which stays valid for a while: nobody is refused while clients learn
//! the new one. Both stand for the same principal, and share a private cache.

use std::collections::VecDeque;
use std::time::Duration;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::principal::Principal;
use kt_contract::time::{Millis, MonoMillis, UnixMillis};
use kt_contract::wire::admin::{KeyRotated, KeyRotation, OVERLAP_SECONDS_MAX};
use kt_contract::wire::feed::Event;
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::purse::MovementKey;
use super::{Failure, Sidecar};
use crate::random;
use crate::store::{KeyRecord, Rotated};

/// How often is looked whether a key has ended. Whoever asks this sidecar is refused at once; workers hear of it then.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an answer is remembered for somebody to whom it did not come.
const REMEMBERED_FOR: Millis = Millis(600_000);
/// How many of them.
const REMEMBERED_MAX: usize = 64;

/// The rotations that were made lately under a name: in memory alone, because keys are in them.
#[derive(Default)]
pub(super) struct Rotations(Mutex<VecDeque<Remembered>>);

struct Remembered {
    name: String,
    at: MonoMillis,
    overlap_seconds: u64,
    reply: KeyRotated,
}

// === impl Sidecar ===

impl Sidecar {
    /// Makes a key in the place of another one, which ends later. Asked again under the same name, it is answered
    /// again. Without one, a key that was lost on its way is revoked, and then the old one can be rotated again.
    ///
    /// # Errors
    /// No such key; one that is over, or whose place was taken before; a name that has named another rotation; a
    /// store that does not take it.
    pub async fn rotate_key(
        &self,
        key_id: &str,
        request: &KeyRotation,
        name: Option<MovementKey<'_>>,
    ) -> Result<KeyRotated, Failure> {
        let KeyRotation { overlap_seconds } = *request;
        if overlap_seconds > OVERLAP_SECONDS_MAX {
            let what = "must be at most 7776000, which is 90 days";
            return Err(Failure::Invalid { field: "overlap_seconds", what });
        }
        // One after the other: the second of two equal questions finds the first one's answer.
        let mut remembered = self.rotations.0.lock().await;
        let now = self.clock.mono();
        remembered.retain(|before| now.since(before.at) <= REMEMBERED_FOR);
        let name = name.map(|name| name.as_str().to_owned());
        if let Some(before) = remembered.iter().find(|it| Some(&it.name) == name.as_ref()) {
            let is_same =
                before.reply.replaces == key_id && before.overlap_seconds == overlap_seconds;
            return if is_same { Ok(before.reply.clone()) } else { Err(Failure::KeyReused) };
        }
        let reply = self.rotated(key_id, Millis(overlap_seconds.saturating_mul(1_000))).await?;
        if let Some(name) = name {
            remembered.truncate(REMEMBERED_MAX - 1);
            let reply = reply.clone();
            remembered.push_front(Remembered { name, at: now, overlap_seconds, reply });
        }
        Ok(reply)
    }

    async fn rotated(&self, key_id: &str, overlap: Millis) -> Result<KeyRotated, Failure> {
        let not_found = || Failure::NotFound { what: format!("key '{key_id}'") };
        let old = self.keys.find_named(key_id.to_owned()).await?.ok_or_else(not_found)?;
        let key = GatewayKey::from_random(&random::bytes()?);
        let new_id = format!("gk_{}", random::hex::<8>()?);
        let created_at = self.clock.wall();
        let ends_at = UnixMillis(created_at.0.saturating_add(overlap.0));
        let lineage = Some(old.principal.lineage().to_owned());
        let new = KeyRecord {
            hash: key.hash(),
            principal: Principal { key_id: new_id.clone(), lineage, ..old.principal },
            created_at,
            revoked_at: None,
            ends_at: None,
            successor: None,
        };
        let old = match self.keys.rotate(key_id.to_owned(), new, ends_at).await? {
            Rotated::Done(old) => old,
            Rotated::Unknown => return Err(not_found()),
            Rotated::Over => {
                return Err(Failure::NotRotated(format!(
                    "'{key_id}' is revoked or has ended: make a new key with `kt key create`"
                )));
            }
            Rotated::Replaced { successor } => {
                return Err(Failure::NotRotated(format!(
                    "'{successor}' has taken the place of '{key_id}': rotate that one, or revoke it where nobody has \
                     it, and ask again"
                )));
            }
        };
        // Whoever remembers the old key asks again, and learns when it ends.
        self.callers.forget(&old);
        self.feed.publish(Event::Principal { key: old });
        tracing::info!(key_id, successor = new_id, ends_at = ends_at.0, "gateway key rotated");
        let key = key.reveal().to_owned();
        Ok(KeyRotated { key_id: new_id, key, replaces: key_id.to_owned(), ends_at })
    }

    /// Ends keys for as long as it is polled.
    pub async fn end_keys(&self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.end_keys_once();
        }
    }

    /// Tells every worker of the keys that have ended.
    pub fn end_keys_once(&self) {
        for key in self.callers.ended() {
            tracing::info!("a gateway key has ended, as its rotation said");
            self.feed.publish(Event::Principal { key });
        }
    }
}
