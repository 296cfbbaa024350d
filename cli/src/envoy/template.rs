//! The templates in `envoy/`, and how they are filled in: `${name}` where a value stands becomes that value,
//! whatever its type, and `${...name}` in a list becomes the elements of that list. Values are JSON values and
//! never pieces of text, so nothing that anybody configures can change the shape of the result.
//!
//! A field whose value becomes `null` is left out. Knows nothing of Envoy.

use std::collections::BTreeSet;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Number, Value};

/// A mistake in a template, or between a template and the code that fills it in: never the user's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the built-in Envoy template {template} {problem}")]
pub(crate) struct TemplateError {
    template: &'static str,
    problem: String,
}

/// One file of `envoy/`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template {
    name: &'static str,
    text: &'static str,
}

/// The values for one template.
pub(crate) type Values = Map<String, Value>;

struct Filler<'a> {
    values: &'a Values,
    used: BTreeSet<&'a str>,
}

// === impl Template ===

impl Template {
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text }
    }

    /// The template with `values` in it.
    ///
    /// # Errors
    /// A placeholder without a value, a value without a placeholder, or a template that is no YAML.
    pub(crate) fn fill(self, values: &Values) -> Result<Value, TemplateError> {
        self.try_fill(values).map_err(|problem| TemplateError { template: self.name, problem })
    }

    fn try_fill(self, values: &Values) -> Result<Value, String> {
        let documents =
            Yaml::load_from_str(self.text).map_err(|error| format!("is no YAML: {error}"))?;
        let [document] = documents.as_slice() else {
            return Err("is not one document".to_owned());
        };
        let mut filler = Filler { values, used: BTreeSet::new() };
        let filled = filler.fill(&to_json(document)?)?;
        match values.keys().find(|name| !filler.used.contains(name.as_str())) {
            Some(unused) => Err(format!("has no place for '{unused}'")),
            None => Ok(filled),
        }
    }
}

// === impl Filler ===

impl<'a> Filler<'a> {
    fn fill(&mut self, node: &Value) -> Result<Value, String> {
        match node {
            Value::String(text) => match placeholder(text) {
                Some(name) => self.value(name).cloned(),
                None => Ok(node.clone()),
            },
            Value::Array(items) => self.list(items),
            Value::Object(fields) => {
                let mut filled = Map::new();
                for (name, field) in fields {
                    let value = self.fill(field)?;
                    // What the template itself says is null stays: a log format has such fields.
                    if field.is_null() || !value.is_null() {
                        filled.insert(name.clone(), value);
                    }
                }
                Ok(Value::Object(filled))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(node.clone()),
        }
    }

    fn list(&mut self, items: &[Value]) -> Result<Value, String> {
        let mut filled = Vec::with_capacity(items.len());
        for item in items {
            let name = item.as_str().and_then(placeholder);
            match name.and_then(|name| name.strip_prefix("...")) {
                Some(name) => match self.value(name)? {
                    Value::Array(spread) => filled.extend(spread.iter().cloned()),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Object(_) => {
                        return Err(format!("spreads '{name}', which is no list"));
                    }
                },
                None => filled.push(self.fill(item)?),
            }
        }
        Ok(Value::Array(filled))
    }

    fn value(&mut self, name: &str) -> Result<&'a Value, String> {
        let (name, value) =
            self.values.get_key_value(name).ok_or_else(|| format!("wants '{name}'"))?;
        self.used.insert(name);
        Ok(value)
    }
}

/// The first document of a text in YAML.
///
/// # Errors
/// It is none, or has what JSON has no word for.
pub(crate) fn read_yaml(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| format!("is no YAML: {error}"))?;
    documents.first().map_or_else(|| Err("is empty".to_owned()), to_json)
}

fn placeholder(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

fn to_json(node: &Yaml<'_>) -> Result<Value, String> {
    match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Ok(Value::Null),
            Scalar::Boolean(truth) => Ok(Value::Bool(*truth)),
            Scalar::Integer(number) => Ok(Value::Number(Number::from(*number))),
            Scalar::FloatingPoint(number) => Number::from_f64(number.into_inner())
                .map(Value::Number)
                .ok_or_else(|| "has a number that is not finite".to_owned()),
            Scalar::String(text) => Ok(Value::String(text.to_string())),
        },
        Yaml::Sequence(items) => {
            items.iter().map(to_json).collect::<Result<_, _>>().map(Value::Array)
        }
        Yaml::Mapping(fields) => {
            let mut object = Map::new();
            for (name, value) in fields {
                let Yaml::Value(Scalar::String(name)) = name else {
                    return Err("has a key that is no text".to_owned());
                };
                object.insert(name.to_string(), to_json(value)?);
            }
            Ok(Value::Object(object))
        }
        Yaml::Representation(..) | Yaml::Tagged(..) | Yaml::Alias(_) | Yaml::BadValue => {
            Err("uses YAML that templates do not need".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(text: &'static str, values: Value) -> Result<Value, String> {
        let Value::Object(values) = values else { panic!("values are an object") };
        Template::new("test.yaml", text).fill(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn a_placeholder_becomes_its_value_whatever_the_type() {
        let filled = fill("{port: '${port}', on: '${on}'}", json!({"port": 1, "on": {"a": true}}));
        assert_eq!(filled, Ok(json!({"port": 1, "on": {"a": true}})));
    }

    #[test]
    fn a_spread_keeps_the_order_of_the_list() {
        let filled = fill("[first, '${...rest}', last]", json!({"rest": [1, {"two": 2}]}));
        assert_eq!(filled, Ok(json!(["first", 1, {"two": 2}, "last"])));
    }

    #[test]
    fn a_field_that_becomes_null_is_left_out_and_one_that_is_null_stays() {
        assert_eq!(fill("{tls: '${tls}', b: null}", json!({"tls": null})), Ok(json!({"b": null})));
    }

    #[test]
    fn what_a_value_says_is_not_read_as_a_template() {
        let filled = fill("{host: '${host}'}", json!({"host": "${port}: {evil: true}"}));
        assert_eq!(filled, Ok(json!({"host": "${port}: {evil: true}"})));
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, values, problem) in [
            ("a: ${b}", json!({}), "wants 'b'"),
            ("a: 1", json!({"b": 1}), "has no place for 'b'"),
            ("['${...b}']", json!({"b": 1}), "spreads 'b', which is no list"),
        ] {
            let error = fill(text, values).unwrap_err();
            assert_eq!(error, format!("the built-in Envoy template test.yaml {problem}"));
        }
    }
}
