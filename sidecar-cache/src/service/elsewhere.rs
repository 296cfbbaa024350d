//! What happens elsewhere: where sidecars share a database, each asks it every quarter of a second what the others have
//! changed, and tells its own gateways. While the database does not answer, what is remembered holds for a while.

use std::time::Duration;

use kt_contract::wire::feed::Event;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Sidecar;
use crate::confirmed::Standing;
use crate::generation::Tag;
use crate::skew::Skew;
use crate::store::StoreError;

/// How often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an answer may take. Whatever is late is asked for again, over another connection.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// How often a sidecar says that it lives, which its claims hang on; several times within the time that they hold.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How often what has expired is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What gateways have been told of, so that they are told once.
#[derive(Debug)]
struct Told {
    standing: Standing,
    is_answering: bool,
}

// === impl Sidecar ===

impl Sidecar {
    /// Looks for as long as it is polled. Without a shared database there is nothing to look at.
    pub async fn keep_looking(&self) {
        if !self.cache.generations().is_shared() {
            return;
        }
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checks = interval(LOOK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told { standing: Standing::All, is_answering: true };
        loop {
            looks.tick().await;
            let look = self.look_elsewhere();
            tokio::pin!(look);
            let looked = loop {
                tokio::select! {
                    looked = &mut look => break looked,
                    // What is remembered becomes too old while a look waits, too.
                    _ = checks.tick() => self.tell_standing(&mut told),
                }
            };
            self.note(&looked, &mut told);
            self.tell_standing(&mut told);
        }
    }

    /// Looks after claims for as long as it is polled.
    pub async fn keep_claims(&self) {
        if !self.replies.are_shared() {
            return;
        }
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut renewed, mut swept) = (Instant::now(), Instant::now());
        loop {
            ticks.tick().await;
            self.replies.free_late().await;
            // After a failure in the next moment: what this sidecar answers, it answers for.
            if renewed.elapsed() >= RENEW_EVERY && self.replies.renew().await {
                renewed = Instant::now();
            }
            if swept.elapsed() >= SWEEP_EVERY {
                self.replies.sweep().await;
                swept = Instant::now();
            }
        }
    }

    /// This sidecar ends, and answers to no key any more.
    pub async fn leave_claims(&self) {
        self.replies.leave().await;
    }

    /// Asks once what has changed elsewhere, and does it here.
    ///
    /// # Errors
    /// A database that has not answered in time.
    pub async fn look_elsewhere(&self) -> Result<(), StoreError> {
        let late = || StoreError::Transient("the database took too long".to_owned());
        let generations = self.cache.generations();
        let (begun, asked) = (self.clock.mono(), self.clock.wall());
        let looked = timeout(LOOK_MAX, generations.look()).await;
        let news = looked.unwrap_or_else(|_| Err(late()))?;
        for key in &news.keys {
            self.callers.forget(key);
            self.feed.publish(Event::Principal { key: *key });
        }
        if news.went_back {
            tracing::error!(
                "the database has forgotten what it had told: it was restored from a copy, or \
                 a standby took over that was behind. Look at the gateway keys; what was purged or \
                 revoked of late may have to be again"
            );
            self.callers.forget_all();
            self.feed.reset();
        }
        // Not before what was revoked is forgotten.
        generations.known().confirm(begun);
        if let Some(theirs) = news.at {
            generations.known().is_apart(Skew::of(asked, theirs, self.clock.wall()));
        }
        if !news.generations.is_empty() {
            self.feed.publish(Event::Purged);
        }
        let mut purged = Vec::new();
        for (org, tag, generation) in news.generations {
            tracing::info!(
                org,
                kind = tag.kind(),
                generation = generation.0,
                "invalidated elsewhere"
            );
            self.replies.void(&org);
            match tag {
                Tag::Org => purged.push((org, None)),
                Tag::Entry(key) => purged.push((org, Some(key))),
                Tag::Codebase(_) | Tag::Fabric(_) | Tag::Model(_) | Tag::Policy(_) => {}
            }
        }
        self.cache.forget(purged);
        Ok(())
    }

    /// Says when the database stops and begins to answer, once.
    fn note(&self, looked: &Result<(), StoreError>, told: &mut Told) {
        match looked {
            Ok(()) if told.is_answering => {}
            Ok(()) => tracing::info!("the shared database answers again"),
            Err(error) => {
                self.metrics.look_failed();
                if told.is_answering {
                    tracing::error!(%error, "the shared database does not answer");
                }
            }
        }
        told.is_answering = looked.is_ok();
    }

    /// What workers remember is bounded as what is remembered here: they are told when it is too old.
    fn tell_standing(&self, told: &mut Told) {
        let standing = self.cache.generations().known().standing();
        if standing > told.standing {
            let age_ms = self.cache.generations().known().age().0;
            match standing {
                Standing::All => {}
                Standing::Callers => {
                    tracing::error!(age_ms, "what was purged is not known: the cache is closed");
                    self.feed.publish(Event::Purged);
                }
                Standing::Nothing => {
                    tracing::error!(age_ms, "who was revoked is not known: nobody is served");
                    self.feed.reset();
                }
            }
        }
        told.standing = standing;
    }
}
