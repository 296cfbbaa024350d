//! Leases that sidecars share: which of them makes the upstream call for a key, and whether what it brings may
//! still be stored. The answers are those of [`crate::flight::Flights`], whichever store gives them; one suite
//! is stamped over every implementation. The store's own clock decides what has run out.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use tokio::sync::watch;

use super::{Answer, EntryStore, NewEntry};
use crate::clock::Clock;
use crate::flight::{self, Acquired, Epoch, Failed, FlightId, Flights, Held, Overflow, Token};
use crate::generation::Generation;

/// Who asks for a lease: a number that nobody else has, and that is given anew for each time it is wanted. To
/// ask twice under one claim, because the first answer was lost, is to ask once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim(pub u128);

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Renewed {
    /// The lease has a whole lifetime again.
    Current {
        /// How many follow the flight through the store.
        followers: u32,
    },
    /// It has run out, was ended, or is somebody else's.
    Superseded,
}

/// What follows on a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterFailure {
    /// One of those who wait takes over.
    TakeOver {
        /// Not before so long from now.
        after: Millis,
    },
    /// Everybody gets the error; the next who asks leads.
    Over,
    /// The lease was voided, or is somebody else's: those who wait ask anew.
    Voided,
}

/// Leases. An error means that nobody knows: who wanted to lead does so for its own sidecar alone, and stores
/// nothing under a token that it does not have.
pub trait LeaseStore: Send + Sync {
    /// Asks for the lease of a key, or for a place among its followers.
    fn acquire(&self, key: CacheKey, claim: Claim) -> Answer<'_, Acquired>;

    /// Asks for the lease of a key alone. `None`: somebody else has it, or there is none to have.
    fn acquire_alone(&self, key: CacheKey, claim: Claim) -> Answer<'_, Option<Token>>;

    /// A follower has its answer, or does not wait for it any more.
    fn leave(&self, key: CacheKey, id: FlightId) -> Answer<'_, ()>;

    /// Waits until somebody follows a flight whom nobody followed before. It may be missed: the next renewal says
    /// who follows.
    fn followed(
        &self,
        key: CacheKey,
        id: FlightId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Extends a lease by a whole [`flight::LEASE_TTL`], and says who follows.
    fn renew(&self, key: CacheKey, token: Token) -> Answer<'_, Renewed>;

    /// Whoever leads cannot tell what comes: nobody waits for that any more. Of this attempt, for good.
    fn mute(&self, key: CacheKey, token: Token) -> Answer<'_, Held>;

    /// Whether a token is the last that was given for a key, even if its lease has run out.
    fn holds(&self, key: CacheKey, token: Token) -> Answer<'_, bool>;

    /// Stores the entry that the lease was for, and ends the lease; only with the current token.
    fn fill(&self, token: Token, entry: NewEntry) -> Answer<'_, Held>;

    /// Ends a lease without an entry; the next who asks leads.
    fn abandon(&self, key: CacheKey, token: Token) -> Answer<'_, Held>;

    /// Ends a lease because what comes cannot be stored: for a while nobody waits for anybody.
    fn end_uncacheable(&self, key: CacheKey, token: Token, under: Generation) -> Answer<'_, Held>;

    /// An attempt has failed. Where somebody waits for an answer, one of them will take over.
    fn fail(&self, key: CacheKey, token: Token, failed: Failed) -> Answer<'_, AfterFailure>;

    /// Asks for the lease again, for one of those who wait, after a failure or where it has run out. `None`: it is too
    /// early, or another flight's, or it has been taken over as often as it may.
    fn take_over(&self, key: CacheKey, id: FlightId, claim: Claim) -> Answer<'_, Option<Token>>;

    /// Gives up between two attempts. Says whether there was something to give up.
    fn give_up(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool>;

    /// A follower has waited too long. At most `limit` of a flight go.
    fn overflow(&self, key: CacheKey, id: FlightId, limit: Option<u64>) -> Answer<'_, Overflow>;

    /// Voids a flight; another one of the key stays. Says whether it was there.
    fn void(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool>;

    /// What belongs to a key has this generation by now: what was found under an older one is forgotten.
    fn renewed(&self, key: CacheKey, newest: Generation) -> Answer<'_, ()>;
}

/// The leases of one process, which end with it.
pub struct MemoryLeases {
    clock: Clock,
    entries: Arc<dyn EntryStore>,
    board: Mutex<Board>,
}

struct Board {
    machine: Flights,
    /// Who was given the last lease of a key.
    claims: HashMap<CacheKey, Given>,
    /// Who waits for a follower.
    watched: HashMap<(CacheKey, FlightId), watch::Sender<()>>,
}

/// What was given, and who were the last to follow, the last one first.
struct Given {
    by: Claim,
    token: Token,
    id: FlightId,
    followers: Vec<Claim>,
}

/// Of how many that is known: whoever has missed an answer asks again soon.
const FOLLOWERS_KNOWN: usize = 8;

// === impl MemoryLeases ===

impl MemoryLeases {
    /// No leases, in a new epoch. What they are for is stored in `entries`.
    #[must_use]
    pub fn new(epoch: Epoch, clock: Clock, entries: Arc<dyn EntryStore>) -> Self {
        let (claims, watched) = (HashMap::new(), HashMap::new());
        let board = Board { machine: Flights::new(epoch), claims, watched };
        Self { clock, entries, board: Mutex::new(board) }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseStore for MemoryLeases {
    fn acquire(&self, key: CacheKey, claim: Claim) -> Answer<'_, Acquired> {
        Box::pin(async move {
            let now = self.clock.mono();
            let mut board = self.board();
            if let Some((token, id)) = board.given(&key, claim)
                && board.machine.renew(&key, token, now) == Held::Current
            {
                return Ok(Acquired::Lead(token, id));
            }
            board.leaves_first(&key, claim);
            let acquired = board.machine.acquire(key, now);
            match acquired {
                Acquired::Lead(token, id) => board.gave(key, claim, token, id),
                Acquired::Follow(id) => board.follows(&key, claim, id),
                Acquired::HitForMiss | Acquired::Full | Acquired::Mute => {}
            }
            if let Acquired::Follow(id) = acquired
                && board.machine.followers_of(&key) == 1
                && let Some(watched) = board.watched.get(&(key, id))
            {
                watched.send_replace(());
            }
            Ok(acquired)
        })
    }

    fn acquire_alone(&self, key: CacheKey, claim: Claim) -> Answer<'_, Option<Token>> {
        Box::pin(async move {
            let now = self.clock.mono();
            let mut board = self.board();
            if let Some((token, _)) = board.given(&key, claim)
                && board.machine.renew(&key, token, now) == Held::Current
            {
                return Ok(Some(token));
            }
            let token = board.machine.acquire_alone(key, now);
            if let Some(token) = token {
                board.gave(key, claim, token, FlightId(token.counter));
            }
            Ok(token)
        })
    }

    fn leave(&self, key: CacheKey, id: FlightId) -> Answer<'_, ()> {
        Box::pin(async move {
            self.board().machine.leave(&key, id);
            Ok(())
        })
    }

    fn followed(
        &self,
        key: CacheKey,
        id: FlightId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut board = self.board();
        board.watched.retain(|_, watched| watched.receiver_count() > 0);
        let mut watched = board.watched.entry((key, id)).or_default().subscribe();
        Box::pin(async move {
            if watched.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn renew(&self, key: CacheKey, token: Token) -> Answer<'_, Renewed> {
        Box::pin(async move {
            let mut board = self.board();
            Ok(match board.machine.renew(&key, token, self.clock.mono()) {
                Held::Current => Renewed::Current { followers: board.machine.followers_of(&key) },
                Held::Superseded => Renewed::Superseded,
            })
        })
    }

    fn mute(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        Box::pin(async move { Ok(self.board().machine.mute(&key, token)) })
    }

    fn holds(&self, key: CacheKey, token: Token) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.board().machine.holds(&key, token)) })
    }

    fn fill(&self, token: Token, entry: NewEntry) -> Answer<'_, Held> {
        Box::pin(async move {
            let key = entry.at.key;
            // Renewed first: the entry is stored within the lease.
            if self.board().machine.renew(&key, token, self.clock.mono()) == Held::Superseded {
                return Ok(Held::Superseded);
            }
            self.entries.fill(entry).await?;
            let mut board = self.board();
            board.claims.remove(&key);
            Ok(board.machine.fill(&key, token, self.clock.mono()))
        })
    }

    fn abandon(&self, key: CacheKey, token: Token) -> Answer<'_, Held> {
        Box::pin(async move {
            let mut board = self.board();
            let held = board.machine.abandon(&key, token);
            board.forget(&key, held);
            Ok(held)
        })
    }

    fn end_uncacheable(&self, key: CacheKey, token: Token, under: Generation) -> Answer<'_, Held> {
        Box::pin(async move {
            let mut board = self.board();
            let held = board.machine.end_uncacheable(key, token, self.clock.mono(), under);
            board.forget(&key, held);
            Ok(held)
        })
    }

    fn fail(&self, key: CacheKey, token: Token, failed: Failed) -> Answer<'_, AfterFailure> {
        Box::pin(async move {
            let now = self.clock.mono();
            let mut board = self.board();
            Ok(match board.machine.fail(&key, token, now, failed) {
                flight::AfterFailure::TakeOver { at } => {
                    AfterFailure::TakeOver { after: at.since(now) }
                }
                flight::AfterFailure::Over => AfterFailure::Over,
                flight::AfterFailure::Voided => AfterFailure::Voided,
            })
        })
    }

    fn take_over(&self, key: CacheKey, id: FlightId, claim: Claim) -> Answer<'_, Option<Token>> {
        Box::pin(async move {
            let now = self.clock.mono();
            let mut board = self.board();
            if let Some((token, given)) = board.given(&key, claim)
                && given == id
                && board.machine.renew(&key, token, now) == Held::Current
            {
                return Ok(Some(token));
            }
            let token = board.machine.take_over(&key, id, now);
            if let Some(token) = token {
                board.gave(key, claim, token, id);
            }
            Ok(token)
        })
    }

    fn give_up(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.board().machine.give_up(&key, id)) })
    }

    fn overflow(&self, key: CacheKey, id: FlightId, limit: Option<u64>) -> Answer<'_, Overflow> {
        Box::pin(async move { Ok(self.board().machine.overflow(&key, id, limit)) })
    }

    fn void(&self, key: CacheKey, id: FlightId) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut board = self.board();
            let is_voided = board.machine.void(&key, id);
            if is_voided {
                board.claims.remove(&key);
            }
            Ok(is_voided)
        })
    }

    fn renewed(&self, key: CacheKey, newest: Generation) -> Answer<'_, ()> {
        Box::pin(async move {
            self.board().machine.renewed(&key, newest);
            Ok(())
        })
    }
}

// === impl Board ===

impl Board {
    fn given(&self, key: &CacheKey, claim: Claim) -> Option<(Token, FlightId)> {
        let given = self.claims.get(key).filter(|given| given.by == claim)?;
        Some((given.token, given.id))
    }

    fn gave(&mut self, key: CacheKey, by: Claim, token: Token, id: FlightId) {
        let before = self.claims.remove(&key).filter(|given| given.id == id);
        let followers = before.map(|given| given.followers).unwrap_or_default();
        self.claims.insert(key, Given { by, token, id, followers });
    }

    fn follows(&mut self, key: &CacheKey, claim: Claim, id: FlightId) {
        if let Some(given) = self.claims.get_mut(key).filter(|given| given.id == id) {
            given.followers.insert(0, claim);
            given.followers.truncate(FOLLOWERS_KNOWN);
        }
    }

    /// Whoever asks again under the same claim has one place, not two.
    fn leaves_first(&mut self, key: &CacheKey, claim: Claim) {
        if let Some(given) = self.claims.get_mut(key)
            && let Some(at) = given.followers.iter().position(|follower| *follower == claim)
        {
            given.followers.remove(at);
            self.machine.leave(key, given.id);
        }
    }

    fn forget(&mut self, key: &CacheKey, held: Held) {
        if held == Held::Current {
            self.claims.remove(key);
        }
    }
}
