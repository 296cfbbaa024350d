//! The script does what the pure machine does: any operations, in any order, on both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kt_contract::time::Millis;
use proptest::prelude::*;
use sidecar_cache::clock::Clock;
use sidecar_cache::flight::{Acquired, Cause, Epoch, Failed, FlightId, Held, Overflow, Token};
use sidecar_cache::generation::Generation;
use sidecar_cache::store::leases::{AfterFailure, Claim, LeaseStore, MemoryLeases, Renewed};
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{EntryStore, Lookup};

use crate::entry_suite::BOUNDS;
use crate::lease_suite::{Opened, entry, key};
use crate::leases;

/// What is done, to one of two keys, with one of the tokens or flights that were given.
#[derive(Clone, Debug)]
enum Step {
    GoOn(u64),
    Acquire(u8, u8),
    AcquireAlone(u8, u8),
    Leave(u8, usize),
    Renew(u8, usize),
    Mute(u8, usize),
    Holds(u8, usize),
    Fill(u8, usize),
    Abandon(u8, usize),
    EndUncacheable(u8, usize, u64),
    Fail(u8, usize, usize, Option<u64>, bool),
    TakeOver(u8, usize, u8),
    GiveUp(u8, usize),
    Overflow(u8, usize, Option<u64>),
    Void(u8, usize),
    Renewed(u8, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 1_u8..3;
    let given = || 0_usize..4;
    prop_oneof![
        3 => prop::sample::select(vec![1, 199, 200, 201, 1_000, 4_999, 5_000, 5_001, 120_000])
            .prop_map(Step::GoOn),
        8 => (key(), 0_u8..4).prop_map(|(key, claim)| Step::Acquire(key, claim)),
        1 => (key(), 0_u8..4).prop_map(|(key, claim)| Step::AcquireAlone(key, claim)),
        1 => (key(), given()).prop_map(|(key, id)| Step::Leave(key, id)),
        2 => (key(), given()).prop_map(|(key, token)| Step::Renew(key, token)),
        1 => (key(), given()).prop_map(|(key, token)| Step::Mute(key, token)),
        1 => (key(), given()).prop_map(|(key, token)| Step::Holds(key, token)),
        2 => (key(), given()).prop_map(|(key, token)| Step::Fill(key, token)),
        1 => (key(), given()).prop_map(|(key, token)| Step::Abandon(key, token)),
        1 => (key(), given(), 0_u64..3)
            .prop_map(|(key, token, under)| Step::EndUncacheable(key, token, under)),
        4 => (
            key(),
            given(),
            0_usize..3,
            prop::option::of(prop::sample::select(vec![0, 300, 2_000, 2_001])),
            any::<bool>(),
        )
            .prop_map(|(key, token, waiting, wait, is_unpaid)| {
                Step::Fail(key, token, waiting, wait, is_unpaid)
            }),
        4 => (key(), given(), 0_u8..4).prop_map(|(key, id, claim)| Step::TakeOver(key, id, claim)),
        1 => (key(), given()).prop_map(|(key, id)| Step::GiveUp(key, id)),
        2 => (key(), given(), prop::option::of(0_u64..3))
            .prop_map(|(key, id, limit)| Step::Overflow(key, id, limit)),
        1 => (key(), given()).prop_map(|(key, id)| Step::Void(key, id)),
        1 => (key(), 0_u64..4).prop_map(|(key, newest)| Step::Renewed(key, newest)),
    ]
}

/// What a store has answered, with a key's tokens and flights by the order in which it gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Lead(usize, usize),
    Follow(usize),
    HitForMiss,
    Full,
    Mute,
    Token(Option<usize>),
    Held(Held),
    Renewed(Renewed),
    After(AfterFailure),
    Overflow(Overflow),
    Yes(bool),
    Done,
}

/// One of the two, with what it has given for each key. Another key's may be equal.
struct Side<L, E> {
    opened: Opened<L, E>,
    tokens: HashMap<u8, Vec<Token>>,
    flights: HashMap<u8, Vec<FlightId>>,
}

impl<L: LeaseStore, E: EntryStore> Side<L, E> {
    fn new(opened: Opened<L, E>) -> Self {
        Self { opened, tokens: HashMap::new(), flights: HashMap::new() }
    }

    /// The last but so many; one that was never given where there are fewer.
    fn token(&self, of: u8, number: usize) -> Token {
        let forged = Token { epoch: Epoch(1), counter: 1 };
        self.tokens
            .get(&of)
            .and_then(|given| given.iter().nth_back(number))
            .copied()
            .unwrap_or(forged)
    }

    fn flight(&self, of: u8, number: usize) -> FlightId {
        let given = self.flights.get(&of).and_then(|given| given.iter().nth_back(number));
        given.copied().unwrap_or(FlightId(0))
    }

    fn gave(&mut self, of: u8, token: Token) -> usize {
        number(self.tokens.entry(of).or_default(), token)
    }

    fn named(&mut self, of: u8, id: FlightId) -> usize {
        number(self.flights.entry(of).or_default(), id)
    }

    async fn acquires(&mut self, of: u8, by: Claim) -> Said {
        match self.opened.leases.acquire(key(of), by).await.unwrap() {
            Acquired::Lead(token, id) => {
                let number = self.gave(of, token);
                Said::Lead(number, self.named(of, id))
            }
            Acquired::Follow(id) => Said::Follow(self.named(of, id)),
            Acquired::HitForMiss => Said::HitForMiss,
            Acquired::Full => Said::Full,
            Acquired::Mute => Said::Mute,
        }
    }

    async fn take(&mut self, step: &Step) -> Said {
        let claim = |claim: u8| Claim(u128::from(claim));
        let leases = &self.opened.leases;
        match *step {
            Step::GoOn(millis) => {
                (self.opened.go_on)(Millis(millis));
                Said::Done
            }
            Step::Acquire(of, by) => self.acquires(of, claim(by)).await,
            Step::AcquireAlone(of, by) => {
                let token = leases.acquire_alone(key(of), claim(by)).await.unwrap();
                Said::Token(token.map(|token| self.gave(of, token)))
            }
            Step::Leave(of, id) => {
                leases.leave(key(of), self.flight(of, id)).await.unwrap();
                Said::Done
            }
            Step::Renew(of, token) => {
                Said::Renewed(leases.renew(key(of), self.token(of, token)).await.unwrap())
            }
            Step::Mute(of, token) => {
                Said::Held(leases.mute(key(of), self.token(of, token)).await.unwrap())
            }
            Step::Holds(of, token) => {
                Said::Yes(leases.holds(key(of), self.token(of, token)).await.unwrap())
            }
            Step::Fill(of, token) => {
                Said::Held(leases.fill(self.token(of, token), entry(of, b"a")).await.unwrap())
            }
            Step::Abandon(of, token) => {
                Said::Held(leases.abandon(key(of), self.token(of, token)).await.unwrap())
            }
            Step::EndUncacheable(of, token, under) => {
                let ended =
                    leases.end_uncacheable(key(of), self.token(of, token), Generation(under));
                Said::Held(ended.await.unwrap())
            }
            Step::Fail(of, token, waiting, wait, is_unpaid) => {
                let cause = if is_unpaid { Cause::Unpaid } else { Cause::Call };
                let failed = Failed { waiting, retry_after: wait.map(Millis), cause };
                Said::After(leases.fail(key(of), self.token(of, token), failed).await.unwrap())
            }
            Step::TakeOver(of, id, by) => {
                let id = self.flight(of, id);
                let token = leases.take_over(key(of), id, claim(by)).await.unwrap();
                Said::Token(token.map(|token| self.gave(of, token)))
            }
            Step::GiveUp(of, id) => {
                Said::Yes(leases.give_up(key(of), self.flight(of, id)).await.unwrap())
            }
            Step::Overflow(of, id, limit) => {
                Said::Overflow(leases.overflow(key(of), self.flight(of, id), limit).await.unwrap())
            }
            Step::Void(of, id) => {
                Said::Yes(leases.void(key(of), self.flight(of, id)).await.unwrap())
            }
            Step::Renewed(of, newest) => {
                leases.renewed(key(of), Generation(newest)).await.unwrap();
                Said::Done
            }
        }
    }

    async fn stored(&self) -> [bool; 2] {
        let mut stored = [false; 2];
        for (at, of) in (1..3).enumerate() {
            let found = self.opened.entries.lookup(entry(of, b"").at).await.unwrap();
            stored[at] = matches!(found, Lookup::Found(_));
        }
        stored
    }
}

fn number<T: PartialEq>(given: &mut Vec<T>, one: T) -> usize {
    given.iter().position(|known| *known == one).unwrap_or_else(|| {
        given.push(one);
        given.len() - 1
    })
}

fn model() -> Opened<MemoryLeases, MemoryEntries> {
    let clock = Clock::start();
    // Entries by a clock that stands still: Redis's own does, as far as this test takes.
    let entries = Arc::new(MemoryEntries::new(clock, BOUNDS));
    let leases = MemoryLeases::new(Epoch(7), clock, entries.clone());
    Opened { leases, entries, go_on: Box::new(advance) }
}

pub(crate) fn advance(time: Millis) {
    let mut advancing = std::pin::pin!(tokio::time::advance(Duration::from_millis(time.0)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = advancing.as_mut().poll(&mut context);
}

/// The model's answers, on a clock of its own.
fn of_the_model(steps: &[Step]) -> Vec<Said> {
    let mut paused = tokio::runtime::Builder::new_current_thread();
    let runtime = paused.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut side = Side::new(model());
        let mut said = Vec::new();
        for step in steps {
            said.push(side.take(step).await);
        }
        said
    })
}

fn of_redis(steps: &[Step]) -> (Vec<Said>, [bool; 2]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut side = Side::new(leases::open());
        let mut said = Vec::new();
        for step in steps {
            said.push(side.take(step).await);
        }
        let stored = side.stored().await;
        (said, stored)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_script_answers_as_the_machine_does(steps in prop::collection::vec(step(), 1..40)) {
        let expected = of_the_model(&steps);
        let (said, stored) = of_redis(&steps);
        for (at, (said, expected)) in said.iter().zip(&expected).enumerate() {
            prop_assert_eq!(said, expected, "step {}: {:?}", at, &steps[at]);
        }
        // An entry is there if, and only if, somebody was told that it was stored.
        for (of, is_there) in (1..).zip(stored) {
            let filled = steps.iter().zip(&said).any(|(step, said)| {
                matches!(step, Step::Fill(key, _) if *key == of) && *said == Said::Held(Held::Current)
            });
            prop_assert_eq!(is_there, filled);
        }
    }
}
