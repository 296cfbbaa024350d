//! A directive for the next calls, whatever their prompts say.

use serde::Deserialize;

use crate::directive::{BadDirective, Directive};

/// What the next calls shall get, by the order in which it was said.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Vec<Script>);

/// What some of the next calls shall get.
#[derive(Debug)]
pub(crate) struct Script {
    left: u64,
    directive: Directive,
    /// Only those whose prompt has this in it.
    prompt: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// For how many calls.
    next: u64,
    /// As it would stand in a prompt, without the brackets.
    fake: String,
    /// Only for prompts with this in them.
    prompt: Option<String>,
}

// === impl Scripts ===

impl Scripts {
    /// Adds a script. One for all prompts takes the place of the one before it.
    pub(crate) fn add(&mut self, script: Script) {
        self.0.retain(|old| old.left > 0 && (old.prompt.is_some() || script.prompt.is_some()));
        self.0.push(script);
    }

    /// The directive for one more call, while there is one; those for its prompt go first.
    pub(crate) fn next(&mut self, prompt: &str) -> Option<Directive> {
        let fits = |script: &&mut Script| {
            script.prompt.as_ref().is_some_and(|part| prompt.contains(part)) && script.left > 0
        };
        let found = match self.0.iter_mut().find(fits) {
            Some(found) => found,
            None => self.0.iter_mut().find(|s| s.prompt.is_none() && s.left > 0)?,
        };
        found.left -= 1;
        Some(found.directive.clone())
    }
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
        Ok(Self { left: raw.next, directive, prompt: raw.prompt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::Fault;

    fn scripts(bodies: &[&str]) -> Scripts {
        let mut scripts = Scripts::default();
        for body in bodies {
            scripts.add(Script::read(body.as_bytes()).unwrap());
        }
        scripts
    }

    fn status(scripts: &mut Scripts, prompt: &str) -> Option<Fault> {
        scripts.next(prompt).and_then(|directive| directive.fault)
    }

    #[test]
    fn a_script_counts_down() {
        let mut scripts = scripts(&[r#"{"next": 2, "fake": "status=500"}"#]);
        for expected in [Some(Fault::Status(500)), Some(Fault::Status(500)), None] {
            assert_eq!(status(&mut scripts, "any"), expected);
        }
    }

    #[test]
    fn a_script_for_a_prompt_leaves_other_prompts_alone() {
        let mut scripts = scripts(&[
            r#"{"next": 1, "fake": "status=500"}"#,
            r#"{"next": 1, "fake": "status=429", "prompt": "mine"}"#,
            r#"{"next": 1, "fake": "status=503", "prompt": "mine"}"#,
        ]);
        for (prompt, expected) in [("this is mine", 429), ("yours", 500), ("this is mine", 503)] {
            assert_eq!(status(&mut scripts, prompt), Some(Fault::Status(expected)), "{prompt}");
        }
        assert_eq!(status(&mut scripts, "this is mine"), None);
    }

    #[test]
    fn a_script_for_all_prompts_replaces_the_one_before_it() {
        let mut scripts = scripts(&[
            r#"{"next": 9, "fake": "status=500"}"#,
            r#"{"next": 1, "fake": "status=503"}"#,
        ]);
        assert_eq!(status(&mut scripts, "any"), Some(Fault::Status(503)));
        assert_eq!(status(&mut scripts, "any"), None);
    }

    #[test]
    fn a_bad_script_is_an_error() {
        for body in ["", "{}", r#"{"next": 1, "fake": "nonsense"}"#, r#"{"nxt": 1, "fake": ""}"#] {
            assert!(Script::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
