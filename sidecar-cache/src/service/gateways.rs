//! Which gateways are there, and where their egress listens. Known from their feed polls, forgotten with
//! time. Times are arguments.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::admin::Presence;
use kt_contract::wire::feed::{FeedRequest, GatewayIdentity, Role};
use tokio::sync::Notify;

use super::lock;
use crate::clock::Clock;

/// A gateway polls at least twice in this time; one that has not is not asked to make calls.
const ASKED_FOR: Millis = Millis(3_000);
/// A gateway that has not polled for this long is lost. Longer than the above: a slow machine is no loss that
/// an operator should be told of.
const LOST_AFTER: Millis = Millis(5_000);
/// A gateway stays in the status for this long after its last poll.
const KNOWN_FOR: Millis = Millis(10 * 60_000);
/// How many are remembered.
const GATEWAYS_MAX: usize = 1_024;
/// How many workers of each.
const WORKERS_MAX: usize = 1_024;

/// The gateways of the group.
#[derive(Debug, Default)]
pub struct Gateways {
    known: Mutex<HashMap<String, Gateway>>,
    /// Wakes calls that wait for a gateway.
    polls: Notify,
}

/// A gateway and when it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// As its filter's constants name it.
    pub identity: GatewayIdentity,
    /// Its workers, by name.
    workers: HashMap<String, Worker>,
    /// When it last polled or asked for admission.
    pub seen: MonoMillis,
}

/// One worker of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Worker {
    /// The version of the snapshot that its last poll named.
    snapshot: Option<String>,
    /// When that was.
    polled: MonoMillis,
    /// When its first poll was.
    joined: MonoMillis,
}

/// What the workers of a gateway have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// The version of their snapshot; of several that differ, one that is behind.
    pub snapshot: Option<String>,
    /// How many poll.
    pub workers: usize,
    /// How many of these are behind.
    pub behind: usize,
}

// === impl Gateways ===

impl Gateways {
    /// A worker of a gateway has polled.
    pub fn polled(&self, request: &FeedRequest, now: MonoMillis) {
        let identity = &request.gateway;
        let mut known = lock(&self.known);
        if let Some(gateway) = known.get_mut(&identity.id) {
            if gateway.identity != *identity {
                tracing::warn!(
                    gateway = identity.id,
                    "a gateway changed its role, group or egress"
                );
                gateway.identity = identity.clone();
            }
            gateway.seen = now;
            gateway.worker_polled(request, now);
            drop(known);
            self.polls.notify_waiters();
            return;
        }
        forget(&mut known, now);
        if known.len() < GATEWAYS_MAX {
            tracing::info!(gateway = identity.id, role = identity.role.as_str(), "gateway joined");
            let identity = identity.clone();
            let mut gateway = Gateway { identity, workers: HashMap::new(), seen: now };
            gateway.worker_polled(request, now);
            let identity = &gateway.identity;
            known.insert(identity.id.clone(), gateway);
            drop(known);
            self.polls.notify_waiters();
        } else {
            tracing::warn!(gateway = identity.id, "too many gateways; this one is not remembered");
        }
    }

    /// A gateway has asked for something, so it is there.
    pub fn heard_of(&self, id: &str, now: MonoMillis) {
        if let Some(gateway) = lock(&self.known).get_mut(id) {
            gateway.seen = now;
        }
    }

    /// The egress sockets through which a call may go, best first: the one of the gateway that asked, then
    /// those of others, the most recently seen first.
    #[must_use]
    pub fn egress(&self, asking: &str, now: MonoMillis) -> Vec<String> {
        let known = lock(&self.known);
        let mut live: Vec<_> =
            known.values().filter(|gateway| now.since(gateway.seen) < ASKED_FOR).collect();
        live.sort_by_key(|gateway| {
            let is_other = gateway.identity.id != asking;
            (is_other, std::cmp::Reverse(gateway.seen), gateway.identity.id.clone())
        });
        live.into_iter().map(|gateway| gateway.identity.egress.clone()).collect()
    }

    /// The same, and if there is none, waits for one to poll: after a restart of the sidecar its gateways
    /// come back within a second or two, and their requests may be faster.
    pub async fn egress_within(&self, asking: &str, clock: Clock, wait: Duration) -> Vec<String> {
        let found = async {
            loop {
                let polled = self.polls.notified();
                let egress = self.egress(asking, clock.mono());
                if !egress.is_empty() {
                    return egress;
                }
                polled.await;
            }
        };
        tokio::time::timeout(wait, found).await.unwrap_or_default()
    }

    /// How many are live.
    #[must_use]
    pub fn live(&self, now: MonoMillis) -> usize {
        let is_live = |gateway: &&Gateway| gateway.presence(now) == Presence::Live;
        lock(&self.known).values().filter(is_live).count()
    }

    /// Who they are, by id.
    #[must_use]
    pub fn members(&self, now: MonoMillis) -> Vec<GatewayIdentity> {
        let is_live = |gateway: &&Gateway| gateway.presence(now) == Presence::Live;
        let known = lock(&self.known);
        let mut members: Vec<_> =
            known.values().filter(is_live).map(|gateway| gateway.identity.clone()).collect();
        drop(known);
        members.sort_by(|left, right| left.id.cmp(&right.id));
        members
    }

    /// What a gateway does in its group, as it has said with its polls. `None`: it has not polled yet.
    #[must_use]
    pub fn role(&self, id: &str) -> Option<Role> {
        lock(&self.known).get(id).map(|gateway| gateway.identity.role)
    }

    /// How many of them are live and do not run the snapshot of this version, on all their workers.
    #[must_use]
    pub fn behind(&self, snapshot: &str, now: MonoMillis) -> usize {
        let is_behind = |gateway: &&Gateway| {
            let live = gateway.presence(now) == Presence::Live;
            live && gateway.standing(snapshot, now).is_behind()
        };
        lock(&self.known).values().filter(is_behind).count()
    }

    /// How old the snapshot is that each live gateway decides by, by its id: since when nobody knows it to be the one in
    /// use, on the worker where that is longest, and at most since that was first heard of. `outdated_for` says for how long
    /// a snapshot has not been.
    #[must_use]
    pub fn snapshot_ages(
        &self,
        now: MonoMillis,
        outdated_for: impl Fn(Option<&str>) -> Millis,
    ) -> Vec<(String, Millis)> {
        let known = lock(&self.known);
        let live = known.values().filter(|gateway| gateway.presence(now) == Presence::Live);
        let aged = live.filter_map(|gateway| {
            let age = gateway.workers.values().filter_map(|worker| {
                let silent = now.since(worker.polled);
                // What polls no more has died, and another one polls in its place.
                (silent < LOST_AFTER).then(|| {
                    let outdated = outdated_for(worker.snapshot.as_deref());
                    silent.max(outdated.min(now.since(worker.joined)))
                })
            });
            Some((gateway.identity.id.clone(), age.max()?))
        });
        let mut aged: Vec<_> = aged.collect();
        drop(known);
        aged.sort();
        aged
    }

    /// All that are remembered, by id.
    #[must_use]
    pub fn list(&self, now: MonoMillis) -> Vec<Gateway> {
        let mut known = lock(&self.known);
        forget(&mut known, now);
        let mut all: Vec<_> = known.values().cloned().collect();
        drop(known);
        all.sort_by(|left, right| left.identity.id.cmp(&right.identity.id));
        all
    }
}

fn forget(known: &mut HashMap<String, Gateway>, now: MonoMillis) {
    known.retain(|_, gateway| now.since(gateway.seen) < KNOWN_FOR);
}

// === impl Workers ===

impl Workers {
    /// Whether any worker runs another version.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.behind > 0 || self.workers == 0
    }
}

// === impl Gateway ===

impl Gateway {
    /// Whether it is there.
    #[must_use]
    pub fn presence(&self, now: MonoMillis) -> Presence {
        if now.since(self.seen) < LOST_AFTER { Presence::Live } else { Presence::Lost }
    }

    /// What its workers have, where `current` is the version that they should.
    #[must_use]
    pub fn standing(&self, current: &str, now: MonoMillis) -> Workers {
        let polls = |worker: &&Worker| now.since(worker.polled) < LOST_AFTER;
        let mut standing = Workers::default();
        for worker in self.workers.values().filter(polls) {
            standing.workers += 1;
            let is_behind = worker.snapshot.as_deref() != Some(current);
            standing.behind += usize::from(is_behind);
            if is_behind || standing.behind == 0 {
                standing.snapshot.clone_from(&worker.snapshot);
            }
        }
        if standing.workers == 0 {
            // It is lost: what it had last.
            let last = self.workers.values().max_by_key(|worker| worker.polled);
            standing.snapshot = last.and_then(|worker| worker.snapshot.clone());
        }
        standing
    }

    fn worker_polled(&mut self, request: &FeedRequest, now: MonoMillis) {
        let name = request.worker.as_deref().unwrap_or_default();
        let snapshot = request.snapshot.as_deref();
        if let Some(worker) = self.workers.get_mut(name) {
            if worker.snapshot.as_deref() != snapshot {
                worker.snapshot = snapshot.map(str::to_owned);
            }
            worker.polled = now;
            return;
        }
        // A VM that is made anew has another name, and the old one polls no more.
        self.workers.retain(|_, worker| now.since(worker.polled) < LOST_AFTER);
        if self.workers.len() < WORKERS_MAX {
            let snapshot = snapshot.map(str::to_owned);
            let worker = Worker { snapshot, polled: now, joined: now };
            self.workers.insert(name.to_owned(), worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::wire::VERSION;

    use super::*;

    fn identity(id: &str) -> GatewayIdentity {
        GatewayIdentity {
            id: id.to_owned(),
            role: Role::Primary,
            group: None,
            egress: format!("/run/{id}.sock"),
        }
    }

    fn poll(identity: &GatewayIdentity, worker: &str, snapshot: Option<&str>) -> FeedRequest {
        FeedRequest {
            version: VERSION,
            gateway: identity.clone(),
            worker: Some(worker.to_owned()),
            epoch: None,
            seq: 0,
            snapshot: snapshot.map(str::to_owned),
            hits: None,
        }
    }

    #[test]
    fn the_asking_gateway_comes_first_then_the_most_recent() {
        let gateways = Gateways::default();
        for (id, seen) in [("a", 0), ("b", 10), ("c", 5)] {
            gateways.polled(&poll(&identity(id), "w", None), MonoMillis(seen));
        }
        let egress = |asking, now| gateways.egress(asking, MonoMillis(now)).join(" ");
        assert_eq!(egress("a", 20), "/run/a.sock /run/b.sock /run/c.sock");
        assert_eq!(egress("gone", 20), "/run/b.sock /run/c.sock /run/a.sock");
        assert_eq!(egress("a", 3_004), "/run/b.sock /run/c.sock");
        assert_eq!(egress("a", 3_010), "");
        gateways.heard_of("a", MonoMillis(3_010));
        assert_eq!(egress("b", 3_010), "/run/a.sock");
    }

    #[test]
    fn a_gateway_is_remembered_for_a_while_and_their_number_is_bounded() {
        let gateways = Gateways::default();
        for number in 0..2 * GATEWAYS_MAX {
            gateways.polled(&poll(&identity(&format!("gw-{number}")), "w", None), MonoMillis(0));
        }
        assert_eq!(gateways.list(MonoMillis(0)).len(), GATEWAYS_MAX);
        gateways.polled(&poll(&identity("new"), "w", None), MonoMillis(KNOWN_FOR.0));
        assert_eq!(gateways.list(MonoMillis(KNOWN_FOR.0)).len(), 1);
    }

    #[test]
    fn a_gateway_that_falls_silent_is_lost_then_forgotten_and_found_again_if_it_polls() {
        let gateways = Gateways::default();
        gateways.polled(&poll(&identity("a"), "w", None), MonoMillis(0));
        let seen = |now| {
            let now = MonoMillis(now);
            let states = gateways.list(now).iter().map(|it| it.presence(now)).collect::<Vec<_>>();
            (states, gateways.live(now))
        };
        assert_eq!(seen(4_999), (vec![Presence::Live], 1));
        assert_eq!(seen(5_000), (vec![Presence::Lost], 0));
        gateways.polled(&poll(&identity("a"), "w", None), MonoMillis(5_001));
        assert_eq!(seen(5_001), (vec![Presence::Live], 1));
        assert_eq!(seen(5_000 + KNOWN_FOR.0), (vec![Presence::Lost], 0));
        assert_eq!(seen(5_001 + KNOWN_FOR.0), (vec![], 0));
    }

    #[test]
    fn the_members_are_those_that_are_live_with_what_they_have_said_last_of_themselves() {
        let gateways = Gateways::default();
        for (id, now) in [("b", 10), ("a", 0)] {
            gateways.polled(&poll(&identity(id), "w", None), MonoMillis(now));
        }
        let edge = GatewayIdentity { role: Role::Edge, ..identity("b") };
        gateways.polled(&poll(&edge, "w", None), MonoMillis(20));
        assert_eq!(gateways.members(MonoMillis(20)), [identity("a"), edge.clone()]);
        assert_eq!(gateways.members(MonoMillis(5_000)), [edge]);
        assert_eq!((gateways.role("b"), gateways.role("c")), (Some(Role::Edge), None));
    }

    #[test]
    fn a_gateway_that_moved_is_found_at_its_new_place() {
        let gateways = Gateways::default();
        gateways.polled(&poll(&identity("a"), "w", None), MonoMillis(0));
        let moved = GatewayIdentity { egress: "/run/new.sock".to_owned(), ..identity("a") };
        gateways.polled(&poll(&moved, "w", Some("v2")), MonoMillis(1));
        assert_eq!(gateways.egress("a", MonoMillis(1)), ["/run/new.sock"]);
    }

    #[test]
    fn a_snapshot_grows_old_while_its_worker_is_silent_or_has_not_the_one_in_use() {
        let gateways = Gateways::default();
        let polled = |id: &str, worker, snapshot, now| {
            gateways.polled(&poll(&identity(id), worker, Some(snapshot)), MonoMillis(now));
        };
        let ages = |now: u64| {
            // Version 1 was replaced at 1,000.
            let outdated = |snapshot: Option<&str>| {
                Millis(if snapshot == Some("v2") { 0 } else { now.saturating_sub(1_000) })
            };
            let ages = gateways.snapshot_ages(MonoMillis(now), outdated).into_iter();
            ages.map(|(id, age)| format!("{id} {}", age.0)).collect::<Vec<_>>().join(", ")
        };
        polled("a", "two", "v1", 900);
        polled("a", "one", "v2", 1_000);
        polled("b", "one", "v2", 1_400);
        assert_eq!(ages(1_800), "a 900, b 400");
        polled("a", "two", "v1", 5_800);
        polled("a", "one", "v2", 5_900);
        assert_eq!(ages(6_000), "a 5000, b 4600", "by its other worker");
        polled("a", "two", "v2", 6_300);
        assert_eq!(ages(6_500), "a 600", "and the other gateway is lost");
        let without = poll(&identity("a"), "three", None);
        gateways.polled(&without, MonoMillis(6_500));
        assert_eq!(ages(6_600), "a 700", "a new worker has been without one for no longer");
        polled("a", "one", "v2", 7_000);
        polled("a", "two", "v2", 7_000);
        gateways.polled(&without, MonoMillis(7_500));
        assert_eq!(ages(7_600), "a 1100", "and grows old without one");
    }

    #[test]
    fn a_gateway_is_behind_as_long_as_one_of_its_workers_is() {
        let gateways = Gateways::default();
        let polled = |worker, snapshot, now| {
            gateways.polled(&poll(&identity("a"), worker, Some(snapshot)), MonoMillis(now));
        };
        let standing = |now| {
            let now = MonoMillis(now);
            let standing = gateways.list(now)[0].standing("v2", now);
            let snapshot = standing.snapshot.unwrap_or_default();
            (snapshot, standing.workers, standing.behind, gateways.behind("v2", now))
        };
        polled("one", "v1", 0);
        polled("two", "v1", 0);
        assert_eq!(standing(0), ("v1".to_owned(), 2, 2, 1));
        polled("one", "v2", 10);
        assert_eq!(standing(10), ("v1".to_owned(), 2, 1, 1));
        polled("two", "v2", 20);
        assert_eq!(standing(20), ("v2".to_owned(), 2, 0, 0));
        // The VM of one has died, and lives again under another name.
        polled("one again", "v2", 4_900);
        polled("two", "v2", 5_010);
        assert_eq!(standing(5_010), ("v2".to_owned(), 2, 0, 0));
        assert_eq!(standing(5_010 + LOST_AFTER.0), ("v2".to_owned(), 0, 0, 0), "lost, not behind");
    }
}
