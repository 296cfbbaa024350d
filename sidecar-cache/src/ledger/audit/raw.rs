//! What an audit reads: rows as they are stored, and their JSON without the types that wrote it.

use serde_json::Value;

/// A transfer as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTransfer {
    /// Its id.
    pub id: [u8; 32],
    /// Whose book it stands in.
    pub org: String,
    /// The word for what it is.
    pub kind: String,
    /// The hold that it refers to.
    pub hold: Option<[u8; 32]>,
    /// The team whose purse it fills or empties.
    pub team: Option<String>,
    /// How much.
    pub amount: i64,
    /// When.
    pub at: i64,
    /// The JSON of a hold's terms.
    pub terms: Option<String>,
}

/// An account as it is stored. Each side is what was set aside, what was cleared, and what was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAccount {
    /// Whose book it stands in.
    pub org: String,
    /// Its name.
    pub name: String,
    /// What it gave.
    pub debits: [i64; 3],
    /// What it took.
    pub credits: [i64; 3],
}

/// An entry of the list of holds that are open or in suspense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLive {
    /// Whose book its transfer stands in.
    pub org: String,
    /// The hold.
    pub hold: [u8; 32],
    /// Whether it lies in suspense.
    pub is_suspended: bool,
}

/// A hold that has not ended for good.
#[derive(Debug)]
pub(super) struct Pledge {
    pub(super) org: String,
    pub(super) held: i128,
    pub(super) payer: String,
    pub(super) payee: String,
    pub(super) budgets: Vec<(String, i128)>,
    pub(super) stage: Stage,
    /// The allotment that it was drawn from.
    pub(super) drawn: Option<[u8; 32]>,
    pub(super) cover: Cover,
}

/// What a hold's money came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// From who pays, who must have had it.
    Payer,
    /// Out of an allotment, so much of it: the wallet had it when the allotment was made.
    Drawn(i128),
    /// From who pays, who need not have it: its allotment was given back before the call was told.
    Anew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Suspended { since: i64 },
    Returned,
}

/// Reads the JSON of terms without the types that wrote it.
pub(super) fn read_terms(row: &RawTransfer) -> Option<Pledge> {
    let terms: Value = serde_json::from_str(row.terms.as_deref()?).ok()?;
    let purpose = terms.get("purpose")?;
    let payee = match (purpose.get("call"), purpose.get("allotment")) {
        (Some(call), _) => {
            // Rows from before have the provider's name alone.
            let provider = call.get("provider").unwrap_or(call).as_str()?;
            format!("spend:{provider}:{}", terms.get("shard")?.as_u64()?)
        }
        (None, holder) => format!("allotment:{}", holder?.as_str()?),
    };
    let payer = terms.get("payer").map_or_else(|| Some("wallet".to_owned()), read_name)?;
    let mut budgets = Vec::new();
    for charge in terms.get("charges")?.as_array()? {
        let scope = read_name(charge.get("scope")?)?;
        let (period, window) = (charge.get("period")?.as_str()?, charge.get("window")?.as_str()?);
        let limit = i128::from(charge.get("limit")?.as_u64()?);
        budgets.push((format!("budget:{scope}:{period}:{window}"), limit));
    }
    let drawn = terms.get("drawn").map(|id| unhex(id.as_str()?));
    // What is there and is no id is no terms.
    let drawn = if let Some(drawn) = drawn { Some(drawn?) } else { None };
    let org = row.org.clone();
    let (stage, cover) = (Stage::Open, Cover::Payer);
    Some(Pledge { org, held: 0, payer, payee, budgets, stage, drawn, cover })
}

/// An id as it is written in terms.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut id = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (nth, byte) in id.iter_mut().enumerate() {
        let at = nth.checked_mul(2)?;
        *byte = u8::from_str_radix(text.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(id)
}

/// A word, or a kind and a name.
fn read_name(value: &Value) -> Option<String> {
    match (value.as_str(), value.as_object().and_then(|named| named.iter().next())) {
        (Some(word), _) => Some(word.to_owned()),
        (None, named) => {
            let (kind, name) = named?;
            Some(format!("{kind}:{}", name.as_str()?))
        }
    }
}
