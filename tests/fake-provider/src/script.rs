//! A directive for the next calls, whatever their prompts say.

use serde::Deserialize;

use crate::directive::{BadDirective, Directive};

/// What the next calls shall get.
#[derive(Debug, Default)]
pub(crate) struct Script {
    left: u64,
    directive: Directive,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// For how many calls.
    next: u64,
    /// As it would stand in a prompt, without the brackets.
    fake: String,
}

// === impl Script ===

impl Script {
    /// Reads the body of `POST /script`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadDirective> {
        let raw: Raw =
            serde_json::from_slice(body).map_err(|problem| BadDirective(problem.to_string()))?;
        let mut directive = Directive::default();
        directive.add(&raw.fake)?;
        Ok(Self { left: raw.next, directive })
    }

    /// The directive for one more call, while there is one.
    pub(crate) fn next(&mut self) -> Option<Directive> {
        self.left = self.left.checked_sub(1)?;
        Some(self.directive.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::Fault;

    #[test]
    fn a_script_counts_down() {
        let mut script = Script::read(br#"{"next": 2, "fake": "status=500"}"#).unwrap();
        for _ in 0..2 {
            assert_eq!(script.next().unwrap().fault, Some(Fault::Status(500)));
        }
        assert_eq!(script.next(), None);
    }

    #[test]
    fn a_bad_script_is_an_error() {
        for body in ["", "{}", r#"{"next": 1, "fake": "nonsense"}"#, r#"{"nxt": 1, "fake": ""}"#] {
            assert!(Script::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
