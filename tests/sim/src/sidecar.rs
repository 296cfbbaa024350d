//! Sidecars: what one holds in memory, which goes with its process, and what it does with what it hears.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use kt_contract::key::CacheKey;
use kt_contract::time::MonoMillis;
use kt_contract::wire::VERSION;
use kt_contract::wire::feed::{Event as News, FeedReply, FeedRequest};
use kt_contract::wire::principal::PrincipalReply;
use kt_providers::Recorded;
use sidecar_cache::flight::Means;
use sidecar_cache::generation::{Table, Vector};
use sidecar_cache::idempotency::Fingerprint;
use sidecar_cache::reserve::lengths::Lengths;
use sidecar_cache::ticket::Tickets;

use crate::books::LedgerAsk;
use crate::clocks::Clock;
use crate::event::{Event, Hears, Link, Spoken, Timer};
use crate::fixture::MODEL;
use crate::flight::{End, Failure, Next};
use crate::lane::{Grant, told};
use crate::leases::Leases;
use crate::plant::Plant;
use crate::shelf::{Hit, Wanted};
use crate::swarm::Sharing;
use crate::world::World;

/// How long a poll is held.
const HOLD_MS: u64 = 400;
/// How old generations may be of whoever has them from another store.
pub(crate) const GENERATIONS_MS_MAX: u64 = 5_000;
/// How often they are asked for.
const GENERATIONS_MS: u64 = 1_000;

/// A sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) store: usize,
    pub(crate) clock: Clock,
    /// Grows with every start.
    pub(crate) life: u32,
    pub(crate) is_up: bool,
    pub(crate) still_until: u64,
    pub(crate) leases: Leases,
    pub(crate) joinable: BTreeMap<CacheKey, usize>,
    /// When the attempt began that found a key's answers to be none that are stored, and when it ended.
    pub(crate) unstorable: BTreeMap<CacheKey, (u64, u64)>,
    pub(crate) tickets: Tickets<Rc<Grant>>,
    pub(crate) claims: BTreeMap<(usize, String), Fingerprint>,
    pub(crate) asks: BTreeMap<u64, LedgerAsk>,
    pub(crate) lengths: Lengths,
    pub(crate) means: Means,
    /// What gateways are to be told.
    news: Vec<News>,
    /// Which configuration it has.
    pub(crate) configuration: usize,
    /// The generations as it last saw them, and when, by its own clock.
    copy: Option<(Table, MonoMillis)>,
}

// === impl Sidecar ===

impl Sidecar {
    /// One that has just started for the first time.
    pub(crate) fn new(at: usize, store: usize, clock: Clock) -> Self {
        Self {
            store,
            clock,
            life: 0,
            is_up: true,
            still_until: 0,
            leases: Leases::new(epoch(at, 0)),
            joinable: BTreeMap::new(),
            unstorable: BTreeMap::new(),
            tickets: Tickets::new(64),
            claims: BTreeMap::new(),
            asks: BTreeMap::new(),
            lengths: Lengths::default(),
            means: Means::default(),
            news: Vec::new(),
            configuration: 0,
            copy: None,
        }
    }

    /// It dies, and all that was in its memory.
    pub(crate) fn dies(&mut self, at: usize) {
        self.life += 1;
        self.is_up = false;
        self.still_until = 0;
        self.leases.lose(epoch(at, self.life));
        self.joinable.clear();
        self.unstorable.clear();
        self.tickets = Tickets::new(64);
        self.claims.clear();
        self.asks.clear();
        self.lengths = Lengths::default();
        self.means = Means::default();
        self.news.clear();
        self.copy = None;
    }

    /// Every gateway is to drop what it has of answers.
    pub(crate) fn purged(&mut self) {
        self.news.push(News::Purged);
    }
}

fn epoch(at: usize, life: u32) -> u64 {
    u64::from(life) * 100 + u64::try_from(at).unwrap_or(0) + 1
}

// === impl World ===

impl World<'_> {
    pub(crate) fn sidecar_hears(&mut self, at: usize, life: Option<u32>, hears: Hears) {
        let Some(sidecar) = self.sidecars.get(at) else { return };
        let is_there = sidecar.is_up && life.is_none_or(|life| life == sidecar.life);
        if !is_there {
            return self.nobody_hears(hears);
        }
        match hears {
            Hears::Principal { attempt, serial, key } => {
                let reply = match self.fixture.caller_of(&key) {
                    Some((_, caller)) => PrincipalReply::Known {
                        principal: caller.principal.clone(),
                        key_age_ms: None,
                    },
                    None => PrincipalReply::Unknown,
                };
                let Ok(body) = serde_json::to_vec(&reply) else { return };
                let spoken = Some(Rc::new(Spoken { decision: String::new(), body: body.into() }));
                let Some(gateway) = self.tries.get(attempt).map(|tried| tried.gateway) else {
                    return;
                };
                self.send(Link::Gateway(gateway), Event::CalloutEnds { attempt, serial, spoken });
            }
            Hears::Admit { attempt, serial, body } => self.admits(at, attempt, serial, &body),
            Hears::Poll { gateway, serial, body } => self.polled(at, (gateway, serial), body, true),
            Hears::PollHeld { gateway, serial, body } => {
                self.polled(at, (gateway, serial), body, false);
            }
            Hears::Lane { attempt, ticket, is_copy } => self.enters(at, attempt, &ticket, is_copy),
            Hears::Left(attempt) => self.closes(attempt),
            Hears::Told { call, told } => self.told(call, told),
            Hears::Ledger { ask, answer } => self.ledger_answers(at, ask, Some(answer)),
            Hears::Lease { flight, attempt, answer } => self.lease_answers(flight, attempt, answer),
            Hears::Timer(timer) => self.wakes(at, timer),
        }
    }

    /// Nobody is there: connections are refused, and what a process had in mind is forgotten.
    fn nobody_hears(&mut self, hears: Hears) {
        match hears {
            Hears::Principal { attempt, serial, .. } | Hears::Admit { attempt, serial, .. } => {
                self.push_in(1, Event::CalloutEnds { attempt, serial, spoken: None });
            }
            Hears::Poll { gateway, serial, .. } | Hears::PollHeld { gateway, serial, .. } => {
                self.push_in(1, Event::PollEnds { gateway, serial, spoken: None });
            }
            Hears::Lane { attempt, is_copy: false, .. } => {
                self.push_in(1, Event::LaneBreaks(attempt));
            }
            Hears::Lane { is_copy: true, .. }
            | Hears::Left(_)
            | Hears::Told { .. }
            | Hears::Ledger { .. }
            | Hears::Lease { .. }
            | Hears::Timer(_) => {}
        }
    }

    fn wakes(&mut self, at: usize, timer: Timer) {
        match timer {
            Timer::Reads(attempt) => self.reads(attempt),
            Timer::Waited { attempt, flight } => self.waited(at, attempt, flight),
            Timer::Renews(flight) => self.renews(flight),
            Timer::Extends { flight, attempt } => self.gives_time(flight, attempt),
            Timer::Idle { flight, attempt, heard } => self.idle(flight, attempt, heard),
            Timer::TakesOver { flight, attempt } => self.takes_over(flight, attempt),
            Timer::Detached { flight, attempt } => self.was_detached(flight, attempt),
            Timer::LeaseAgain { flight, attempt } => self.asks_lease_again(flight, attempt),
            Timer::LeaseSilent { flight, attempt, asked } => {
                self.lease_is_silent(flight, attempt, asked);
            }
            Timer::LedgerSilent(ask) => self.ledger_is_silent(at, ask),
            Timer::LedgerAgain(ask) => self.asks_ledger_again(at, ask),
            Timer::Reaps => self.reaps(at),
        }
    }

    /// What a gateway is told that asks what is new.
    fn polled(&mut self, at: usize, (gateway, serial): (usize, u32), body: Rc<[u8]>, holds: bool) {
        let Ok(request) = serde_json::from_slice::<FeedRequest>(&body) else { return };
        if !self.knows_generations(at) {
            // A gateway that hears nothing trusts its own memory no longer.
            return;
        }
        let Some(sidecar) = self.sidecars.get(at) else { return };
        let epoch = format!("{at}-{}", sidecar.life);
        let newest = u64::try_from(sidecar.news.len()).unwrap_or(u64::MAX);
        let is_same = request.epoch.as_ref() == Some(&epoch) && request.seq <= newest;
        let seen = usize::try_from(request.seq).unwrap_or(usize::MAX);
        let events: Vec<News> =
            sidecar.news.get(seen..).filter(|_| is_same).unwrap_or_default().to_vec();
        let snapshot = self.fixture.snapshots.get(sidecar.configuration);
        let snapshot =
            snapshot.filter(|snapshot| request.snapshot.as_ref() != Some(&snapshot.version));
        if holds && is_same && events.is_empty() && snapshot.is_none() {
            let life = Some(sidecar.life);
            let hears = Hears::PollHeld { gateway, serial, body };
            return self.push_in(HOLD_MS, Event::Sidecar { at, life, hears });
        }
        let reply = FeedReply {
            version: VERSION,
            epoch,
            seq: newest,
            snapshot: snapshot.cloned(),
            events,
            reset: false,
        };
        let Ok(body) = serde_json::to_vec(&reply) else { return };
        let spoken = Some(Rc::new(Spoken { decision: String::new(), body: body.into() }));
        self.send(Link::Gateway(gateway), Event::PollEnds { gateway, serial, spoken });
    }

    /// What an entry of a request belongs to by now, and whether that is known for certain.
    pub(crate) fn vector(&mut self, at: usize, grant: &Grant) -> (Vector, bool) {
        let is_known = self.knows_generations(at);
        let Some(sidecar) = self.sidecars.get(at) else { return (Vector::default(), false) };
        let own = self.stores.get(sidecar.store).map(|store| &store.table);
        let table = match self.swarm.sharing {
            Sharing::Own => own,
            Sharing::Shared => sidecar.copy.as_ref().map(|(table, _)| table),
        };
        let vector = table.map(|table| table.vector(&grant.gates, &grant.key));
        (vector.unwrap_or_default(), is_known)
    }

    /// Asks for the generations, where they are another store's and not quite new, and says whether they are new
    /// enough. Gateways are told of an invalidation when it is known here, and not before: what they were given
    /// until then they would keep.
    fn knows_generations(&mut self, at: usize) -> bool {
        if self.swarm.sharing == Sharing::Own {
            return true;
        }
        let now = self.now;
        let gets_through = self.reaches_store(at);
        let Some(sidecar) = self.sidecars.get_mut(at) else { return false };
        let Some(store) = self.stores.get(sidecar.store) else { return false };
        let mono = sidecar.clock.mono(now);
        let age = sidecar.copy.as_ref().map(|(_, seen_at)| mono.since(*seen_at).0);
        if gets_through && age.is_none_or(|age| age >= GENERATIONS_MS) {
            if sidecar.copy.as_ref().is_some_and(|(table, _)| *table != store.table) {
                sidecar.news.push(News::Purged);
            }
            sidecar.copy = Some((store.table.clone(), mono));
            return true;
        }
        age.is_some_and(|age| age <= GENERATIONS_MS_MAX)
    }

    /// Whether a question to the store gets through and back.
    pub(crate) fn reaches_store(&mut self, at: usize) -> bool {
        !self.is_cut(Link::Store(at)) && !self.chance(self.swarm.loss)
    }

    /// The fresh entry that answers a request, if it can be read.
    pub(crate) fn looks(&mut self, at: usize, grant: &Grant) -> Option<Hit> {
        let (vector, is_known) = self.vector(at, grant);
        if !is_known || self.swarm.sharing == Sharing::Shared && !self.reaches_store(at) {
            return None;
        }
        let any_policy = self.has(Plant::AnyPolicy);
        let compares = !self.has(Plant::ServeInvalidated);
        let keys = self.fixture.keys_of(grant.org)?;
        let store = self.sidecars.get(at)?.store;
        let mono = self.clock_of(store).mono(self.now);
        let store = self.stores.get_mut(store)?;
        let wanted = Wanted {
            keys,
            gates: &grant.gates,
            key: grant.key,
            check: grant.check,
            vector: compares.then_some(&vector),
            compares_gates: !any_policy,
        };
        let hit = store.shelf.look(wanted, mono);
        if hit.is_some() || !any_policy {
            return hit;
        }
        // What a careless reader would take: any entry of the organization.
        let others: Vec<CacheKey> = store.shelf.iter().map(|(key, _)| *key).collect();
        others
            .into_iter()
            .find_map(|key| store.shelf.look(Wanted { key, vector: None, ..wanted }, mono))
    }

    pub(crate) fn mono(&self, at: usize) -> MonoMillis {
        self.sidecars.get(at).map_or(MonoMillis(0), |sidecar| sidecar.clock.mono(self.now))
    }

    /// A reader takes what is there for it.
    pub(crate) fn reads(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get(attempt).filter(|tried| !tried.is_over) else { return };
        let Some(lane) = tried.lane.as_ref() else { return };
        let (Some(flight), want, at) = (lane.flight, lane.grant.want, lane.sidecar) else { return };
        let pace = self.asks.get(tried.ask).map_or(0, |asked| asked.pace);
        let Some(read) = self.flights.get_mut(flight) else { return };
        let has_begun = read.slots.get(&attempt).is_some_and(|slot| slot.has_begun);
        match read.next(attempt, want) {
            Next::Wait => {}
            Next::Piece(begins, bytes) => {
                if let Some(status) = begins {
                    self.lane_head(attempt, status);
                    self.client_head(attempt, status);
                }
                self.client_piece(attempt, &bytes);
                self.wake_in(at, kt_contract::time::Millis(pace), Timer::Reads(attempt));
            }
            Next::End(end) if has_begun => self.reads_end(attempt, &end),
            Next::End(end) => self.begins_at_end(attempt, (flight, want), end),
        }
    }

    /// The end comes for somebody who has read the rest.
    fn reads_end(&mut self, attempt: usize, end: &End) {
        match end {
            End::Clean | End::Faulty | End::Whole { .. } | End::Found(_) => {
                let Some(tried) = self.tries.get(attempt) else { return };
                let (status, body) = (tried.status.unwrap_or(0), tried.got.clone());
                let is_faulty = matches!(end, End::Faulty);
                // Before its client can see the end.
                self.remembers(attempt, (status, is_faulty), &body);
                self.closes(attempt);
                self.client_end(attempt);
            }
            End::Cut | End::Voided | End::Failed(_) => {
                self.closes(attempt);
                self.client_broken(attempt);
            }
        }
    }

    /// The end comes for somebody who has nothing yet.
    fn begins_at_end(
        &mut self,
        attempt: usize,
        (flight, want): (usize, kt_contract::wire::admit::ReplyShape),
        end: End,
    ) {
        let asked = self.flights.get(flight).map(|read| read.asked);
        let as_asked = asked == Some(crate::flight::asked(want));
        match end {
            End::Whole { recorded, body } => match in_shape(recorded, &body, (want, as_asked)) {
                Some(told) => self.replies(attempt, 200, &told, false),
                None => self.apart(attempt),
            },
            End::Found(hit) => match told(&hit, want) {
                Some(told) => self.replies(attempt, 200, &told, false),
                None => self.apart(attempt),
            },
            End::Failed(Failure::Problem(status)) => self.refuses(attempt, status),
            End::Failed(Failure::Answer(200, _)) if !as_asked => self.refuses(attempt, 502),
            End::Failed(Failure::Answer(status, body)) => {
                self.replies(attempt, status, &body, true);
            }
            End::Clean | End::Faulty | End::Cut | End::Voided => self.apart(attempt),
        }
    }

    /// An answer to this agent was so long.
    pub(crate) fn learns(&mut self, at: usize, recorded: Recorded, bytes: u64) {
        if let Some(sidecar) = self.sidecars.get_mut(at) {
            sidecar.means.learn(MODEL, recorded == Recorded::Sse, bytes);
        }
    }
}

fn in_shape(
    recorded: Recorded,
    body: &Bytes,
    (want, as_asked): (kt_contract::wire::admit::ReplyShape, bool),
) -> Option<Vec<u8>> {
    use kt_contract::wire::admit::ReplyShape;
    let is_plain = want != ReplyShape::Sse { include_usage: false };
    if as_asked && is_plain {
        return Some(body.to_vec());
    }
    let replay = kt_providers::Dialect::OpenAiChat.replay(recorded, body, want).ok()?;
    Some(replay.body.into_owned())
}
