//! Requests as what they mean, written in as many spellings as JSON has.

use crate::choices::Choices;

const MODELS: [&str; 2] = ["gpt-4o", "gpt-4o-mini"];
/// Each is another request: numbers are what is written.
const NUMBERS: [&str; 8] = ["0", "-0", "0.0", "1", "1.0", "1e0", "1E0", "10000000000000000999"];
/// What makes two texts equal to readers and not to bytes, or moves a field's end.
const TAILS: [&str; 10] =
    ["", " ", "\u{200b}", "\u{e9}", "e\u{301}", "\0", "\u{202e}", "\"}", "|", "\u{1f3f3}\u{fe0f}"];
const ROLES: [&str; 3] = ["user", "system", "assistant"];

/// How many requests there are about one text.
const KINDS: usize = 100;

/// What a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) model: &'static str,
    role: &'static str,
    content: String,
    temperature: &'static str,
    seed: Option<usize>,
    extra: Option<(&'static str, String)>,
    /// `openai-beta`, which may change the answer.
    pub(super) beta: Option<&'static str>,
}

// === impl Asked ===

impl Asked {
    /// One of few about a text, which come again and again.
    pub(super) fn choose(choices: &mut Choices, text: &str) -> Self {
        let choices = &mut Choices::of(&[u8::try_from(choices.below(KINDS)).unwrap()]);
        // The body has a bound.
        let short: String = text.chars().take(60).collect();
        Self {
            model: MODELS[choices.below(MODELS.len())],
            role: ROLES[choices.below(ROLES.len())],
            content: short + TAILS[choices.below(TAILS.len())],
            temperature: NUMBERS[choices.below(NUMBERS.len())],
            seed: (choices.below(2) == 0).then(|| choices.below(3)),
            extra: None,
            beta: [None, Some("a"), Some("b")][choices.below(3)],
        }
    }

    /// The same but for one thing, which counts.
    pub(super) fn changed(&self, choices: &mut Choices) -> Self {
        loop {
            let mut other = self.clone();
            match choices.below(8) {
                0 => other.model = MODELS[choices.below(MODELS.len())],
                1 => other.role = ROLES[choices.below(ROLES.len())],
                2 => other.content.push_str(TAILS[choices.below(TAILS.len())]),
                3 => other.temperature = NUMBERS[choices.below(NUMBERS.len())],
                4 => other.seed = other.seed.map_or(Some(0), |seed| seed.checked_sub(1)),
                5 => other.beta = [None, Some("a"), Some("b")][choices.below(3)],
                6 => {
                    // A field's end is moved: what was content is a field of its own.
                    let tail = other.content.pop();
                    other.extra = tail.map(|tail| ("stop", tail.to_string()));
                }
                _ => other.content = other.content.chars().rev().collect(),
            }
            if other != *self {
                return other;
            }
        }
    }

    /// Its body, in one of its spellings.
    pub(super) fn write(&self, choices: &mut Choices) -> String {
        let Self { model, role, content, temperature, seed, extra, beta: _ } = self;
        let message = fields(choices, vec![("role", quoted(role)), ("content", quoted(content))]);
        let mut all = vec![
            ("model", quoted(model)),
            ("messages", format!("[{message}]")),
            ("temperature", (*temperature).to_owned()),
        ];
        all.extend(seed.map(|seed| ("seed", seed.to_string())));
        all.extend(extra.iter().map(|(name, value)| (*name, quoted(value))));
        fields(choices, all)
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// An object, in any order and with any spaces.
fn fields(choices: &mut Choices, mut all: Vec<(&str, String)>) -> String {
    for at in (1..all.len()).rev() {
        all.swap(at, choices.below(at + 1));
    }
    let space = |choices: &mut Choices| ["", "", "", " ", "\n"][choices.below(5)];
    let written: Vec<String> = all
        .iter()
        .map(|(name, value)| {
            format!("{}{}:{}{value}", space(choices), quoted(name), space(choices))
        })
        .collect();
    format!("{{{}}}", written.join(","))
}
