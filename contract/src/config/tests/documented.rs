//! The reference page and the schema say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/config.md"));

/// The page's rows, by the field's path.
fn rows() -> BTreeMap<&'static str, &'static str> {
    PAGE.lines()
        .filter_map(|line| Some((line.strip_prefix("| `")?.split_once('`')?.0, line)))
        .collect()
}

/// The description of every field in the schema, by its path.
fn fields() -> BTreeMap<String, String> {
    let schema = schema();
    let mut fields = BTreeMap::new();
    walk(&schema, &schema, "", &mut fields);
    fields
}

fn walk(schema: &Value, node: &Value, path: &str, fields: &mut BTreeMap<String, String>) {
    if let Some(name) = node["$ref"].as_str() {
        walk(schema, schema.pointer(&name[1..]).unwrap(), path, fields);
    }
    for either in node["anyOf"].as_array().into_iter().flatten() {
        walk(schema, either, path, fields);
    }
    if node["items"].is_object() {
        walk(schema, &node["items"], &format!("{path}[]"), fields);
    }
    // What a map has under names of the user's own.
    if node["additionalProperties"].is_object() {
        walk(schema, &node["additionalProperties"], &format!("{path}.NAME"), fields);
    }
    for (name, inner) in node["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{name}");
        let description = inner["description"].as_str().unwrap_or_default().to_owned();
        fields.insert(path.clone(), description);
        walk(schema, inner, &path, fields);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn every_field_has_its_row_and_every_row_its_field() {
    let documented: BTreeSet<String> = rows()
        .into_keys()
        // Settings of a policy are the policy's business; the schema has a map there.
        .filter(|path| !path.starts_with("policies.policy."))
        // Commands have a table too.
        .filter(|path| !path.starts_with("kt "))
        .map(str::to_owned)
        .collect();
    assert_eq!(fields().into_keys().collect::<BTreeSet<_>>(), documented);
}

#[wasm_bindgen_test(unsupported = test)]
fn rows_name_the_default_and_say_what_is_not_built() {
    let rows = rows();
    for (path, description) in fields() {
        assert!(!description.is_empty(), "{path} has no description");
        let row = rows[path.as_str()];
        // A default in words is the page's own to describe.
        if let Some((_, default)) = description.split_once("Default: ") {
            let word = default.split([',', '.']).next().unwrap();
            assert!(row.contains(&format!("| `{word}` |")), "{path}: {default}");
        }
        for (told, on_the_page) in
            [("ot built yet", "**Not built yet"), ("ot enforced yet", "**Not enforced yet")]
        {
            if description.contains(told) && !path.starts_with("fabric") {
                assert!(row.contains(on_the_page), "{path}");
            }
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_pages_examples_load() {
    let examples: Vec<&str> =
        PAGE.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        assert!(load("config.md", example).is_ok(), "{:?}", load("config.md", example));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_page_of_the_key_names_the_policy_digest() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cache-key.md"));
    assert!(page.contains(&format!("`{}`", snapshot::POLICY_CONTEXT)));
}
