//! JSON → SSE: what the stream says of one output item. Messages, reasoning and the arguments of calls are told in
//! pieces; a kind of item that nobody knows here comes whole, between its start and its end.

use serde_json::{Value, json};

use super::stream::Teller;
use crate::answer::CannotReplay;
use crate::openai::merge::{Fields, ambiguous};
use crate::openai::tell::pieces;

/// One item on its way.
pub(super) struct Item<'a> {
    pub(super) index: u64,
    pub(super) item: &'a Fields,
    pub(super) to: &'a mut Teller,
}

/// A list of parts of an item.
struct Parts {
    /// The item's field.
    field: &'static str,
    /// What an event calls the part's place.
    index: &'static str,
    /// What its events begin with.
    events: &'static str,
}

/// A text of an item, told in pieces.
struct Text {
    /// The item's field, and that of the event which ends it.
    field: &'static str,
    /// What its events begin with.
    events: &'static str,
}

const CONTENT: Parts =
    Parts { field: "content", index: "content_index", events: "response.content_part" };
const SUMMARY: Parts =
    Parts { field: "summary", index: "summary_index", events: "response.reasoning_summary_part" };

// === impl Item ===

impl Item<'_> {
    pub(super) fn tell(mut self) -> Result<(), CannotReplay> {
        let kind = self.item.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let opening = opening(&kind, self.item);
        self.whole("response.output_item.added", opening);
        match kind.as_str() {
            "message" => self.parts(&CONTENT)?,
            "reasoning" => {
                self.parts(&CONTENT)?;
                self.parts(&SUMMARY)?;
            }
            "function_call" => {
                self.text(&Text { field: "arguments", events: "response.function_call_arguments" });
            }
            "custom_tool_call" => {
                self.text(&Text { field: "input", events: "response.custom_tool_call_input" });
            }
            "mcp_call" => {
                self.phases(&["response.mcp_call.in_progress"]);
                self.text(&Text { field: "arguments", events: "response.mcp_call_arguments" });
                self.phases(&["response.mcp_call.completed"]);
            }
            "code_interpreter_call" => {
                self.phases(&["response.code_interpreter_call.in_progress"]);
                self.text(&Text { field: "code", events: "response.code_interpreter_call_code" });
                self.phases(&[
                    "response.code_interpreter_call.interpreting",
                    "response.code_interpreter_call.completed",
                ]);
            }
            other => self.phases(phases(other)),
        }
        let item = self.item.clone();
        self.whole("response.output_item.done", item);
        Ok(())
    }

    fn whole(&mut self, event: &str, item: Fields) {
        let index = self.index.into();
        self.to.tell(event, [("output_index", index), ("item", Value::Object(item))]);
    }

    fn phases(&mut self, events: &[&str]) {
        for event in events {
            self.event(event, []);
        }
    }

    fn text(&mut self, text: &Text) {
        let Some(Value::String(whole)) = self.item.get(text.field) else { return };
        for piece in pieces(whole) {
            self.event(&format!("{}.delta", text.events), [("delta", piece.into())]);
        }
        self.event(&format!("{}.done", text.events), [(text.field, whole.as_str().into())]);
    }

    fn parts(&mut self, list: &Parts) -> Result<(), CannotReplay> {
        let parts = match self.item.get(list.field) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Array(parts)) => parts,
            Some(_) => return Err(ambiguous(list.field)),
        };
        for (at, part) in (0_u64..).zip(parts) {
            let Value::Object(part) = part else { return Err(ambiguous(list.field)) };
            let place = (list.index, Value::from(at));
            let empty = Value::Object(emptied(part));
            self.event(&format!("{}.added", list.events), [place.clone(), ("part", empty)]);
            self.part(&place, part);
            let whole = Value::Object(part.clone());
            self.event(&format!("{}.done", list.events), [place, ("part", whole)]);
        }
        Ok(())
    }

    /// What lies between the start and the end of a part.
    fn part(&mut self, place: &(&'static str, Value), part: &Fields) {
        let (field, events) = match part.get("type").and_then(Value::as_str) {
            Some("output_text") => ("text", "response.output_text"),
            Some("refusal") => ("refusal", "response.refusal"),
            Some("reasoning_text") => ("text", "response.reasoning_text"),
            Some("summary_text") => ("text", "response.reasoning_summary_text"),
            Some(_) | None => return,
        };
        let Some(Value::String(text)) = part.get(field) else { return };
        // Only texts for the user have log probabilities; they go with the first piece.
        let logprobs = (events == "response.output_text")
            .then(|| part.get("logprobs").filter(|told| told.is_array()).cloned())
            .map(|told| told.unwrap_or_else(|| json!([])));
        let mut pending = logprobs.clone();
        for piece in pieces(text) {
            let pending = pending.as_mut().map(|told| std::mem::replace(told, json!([])));
            let pending = pending.map(|told| ("logprobs", told));
            let delta = [place.clone(), ("delta", piece.into())].into_iter().chain(pending);
            self.event(&format!("{events}.delta"), delta);
        }
        let annotations = part.get("annotations").and_then(Value::as_array);
        for (at, annotation) in (0_u64..).zip(annotations.into_iter().flatten()) {
            let annotation = annotation.clone();
            let fields =
                [place.clone(), ("annotation_index", at.into()), ("annotation", annotation)];
            self.event("response.output_text.annotation.added", fields);
        }
        let whole = [place.clone(), (field, text.as_str().into())].into_iter();
        let logprobs = logprobs.map(|told| ("logprobs", told));
        self.event(&format!("{events}.done"), whole.chain(logprobs));
    }

    fn event<'f>(&mut self, event: &str, fields: impl IntoIterator<Item = (&'f str, Value)>) {
        let id = self.item.get("id").filter(|id| id.is_string()).cloned();
        let place =
            [("item_id", id.unwrap_or_else(|| "".into())), ("output_index", self.index.into())];
        self.to.tell(event, place.into_iter().chain(fields));
    }
}

/// An item as it is when it begins: what comes in pieces is empty, what comes at the end is not there.
fn opening(kind: &str, item: &Fields) -> Fields {
    let comes_later: &[&str] = match kind {
        "reasoning" => &["encrypted_content"],
        "web_search_call" => &["action"],
        "file_search_call" => &["results"],
        "mcp_call" => &["output", "error"],
        "code_interpreter_call" => &["outputs"],
        "image_generation_call" => &[
            "result",
            "revised_prompt",
            "size",
            "quality",
            "background",
            "output_format",
            "action",
        ],
        _ => &[],
    };
    let fields = item.iter().filter(|(field, _)| !comes_later.contains(&field.as_str()));
    let mut opening: Fields = fields.map(|(field, value)| (field.clone(), value.clone())).collect();
    for (field, value) in opening.iter_mut() {
        match (kind, field.as_str()) {
            (_, "status") if value.is_string() => *value = "in_progress".into(),
            ("message" | "reasoning", "content") | ("reasoning", "summary") if value.is_array() => {
                *value = json!([]);
            }
            ("function_call" | "mcp_call", "arguments")
            | ("custom_tool_call", "input")
            | ("code_interpreter_call", "code")
                if value.is_string() =>
            {
                *value = "".into();
            }
            _ => {}
        }
    }
    opening
}

/// A part as it is when it begins.
fn emptied(part: &Fields) -> Fields {
    let mut part = part.clone();
    for (field, value) in part.iter_mut() {
        match (field.as_str(), &value) {
            ("text" | "refusal", Value::String(_)) => *value = "".into(),
            ("annotations" | "logprobs", Value::Array(_)) => *value = json!([]),
            _ => {}
        }
    }
    part
}

/// What the provider does for an item between its start and its end.
fn phases(kind: &str) -> &'static [&'static str] {
    match kind {
        "web_search_call" => &[
            "response.web_search_call.in_progress",
            "response.web_search_call.searching",
            "response.web_search_call.completed",
        ],
        "file_search_call" => &[
            "response.file_search_call.in_progress",
            "response.file_search_call.searching",
            "response.file_search_call.completed",
        ],
        "image_generation_call" => &[
            "response.image_generation_call.in_progress",
            "response.image_generation_call.generating",
            "response.image_generation_call.completed",
        ],
        "mcp_list_tools" => {
            &["response.mcp_list_tools.in_progress", "response.mcp_list_tools.completed"]
        }
        _ => &[],
    }
}
