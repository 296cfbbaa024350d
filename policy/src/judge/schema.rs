//! Whether a value fits a JSON Schema (draft 2020-12, as providers take it). The schema is a client's and the value a
//! model's, so both are hostile: every step is counted, nothing is fetched, and a pattern is linear. What would take too
//! long, or says what is not known here, is not guessed at.

mod keywords;
mod number;

use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

/// How many steps an answer may take. One is a schema that is applied, an item that is compared, or 64 bytes of a text.
const STEPS_MAX: u32 = 1_000_000;
/// How deep schemas may apply each other.
const DEPTH_MAX: u32 = 200;
/// How many different patterns are compiled for a value, and how large each may become.
const PATTERNS_MAX: usize = 100;
const PATTERN_BYTES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];
const TEXT_BYTES_OF_A_STEP: usize = 64;
/// To compile a pattern takes as long as so many steps, and one more for each so many bytes that it becomes.
const STEPS_OF_A_PATTERN: usize = 2_000;
const PATTERN_BYTES_OF_A_STEP: usize = 16;
/// How long the place of a misfit may be told.
const PLACE_BYTES_MAX: usize = 512;

/// Why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It does not: by the keyword at this place of the schema, e.g. `/properties/age/type`.
    Differs(String),
    /// Nobody can say: the schema asks for this.
    Unchecked(&'static str),
}

/// The work that there is time for, for all the values of an answer together.
#[derive(Debug)]
pub struct Budget {
    steps: u32,
}

/// Whether a value fits a schema.
///
/// # Errors
/// Where it does not, or why nobody can say.
pub fn check(schema: &Value, value: &Value, budget: &mut Budget) -> Result<(), Misfit> {
    let mut check = Check { root: schema, budget, depth: 0, patterns: HashMap::new() };
    check.apply(schema, value)
}

/// One value on its way through a schema.
pub(super) struct Check<'s, 'b> {
    root: &'s Value,
    budget: &'b mut Budget,
    depth: u32,
    patterns: HashMap<&'s str, Pattern>,
}

/// A pattern that is compiled.
struct Pattern {
    regex: Regex,
    /// How many bytes it has become, at most: so many it may look at for each byte of a text.
    bytes: usize,
}

// === impl Budget ===

impl Default for Budget {
    fn default() -> Self {
        Self { steps: STEPS_MAX }
    }
}

// === impl Pattern ===

impl Pattern {
    fn new(pattern: &str) -> Option<Self> {
        PATTERN_BYTES.into_iter().find_map(|bytes| {
            let mut builder = regex::RegexBuilder::new(pattern);
            let regex = builder.size_limit(bytes).dfa_size_limit(bytes).build().ok()?;
            Some(Self { regex, bytes })
        })
    }

    /// What it takes to look for it: in the worst case every part of it at every byte.
    fn steps_for(&self, text: &str) -> usize {
        let parts = self.bytes / TEXT_BYTES_OF_A_STEP;
        1 + text.len().saturating_mul(parts) / TEXT_BYTES_OF_A_STEP
    }
}

// === impl Misfit ===

impl Misfit {
    pub(super) fn at(self, keyword: &str) -> Self {
        match self {
            // Nobody reads so much of it, and it is put together anew at each level.
            Self::Differs(below) if below.starts_with("/…") => Self::Differs(below),
            Self::Differs(below) if below.len() + keyword.len() > PLACE_BYTES_MAX => {
                Self::Differs(format!("/…{below}"))
            }
            Self::Differs(below) => {
                // As a JSON pointer has it.
                let keyword = keyword.replace('~', "~0").replace('/', "~1");
                Self::Differs(format!("/{keyword}{below}"))
            }
            Self::Unchecked(why) => Self::Unchecked(why),
        }
    }

    pub(super) const fn here() -> Self {
        Self::Differs(String::new())
    }
}

// === impl Check ===

impl<'s> Check<'s, '_> {
    /// Applies a schema to a value.
    pub(super) fn apply(&mut self, schema: &'s Value, value: &Value) -> Result<(), Misfit> {
        self.step(1)?;
        if self.depth >= DEPTH_MAX {
            return Err(Misfit::Unchecked("schemas that apply each other without an end"));
        }
        self.depth += 1;
        let applied = match schema {
            Value::Bool(true) => Ok(()),
            Value::Bool(false) => Err(Misfit::here()),
            Value::Object(keywords) => keywords.iter().try_for_each(|(keyword, says)| {
                self.keyword(keywords, (keyword, says), value).map_err(|misfit| misfit.at(keyword))
            }),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Misfit::Unchecked("something that is no schema"))
            }
        };
        self.depth -= 1;
        applied
    }

    /// Whether it fits. Only what nobody can say is an error.
    pub(super) fn fits(&mut self, schema: &'s Value, value: &Value) -> Result<bool, Misfit> {
        match self.apply(schema, value) {
            Ok(()) => Ok(true),
            Err(Misfit::Differs(_)) => Ok(false),
            Err(unchecked @ Misfit::Unchecked(_)) => Err(unchecked),
        }
    }

    /// The schema at a place of this one. Whatever is elsewhere is not fetched.
    pub(super) fn referred(&mut self, reference: &str) -> Result<&'s Value, Misfit> {
        // Each of its names is looked up.
        self.step(1 + reference.len())?;
        let pointer = reference
            .strip_prefix('#')
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            .filter(|pointer| !pointer.contains('%'))
            .ok_or(Misfit::Unchecked("a $ref that leads out of it, or is no plain pointer"))?;
        self.root.pointer(pointer).ok_or(Misfit::Unchecked("a $ref that leads nowhere"))
    }

    /// Whether a pattern is found in a text.
    pub(super) fn matches(&mut self, pattern: &'s str, text: &str) -> Result<bool, Misfit> {
        if !self.patterns.contains_key(pattern) {
            self.step(STEPS_OF_A_PATTERN + pattern.len())?;
            if self.patterns.len() >= PATTERNS_MAX {
                return Err(Misfit::Unchecked("too many patterns"));
            }
            let compiled = Pattern::new(pattern);
            let bytes = compiled.as_ref().map_or(0, |compiled| compiled.bytes);
            self.step(bytes / PATTERN_BYTES_OF_A_STEP)?;
            let unknown = Misfit::Unchecked("a pattern that is not known here");
            self.patterns.insert(pattern, compiled.ok_or(unknown)?);
        }
        // To find it among the others takes its length.
        self.step_text(pattern)?;
        let Some(compiled) = self.patterns.get(pattern) else { return Ok(false) };
        let steps = compiled.steps_for(text);
        self.step(steps)?;
        Ok(self.patterns.get(pattern).is_some_and(|compiled| compiled.regex.is_match(text)))
    }

    /// Whether two values are the same to JSON Schema, for which 1.0 is 1.
    pub(super) fn same(&mut self, left: &Value, right: &Value) -> Result<bool, Misfit> {
        self.step(1)?;
        Ok(match (left, right) {
            (Value::Number(left), Value::Number(right)) => number::same(left, right),
            (Value::String(left), Value::String(right)) => {
                self.step_text(left)?;
                left == right
            }
            (Value::Array(left), Value::Array(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right) {
                    if !self.same(left, right)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Object(left), Value::Object(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (name, left) in left {
                    self.step_text(name)?;
                    let Some(right) = right.get(name) else { return Ok(false) };
                    if !self.same(left, right)? {
                        return Ok(false);
                    }
                }
                true
            }
            (left, right) => left == right,
        })
    }

    pub(super) fn step(&mut self, steps: usize) -> Result<(), Misfit> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let Some(left) = self.budget.steps.checked_sub(steps) else {
            // Whatever else is asked for: there is no time for it either.
            self.budget.steps = 0;
            return Err(Misfit::Unchecked("more work than there is time for"));
        };
        self.budget.steps = left;
        Ok(())
    }

    pub(super) fn step_text(&mut self, text: &str) -> Result<(), Misfit> {
        self.step(1 + text.len() / TEXT_BYTES_OF_A_STEP)
    }
}

#[cfg(test)]
mod tests;
