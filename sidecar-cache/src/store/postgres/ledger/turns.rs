//! Who counts the ledger: one sidecar at a time, and no more often than one alone would. One row says whose turn it is and
//! what was found last. Whoever has the turn and is gone loses it when its time is over.

use kt_contract::time::{Millis, UnixMillis};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::group::Writer;
use super::rows::{CORRUPT, Typed, stored};
use crate::ledger::audit::{Breach, Findings, Invariant};
use crate::store::ledger::turns::{Counted, Known, Told, Turn};
use crate::store::postgres::database::Purpose;
use crate::store::postgres::fault::Fault;

/// How long a turn lasts that nobody renews.
pub(super) const TURN_MS: u64 = 30_000;
/// The longest that anybody waits before it counts again: what a count of the longest that a statement may take has to pay
/// for, and more. A time beyond it is of a clock that was ahead.
const NEXT_MS_MAX: u64 = 4 * 3_600_000;
/// How many breaches the others are told.
const BREACHES_MAX: usize = 100;

/// Who asks, for this purpose.
pub(super) type Holder = [u8; 16];

const NOW: &str =
    "SELECT coalesce($1, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) AS ms";

/// `$1`: the time, or null; `$2`: who asks; `$3`: for how long; `$4`: the longest pause. A turn that lasts longer than that, a
/// count that ends later than now and a next one beyond the longest pause are of a clock that was set back, and keep nobody.
const TAKE: &str = "taken AS (
        UPDATE audit_turn SET holder = $2, until = ms + $3 FROM now
        WHERE one AND (holder = $2 AND until > ms
            OR (until <= ms OR until > ms + $3) AND (next_at <= ms OR next_at > ms + $4 OR counted_at > ms))
        RETURNING true)
    SELECT EXISTS (SELECT FROM taken), (next_at <= ms OR next_at > ms + $4 OR counted_at > ms) IS TRUE,
        counted_at, took_ms, findings, failure
    FROM audit_turn, now WHERE one";

/// `$4` and `$5`: how long it took, and what was found; or null and `$6`, why nothing was. `$3`: when again; `$7`: how long ago it
/// began. What began before the count that the row knows is no news.
const TELL: &str = "news AS (
        SELECT (counted_at IS NULL OR counted_at > ms OR ms - $7 >= counted_at - took_ms) AS is_so
        FROM audit_turn, now WHERE one FOR UPDATE OF audit_turn)
    UPDATE audit_turn SET
        until = CASE WHEN holder = $2 THEN 0 ELSE until END,
        next_at = CASE WHEN is_so THEN ms + $3 ELSE next_at END,
        counted_at = CASE WHEN is_so AND $5::text IS NOT NULL THEN ms ELSE counted_at END,
        took_ms = CASE WHEN is_so AND $5::text IS NOT NULL THEN $4 ELSE took_ms END,
        findings = CASE WHEN is_so THEN coalesce($5, findings) ELSE findings END,
        failure = CASE WHEN is_so THEN $6 ELSE failure END
    FROM now, news WHERE one";

/// What was found, as the row has it.
#[derive(Serialize, Deserialize)]
struct Stored {
    transfers: u64,
    open: u64,
    suspended: u64,
    breaches_total: u64,
    breaches: Vec<StoredBreach>,
}

#[derive(Serialize, Deserialize)]
struct StoredBreach {
    invariant: String,
    org: String,
    account: String,
    expected: String,
    found: String,
}

/// Takes the turn if the ledger is due and nobody has it, keeps it if it is one's own, or says what is known.
pub(super) async fn take(writer: &Writer, holder: &Holder) -> Result<Turn, Fault> {
    let session = writer.database.begin(Purpose::Write).await?;
    let wall = writer.wall().map(|wall| stored(wall.0));
    let typed: [Typed<'_>; 4] = [
        (&wall, Type::INT8),
        (&&holder[..], Type::BYTEA),
        (&stored(TURN_MS), Type::INT8),
        (&stored(NEXT_MS_MAX), Type::INT8),
    ];
    let taken =
        session.client()?.query_typed(&format!("WITH now AS ({NOW}), {TAKE}"), &typed).await;
    let rows = session.end(taken.map_err(Fault::from)).await?;
    let row = rows.first().ok_or(CORRUPT)?;
    if row.try_get(0)? {
        return Ok(Turn::Mine);
    }
    let known = Known { last: counted(row)?, failure: row.try_get(5)? };
    Ok(Turn::Others { known, is_due: row.try_get(1)? })
}

/// Tells the others what was found, and gives the turn back, if it is one's own.
pub(super) async fn tell(writer: &Writer, holder: &Holder, told: Told) -> Result<(), Fault> {
    let Told { took, ago, found, again_after } = told;
    let (findings, failure) = match found {
        Ok(findings) => {
            let text = serde_json::to_string(&Stored::from(findings));
            (Some(text.map_err(|error| Fault::Never(error.to_string()))?), None)
        }
        Err(why) => (None, Some(why)),
    };
    let wall = writer.wall().map(|wall| stored(wall.0));
    let typed: [Typed<'_>; 7] = [
        (&wall, Type::INT8),
        (&&holder[..], Type::BYTEA),
        (&stored(again_after.0), Type::INT8),
        (&stored(took.0), Type::INT8),
        (&findings, Type::TEXT),
        (&failure, Type::TEXT),
        (&stored(ago.0), Type::INT8),
    ];
    let session = writer.database.begin(Purpose::Write).await?;
    let told = session.client()?.query_typed(&format!("WITH now AS ({NOW}), {TELL}"), &typed).await;
    session.end(told.map(drop).map_err(Fault::from)).await
}

fn counted(row: &Row) -> Result<Option<Counted>, Fault> {
    let Some(at) = row.try_get::<_, Option<i64>>(2)? else { return Ok(None) };
    let whole = |number: i64| u64::try_from(number).map_err(|_| CORRUPT);
    let stored: Stored = serde_json::from_str(row.try_get(4)?).map_err(|_| CORRUPT)?;
    let breaches_total = stored.breaches_total;
    Ok(Some(Counted {
        at: UnixMillis(whole(at)?),
        took: Millis(whole(row.try_get(3)?)?),
        findings: stored.into(),
        breaches_total,
    }))
}

// === impl Stored ===

impl From<Findings> for Stored {
    fn from(findings: Findings) -> Self {
        let Findings { transfers, open, suspended, breaches } = findings;
        let breaches_total = u64::try_from(breaches.len()).unwrap_or(u64::MAX);
        let stored = |breach: Breach| StoredBreach {
            invariant: breach.invariant.number().to_owned(),
            org: breach.org,
            account: breach.account,
            expected: breach.expected,
            found: breach.found,
        };
        let breaches = breaches.into_iter().take(BREACHES_MAX).map(stored).collect();
        Self { transfers, open, suspended, breaches_total, breaches }
    }
}

impl From<Stored> for Findings {
    fn from(stored: Stored) -> Self {
        let Stored { transfers, open, suspended, breaches, .. } = stored;
        let breach = |stored: StoredBreach| {
            let StoredBreach { invariant, org, account, expected, found } = stored;
            // One that is not known here was found by a newer program, which has frozen the wallet.
            let invariant = Invariant::ALL.into_iter().find(|known| known.number() == invariant)?;
            Some(Breach { invariant, org, account, expected, found })
        };
        let breaches = breaches.into_iter().filter_map(breach).collect();
        Self { transfers, open, suspended, breaches }
    }
}
