//! How the end of a hold is written down where the ledger has not taken it yet. What is written by one version is
//! read by later ones; what cannot be read is for somebody who can, and is never taken for something else.

use kt_contract::hex::Digest;
use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use serde::{Deserialize, Serialize};

use super::id::TransferId;
use super::request::{Draw, DrawnEnd, Funding, Operation, Purpose, Reserve};
use super::window::Zone;

/// The version that is written. Another one is for fields that mean something else.
const VERSION: u32 = 1;

/// What is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    end: End,
}

/// The end of a hold.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum End {
    Settle { hold: Digest, actual_micro_usd: MicroUsd, estimated: bool },
    LateSettle { hold: Digest, actual_micro_usd: MicroUsd, estimated: bool },
    Release { hold: Digest },
    Draw(Box<Drawn>),
}

/// The end of a call that was reserved from an allotment, with all that its own rows need.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawn {
    allotment: Digest,
    hold: Digest,
    org: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    purpose: Purpose,
    amount_micro_usd: MicroUsd,
    cost_max_micro_usd: MicroUsd,
    ttl_ms: u64,
    prices: String,
    /// Nothing where it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<DrawnCost>,
}

/// What such a call has cost.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrawnCost {
    actual_micro_usd: MicroUsd,
    estimated: bool,
}

/// The version alone, whatever else stands there.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Why what was written cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another version has written it.
    #[error("it is of version {found}; this sidecar reads {VERSION}")]
    Version {
        /// Which one.
        found: u32,
    },
    /// It is none of what is written.
    #[error("it is not the end of a hold: {0}")]
    Damaged(String),
}

/// The end of a hold, as it is written. `None`: the operation is none that a call ends with.
#[must_use]
pub fn write(operation: &Operation) -> Option<String> {
    let end = match operation {
        Operation::Draw(draw) => End::Draw(Box::new(Drawn::of(draw)?)),
        &Operation::Settle { hold, actual, estimated } => {
            End::Settle { hold: hold.0, actual_micro_usd: actual, estimated }
        }
        &Operation::LateSettle { hold, actual, estimated } => {
            End::LateSettle { hold: hold.0, actual_micro_usd: actual, estimated }
        }
        &Operation::Release { hold } => End::Release { hold: hold.0 },
        // Money that somebody moves by hand has somebody who asks again; time tells by itself.
        Operation::Fund(_)
        | Operation::Reserve(_)
        | Operation::Extend(_)
        | Operation::Expire { .. }
        | Operation::Return { .. }
        | Operation::Refund(_)
        | Operation::Adjust(_)
        | Operation::Allocate(_)
        // The gateway tells it until it is in the ledger.
        | Operation::OpenCalls(_) => return None,
    };
    serde_json::to_string(&Written { version: VERSION, end }).ok()
}

/// Reads what [`write`] has written.
///
/// # Errors
/// What another version has written, and what nobody has.
pub fn read(text: &str) -> Result<Operation, Unreadable> {
    let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
    let Versioned { version } = serde_json::from_str(text).map_err(damaged)?;
    if version != VERSION {
        return Err(Unreadable::Version { found: version });
    }
    let Written { version: _, end } = serde_json::from_str(text).map_err(damaged)?;
    Ok(match end {
        End::Settle { hold, actual_micro_usd: actual, estimated } => {
            Operation::Settle { hold: TransferId(hold), actual, estimated }
        }
        End::LateSettle { hold, actual_micro_usd: actual, estimated } => {
            Operation::LateSettle { hold: TransferId(hold), actual, estimated }
        }
        End::Release { hold } => Operation::Release { hold: TransferId(hold) },
        End::Draw(drawn) => Operation::Draw(drawn.read()),
    })
}

// === impl Drawn ===

impl Drawn {
    /// `None`: the call goes on, or falls under budgets, which none does that is reserved from an allotment.
    fn of(draw: &Draw) -> Option<Self> {
        let Draw { allotment, reserve, end } = draw;
        let cost = match (*end)? {
            DrawnEnd::Settle { actual, estimated } => {
                Some(DrawnCost { actual_micro_usd: actual, estimated })
            }
            DrawnEnd::Release => None,
        };
        reserve.budgets.is_empty().then(|| Self {
            allotment: allotment.0,
            hold: reserve.id.0,
            org: reserve.org.clone(),
            team: reserve.team.clone(),
            purpose: reserve.purpose.clone(),
            amount_micro_usd: reserve.amount,
            cost_max_micro_usd: reserve.cost_max,
            ttl_ms: reserve.ttl.0,
            prices: reserve.prices.clone(),
            cost,
        })
    }

    fn read(self) -> Draw {
        let end = match self.cost {
            Some(DrawnCost { actual_micro_usd: actual, estimated }) => {
                DrawnEnd::Settle { actual, estimated }
            }
            None => DrawnEnd::Release,
        };
        let reserve = Reserve {
            id: TransferId(self.hold),
            org: self.org,
            // Nobody has set anything aside where nobody pays in advance.
            funding: Funding::Prepaid,
            team: self.team,
            purpose: self.purpose,
            amount: self.amount_micro_usd,
            cost_max: self.cost_max_micro_usd,
            ttl: Millis(self.ttl_ms),
            budgets: Vec::new(),
            // Without budgets it is never asked.
            zone: Zone::utc(),
            prices: self.prices,
        };
        Draw { allotment: TransferId(self.allotment), reserve, end: Some(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::CallOf;
    use super::*;

    fn hold() -> TransferId {
        TransferId::from_128([7; 16])
    }

    #[test]
    fn what_is_written_is_read_by_every_later_version() {
        let actual = MicroUsd::new(41).unwrap();
        let id = format!("{}{}", "07".repeat(16), "00".repeat(16));
        for (operation, text) in [
            (
                Operation::Settle { hold: hold(), actual, estimated: true },
                format!(
                    r#"{{"version":1,"end":{{"settle":{{"hold":"{id}","actual_micro_usd":41,"estimated":true}}}}}}"#
                ),
            ),
            (
                Operation::LateSettle { hold: hold(), actual, estimated: false },
                format!(
                    r#"{{"version":1,"end":{{"late_settle":{{"hold":"{id}","actual_micro_usd":41,"estimated":false}}}}}}"#
                ),
            ),
            (
                Operation::Release { hold: hold() },
                format!(r#"{{"version":1,"end":{{"release":{{"hold":"{id}"}}}}}}"#),
            ),
        ] {
            assert_eq!(write(&operation), Some(text.clone()));
            let read = read(&text).unwrap();
            assert_eq!(format!("{read:?}"), format!("{operation:?}"));
        }
    }

    #[test]
    fn a_call_that_was_reserved_from_an_allotment_is_written_with_all_that_its_rows_need() {
        let call = CallOf { provider: "openai".to_owned(), ..CallOf::default() };
        let reserve = Reserve {
            id: hold(),
            org: "acme".to_owned(),
            funding: Funding::Prepaid,
            team: None,
            purpose: Purpose::Call(call),
            amount: MicroUsd::new(50).unwrap(),
            cost_max: MicroUsd::new(90).unwrap(),
            ttl: Millis(75_000),
            budgets: Vec::new(),
            zone: Zone::utc(),
            prices: "2026-11-01".to_owned(),
        };
        let allotment = TransferId::from_128([8; 16]);
        let actual = MicroUsd::new(41).unwrap();
        let (id, of) = (hold().0.to_hex(), allotment.0.to_hex());
        let text = |end: &str| {
            format!(
                r#"{{"version":1,"end":{{"draw":{{"allotment":"{of}","hold":"{id}","org":"acme","purpose":{{"call":{{"provider":"openai","model":"","key_id":"","request_id":""}}}},"amount_micro_usd":50,"cost_max_micro_usd":90,"ttl_ms":75000,"prices":"2026-11-01"{end}}}}}}}"#
            )
        };
        let cost = r#","cost":{"actual_micro_usd":41,"estimated":true}"#;
        for (end, text) in [
            (DrawnEnd::Settle { actual, estimated: true }, text(cost)),
            (DrawnEnd::Release, text("")),
        ] {
            let draw = Draw { allotment, reserve: reserve.clone(), end: Some(end) };
            assert_eq!(write(&Operation::Draw(draw.clone())), Some(text.clone()));
            let Operation::Draw(read) = read(&text).unwrap() else { unreachable!() };
            assert_eq!(read, draw);
        }
        // What goes on is no end.
        let draw = Draw { allotment, reserve, end: None };
        assert_eq!(write(&Operation::Draw(draw)), None);
    }

    #[test]
    fn what_is_no_end_of_a_call_is_not_written() {
        for operation in [Operation::Expire { hold: hold() }, Operation::Return { hold: hold() }] {
            assert_eq!(write(&operation), None);
        }
    }

    #[test]
    fn what_means_something_else_is_not_guessed() {
        let newer = r#"{"version":2,"end":{"settle":{"in_euros":7}}}"#;
        assert_eq!(read(newer).unwrap_err(), Unreadable::Version { found: 2 });
        let id = "0".repeat(64);
        for damaged in [
            String::new(),
            r#"{"version":1}"#.to_owned(),
            format!(r#"{{"version":1,"end":{{"release":{{"hold":"{id}","half":true}}}}}}"#),
            format!(r#"{{"version":1,"end":{{"settle":{{"hold":"{id}","estimated":true}}}}}}"#),
            format!(
                r#"{{"version":1,"end":{{"settle":{{"hold":"{id}","actual_micro_usd":-1,"estimated":true}}}}}}"#
            ),
        ] {
            assert!(matches!(read(&damaged), Err(Unreadable::Damaged(_))), "{damaged}");
        }
    }
}
