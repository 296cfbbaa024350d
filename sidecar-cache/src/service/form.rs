//! What the policies say that need nobody else: whether an answer has the form that was asked for, and whether what it says
//! stands in its request.

use kt_contract::config::Groundedness;
use kt_policy::judge::grounding::Context;
use kt_policy::judge::schema::{self, Misfit};
use kt_policy::said;
use kt_providers::{Dialect, Formed, Part, Said};
use serde_json::Value;

use super::external::Matter;
use super::judging::Word;

/// How long a request's schema may be, as part of the request; larger ones are not read for every answer.
const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// Whether an answer has the form that its request has asked for, in all of its parts.
pub(super) fn format(dialect: Dialect, matter: &Matter) -> Word {
    let answer = matter.answer.as_deref().unwrap_or_default();
    let formed = dialect.formed(&matter.request, answer);
    let finds = |found: &str, what: String| Word::Finds(found.to_owned(), what);
    for Formed { part, schema, said } in formed {
        let part = match part {
            Part::Text => "the model's answer",
            Part::Arguments => "what the model calls a tool with",
        };
        let value = match said {
            Said::Text(text) => serde_json::from_str(&text).ok(),
            Said::Json(value) => Some(value),
        };
        let Some(value) = value else {
            return finds("no-json", format!("{part} is not the JSON that the request asks for"));
        };
        let Some(schema) = schema else {
            if !value.is_object() {
                return finds(
                    "no-json",
                    format!("{part} is not the JSON object that the request asks for"),
                );
            }
            continue;
        };
        match fits(&schema, &value) {
            Ok(()) => {}
            Err(Misfit::Differs(at)) => {
                let what =
                    format!("{part} does not fit the schema that the request asks for, at #{at}");
                return finds("misfit", what);
            }
            Err(Misfit::Unchecked(why)) => {
                let what = format!(
                    "{part} cannot be checked: the schema that the request asks for has {why}"
                );
                return finds("unchecked", what);
            }
        }
    }
    Word::Passes
}

fn fits(schema: &Value, value: &Value) -> Result<(), Misfit> {
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(Misfit::Unchecked("more than 256 KiB"));
    }
    schema::check(schema, value)
}

/// Whether a request carries something that an answer could stand on.
pub(super) fn carries_context(groundedness: Groundedness, request: &[u8]) -> bool {
    let words = said(request).iter().map(|text| text.split_whitespace().count()).sum::<usize>();
    words as u64 >= groundedness.context_words_min
}

/// Whether enough of what an answer says stands in its request.
pub(super) fn grounding(groundedness: Groundedness, matter: &Matter) -> Word {
    if !carries_context(groundedness, &matter.request) {
        return Word::Passes;
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
