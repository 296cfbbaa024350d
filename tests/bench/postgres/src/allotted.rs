//! What calls of one hot wallet come to when a sidecar reserves them out of an allotment, as it does with
//! `wallet.allotment`: a reserve in memory, an end that lies in the spool before anybody is shown the end of an answer,
//! and a ledger that is told of many ends at once. The parts are the sidecar's own; what puts them together is as short as
//! it can be, so calls that outlive their allotment and what the ledger refuses are left out.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kt_contract::money::MicroUsd;
use kt_contract::time::{Millis, MonoMillis};
use kt_stores::Failed;
use sidecar_cache::allotment::{Part, Pool, Size};
use sidecar_cache::ledger::request::{Draw, DrawnEnd, Purpose, Reserve};
use sidecar_cache::ledger::{Operation, TransferId, spooled};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::postgres::ledger::PostgresLedger;
use sidecar_cache::store::spool::{Put, SPOOLED_MAX, SpoolStore};
use sidecar_cache::store::sqlite::SqliteSpool;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::now;
use crate::{actual, id, reserve};

/// As the sidecar's: how long ends are gathered, and of how many the ledger is told at once.
const LINGER: Duration = Duration::from_millis(200);
const BATCH: usize = 256;
const SIZE: Size = Size { most: MicroUsd::MAX, millionths: 10_000, ttl: Millis(120_000) };

/// A sidecar, as far as it pays.
pub(crate) struct Sidecar {
    ledger: Arc<PostgresLedger>,
    spool: SqliteSpool,
    pool: Mutex<Pool>,
    waiting: Mutex<Vec<(u64, Draw)>>,
    next: AtomicU64,
    began: Instant,
    is_over: AtomicBool,
    /// Told when it is.
    over: Notify,
}

/// What came of it.
pub(crate) struct Came {
    pub(crate) calls: u64,
    /// Those of them that were reserved out of an allotment.
    pub(crate) allotted: u64,
    /// Until the ledger had been told of all of them.
    pub(crate) took: Duration,
}

// === impl Sidecar ===

impl Sidecar {
    /// A sidecar with a spool in this folder.
    pub(crate) fn new(ledger: Arc<PostgresLedger>, folder: &Path) -> Result<Arc<Self>, Failed> {
        Ok(Arc::new(Self {
            ledger,
            spool: SqliteSpool::open(folder)?,
            pool: Mutex::default(),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            began: now(),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
        }))
    }

    /// So many callers, one call after the other each, until then.
    pub(crate) async fn calls(
        self: &Arc<Self>,
        callers: u64,
        until: Instant,
    ) -> Result<Came, Failed> {
        let booking = tokio::spawn({
            let sidecar = Arc::clone(self);
            async move { sidecar.book().await }
        });
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let sidecar = Arc::clone(self);
            tasks.spawn(async move {
                let (mut calls, mut allotted) = (0, 0);
                while now() < until {
                    allotted += u64::from(sidecar.call().await?);
                    calls += 1;
                }
                Ok::<_, Failed>((calls, allotted))
            });
        }
        let (mut calls, mut allotted) = (0, 0);
        while let Some(done) = tasks.join_next().await {
            let (more, of_them) = done??;
            calls += more;
            allotted += of_them;
        }
        self.is_over.store(true, Ordering::Release);
        self.over.notify_one();
        booking.await??;
        Ok(Came { calls, allotted, took: now() - self.began })
    }

    /// One call. Whether it was reserved out of an allotment.
    async fn call(self: &Arc<Self>) -> Result<bool, Failed> {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        let reserve = Reserve { budgets: Vec::new(), ..reserve(id(nth), nth) };
        let at = self.now();
        let (part, wants) = {
            let mut pool = lock(&self.pool);
            (pool.reserve(reserve.amount, at), pool.wants(at))
        };
        if wants {
            let (sidecar, like) = (Arc::clone(self), reserve.clone());
            tokio::spawn(async move { sidecar.allot(like).await });
        }
        let Some(Part { allotment, call }) = part else {
            let hold = reserve.id;
            self.ledger.operate(Operation::Reserve(reserve)).await??;
            let settle = Operation::Settle { hold, actual: actual()?, estimated: false };
            self.ledger.operate(settle).await??;
            return Ok(false);
        };
        let end = DrawnEnd::Settle { actual: actual()?, estimated: false };
        let draw = Draw { allotment, reserve: Reserve { id: call, ..reserve }, end: Some(end) };
        lock(&self.pool).ended(call, actual()?);
        let text =
            spooled::write(&Operation::Draw(draw.clone())).ok_or("an end that no spool keeps")?;
        match self.spool.put(text, SPOOLED_MAX).await? {
            Put::Kept(number) => lock(&self.waiting).push((number, draw)),
            Put::Full => return Err("the spool is full".into()),
        }
        Ok(true)
    }

    /// Asks for an allotment.
    async fn allot(&self, like: Reserve) {
        let granted = self.ask_for_one(like).await;
        let mut pool = lock(&self.pool);
        match granted {
            Some((id, amount)) => _ = pool.granted(id, amount, SIZE.ttl),
            None => pool.not_granted(self.now()),
        }
    }

    async fn ask_for_one(&self, like: Reserve) -> Option<(TransferId, MicroUsd)> {
        let balance = self.ledger.balance(like.org.clone()).await.ok()?;
        let amount = SIZE.of(balance.wallet.available(), like.amount)?;
        let id = like.id.of_step("allotment", 0);
        let purpose = Purpose::Allotment("sidecars".to_owned());
        let asked =
            Reserve { id, purpose, amount, cost_max: MicroUsd::ZERO, ttl: SIZE.ttl, ..like };
        self.ledger.operate(Operation::Reserve(asked)).await.ok()?.ok()?;
        Some((id, amount))
    }

    /// Tells the ledger of ends, many at once, until all calls are over and it was told of all, and gives back what is left of
    /// allotments.
    async fn book(&self) -> Result<(), Failed> {
        let mut is_behind = false;
        loop {
            let is_over = self.is_over.load(Ordering::Acquire);
            if !is_behind && !is_over {
                // Until enough has been gathered, or nothing more comes.
                let _ = timeout(LINGER, self.over.notified()).await;
            }
            let batch: Vec<(u64, Draw)> = {
                let mut waiting = lock(&self.waiting);
                let count = waiting.len().min(BATCH);
                waiting.drain(..count).collect()
            };
            is_behind = batch.len() == BATCH;
            if is_over && batch.is_empty() {
                return Ok(());
            }
            let told =
                batch.iter().map(|(_, draw)| self.ledger.operate(Operation::Draw(draw.clone())));
            for verdict in futures_util::future::join_all(told).await {
                verdict??;
            }
            batch.iter().for_each(|(_, draw)| lock(&self.pool).told(draw.reserve.id));
            self.spool.remove(batch.into_iter().map(|(number, _)| number).collect()).await?;
            let back = lock(&self.pool).to_give_back(self.now());
            for hold in back {
                self.ledger.operate(Operation::Release { hold }).await??;
            }
        }
    }

    fn now(&self) -> MonoMillis {
        MonoMillis(u64::try_from((now() - self.began).as_millis()).unwrap_or(u64::MAX))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
