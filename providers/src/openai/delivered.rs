//! What has come of an answer in choices: see [`crate::delivered`].

use serde_json::Value;

use super::usage;
use crate::answer::Usage;
use crate::countable::Growing;
use crate::delivered::{Telling, Told};

/// Usage in a chunk of its own at the end, or in every chunk, growing.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    told: usage::Told,
    is_final: bool,
}

/// Usage of embeddings, whose numbers are no words.
#[derive(Debug, Default)]
pub(crate) struct Embeddings(Option<Usage>);

impl Telling for Choices {
    fn take(&mut self, told: &Told<'_>, is_json: bool) {
        self.told.tell(told.usage);
        let is_alone = told.choices.as_ref().is_some_and(Vec::is_empty);
        self.is_final |= told.usage.is_some() && (is_json || is_alone);
    }

    fn usage(&self) -> (Option<Usage>, bool) {
        (self.told.usage(), self.is_final)
    }

    fn words(event: &Value, into: &mut Growing) {
        let choices = event.get("choices").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            for field in ["delta", "message", "text"] {
                if let Some(value) = choice.get(field) {
                    into.take(&format!("{index}.{field}"), value);
                }
            }
        }
    }
}

impl Telling for Embeddings {
    fn take(&mut self, told: &Told<'_>, _: bool) {
        self.0 = told.usage.and_then(usage::of_embeddings);
    }

    fn usage(&self) -> (Option<Usage>, bool) {
        (self.0, true)
    }

    fn words(_: &Value, _: &mut Growing) {}
}
