//! The keywords of JSON Schema. One that only describes is passed over; one that would have to be applied and is not
//! built is an error of its own.

use std::cmp::Ordering::{self, Equal, Greater, Less};

use serde_json::{Map, Number, Value};

use super::{Check, Misfit, number};

type Keywords = Map<String, Value>;

/// Keywords that say something of a value, and are not built here.
const NOT_BUILT: [&str; 6] = [
    "$dynamicRef",
    "$recursiveRef",
    "additionalItems",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
];

fn fits_if(is_so: bool) -> Result<(), Misfit> {
    if is_so { Ok(()) } else { Err(Misfit::here()) }
}

fn formed<T>(value: Option<T>) -> Result<T, Misfit> {
    value.ok_or(Misfit::Unchecked("a keyword with a value that is none for it"))
}

fn count(says: &Value) -> Result<usize, Misfit> {
    // More than memory has is more than there is.
    formed(says.as_u64()).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

fn is_of_type(name: &str, value: &Value) -> Result<bool, Misfit> {
    Ok(match (name, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        ("integer", Value::Number(number)) => number::is_integer(number),
        ("null" | "boolean" | "number" | "integer" | "string" | "array" | "object", _) => false,
        _ => return Err(Misfit::Unchecked("a type that is not known")),
    })
}

fn of_number(keyword: &str, says: &Value, number: &Number) -> Result<(), Misfit> {
    let allowed: &[Ordering] = match keyword {
        "minimum" => &[Greater, Equal],
        "exclusiveMinimum" => &[Greater],
        "maximum" => &[Less, Equal],
        "exclusiveMaximum" => &[Less],
        "multipleOf" => {
            let of = formed(says.as_number())?;
            return fits_if(formed(number::is_multiple(number, of))?);
        }
        _ => return Ok(()),
    };
    let ordering = formed(number::compare(number, formed(says.as_number())?))?;
    fits_if(allowed.contains(&ordering))
}

// === impl Check ===

impl<'s> Check<'s, '_> {
    /// Applies one keyword, with the others beside it.
    pub(super) fn keyword(
        &mut self,
        beside: &'s Keywords,
        (keyword, says): (&'s str, &'s Value),
        value: &Value,
    ) -> Result<(), Misfit> {
        self.step(1)?;
        if NOT_BUILT.contains(&keyword) {
            return Err(Misfit::Unchecked("a keyword that is not built"));
        }
        match keyword {
            "$ref" => {
                let schema = self.referred(formed(says.as_str())?)?;
                self.apply(schema, value)
            }
            "type" => self.of_type(says, value),
            "const" => fits_if(self.same(says, value)?),
            "enum" => {
                for one in formed(says.as_array())? {
                    if self.same(one, value)? {
                        return Ok(());
                    }
                }
                Err(Misfit::here())
            }
            "allOf" | "anyOf" | "oneOf" | "not" | "if" => {
                self.combined(beside, (keyword, says), value)
            }
            "dependentSchemas" => self.dependent(says, value),
            _ => match value {
                Value::Number(number) => of_number(keyword, says, number),
                Value::String(text) => self.of_text(keyword, says, text),
                Value::Array(items) => self.of_array(beside, (keyword, says), items),
                Value::Object(fields) => self.of_object(beside, (keyword, says), fields),
                Value::Null | Value::Bool(_) => Ok(()),
            },
        }
    }

    fn of_type(&mut self, says: &Value, value: &Value) -> Result<(), Misfit> {
        match says {
            Value::String(name) => fits_if(is_of_type(name, value)?),
            Value::Array(names) => {
                self.step(names.len())?;
                for name in names {
                    if is_of_type(formed(name.as_str())?, value)? {
                        return Ok(());
                    }
                }
                Err(Misfit::here())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => formed(None),
        }
    }

    /// Schemas that are applied to the same value.
    fn combined(
        &mut self,
        beside: &'s Keywords,
        (keyword, says): (&str, &'s Value),
        value: &Value,
    ) -> Result<(), Misfit> {
        match keyword {
            "not" => fits_if(!self.fits(says, value)?),
            "if" => {
                let branch = if self.fits(says, value)? { "then" } else { "else" };
                beside.get(branch).map_or(Ok(()), |schema| self.apply(schema, value))
            }
            "allOf" => {
                let schemas = formed(says.as_array())?;
                schemas.iter().enumerate().try_for_each(|(at, schema)| {
                    self.apply(schema, value).map_err(|misfit| misfit.at(&at.to_string()))
                })
            }
            _ => {
                let mut fitting = 0;
                for schema in formed(says.as_array())? {
                    fitting += usize::from(self.fits(schema, value)?);
                    if fitting == 1 && keyword == "anyOf" {
                        return Ok(());
                    }
                }
                fits_if(fitting == 1)
            }
        }
    }

    fn of_text(&mut self, keyword: &str, says: &'s Value, text: &str) -> Result<(), Misfit> {
        match keyword {
            "minLength" | "maxLength" => {
                self.step_text(text)?;
                let (length, bound) = (text.chars().count(), count(says)?);
                fits_if(if keyword == "minLength" { length >= bound } else { length <= bound })
            }
            "pattern" => fits_if(self.matches(formed(says.as_str())?, text)?),
            _ => Ok(()),
        }
    }

    fn of_array(
        &mut self,
        beside: &'s Keywords,
        (keyword, says): (&str, &'s Value),
        items: &[Value],
    ) -> Result<(), Misfit> {
        match keyword {
            "minItems" => fits_if(items.len() >= count(says)?),
            "maxItems" => fits_if(items.len() <= count(says)?),
            "prefixItems" => {
                let mut both = formed(says.as_array())?.iter().zip(items).enumerate();
                both.try_for_each(|(at, (schema, item))| {
                    self.apply(schema, item).map_err(|misfit| misfit.at(&at.to_string()))
                })
            }
            "items" => {
                let before =
                    beside.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                items.iter().skip(before).try_for_each(|item| self.apply(says, item))
            }
            "contains" => {
                let bound = |name| beside.get(name).map(count).transpose();
                let least = bound("minContains")?.unwrap_or(1);
                let most = bound("maxContains")?.unwrap_or(usize::MAX);
                let mut found = 0;
                for item in items {
                    found += usize::from(self.fits(says, item)?);
                }
                fits_if((least..=most).contains(&found))
            }
            "uniqueItems" if says == &Value::Bool(true) => {
                for (at, item) in items.iter().enumerate() {
                    for other in items.iter().take(at) {
                        if self.same(item, other)? {
                            return Err(Misfit::here());
                        }
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn of_object(
        &mut self,
        beside: &'s Keywords,
        (keyword, says): (&str, &'s Value),
        fields: &Map<String, Value>,
    ) -> Result<(), Misfit> {
        match keyword {
            "minProperties" => fits_if(fields.len() >= count(says)?),
            "maxProperties" => fits_if(fields.len() <= count(says)?),
            "required" => self.has_all(says, fields),
            "dependentRequired" => {
                let mut needs = formed(says.as_object())?.iter();
                needs.try_for_each(|(name, needed)| {
                    self.step_text(name)?;
                    if fields.contains_key(name) { self.has_all(needed, fields) } else { Ok(()) }
                })
            }
            "properties" => {
                let mut schemas = formed(says.as_object())?.iter();
                schemas.try_for_each(|(name, schema)| {
                    self.step_text(name)?;
                    let Some(field) = fields.get(name) else { return Ok(()) };
                    self.apply(schema, field).map_err(|misfit| misfit.at(name))
                })
            }
            "patternProperties" => {
                for (pattern, schema) in formed(says.as_object())? {
                    for (name, field) in fields {
                        if self.matches(pattern, name)? {
                            self.apply(schema, field).map_err(|misfit| misfit.at(pattern))?;
                        }
                    }
                }
                Ok(())
            }
            "additionalProperties" => {
                for (name, field) in fields {
                    self.step_text(name)?;
                    if !self.is_named(beside, name)? {
                        self.apply(says, field)?;
                    }
                }
                Ok(())
            }
            "propertyNames" => {
                let mut names = fields.keys();
                names.try_for_each(|name| {
                    self.step_text(name)?;
                    self.apply(says, &Value::String(name.clone()))
                })
            }
            _ => Ok(()),
        }
    }

    /// The schemas of those names that an object has, applied to the whole of it.
    fn dependent(&mut self, says: &'s Value, value: &Value) -> Result<(), Misfit> {
        let Value::Object(fields) = value else { return Ok(()) };
        formed(says.as_object())?.iter().try_for_each(|(name, schema)| {
            self.step_text(name)?;
            if !fields.contains_key(name) {
                return Ok(());
            }
            self.apply(schema, value).map_err(|misfit| misfit.at(name))
        })
    }

    fn has_all(&mut self, names: &Value, fields: &Map<String, Value>) -> Result<(), Misfit> {
        for name in formed(names.as_array())? {
            let name = formed(name.as_str())?;
            self.step_text(name)?;
            fits_if(fields.contains_key(name))?;
        }
        Ok(())
    }

    /// Whether `properties` or `patternProperties` has a word on a field of this name.
    fn is_named(&mut self, beside: &'s Keywords, name: &str) -> Result<bool, Misfit> {
        let of = |keyword| beside.get(keyword).and_then(Value::as_object);
        if of("properties").is_some_and(|properties| properties.contains_key(name)) {
            return Ok(true);
        }
        for pattern in of("patternProperties").into_iter().flat_map(Map::keys) {
            if self.matches(pattern, name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
