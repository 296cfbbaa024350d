//! Is an answer complete, in the dialects that answer in choices? The body's part of the write rule. In doubt
//! it is not: a refused answer costs one call, a stored half answer is wrong for everybody who asks again.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::outline::{Ending, Outline};
use super::usage::Told;
use crate::answer::{Complete, Incomplete, Recorded, Terms};
use crate::outline::{each_event, read, read_event};

/// How much of a provider's word is repeated.
const WORD_CHARS_MAX: usize = 40;

/// What a dialect asks of its choices.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// The reasons to finish that are whole answers, apart from `length`.
    pub(crate) ends_well: &'static [&'static str],
    /// Whether a choice of a JSON answer has what it is there for.
    pub(crate) has_content: fn(&Ending) -> bool,
}

/// See [`crate::Dialect::judge`].
pub(crate) fn judge(
    rule: Rule,
    recorded: Recorded,
    body: &[u8],
    terms: Terms,
) -> Result<Complete, Incomplete> {
    match recorded {
        Recorded::Json => judge_json(rule, body, terms),
        Recorded::Sse => judge_sse(rule, body, terms),
    }
}

/// Whether data is the stream's last word.
pub(crate) fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Whether an event is an error: by its name, or by what it or one of its choices has as `error`.
pub(crate) fn is_error(name: &[u8], data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Failure {
        #[serde(default)]
        error: Value,
        #[serde(default)]
        choices: Option<Vec<Choice>>,
    }
    #[derive(Deserialize)]
    struct Choice {
        #[serde(default)]
        error: Value,
    }
    let fails = |Failure { error, choices }: Failure| {
        says_something(&error)
            || choices.into_iter().flatten().any(|choice| says_something(&choice.error))
    };
    name == b"error" || may_be_error(data) && read_event::<Failure>(data).is_ok_and(fails)
}

/// Whether data may have a field or a type `error`. Within a text its quotes are escaped: hardly any event is
/// read for it in vain.
pub(crate) fn may_be_error(data: &[u8]) -> bool {
    const WORD: &[u8] = br#""error""#;
    data.windows(WORD.len()).any(|word| word == WORD)
}

/// Some servers write an empty error where others write none; SDKs raise neither.
fn says_something(error: &Value) -> bool {
    match error {
        Value::Null => false,
        Value::Bool(is_error) => *is_error,
        Value::Number(code) => code.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A provider's word, as far as it is repeated.
pub(crate) fn shortened(word: &str) -> String {
    word.chars().take(WORD_CHARS_MAX).collect()
}

fn judge_json(rule: Rule, body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    let outline: Outline = read(body)?;
    let has_content = outline.choices.iter().flatten().all(rule.has_content);
    let mut verdict = Verdict::new(rule, terms);
    verdict.take(outline)?;
    let complete = verdict.complete()?;
    if has_content { Ok(complete) } else { Err(Incomplete::Malformed) }
}

fn judge_sse(rule: Rule, body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    let mut verdict = Verdict::new(rule, terms);
    let mut done = false;
    each_event(body, |_, data| {
        if done {
            return Err(Incomplete::AfterDone);
        }
        done = is_done(data);
        if done { Ok(()) } else { verdict.take(read_event(data)?) }
    })?;
    if done { verdict.complete() } else { Err(Incomplete::CutShort) }
}

/// What is known of an answer while its chunks go by.
struct Verdict {
    rule: Rule,
    terms: Terms,
    /// Index → whether the choice has ended.
    choices: BTreeMap<u64, bool>,
    /// How a choice ended that is not stored. It counts when all has come: a stream that breaks off behind it
    /// is cut short as any other.
    ended_badly: Option<Incomplete>,
    usage: Told,
    model: Option<String>,
}

// === impl Verdict ===

impl Verdict {
    const fn new(rule: Rule, terms: Terms) -> Self {
        let choices = BTreeMap::new();
        Self { rule, terms, choices, ended_badly: None, usage: Told::Nothing, model: None }
    }

    fn take(&mut self, outline: Outline) -> Result<(), Incomplete> {
        if outline.error.is_some() {
            return Err(Incomplete::ErrorInBand);
        }
        self.usage.tell(outline.usage.as_deref());
        // Azure's first chunk carries an empty model. Should chunks differ, the last counts, as in a replay.
        let model = outline.model.filter(|model| !model.is_empty());
        self.model = model.or_else(|| self.model.take());
        for choice in outline.choices.into_iter().flatten() {
            if choice.error.is_some() {
                return Err(Incomplete::ErrorInBand);
            }
            let has_ended = self.choices.entry(choice.index.unwrap_or(0)).or_insert(false);
            // Some servers write an empty reason where others write null.
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                let is_storable = match reason.as_str() {
                    "length" => self.terms.client_limited,
                    other => self.rule.ends_well.contains(&other),
                };
                if is_storable {
                    *has_ended = true;
                } else {
                    let reason = shortened(&reason);
                    self.ended_badly.get_or_insert(Incomplete::FinishReason { reason });
                }
            }
        }
        Ok(())
    }

    fn complete(self) -> Result<Complete, Incomplete> {
        if let Some(bad_end) = self.ended_badly {
            return Err(bad_end);
        }
        if self.choices.is_empty() {
            return Err(Incomplete::NoChoices);
        }
        let told = self.choices.len() as u64;
        for (expected, (index, has_ended)) in (0..).zip(self.choices) {
            if expected != index || !has_ended {
                return Err(Incomplete::ChoiceUnfinished { index: expected });
            }
        }
        self.terms.check(told)?;
        Ok(Complete { usage: self.usage.usage(), model: self.model })
    }
}
