//! What a check found: errors and warnings, each with its line. Collects; never stops a check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::tree::Lines;
use super::{Config, Loaded};

/// Something in the file that keeps it from being used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{problem}", prefix(field))]
pub struct ConfigError {
    /// The file as the caller named it.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The field's path, e.g. `providers.targets[0].base_url`; empty for the file as a whole.
    pub field: String,
    /// What is wrong with it, and what to do where that is known.
    pub problem: String,
}

/// Something in the file that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file as the caller named it.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The field's path.
    pub field: String,
    /// What to know about it.
    pub note: String,
}

/// Collects what the checks find.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    lines: Lines,
    /// The fields with a mistake of form. What they would have meant is not known.
    broken: Vec<String>,
    /// The items that were left out of lists because of their form, by the list's path.
    left_out: BTreeMap<String, BTreeSet<usize>>,
    errors: Vec<ConfigError>,
    warnings: Vec<Warning>,
    local_notes: Vec<Warning>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field, note } = self;
        write!(f, "{file}:{line}: {}{note}", prefix(field))
    }
}

/// Whether `inner` is `outer` or a part of it.
fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

// === impl Report ===

impl Report {
    pub(super) const fn new(file: String, lines: Lines) -> Self {
        Self {
            file,
            lines,
            broken: Vec::new(),
            left_out: BTreeMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            local_notes: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, field: impl AsRef<str>, problem: impl Into<String>) {
        let field = self.in_file(field.as_ref());
        // Whatever its meaning seems to lack, its form is what is to be mended.
        if !self.broken.iter().any(|broken| is_within(&field, broken)) {
            self.push(&field, &field, problem.into());
        }
    }

    /// A mistake in the form of `field`, which is called `shown`.
    pub(super) fn mistake(&mut self, field: &str, shown: &str, problem: String) {
        self.push(field, shown, problem);
        self.broken.push(field.to_owned());
    }

    /// A field that is not in the file, because its name is misspelled there.
    pub(super) fn misspelled(&mut self, field: String) {
        if !self.lines.has(&field) {
            self.broken.push(field);
        }
    }

    /// An item of a list is left out of what is checked.
    pub(super) fn leave_out(&mut self, item: &str) {
        let Some((list, at)) = item.strip_suffix(']').and_then(|item| item.rsplit_once('[')) else {
            return;
        };
        if let Ok(at) = at.parse() {
            self.left_out.entry(list.to_owned()).or_default().insert(at);
        }
    }

    /// The path that a field of what is checked has in the file, where lists have all of their items.
    pub(super) fn in_file(&self, field: &str) -> String {
        let mut parts = field.split('[');
        let mut path = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let place = part.split_once(']').and_then(|(at, rest)| Some((at.parse().ok()?, rest)));
            if let (Some((at, rest)), Some(left_out)) = (place, self.left_out.get(&path)) {
                let at = (0..).filter(|at| !left_out.contains(at)).nth(at).unwrap_or(at);
                path.push_str(&format!("[{at}]{rest}"));
            } else {
                path.push('[');
                path.push_str(part);
            }
        }
        path
    }

    /// Whether everything that the file says about `field` could be read; what is missing there is missing in
    /// the file.
    pub(super) fn is_whole(&self, field: &str) -> bool {
        let field = self.in_file(field);
        !self.broken.iter().any(|broken| is_within(&field, broken) || is_within(broken, &field))
    }

    fn push(&mut self, field: &str, shown: &str, problem: String) {
        let line = self.lines.of(field);
        let (file, field) = (self.file.clone(), showable(shown).to_owned());
        self.errors.push(ConfigError { file, line, field, problem });
    }

    pub(super) fn warning(&mut self, field: impl Into<String>, note: impl Into<String>) {
        let warning = self.remark(field.into(), note.into());
        self.warnings.push(warning);
    }

    /// What is to be known only where a gateway spawns a sidecar of its own.
    pub(super) fn local_note(&mut self, field: impl Into<String>, note: impl Into<String>) {
        let note = self.remark(field.into(), note.into());
        self.local_notes.push(note);
    }

    fn remark(&self, field: String, note: String) -> Warning {
        Warning { file: self.file.clone(), line: self.lines.of(&field), field, note }
    }

    /// What was said of fields whose names end so holds no more, with what another section says.
    pub(super) fn takes_back_warnings(&mut self, ending: &str) {
        self.warnings.retain(|warning| !warning.field.ends_with(ending));
    }

    /// Whether the file says something about `field`, be it `null`.
    pub(super) fn mentions(&self, field: &str) -> bool {
        self.lines.has(&self.in_file(field))
    }

    /// The value, if it lies between the bounds; otherwise an error, and the default in its place, which
    /// nobody will see.
    pub(super) fn within<T>(&mut self, field: &str, value: Option<T>, bounds: Bounds<T>) -> T
    where
        T: Copy + PartialOrd + fmt::Display,
    {
        let Bounds { min, max, default } = bounds;
        match value {
            None => default,
            Some(value) if (min..=max).contains(&value) => value,
            Some(value) => {
                self.error(field, format!("{value} is not between {min} and {max}"));
                default
            }
        }
    }

    /// How the number in `field` is written, if it is no integer.
    pub(super) fn number(&self, field: &str) -> Option<&str> {
        self.lines.number(&self.in_file(field))
    }

    /// A name that goes into headers, file names and Envoy's cluster names.
    pub(super) fn name(&mut self, field: &str, value: &str) {
        let good = (1..=64).contains(&value.len())
            && value.starts_with(|first: char| first.is_ascii_alphanumeric())
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !good {
            self.error(
                field,
                "is no name: 1 to 64 letters, digits, '-', '_' and '.', beginning with a letter or \
                 digit",
            );
        }
    }

    pub(super) fn into_errors(mut self) -> Vec<ConfigError> {
        self.errors.sort_by_key(|error| error.line);
        self.errors
    }

    /// The configuration with its warnings, if there was no error.
    pub(super) fn loaded(mut self, config: Config) -> Result<Loaded, Vec<ConfigError>> {
        if !self.errors.is_empty() {
            return Err(self.into_errors());
        }
        self.warnings.sort_by_key(|warning| warning.line);
        Ok(Loaded { config, warnings: self.warnings, local_notes: self.local_notes })
    }
}

/// The smallest and the largest value of a field, and the value it has when it is not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<T> {
    pub(super) min: T,
    pub(super) max: T,
    pub(super) default: T,
}

/// The one of `known` that is near enough to `word` or begins with it.
pub(super) fn suggestion<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(word, candidate);
            let near = distance <= candidate.chars().count().max(3) / 3;
            (near || (word.len() >= 3 && candidate.starts_with(word)))
                .then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether a name looks like a field's, so that a message may repeat it. A credential does not.
pub(super) fn is_plain(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The part of a path that a message may show: what stands under a reference to a secret and is no field of it
/// may be the secret itself.
pub(super) fn showable(path: &str) -> &str {
    for reference in [".secret_key_ref", "database.url", "wallet.url", "redis.url"] {
        let found = path.split_once(reference);
        if let Some((before, inside)) = found
            && let Some(inside) = inside.strip_prefix('.')
            && !["env", "file", "store"].contains(&inside)
        {
            return path.get(..before.len() + reference.len()).unwrap_or(before);
        }
    }
    path
}
