//! What gateways have let pass while they could not reach a sidecar (`wallet.open_with_cap`): paid for when they tell of
//! it, once, however often they do and whichever of their workers does. Only then they may forget it.

use futures_util::future::join_all;
use kt_contract::hex::Digest;
use kt_contract::id::{BadId, check_id};
use kt_contract::limits::OPEN_ORGS_MAX;
use kt_contract::problem::Problem;
use kt_contract::wire;
use kt_contract::wire::open_calls::{OpenCalls, OpenCallsReply, OpenCallsRequest};

use super::feed::expect_version;
use super::{Failure, Sidecar};
use crate::ledger::request;
use crate::ledger::{Made, Operation, TransferId};
use crate::metrics::OpenReport;
use crate::store::ledger::LedgerStore;

/// Who tells: a gateway, and which life of its Envoy.
type Teller<'a> = (&'a str, [u8; 16]);

// === impl Sidecar ===

impl Sidecar {
    /// Books a batch of a gateway. Answered, all of it is in the ledger.
    ///
    /// # Errors
    /// Another version of the wire, a batch that is none, no ledger, or one that has no answer: then some of it may be
    /// booked, and it is to be told again. So it is where all of it is booked and this sidecar drains.
    pub async fn book_open_calls(&self, told: OpenCallsRequest) -> Result<OpenCallsReply, Failure> {
        let booked = self.book_batch(&told).await;
        let result = match &booked {
            Ok(Made::Created) => OpenReport::Booked,
            Ok(Made::Exists) => OpenReport::Known,
            Err(failure) => {
                let OpenCallsRequest { gateway, epoch, number, .. } = &told;
                tracing::error!(%failure, gateway, epoch, number, "open calls are not booked");
                OpenReport::Refused
            }
        };
        self.metrics.open_report(result);
        booked?;
        if self.drain.is_draining() {
            // It is paid, and the next sidecar says so. This one admits nobody: said by it, the cap would be free again
            // and again, and calls would pass by the wallet for as long as it drains.
            return Err(Failure::Refused(Problem::Draining));
        }
        let OpenCallsRequest { epoch, number, .. } = told;
        Ok(OpenCallsReply { version: wire::VERSION, epoch, number })
    }

    async fn book_batch(&self, told: &OpenCallsRequest) -> Result<Made, Failure> {
        let epoch = checked(told)?;
        let ledger = self.ledger.as_deref().ok_or(Failure::NoLedger)?;
        // All at once: whoever tells does not wait for long, and what is not asked by then would not be the next time either.
        // And what is refused of one organization keeps none of the others from being booked.
        let mut asked = Vec::with_capacity(told.orgs.len());
        for calls in &told.orgs {
            asked.push(self.book(ledger, (&told.gateway, epoch), told.number, calls));
        }
        let mut made = Made::Exists;
        for of_org in join_all(asked).await {
            if of_org? == Made::Created {
                made = Made::Created;
            }
        }
        Ok(made)
    }

    async fn book(
        &self,
        ledger: &dyn LedgerStore,
        teller: Teller<'_>,
        number: u64,
        told: &OpenCalls,
    ) -> Result<Made, Failure> {
        let OpenCalls { org, calls, micro_usd } = told;
        let gateway = teller.0;
        let operation = Operation::OpenCalls(request::OpenCalls {
            id: TransferId::of_open_calls(org, teller, number),
            org: org.clone(),
            amount: *micro_usd,
            note: format!("{calls} calls without a sidecar at {gateway}"),
        });
        let made = ledger.operate(operation).await??.made;
        if made == Made::Created {
            let amount = micro_usd.micros();
            tracing::warn!(org, gateway, calls, amount_micro_usd = amount, "open calls are booked");
            self.metrics.open_calls(*calls, *micro_usd);
        }
        Ok(made)
    }
}

/// The epoch of a batch that is one. All of it is looked at before anything is booked.
fn checked(told: &OpenCallsRequest) -> Result<[u8; 16], Failure> {
    let OpenCallsRequest { version, gateway, epoch, number, orgs } = told;
    expect_version(*version)?;
    let id = |field, text: &str| {
        check_id(field, text).map_err(|BadId { field, what }| Failure::Invalid { field, what })
    };
    let refused = |field, what| Err(Failure::Invalid { field, what });
    id("gateway", gateway)?;
    let Some(life) = life(epoch) else {
        return refused("epoch", "must be 32 lower-case hexadecimal digits");
    };
    if *number == 0 {
        return refused("number", "must be above 0");
    }
    if orgs.is_empty() || orgs.len() > OPEN_ORGS_MAX {
        return refused("orgs", "must have 1 to 256 organizations");
    }
    for (at, OpenCalls { org, calls, micro_usd }) in orgs.iter().enumerate() {
        id("org", org)?;
        if orgs.iter().take(at).any(|before| before.org == *org) {
            return refused("org", "must not stand twice in a batch");
        }
        if *calls == 0 || micro_usd.is_zero() {
            return refused("calls", "must be above 0, and so must be what they are counted as");
        }
    }
    Ok(life)
}

fn life(epoch: &str) -> Option<[u8; 16]> {
    let is_short = epoch.len() == 32;
    let Digest(bytes) = Digest::from_hex(&format!("{epoch}{epoch}")).ok().filter(|_| is_short)?;
    bytes.first_chunk().copied()
}
