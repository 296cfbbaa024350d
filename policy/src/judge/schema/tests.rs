//! What fits a schema and what does not, and that no schema takes long.

use serde_json::{Map, Value, json};

use super::*;

fn check(schema: &Value, value: &Value) -> Result<(), Misfit> {
    super::check(schema, value, &mut Budget::default())
}

fn fits(schema: &Value, value: &Value) -> bool {
    match check(schema, value) {
        Ok(()) => true,
        Err(Misfit::Differs(_)) => false,
        Err(Misfit::Unchecked(why)) => panic!("{schema} is unchecked: {why}"),
    }
}

#[test]
fn every_keyword_lets_pass_what_fits_and_nothing_else() {
    for (schema, fitting, other) in [
        (json!({"type": "integer"}), json!(1.0), json!(1.5)),
        (json!({"type": "integer"}), json!(u64::MAX), json!("1")),
        (json!({"type": ["string", "null"]}), json!(null), json!(1)),
        (json!({"const": {"a": [1, 2]}}), json!({"a": [1.0, 2]}), json!({"a": [2, 1]})),
        (json!({"enum": ["a", 1]}), json!(1), json!("b")),
        (json!({"minimum": 1, "exclusiveMaximum": 3}), json!(2.9), json!(3)),
        (json!({"exclusiveMinimum": 1, "maximum": 3}), json!(3), json!(1)),
        (json!({"multipleOf": 0.01}), json!(19.99), json!(19.995)),
        (json!({"multipleOf": 3}), json!(9), json!(10)),
        (json!({"minLength": 2, "maxLength": 3}), json!("äöü"), json!("ä")),
        (json!({"pattern": "^[A-Z]+$"}), json!("AB"), json!("Ab")),
        (json!({"minItems": 1, "maxItems": 2}), json!([1]), json!([])),
        (json!({"uniqueItems": true}), json!([1, "1", [1]]), json!([1, 1.0])),
        (json!({"items": {"type": "string"}}), json!(["a"]), json!(["a", 1])),
        (
            json!({"prefixItems": [{"type": "string"}], "items": {"type": "null"}}),
            json!(["a", null]),
            json!(["a", "b"]),
        ),
        (
            json!({"contains": {"type": "null"}, "minContains": 2, "maxContains": 2}),
            json!([null, 1, null]),
            json!([null, 1]),
        ),
        (json!({"required": ["a"]}), json!({"a": 1}), json!({"b": 1})),
        (json!({"properties": {"a": {"type": "null"}}}), json!({"b": 1}), json!({"a": 1})),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            json!({"a": 1}),
            json!({"a": 1, "b": 2}),
        ),
        (
            json!({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": false}),
            json!({"x-a": "1"}),
            json!({"x-a": 1}),
        ),
        (json!({"propertyNames": {"maxLength": 1}}), json!({"a": 1}), json!({"ab": 1})),
        (json!({"minProperties": 1, "maxProperties": 1}), json!({"a": 1}), json!({})),
        (json!({"dependentRequired": {"a": ["b"]}}), json!({"b": 1}), json!({"a": 1})),
        (
            json!({"dependentSchemas": {"a": {"required": ["b"]}}}),
            json!({"a": 1, "b": 1}),
            json!({"a": 1}),
        ),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(1), json!(3)),
        (json!({"anyOf": [{"type": "null"}, {"minimum": 5}]}), json!(5), json!(4)),
        (json!({"oneOf": [{"minimum": 1}, {"maximum": 2}]}), json!(3), json!(2)),
        (json!({"not": {"type": "null"}}), json!(1), json!(null)),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"minimum": 1}}),
            json!("a"),
            json!(0),
        ),
        (
            json!({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}),
            json!(null),
            json!(1),
        ),
    ] {
        assert!(fits(&schema, &fitting), "{schema} {fitting}");
        assert!(!fits(&schema, &other), "{schema} {other}");
    }
}

#[test]
fn what_only_describes_is_passed_over() {
    let schema = json!({"title": "x", "description": "y", "format": "email", "default": 1,
        "$schema": "https://json-schema.org/draft/2020-12/schema", "examples": [1]});
    assert!(fits(&schema, &json!("no address")));
}

#[test]
fn where_it_differs_is_told_in_the_schemas_own_names() {
    let schema = json!({"properties": {"a/b": {"items": {"type": "string"}}}});
    let misfit = check(&schema, &json!({"a/b": ["x", 1]})).unwrap_err();
    assert_eq!(misfit, Misfit::Differs("/properties/a~1b/items/type".to_owned()));
}

#[test]
fn a_schema_that_refers_to_itself_follows_the_value() {
    let tree = json!({"type": "object", "required": ["v"], "additionalProperties": false,
        "properties": {"v": {"type": "integer"}, "l": {"$ref": "#"},
            "r": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}});
    assert!(fits(&tree, &json!({"v": 1, "l": {"v": 2, "r": null}})));
    assert!(!fits(&tree, &json!({"v": 1, "l": {"v": 2, "l": {"w": 3}}})));
}

#[test]
fn what_nobody_can_say_is_not_guessed() {
    for (schema, value) in [
        (json!({"$ref": "https://example.com/schema.json"}), json!(1)),
        (json!({"$ref": "#/$defs/none"}), json!(1)),
        (json!({"$ref": "#anchor"}), json!(1)),
        (json!({"$ref": "#"}), json!(1)),
        (json!({"allOf": [{"$ref": "#"}]}), json!(1)),
        (json!({"not": {"$ref": "#"}}), json!(1)),
        (json!({"unevaluatedProperties": false}), json!({})),
        (json!({"dependencies": {"a": ["b"]}}), json!({"a": 1})),
        (json!({"pattern": "(?=x)"}), json!("x")),
        (json!({"pattern": "(a{1000}){1000}"}), json!("x")),
        (json!({"type": "thing"}), json!(1)),
        (json!({"minimum": "1"}), json!(1)),
        (json!({"multipleOf": 0}), json!(1)),
        (json!({"items": [true]}), json!([1])),
        (json!(1), json!(1)),
    ] {
        let misfit = check(&schema, &value);
        assert!(matches!(misfit, Err(Misfit::Unchecked(_))), "{schema} {misfit:?}");
    }
}

#[test]
fn a_schema_that_would_take_exponential_time_ends() {
    let mut defs = Map::new();
    for at in 0..60 {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        defs.insert(format!("d{at}"), json!({"allOf": [next.clone(), next]}));
    }
    defs.insert("d60".to_owned(), json!({"type": "integer"}));
    let doubling = json!({"$ref": "#/$defs/d0", "$defs": defs});
    assert!(matches!(check(&doubling, &json!(1)), Err(Misfit::Unchecked(_))));

    let child = json!({"properties": {"a": {"$ref": "#"}}});
    let twice = json!({"allOf": [child.clone(), child]});
    let deep = (0..50).fold(json!(1), |deep, _| json!({"a": deep}));
    assert!(matches!(check(&twice, &deep), Err(Misfit::Unchecked(_))));

    let many = Value::Array((0..5_000).map(Value::from).collect());
    let unique = json!({"uniqueItems": true});
    assert!(matches!(check(&unique, &many), Err(Misfit::Unchecked(_))));
}

fn is_too_much(checked: Result<(), Misfit>) -> bool {
    checked == Err(Misfit::Unchecked("more work than there is time for"))
}

#[test]
fn a_pattern_takes_as_many_steps_as_it_has_parts_for_each_byte_of_a_text() {
    let text = Value::from("a".repeat(100_000));
    let large = json!({"pattern": "^(a?){1000}b$"});
    assert!(is_too_much(check(&large, &text)));
    assert!(check(&large, &json!("ab")).is_ok());
    assert!(check(&json!({"pattern": "^a+$"}), &text).is_ok());
}

#[test]
fn what_is_looked_at_for_each_field_or_item_is_counted() {
    let fields: Map<_, _> = (0..2_000).map(|at| (format!("f{at}"), Value::from(at))).collect();
    let value = Value::Object(fields.clone());
    let named = Value::Object(fields.keys().map(|name| (name.clone(), true.into())).collect());
    let one = json!({"properties": named, "additionalProperties": false});
    assert!(check(&one, &value).is_ok());
    let many = Value::from(vec![json!({"additionalProperties": false, "properties": named}); 600]);
    assert!(is_too_much(check(&json!({"allOf": many}), &value)));
    let dependent = json!({"dependentSchemas": named});
    assert!(is_too_much(check(&json!({"allOf": vec![dependent; 500]}), &value)));
}

#[test]
fn an_answer_has_one_budget_for_all_of_its_values() {
    let (schema, value) = (json!({"items": {"type": "integer"}}), json!(vec![1; 300_000]));
    let mut budget = Budget::default();
    assert!(super::check(&schema, &value, &mut budget).is_ok());
    assert!(is_too_much(super::check(&schema, &value, &mut budget)));
    assert!(is_too_much(super::check(&json!(true), &json!(1), &mut budget)));
}

#[test]
fn a_place_is_told_no_longer_than_anybody_reads() {
    let deep = (0..100).fold(json!(false), |deep, _| json!({"properties": {"a-long-name": deep}}));
    let value = (0..100).fold(json!(1), |value, _| json!({"a-long-name": value}));
    let Err(Misfit::Differs(place)) = check(&deep, &value) else { panic!("it fits") };
    assert!(place.starts_with("/…") && place.len() < 520, "{place}");
}
