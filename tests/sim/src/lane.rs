//! Admit and the lane, in the service's order: the entry, the ticket, the entry again, the flight.

use std::rc::Rc;

use kt_contract::gates::Gates;
use kt_contract::hex::Digest;
use kt_contract::key::{CacheKey, CheckHash};
use kt_contract::limits::{INLINE_BYTES_MAX, TICKET_TTL};
use kt_contract::outcome::Reason;
use kt_contract::problem::Repeated;
use kt_contract::wire::admit::{AdmitRequest, Admitted, ReplyShape};
use kt_providers::Dialect;
use sidecar_cache::flight::{Acquired, FlightId, Overflow};
use sidecar_cache::idempotency::{
    Ending, Fingerprint, Kept, Known, Memory, Verdict, memory, verdict,
};
use sidecar_cache::ticket::{Holder, Peer, Ticket, TicketId};

use crate::event::{Event, Link, Spoken, Timer};
use crate::plant::Plant;
use crate::shelf::Hit;
use crate::store::Reply;
use crate::world::World;

/// How long a ticket may last by the slowest clock.
const TICKET_MS_MAX: u64 = TICKET_TTL.0 * 1_060 / 1_000;

/// A request that was admitted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) request_id: String,
    pub(crate) caller: usize,
    pub(crate) org: usize,
    pub(crate) gates: Gates,
    pub(crate) key: CacheKey,
    pub(crate) check: CheckHash,
    pub(crate) want: ReplyShape,
    pub(crate) client_limited: bool,
    pub(crate) bypass: Option<Reason>,
    pub(crate) body: Rc<str>,
    pub(crate) question: u32,
    /// When it was admitted, in true time.
    pub(crate) admitted_at: u64,
}

/// A request on the lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) sidecar: usize,
    pub(crate) life: u32,
    pub(crate) grant: Rc<Grant>,
    /// Where it reads.
    pub(crate) flight: Option<usize>,
    /// Its place in the count of those who follow.
    pub(crate) follows: Option<FlightId>,
    /// Whether it waits, or has waited, for another request's call.
    pub(crate) has_followed: bool,
    /// How many calls were to be made in its name.
    pub(crate) calls: u32,
    /// How often it has joined.
    pub(crate) joined: u32,
    /// Its own name, which nobody else may use meanwhile.
    pub(crate) claim: Option<(usize, String)>,
}

// === impl World ===

impl World<'_> {
    pub(crate) fn admits(&mut self, at: usize, attempt: usize, serial: u32, body: &[u8]) {
        let Ok(request) = serde_json::from_slice::<AdmitRequest>(body) else { return };
        let Some(tried) = self.tries.get(attempt) else { return };
        let (gateway, ask) = (tried.gateway, tried.ask);
        let counted = tried.key;
        let Some(asked) = self.asks.get(ask) else { return };
        let (body, question) = (Rc::clone(&asked.body), asked.question);
        let Some((caller, known)) = self.fixture.caller_of(&request.principal) else { return };
        let Some(keys) = self.fixture.keys_of(known.org) else { return };
        let is_keyed = request.is_keyed;
        let digest = request.body;
        let plan = request.plan;
        let key = keys.cache_key(&plan.gates, &plan.request);
        let check = keys.check_hash(&plan.gates, &plan.request);
        if Some(key) != counted || key != plan.key || check != plan.check {
            return self.breach("key", format!("try {attempt}: filter and sidecar differ"));
        }
        let grant = Rc::new(Grant {
            request_id: request.request_id,
            caller,
            org: known.org,
            gates: plan.gates,
            key,
            check,
            want: plan.reply,
            client_limited: plan.client_limited,
            bypass: request.bypass,
            body,
            question,
            admitted_at: self.now,
        });
        let hit = if grant.bypass.is_some() { None } else { self.looks(at, &grant) };
        let told = hit.and_then(|hit| Some((told(&hit, grant.want)?, hit)));
        let (decision, body) = match told {
            Some((told, hit)) if told.len() <= INLINE_BYTES_MAX && !is_keyed => {
                let decision = Admitted::Hit {
                    content_type: "application/json".to_owned(),
                    age_s: hit.age.0 / 1_000,
                    fresh_ms: hit.fresh.0,
                    served_by: hit.entry.header.served_by.clone(),
                    saved_micro_usd: None,
                    saved_tokens: None,
                };
                (decision, told)
            }
            Some(_) | None => {
                let id = TicketId::from_random(self.rng.u128(..).to_be_bytes());
                self.issues(at, (gateway, id), grant, digest);
                (Admitted::Lane { ticket: id.to_hex(), reason: Reason::Request }, Vec::new())
            }
        };
        let Ok(decision) = serde_json::to_string(&decision) else { return };
        let spoken = Some(Rc::new(Spoken { decision, body: body.into() }));
        self.send(Link::Gateway(gateway), Event::CalloutEnds { attempt, serial, spoken });
    }

    fn issues(
        &mut self,
        at: usize,
        (gateway, id): (usize, TicketId),
        grant: Rc<Grant>,
        body: Digest,
    ) {
        let now = self.now;
        let Some(sidecar) = self.sidecars.get_mut(at) else { return };
        let holder = holder(&grant.request_id, gateway);
        let mono = sidecar.clock.mono(now);
        sidecar.tickets.issue(id, Ticket { grant, body, holder }, mono);
    }

    /// A request comes on the lane, body and all.
    pub(crate) fn enters(&mut self, at: usize, attempt: usize, ticket: &str, is_copy: bool) {
        let now = self.now;
        let Some(tried) = self.tries.get(attempt) else { return };
        let (gateway, ask) = (tried.gateway, tried.ask);
        let Some(asked) = self.asks.get(ask) else { return };
        let digest = Digest(*blake3::hash(asked.body.as_bytes()).as_bytes());
        let (caller, name) = (asked.caller, asked.name.clone());
        let holder = holder(&tried.request_id, gateway);
        let Some(sidecar) = self.sidecars.get_mut(at) else { return };
        let mono = sidecar.clock.mono(now);
        let redeemed = TicketId::parse(ticket)
            .ok_or(sidecar_cache::ticket::Refused::Malformed)
            .and_then(|id| sidecar.tickets.redeem(id, &holder, mono))
            .and_then(|ticket| ticket.for_body(digest));
        let life = sidecar.life;
        let is_over = self.tries.get(attempt).is_none_or(|tried| tried.is_over);
        match redeemed {
            // The same ticket once more, or nobody who waits.
            Ok(_) if is_copy => {
                self.breach("ticket", format!("a ticket of try {attempt} is good twice"))
            }
            Err(_) if is_copy => {}
            Err(_) => {
                self.tally.add("tickets refused");
                self.refuses(attempt, 503);
            }
            Ok(grant) if now - grant.admitted_at > TICKET_MS_MAX => {
                self.breach("ticket", format!("that of try {attempt} has outlived its time"));
            }
            Ok(_) if is_over => {}
            Ok(grant) => {
                let policy = grant.gates.policy.to_hex();
                let lane = Lane {
                    sidecar: at,
                    life,
                    grant,
                    flight: None,
                    follows: None,
                    has_followed: false,
                    calls: 0,
                    joined: 0,
                    claim: None,
                };
                if let Some(tried) = self.tries.get_mut(attempt) {
                    tried.lane = Some(lane);
                }
                match name {
                    // Behind the same gates.
                    Some(name) => self.once(at, attempt, (caller, format!("{name} {policy}"))),
                    None => self.answers(at, attempt),
                }
            }
        }
    }

    /// A request with a name of its own.
    fn once(&mut self, at: usize, attempt: usize, name: (usize, String)) {
        let Some(grant) = self.grant(attempt) else { return };
        let fingerprint = Fingerprint(Digest(*blake3::hash(grant.body.as_bytes()).as_bytes()));
        let Some(sidecar) = self.sidecars.get(at) else { return };
        let kept = self.stores.get(sidecar.store).and_then(|store| store.replies.get(&name));
        let known = match (kept, sidecar.claims.get(&name)) {
            _ if self.has(Plant::NoIdempotency) => Known::Free,
            (Some(reply), _) => Known::Done(reply.fingerprint, Kept::Whole),
            (None, Some(first)) => Known::InFlight(*first),
            (None, None) => Known::Free,
        };
        match verdict(known, fingerprint) {
            Verdict::Make => {
                if let Some(sidecar) = self.sidecars.get_mut(at) {
                    sidecar.claims.insert(name.clone(), fingerprint);
                }
                if let Some(lane) = self.lane_of(attempt) {
                    lane.claim = Some(name);
                }
                self.answers(at, attempt);
            }
            Verdict::Replay => {
                let Some(Reply { status, body, .. }) = kept.cloned() else { return };
                if let Some(tried) = self.tries.get_mut(attempt) {
                    tried.is_replayed = true;
                }
                self.tally.add("replies told again");
                self.replies(attempt, status, &body, false);
            }
            Verdict::Refuse(Repeated::OtherRequest) => self.refuses(attempt, 422),
            Verdict::Refuse(Repeated::InFlight | Repeated::TooLarge { .. } | Repeated::Unknown) => {
                self.refuses(attempt, 409)
            }
        }
    }

    /// Answers a request that is what was admitted.
    fn answers(&mut self, at: usize, attempt: usize) {
        let Some(grant) = self.grant(attempt) else { return };
        if grant.bypass.is_some() {
            return self.alone(at, attempt);
        }
        let hit = self.looks(at, &grant);
        match hit.and_then(|hit| told(&hit, grant.want)) {
            Some(told) => {
                self.tally.add("hits on the lane");
                self.replies(attempt, 200, &told, false);
            }
            None => self.joins(at, attempt),
        }
    }

    /// Joins the flight of the key, or leads it.
    pub(crate) fn joins(&mut self, at: usize, attempt: usize) {
        let Some(grant) = self.grant(attempt) else { return };
        let key = grant.key;
        let (vector, is_known) = self.vector(at, &grant);
        if !is_known {
            // What was invalidated is not known: neither entries nor flights are shared.
            return self.alone(at, attempt);
        }
        if let Some(lane) = self.lane_of(attempt) {
            lane.joined += 1;
        }
        let mono = self.mono(at);
        let begun = self.sidecars.get(at).and_then(|sidecar| sidecar.joinable.get(&key).copied());
        let old = begun
            .and_then(|flight| self.flights.get(flight))
            .filter(|flight| flight.generations != vector)
            .map(|flight| flight.lease.as_ref().map(|lease| lease.id));
        let Some(sidecar) = self.sidecars.get_mut(at) else { return };
        if let Some(id) = old {
            self.tally.add("flights voided");
            if let Some(id) = id {
                sidecar.leases.void(&key, id);
            }
            sidecar.joinable.remove(&key);
        }
        sidecar.leases.renewed(&key, vector.newest());
        match sidecar.leases.acquire(key, mono) {
            Ok((leased, id)) => self.leads(at, attempt, (leased, id)),
            Err(Acquired::Follow(id)) => match sidecar.joinable.get(&key).copied() {
                Some(flight) => self.follows(at, attempt, (flight, id)),
                None => {
                    sidecar.leases.leave(&key, id);
                    self.alone(at, attempt);
                }
            },
            Err(Acquired::HitForMiss) => {
                self.tally.add("hit-for-miss");
                self.judge_hit_for_miss(at, &grant);
                self.alone(at, attempt);
            }
            Err(Acquired::Full | Acquired::Mute) => self.refuses(attempt, 503),
            Err(Acquired::Lead(..)) => {}
        }
    }

    fn follows(&mut self, at: usize, attempt: usize, (flight, id): (usize, FlightId)) {
        self.say(|| format!("try {attempt}: follows flight {flight}"));
        self.tally.add("followers");
        let limit = kt_contract::time::Millis(self.swarm.wait_max);
        if let Some(lane) = self.lane_of(attempt) {
            (lane.flight, lane.follows, lane.has_followed) = (Some(flight), Some(id), true);
        }
        if let Some(joined) = self.flights.get_mut(flight) {
            joined.attach(attempt);
        }
        self.wake_in(at, limit, Timer::Waited { attempt, flight });
        self.charges_follower(at, attempt);
        self.reads(attempt);
    }

    /// A follower has waited long enough: perhaps it makes its own call.
    pub(crate) fn waited(&mut self, at: usize, attempt: usize, flight: usize) {
        let limit = self.swarm.overflow;
        let Some(lane) = self.tries.get(attempt).and_then(|tried| tried.lane.as_ref()) else {
            return;
        };
        let (Some(id), true) = (lane.follows, lane.flight == Some(flight)) else { return };
        let key = lane.grant.key;
        let waits = self.flights.get(flight).is_some_and(|joined| {
            let has_begun = joined.slots.get(&attempt).is_none_or(|slot| slot.has_begun);
            !has_begun && !joined.answer.has_begun
        });
        let Some(sidecar) = self.sidecars.get_mut(at).filter(|_| waits) else { return };
        if sidecar.leases.overflow(&key, id, limit) == Overflow::Go {
            self.say(|| format!("try {attempt}: has waited long enough"));
            self.tally.add("overflows");
            self.judge_overflow(flight);
            self.steps_aside(attempt);
            self.alone(at, attempt);
        }
    }

    /// This client cannot have what came as it is: it asks once more, then for itself.
    pub(crate) fn apart(&mut self, attempt: usize) {
        let Some(lane) = self.tries.get(attempt).and_then(|tried| tried.lane.as_ref()) else {
            return;
        };
        let (at, joined, is_follower) = (lane.sidecar, lane.joined, lane.has_followed);
        self.steps_aside(attempt);
        if !is_follower {
            self.refuses(attempt, 502);
        } else if joined < 2 {
            self.joins(at, attempt);
        } else {
            self.alone(at, attempt);
        }
    }

    /// Leaves a flight, and goes on.
    pub(crate) fn steps_aside(&mut self, attempt: usize) {
        self.gives_place_back(attempt);
        let flight = self.lane_of(attempt).and_then(|lane| lane.flight.take());
        if let Some(flight) = flight {
            self.detaches(flight, attempt);
        }
    }

    pub(crate) fn gives_place_back(&mut self, attempt: usize) {
        let Some(lane) = self.lane_of(attempt) else { return };
        let (Some(id), at, key, life) =
            (lane.follows.take(), lane.sidecar, lane.grant.key, lane.life)
        else {
            return;
        };
        if let Some(sidecar) = self.sidecars.get_mut(at).filter(|sidecar| sidecar.life == life) {
            sidecar.leases.leave(&key, id);
        }
    }

    /// A whole reply, remembered first where the request has a name.
    pub(crate) fn replies(&mut self, attempt: usize, status: u16, body: &[u8], is_faulty: bool) {
        self.remembers(attempt, (status, is_faulty), body);
        self.closes(attempt);
        self.lane_head(attempt, status);
        self.client_gets(attempt, status, body);
    }

    /// Our own refusal.
    pub(crate) fn refuses(&mut self, attempt: usize, status: u16) {
        self.closes(attempt);
        self.lane_head(attempt, status);
        self.client_gets(attempt, status, b"");
    }

    /// What of an answer is remembered under the name of its request.
    pub(crate) fn remembers(
        &mut self,
        attempt: usize,
        (status, is_faulty): (u16, bool),
        body: &[u8],
    ) {
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let Memory::Keep(_) = memory(Ending::Whole { status, is_faulty, bytes }) else { return };
        let Some(lane) = self.lane_of(attempt) else { return };
        let (Some(name), at, body_asked) =
            (lane.claim.clone(), lane.sidecar, Rc::clone(&lane.grant.body))
        else {
            return;
        };
        let fingerprint = Fingerprint(Digest(*blake3::hash(body_asked.as_bytes()).as_bytes()));
        let reply = Reply { fingerprint, status, body: body.into() };
        let store = self.sidecars.get(at).map_or(0, |sidecar| sidecar.store);
        if let Some(store) = self.stores.get_mut(store) {
            store.replies.insert(name, reply);
        }
    }

    /// The request's account is closed: it leaves nothing behind.
    pub(crate) fn closes(&mut self, attempt: usize) {
        self.steps_aside(attempt);
        let Some(lane) = self.tries.get_mut(attempt).and_then(|tried| tried.lane.take()) else {
            return;
        };
        if let (Some(name), Some(sidecar)) = (lane.claim, self.sidecars.get_mut(lane.sidecar))
            && sidecar.life == lane.life
        {
            sidecar.claims.remove(&name);
        }
    }

    pub(crate) fn grant(&self, attempt: usize) -> Option<Rc<Grant>> {
        let lane = self.tries.get(attempt)?.lane.as_ref()?;
        Some(Rc::clone(&lane.grant))
    }

    pub(crate) fn lane_of(&mut self, attempt: usize) -> Option<&mut Lane> {
        self.tries.get_mut(attempt)?.lane.as_mut()
    }
}

/// A hit in the shape that is wanted.
pub(crate) fn told(hit: &Hit, want: ReplyShape) -> Option<Vec<u8>> {
    let entry = &hit.entry;
    let replay = Dialect::OpenAiChat.replay(entry.header.recorded, &entry.body, want).ok()?;
    Some(replay.body.into_owned())
}

fn holder(request_id: &str, gateway: usize) -> Holder {
    let pid = i32::try_from(gateway).unwrap_or(0) + 1;
    Holder { request_id: request_id.to_owned(), peer: Peer::from_pid(Some(pid)) }
}
