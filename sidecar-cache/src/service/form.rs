//! What the policies say that need nobody else: whether an answer has the form that was asked for, and whether what it says
//! stands in its request.

use std::sync::Arc;

use kt_contract::config::Groundedness;
use kt_contract::json;
use kt_policy::judge::grounding::Context;
use kt_policy::judge::schema::{self, Budget, Misfit};
use kt_policy::said;
use kt_providers::{Dialect, Form, Formed, Part, Said, Unread, read_strictly};

use super::Sidecar;
use super::external::Matter;
use super::judging::Word;
use super::police::BOUNDS;

/// How many checks there are at once: each keeps a core busy, and none of them is anybody's answer. Organizations take turns.
pub(super) const CHECKS_MAX: usize = 2;

// === impl Sidecar ===

impl Sidecar {
    /// Reads or checks something, for an organization, where nobody else waits for the thread. `None`: it could not be done.
    pub(super) async fn checks<T: Send + 'static>(
        self: Arc<Self>,
        org: &str,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.checks.take(org).await?;
        let checked = tokio::task::spawn_blocking(move || {
            // Given back with what was found, whether anybody still waits for it or not.
            let _place = place;
            check()
        });
        checked.await.ok()
    }
}

/// Whether policies can read a body.
pub(super) fn is_readable(body: &[u8]) -> bool {
    json::parse(body, BOUNDS).is_ok()
}

/// Whether an answer has the form that its request has asked for, in all of its parts. Takes its time, within a budget:
/// the schema is a client's.
pub(super) fn format(dialect: Dialect, matter: &Matter) -> Word {
    let answer = matter.answer.as_deref().unwrap_or_default();
    let formed = match dialect.formed(&matter.request, answer) {
        Ok(formed) => formed,
        Err(Unread::Answer) => return Word::Unreadable,
        Err(Unread::Request) => {
            return unchecked("the model's answer", "the request comes in a form that is not read");
        }
        Err(Unread::Parts) => {
            return unchecked("the model's answer", "it has more parts than there is time for");
        }
    };
    let mut budget = Budget::default();
    let words = formed.into_iter().map(|formed| word(formed, &mut budget));
    // The first that does not pass is the last.
    words.into_iter().find(|word| !matches!(word, Word::Passes)).unwrap_or(Word::Passes)
}

/// Whether one part has it.
fn word(formed: Formed, budget: &mut Budget) -> Word {
    let Formed { part, form, said } = formed;
    let part = match part {
        Part::Text => "the model's answer",
        Part::Arguments => "what the model calls a tool with",
    };
    let no_json = |what: &str| {
        let what = format!("{part} is not the {what} that the request asks for");
        Word::Finds("no-json".to_owned(), what)
    };
    let value = match said {
        Said::Text(text) => read_strictly(text.as_bytes()),
        Said::Json(value) => Some(value),
    };
    let Some(value) = value else { return no_json("JSON") };
    let has = |why: &str| format!("the schema that the request asks for has {why}");
    match form {
        Form::Object if value.is_object() => Word::Passes,
        Form::Object => no_json("JSON object"),
        Form::LongSchema => unchecked(part, &has("more than 256 KiB")),
        Form::Schema(schema) => match schema::check(&schema, &value, budget) {
            Ok(()) => Word::Passes,
            Err(Misfit::Unchecked(why)) => unchecked(part, &has(why)),
            Err(Misfit::Differs(at)) => {
                let what =
                    format!("{part} does not fit the schema that the request asks for, at #{at}");
                Word::Finds("misfit".to_owned(), what)
            }
        },
    }
}

fn unchecked(part: &str, why: &str) -> Word {
    Word::Finds("unchecked".to_owned(), format!("{part} cannot be checked: {why}"))
}

/// Whether a request carries something that an answer could stand on, or nobody can say.
pub(super) fn carries_context(groundedness: Groundedness, request: &[u8]) -> bool {
    if !is_readable(request) {
        return true;
    }
    let words = said(request).iter().map(|text| text.split_whitespace().count()).sum::<usize>();
    words as u64 >= groundedness.context_words_min
}

/// Whether enough of what an answer says stands in its request.
pub(super) fn grounding(groundedness: Groundedness, matter: &Matter) -> Word {
    if !carries_context(groundedness, &matter.request) {
        return Word::Passes;
    }
    if !is_readable(&matter.request) {
        return unchecked("the model's answer", "the request comes in a form that is not read");
    }
    let texts = said(&matter.request);
    let context = Context::of(texts.iter().map(String::as_str));
    let answer = said(matter.answer.as_deref().unwrap_or_default()).join("\n");
    if context.ground(&answer).reaches(groundedness.grounded_percent_min) {
        return Word::Passes;
    }
    let what = "too little of what the model's answer names stands in the request".to_owned();
    Word::Finds("ungrounded".to_owned(), what)
}
