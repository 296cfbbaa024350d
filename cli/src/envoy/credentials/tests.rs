//! Credential files: what is in them, and what is refused.

use kt_contract::config;

use super::*;

fn targets(secret: &str) -> Vec<Target> {
    let text = format!(
        "providers: {{targets: [{{id: openai, provider: openai, secret_key_ref: {secret}}}]}}"
    );
    config::load("test.yaml", &text).unwrap().config.targets
}

fn written(secret: &str, variable: Lookup<'_>) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let targets = targets(secret);
    write(folder.path(), &targets, variable).map_err(|failure| failure.to_string())?;
    Ok(std::fs::read_to_string(file(folder.path(), &targets[0])).unwrap())
}

#[test]
fn a_variable_becomes_a_bearer_secret() {
    let text = written("{env: KEY}", &|name| (name == "KEY").then(|| "sk-1\n".to_owned())).unwrap();
    let secret: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(secret["resources"][0]["name"], "credential_openai");
    assert_eq!(secret["resources"][0]["generic_secret"]["secret"]["inline_string"], "Bearer sk-1");
}

#[test]
fn other_providers_take_the_value_as_it_is() {
    for (provider, more) in
        [("anthropic", ""), ("azure", ", model: m, base_url: 'https://x.example'")]
    {
        let text = format!(
            "providers: {{targets: [{{id: a, provider: {provider}{more}, secret_key_ref: {{env: KEY}}}}]}}"
        );
        let targets = config::load("test.yaml", &text).unwrap().config.targets;
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &targets, &|_| Some("made-up".to_owned())).unwrap();
        let text = std::fs::read_to_string(file(folder.path(), &targets[0])).unwrap();
        let secret: serde_json::Value = serde_json::from_str(&text).unwrap();
        let value = &secret["resources"][0]["generic_secret"]["secret"]["inline_string"];
        assert_eq!(value, "made-up", "{provider}");
    }
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    for value in [None, Some(" ".to_owned())] {
        let problem = written("{env: KEY}", &|_| value.clone()).unwrap_err();
        assert!(problem.contains("environment variable KEY, which is not set"), "{problem}");
    }
}

#[test]
fn a_value_that_can_be_no_header_is_refused_without_showing_it() {
    for value in ["two words", "two\nlines", "schlüssel"] {
        let problem = written("{env: KEY}", &|_| Some(value.to_owned())).unwrap_err();
        assert!(problem.contains("can be no HTTP header"), "{problem}");
        assert!(!problem.contains(value), "{problem}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problem = written("{file: /no/such/file}", &|_| None).unwrap_err();
    assert!(problem.contains("/no/such/file"), "{problem}");
}
