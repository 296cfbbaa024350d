//! YAML text to a JSON value and the line of every field in it. Refuses what two readers of a file could
//! understand differently: duplicate keys, several documents, keys that are no text, custom tags.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, ScanError, YamlData};
use serde_json::{Map, Value};

use super::report::{ConfigError, is_plain, showable};

/// How deep a file may nest; what it configures nests about eight levels.
const DEPTH_MAX: usize = 32;

/// The section whose presence alone says something.
const WALLET: &str = "wallet";

/// A file, read.
#[derive(Debug)]
pub(super) struct Tree {
    /// Its content; an empty file is an empty object.
    pub(super) value: Value,
    /// Where everything stands.
    pub(super) lines: Lines,
}

/// Where the fields of a file stand, by path: `providers.targets[0].id`.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<String, usize>,
    /// How numbers are written whose value does not say it: no integers, whose value is only near what was meant, and
    /// integers in another notation.
    numbers: BTreeMap<String, String>,
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    lines: Lines,
    /// How the fractions with an anchor are written, by the anchor's name.
    anchored: BTreeMap<String, String>,
}

/// Reads one YAML document.
pub(super) fn read(file: &str, text: &str) -> Result<Tree, ConfigError> {
    // What stands at the end of a file without a last line end, the parser sees on the line after it.
    let last_line = 1 + text.matches(['\n', '\r']).count();
    let within = |error: ConfigError| ConfigError { line: error.line.min(last_line), ..error };
    documents(file, text).map_err(within).map(|mut tree| {
        tree.lines.lines.values_mut().for_each(|line| *line = last_line.min(*line));
        tree
    })
}

fn documents(file: &str, text: &str) -> Result<Tree, ConfigError> {
    let documents =
        MarkedYaml::load_from_str(text).map_err(|error| not_yaml(file, text, &error))?;
    let mut reader = Reader { file, text, lines: Lines::default(), anchored: BTreeMap::new() };
    let value = match documents.as_slice() {
        [] => Value::Object(Map::new()),
        [document] => reader.root(document)?,
        [_, second, ..] => {
            return Err(reader.error(second, "", "a second document; one file holds one"));
        }
    };
    Ok(Tree { value, lines: reader.lines })
}

fn not_yaml(file: &str, text: &str, error: &ScanError) -> ConfigError {
    let line = error.marker().line();
    let mut problem = format!("not valid YAML: {}", error.info());
    if error.info() == "duplicated key in mapping" {
        let of_line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let from_key: String = of_line.chars().skip(error.marker().col()).collect();
        let key = from_key.split(':').next().unwrap_or_default();
        let key = key.trim().trim_matches(['"', '\'']);
        let name = if is_plain(key) { format!("'{key}'") } else { "a field".to_owned() };
        problem = format!("{name} stands twice in the same place");
    }
    ConfigError { file: file.to_owned(), line, field: String::new(), problem }
}

/// Whether a field is a sum of dollars: an empty one would be a limit that is believed to be there.
fn is_amount(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default();
    name.ends_with("_usd") || name.ends_with("_usd_per_million")
}

// === impl Reader ===

impl Reader<'_> {
    /// A file of nothing but comments is an empty object.
    fn root(&mut self, node: &MarkedYaml<'_>) -> Result<Value, ConfigError> {
        if matches!(node.data, YamlData::Value(Scalar::Null) | YamlData::BadValue) {
            return Ok(Value::Object(Map::new()));
        }
        self.value(node, "", DEPTH_MAX)
    }

    fn error(&self, node: &MarkedYaml<'_>, path: &str, problem: &str) -> ConfigError {
        ConfigError {
            file: self.file.to_owned(),
            line: node.span.start.line(),
            field: showable(path).to_owned(),
            problem: problem.to_owned(),
        }
    }

    fn value(
        &mut self,
        node: &MarkedYaml<'_>,
        path: &str,
        depth_left: usize,
    ) -> Result<Value, ConfigError> {
        let Some(depth_left) = depth_left.checked_sub(1) else {
            return Err(self.error(node, path, "nested too deep"));
        };
        self.lines.lines.entry(path.to_owned()).or_insert_with(|| node.span.start.line());
        match &node.data {
            YamlData::Value(scalar) => {
                match scalar {
                    Scalar::FloatingPoint(number) => {
                        self.keep_fraction(node, path, number.into_inner());
                    }
                    Scalar::Integer(number) => self.keep_odd_integer(node, path, *number),
                    // An empty section is one with defaults: where it is not the same as none, it has to be there.
                    Scalar::Null if path == WALLET => return Ok(Value::Object(Map::new())),
                    Scalar::Null if is_amount(path) => {
                        let what = "is empty: write an amount, like 2.50, or leave it out";
                        return Err(self.error(node, path, what));
                    }
                    Scalar::Null | Scalar::Boolean(_) | Scalar::String(_) => {}
                }
                self.scalar(scalar).ok_or_else(|| self.error(node, path, "not a finite number"))
            }
            YamlData::Sequence(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    values.push(self.value(item, &format!("{path}[{at}]"), depth_left)?);
                }
                Ok(Value::Array(values))
            }
            YamlData::Mapping(fields) => {
                let mut values = Map::new();
                for (key, value) in fields {
                    let YamlData::Value(Scalar::String(name)) = &key.data else {
                        return Err(self.error(key, path, "a key that is no text"));
                    };
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{dot}{name}");
                    // The line of a field is the line of its name: the value may begin below.
                    self.lines.lines.insert(path.clone(), key.span.start.line());
                    values.insert(name.to_string(), self.value(value, &path, depth_left)?);
                }
                Ok(Value::Object(values))
            }
            YamlData::Tagged(..) => {
                Err(self.error(node, path, "custom YAML tags mean nothing here"))
            }
            YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
                Err(self.error(node, path, "not a value"))
            }
        }
    }

    /// Keeps how a number is written, there or at its anchor, unless what stands there is not it.
    fn keep_fraction(&mut self, node: &MarkedYaml<'_>, path: &str, number: f64) {
        let written = self.written(node);
        let words: Vec<&str> = written.split_whitespace().collect();
        let (Some(first), Some(last)) = (words.first(), words.last()) else { return };
        let lexeme = match last.strip_prefix('*') {
            Some(anchor) => self.anchored.get(anchor).cloned(),
            None => Some((*last).to_owned()),
        };
        let Some(lexeme) = lexeme.filter(|lexeme| lexeme.parse() == Ok(number)) else { return };
        if let Some(anchor) = first.strip_prefix('&') {
            self.anchored.insert(anchor.to_owned(), lexeme.clone());
        }
        self.lines.numbers.insert(path.to_owned(), lexeme);
    }

    /// Keeps how an integer is written that is written otherwise than people do: `0x10`, `+5`.
    fn keep_odd_integer(&mut self, node: &MarkedYaml<'_>, path: &str, number: i64) {
        let written = self.written(node);
        let lexeme = written.split_whitespace().last().unwrap_or_default();
        if !lexeme.starts_with('*') && lexeme != number.to_string() {
            self.lines.numbers.insert(path.to_owned(), lexeme.to_owned());
        }
    }

    /// The text of a value that stands on one line.
    fn written(&self, node: &MarkedYaml<'_>) -> String {
        let (start, end) = (node.span.start, node.span.end);
        let line = self.text.lines().nth(start.line().saturating_sub(1)).unwrap_or_default();
        line.chars().skip(start.col()).take(end.col().saturating_sub(start.col())).collect()
    }

    fn scalar(&self, scalar: &Scalar<'_>) -> Option<Value> {
        Some(match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(truth) => Value::Bool(*truth),
            Scalar::Integer(number) => Value::from(*number),
            Scalar::FloatingPoint(number) => {
                serde_json::Number::from_f64(number.into_inner()).map(Value::Number)?
            }
            Scalar::String(text) => Value::String(text.to_string()),
        })
    }
}

// === impl Lines ===

impl Lines {
    /// The line of `field`, or of the nearest thing around it that the file mentions.
    pub(super) fn of(&self, field: &str) -> usize {
        let mut field = field;
        loop {
            if let Some(line) = self.lines.get(field) {
                return *line;
            }
            let Some((around, _)) = field.rsplit_once(['.', '[']) else {
                return self.lines.get("").copied().unwrap_or(1);
            };
            field = around;
        }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.lines.contains_key(field)
    }

    /// How the number in `field` is written, unless that is its value.
    pub(super) fn number(&self, field: &str) -> Option<&str> {
        self.numbers.get(field).map(String::as_str)
    }
}
