//! What is refused before anybody asks what it means: YAML, names, types.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

#[wasm_bindgen_test(unsupported = test)]
fn every_mistake_of_form_is_found_in_one_run() {
    let text = "providrs: 1
workflow_cache:
  enabled: 'on'
  ttl: 3
  default_tier: org
providers:
  targets: [{id: 1}, {provder: x}]
policies: 3
gateway: {role: primry}
";
    assert_eq!(
        errors(text),
        [
            "f.yaml:1: providrs: unknown field; did you mean 'providers'?",
            "f.yaml:3: workflow_cache.enabled: expected true or false, found a text",
            "f.yaml:4: workflow_cache.ttl: unknown field; did you mean 'ttl_seconds'?",
            "f.yaml:5: workflow_cache.default_tier: unknown value 'org'; \
             did you mean 'org_shared_cache'?",
            "f.yaml:7: providers.targets[0].id: expected a text, found a number; put it in quotes",
            "f.yaml:7: providers.targets[1].provder: unknown field; did you mean 'provider'?",
            "f.yaml:7: providers.targets[0].provider: missing; 'openai', 'azure' and 'anthropic' are built",
            "f.yaml:7: providers.targets[1].id: missing: every target has a name",
            "f.yaml:8: policies: expected a list of policies, or a map with 'chain' and 'policy', \
             found a number",
            "f.yaml:9: gateway.role: unknown value 'primry'; did you mean 'primary'?",
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn an_unknown_field_unlike_any_other_is_answered_with_those_that_are_known() {
    assert_eq!(
        errors_with("pack: {colour: red}\n"),
        ["f.yaml:6: pack.colour: unknown field; known here: name, version, enabled, description"]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn unknown_fields_are_found_at_every_depth() {
    let more = "policies:
  chian: []
workflow_cache:
  memory:
    max_entrys: 1
  l1:
    bytes: 1
fabric:
  enbled: true
  artifact_types: [repo_map, repomap]
";
    assert_eq!(
        errors_with(more),
        [
            "f.yaml:7: policies.chian: unknown field; did you mean 'chain'?",
            "f.yaml:10: workflow_cache.memory.max_entrys: unknown field; \
             did you mean 'max_entries'?",
            "f.yaml:12: workflow_cache.l1.bytes: unknown field; known here: max_bytes",
            "f.yaml:14: fabric.enbled: unknown field; did you mean 'enabled'?",
            "f.yaml:15: fabric.artifact_types[1]: unknown value 'repomap'; \
             did you mean 'repo_map'?",
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn wrong_types_are_named_with_what_was_expected() {
    for (more, expected) in [
        (
            "gateway: {port: '80'}",
            "gateway.port: expected a whole number up to 65535, found a text",
        ),
        (
            "gateway: {port: 70000}",
            "gateway.port: expected a whole number up to 65535, found another number",
        ),
        (
            "gateway: {port: -1}",
            "gateway.port: expected a whole number up to 65535, found another number",
        ),
        ("pack: {version: 1.0}", "pack.version: expected a text, found a number; put it in quotes"),
        ("workflow_cache: [1]", "workflow_cache: expected a map, found a list"),
        ("fabric: {artifact_types: {}}", "fabric.artifact_types: expected a list, found a map"),
    ] {
        let errors = errors_with(more);
        assert_eq!(errors, [format!("f.yaml:6: {expected}")], "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_two_readers_could_read_differently_is_refused() {
    for (text, expected) in [
        ("a:\n  b: 1\n  b: 2\n", "f.yaml:3: 'b' stands twice in the same place"),
        ("a: [{b: 1, b: 2}]\n", "f.yaml:1: 'b' stands twice in the same place"),
        ("a: 1\n\"a\": 2\n", "f.yaml:2: 'a' stands twice in the same place"),
        ("pack: {}\n---\npack: {}\n", "f.yaml:3: a second document; one file holds one"),
        ("1: x\n", "f.yaml:1: a key that is no text"),
        ("pack: {name: !secret x}\n", "f.yaml:1: pack.name: custom YAML tags mean nothing here"),
        ("gateway: {port: .inf}\n", "f.yaml:1: gateway.port: not a finite number"),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_no_yaml_is_refused_where_it_stands() {
    for (text, line) in [
        ("a: [1\n", 2),
        ("a: 1\n b: 2\n", 2),
        ("a: \"x\n", 1),
        ("a: ]\n", 1),
        // No line end: there is no second line to stand on.
        ("a:\n  - b\n  c", 3),
    ] {
        let errors = load("f.yaml", text).unwrap_err();
        assert!(errors[0].problem.starts_with("not valid YAML: "), "{text}: {errors:?}");
        assert_eq!((errors.len(), errors[0].line), (1, line), "{text}: {errors:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn no_line_is_named_that_the_file_does_not_have() {
    for text in ["a: 1\n---", "pack:\n  - b\n  c", "pack: {}\n---\n...", "gateway:\n  id:\n    -"] {
        for error in load("f.yaml", text).unwrap_err() {
            assert!((1..=text.lines().count()).contains(&error.line), "{text}: {error}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_file_cannot_exhaust_its_reader() {
    let deep = format!("pack: {}1{}", "[".repeat(100), "]".repeat(100));
    assert!(errors(&deep)[0].contains("nested too deep"), "{:?}", errors(&deep));
    // Ten levels of ten aliases each.
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{},", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(errors(&laughs)[0].contains("not valid YAML"), "{:?}", errors(&laughs));
}
