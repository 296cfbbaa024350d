//! JSON → SSE: what a choice says in its chunks, which are few: its text, and its end.

use serde_json::Value;

use crate::answer::CannotReplay;
use crate::openai::merge::{Fields, ambiguous};
use crate::openai::tell::{self, Manner, Teller, pieces};

const MANNER: Manner = Manner { object: "text_completion", choice };

/// Tells an answer that [`super::judge()`] has found complete.
pub(super) fn stream(body: &[u8], include_usage: bool) -> Result<Vec<u8>, CannotReplay> {
    tell::stream(MANNER, body, include_usage)
}

/// Log probabilities go with the first text, or with the end where there is no text; where the answer has the
/// field, every chunk has it.
fn choice(to: &mut Teller, index: u64, mut choice: Fields) -> Result<(), CannotReplay> {
    let Some(Value::String(text)) = choice.shift_remove("text") else {
        return Err(ambiguous("text"));
    };
    let mut logprobs = choice.shift_remove("logprobs");
    let mut tell = |text: &str, mut rest: Fields| {
        let mut told = Fields::new();
        told.insert("text".into(), text.into());
        told.insert("index".into(), index.into());
        if let Some(pending) = &mut logprobs {
            told.insert("logprobs".into(), pending.take());
        }
        told.append(&mut rest);
        to.choice(told);
    };
    for piece in pieces(&text) {
        tell(piece, Fields::from_iter([("finish_reason".to_owned(), Value::Null)]));
    }
    tell("", choice);
    Ok(())
}
