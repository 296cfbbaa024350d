//! Serde's messages in the file's words. Never repeats what stands in the file, but for a name that is like a
//! field's: whatever is in the wrong place may be a credential, and messages go to logs and status replies.

use crate::config::report::{is_plain, suggestion};

/// What is wrong with a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What to say of it.
    pub(super) problem: String,
    /// For an unknown field: whether its name may be repeated.
    pub(super) may_name: bool,
    /// For an unknown field: the one that was meant, if that can be told.
    pub(super) meant: Option<String>,
}

/// What a message of serde says.
pub(super) fn of(message: &str) -> Mistake {
    if let Some(message) = message.strip_prefix("unknown field `") {
        let (word, known) = word_and_known(message);
        return match suggestion(word, known.iter().copied()) {
            Some(meant) => Mistake {
                problem: format!("unknown field; did you mean '{meant}'?"),
                may_name: true,
                meant: Some(meant.to_owned()),
            },
            None => Mistake {
                problem: format!("unknown field; known here: {}", known.join(", ")),
                may_name: is_plain(word),
                meant: None,
            },
        };
    }
    Mistake { problem: of_value(message), may_name: true, meant: None }
}

fn of_value(message: &str) -> String {
    if let Some(message) = message.strip_prefix("unknown variant `") {
        let (word, known) = word_and_known(message);
        return match suggestion(word, known.iter().copied()) {
            Some(meant) => format!("unknown value '{word}'; did you mean '{meant}'?"),
            None => format!("unknown value; known here: {}", known.join(", ")),
        };
    }
    // The last: a value that is repeated before it may hold the same word.
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return "is not what belongs here".to_owned();
    };
    let found = kind(found);
    let expected = match expected {
        "a string" | "string or map" => "a text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "u16" => "a whole number up to 65535",
        "u32" | "u64" => "a whole number",
        structure if structure.starts_with("struct ") => "a map",
        other => other,
    };
    match (expected, found) {
        ("a text", "a number") => format!("expected {expected}, found a number; put it in quotes"),
        (expected, "a number")
            if ["a whole number", "a number"].iter().any(|it| expected.starts_with(it)) =>
        {
            format!("expected {expected}, found another number")
        }
        (expected, found) => format!("expected {expected}, found {found}"),
    }
}

/// The word that is unknown, and those that are known.
fn word_and_known(message: &str) -> (&str, Vec<&str>) {
    let (word, known) = message.rsplit_once("`, expected ").unwrap_or((message, ""));
    (word, known.split('`').skip(1).step_by(2).collect())
}

/// The kind of what was found; the value itself stands behind its kind.
fn kind(found: &str) -> &'static str {
    let found =
        found.split_once(": ").map_or("", |(_invalid_type_or_value, what_it_is)| what_it_is);
    for (serde, name) in [
        ("string", "a text"),
        ("character", "a text"),
        ("integer", "a number"),
        ("floating point", "a number"),
        ("boolean", "true or false"),
        ("sequence", "a list"),
        ("map", "a map"),
        ("null", "nothing"),
        ("unit value", "nothing"),
        ("Option", "nothing"),
    ] {
        if found.starts_with(serde) {
            return name;
        }
    }
    "something else"
}
