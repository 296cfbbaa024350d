//! Is an answer complete? One embedding for each text, numbered without a gap, none of them empty.

use std::collections::BTreeSet;

use super::outline::Outline;
use crate::answer::{Complete, Incomplete, Recorded, Terms};
use crate::openai::usage;
use crate::outline;

/// See [`crate::Dialect::judge`].
pub(crate) fn judge(recorded: Recorded, body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    match recorded {
        Recorded::Json => judge_json(body, terms),
        Recorded::Sse => Err(Incomplete::Malformed),
    }
}

fn judge_json(body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    let Outline { model, data, usage, error } = outline::read(body)?;
    if error.is_some() {
        return Err(Incomplete::ErrorInBand);
    }
    let data = data.unwrap_or_default();
    if data.is_empty() {
        return Err(Incomplete::NoOutput);
    }
    let told = data.len() as u64;
    let numbers: BTreeSet<u64> =
        (0..told).zip(&data).map(|(place, embedding)| embedding.index.unwrap_or(place)).collect();
    if !numbers.into_iter().eq(0..told) {
        return Err(Incomplete::Malformed);
    }
    terms.check(told)?;
    let model = model.filter(|model| !model.is_empty());
    Ok(Complete { usage: usage.as_deref().and_then(usage::of_embeddings), model })
}
