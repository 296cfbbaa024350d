//! `audit-logger`: what its settings mean, and what contradicts it.

use std::time::Duration;

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

fn chain(settings: &str) -> String {
    format!("policies: {{chain: [audit-logger], policy: {{audit-logger: {{{settings}}}}}}}\n")
}

#[wasm_bindgen_test(unsupported = test)]
fn it_keeps_a_year_and_lets_hits_pass_where_nothing_else_is_said() {
    let logger = loaded_with("policies: {chain: [audit-logger]}").config.policy.audit.unwrap();
    assert_eq!(logger.retention, Duration::from_secs(365 * 86_400));
    assert!(!logger.log_all_access);
    let all = chain("immutable: true, retention_days: 30, log_all_access: true");
    let logger = loaded_with(&all).config.policy.audit.unwrap();
    assert_eq!(logger.retention, Duration::from_secs(30 * 86_400));
    assert!(logger.log_all_access);
    assert_eq!(loaded_with("").config.policy.audit, None);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_it_cannot_keep_is_refused() {
    let field = |name: &str| format!("f.yaml:6: policies.policy.audit-logger.{name}");
    for (settings, problem) in [
        ("retention_days: 0", format!("{}: 0 is not between 1 and 3650", field("retention_days"))),
        (
            "retention_days: 3651",
            format!("{}: 3651 is not between 1 and 3650", field("retention_days")),
        ),
        (
            "immutable: false",
            format!(
                "{}: must be true, or absent: a record that can be changed proves nothing. Retention is what removes one",
                field("immutable")
            ),
        ),
    ] {
        assert_eq!(errors_with(&chain(settings)), [problem]);
    }
    let misspelled = errors_with(&chain("retention: 3"));
    assert!(misspelled[0].contains("did you mean 'retention_days'?"), "{misspelled:?}");
}

#[wasm_bindgen_test(unsupported = test)]
fn nothing_goes_past_it() {
    let direct = "gateway: {on_sidecar_loss: direct}\n";
    let found = errors_with(&format!("{}{direct}", chain("")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("f.yaml:7: gateway.on_sidecar_loss: 'direct' is not possible"));
    let l1 = "workflow_cache: {l1: {max_bytes: 4194304}}\n";
    let found = errors_with(&format!("{}{l1}", chain("log_all_access: true")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("f.yaml:7: workflow_cache.l1.max_bytes: must be 0"), "{found:?}");
    loaded_with(&format!("{}{l1}", chain("")));
}

#[wasm_bindgen_test(unsupported = test)]
fn where_every_access_is_logged_workers_serve_nothing_from_their_own_memory() {
    let l1 = |more: &str| loaded_with(more).config.snapshot(false).cache.l1_bytes_max;
    assert!(l1("") > 0);
    assert_eq!(l1(&chain("log_all_access: false")), l1(""));
    assert_eq!(l1(&chain("log_all_access: true")), 0);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_written_down_is_not_in_the_policy_digest() {
    let digest = |more: &str| loaded_with(more).config.snapshot(false).policy.digest;
    for settings in ["", "retention_days: 3", "log_all_access: true"] {
        assert_eq!(digest(&chain(settings)), digest(""), "{settings}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn only_a_restart_begins_with_it_and_the_rest_changes_live() {
    let config = |more: &str| loaded_with(more).config;
    let (without, with) = (config(""), config(&chain("")));
    let needs: Vec<_> = with.needs_restart(&without).iter().map(ToString::to_string).collect();
    assert_eq!(
        needs,
        [
            "policies.chain changed: restart the gateways and the sidecar to put it in force (audit-logger is new)"
        ]
    );
    assert_eq!(config(&chain("log_all_access: true, retention_days: 1")).needs_restart(&with), []);
    assert_eq!(without.needs_restart(&with), []);
}
