//! Which changes a running group takes, and which wait for a restart.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

const STARTED: &str = "
gateway: {request_bytes_max: 8192}
providers:
  targets:
    - {id: one, provider: openai, model: gpt-4o, secret_key_ref: {env: ONE}}
    - {id: two, provider: openai, model: gpt-4o-mini, secret_key_ref: {env: TWO}}
";

/// What `text` would need a restart for in a group that has started with [`STARTED`].
fn needs(text: &str) -> Vec<String> {
    let config = |text| load("f.yaml", text).unwrap().config;
    config(text).needs_restart(&config(STARTED)).iter().map(ToString::to_string).collect()
}

fn needs_instead(old: &str, new: &str) -> Vec<String> {
    assert!(STARTED.contains(old), "{old}");
    needs(&STARTED.replace(old, new))
}

#[wasm_bindgen_test(unsupported = test)]
fn what_envoy_does_not_know_changes_live() {
    for (what, old, new) in [
        ("nothing", "one", "one"),
        ("other models", "model: gpt-4o,", "models: [gpt-4o, gpt-4.1],"),
        ("another version", "model: gpt-4o,", "model: gpt-4o, model_version: '2',"),
        ("patience", "model: gpt-4o,", "model: gpt-4o, first_byte_timeout_ms: 9000,"),
        ("a smaller body", "8192", "4096"),
        ("the loss", "8192", "8192, on_sidecar_loss: direct"),
        ("the cache", "providers:", "workflow_cache: {enabled: true, ttl_seconds: 9}\nproviders:"),
        ("the policies", "providers:", "policies: {block_status: 403}\nproviders:"),
        ("the pack", "providers:", "pack: {name: other}\nproviders:"),
    ] {
        assert_eq!(needs_instead(old, new), Vec::<String>::new(), "{what}");
    }
    let mut lines: Vec<_> = STARTED.lines().collect();
    let last = lines.len() - 1;
    lines.swap(last, last - 1);
    assert_eq!(needs(&lines.join("\n")), Vec::<String>::new(), "another order");
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_rendered_into_envoy_needs_a_restart_and_is_named() {
    for (old, new, field, what) in [
        (
            "{id: one,",
            "{base_url: 'http://localhost:1', id: one,",
            TARGETS,
            "target 'one': base_url",
        ),
        ("env: TWO", "env: THREE", TARGETS, "target 'two': secret_key_ref"),
        (
            "env: ONE}}",
            "file: one}, max_concurrent_requests: 3}",
            TARGETS,
            "target 'one': secret_key_ref, max_concurrent_requests",
        ),
        ("8192", "8193", "gateway.request_bytes_max", "from 8192 to 8193"),
        ("8192", "8192, port: 41003", "gateway.port", "from 41002 to 41003"),
        ("8192", "8192, role: edge", "gateway.role", "from primary to edge"),
        ("8192", "8192, id: gw-a", "gateway.id", "from none to gw-a"),
        ("8192", "8192, agent_gateway_group_id: g", GROUP, "from none to g"),
        ("8192", "8192, admit_timeout_ms: 900", "gateway.admit_timeout_ms", "from 300 to 900"),
    ] {
        let message = format!(
            "{field} changed: restart the gateways and the sidecar to put it in force ({what})"
        );
        assert_eq!(needs_instead(old, new), [message]);
    }
}

const TARGETS: &str = "providers.targets";
const GROUP: &str = "gateway.agent_gateway_group_id";

#[wasm_bindgen_test(unsupported = test)]
fn a_target_that_is_new_or_gone_needs_a_restart_and_is_named() {
    let found = needs_instead("id: two", "id: three");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("(target 'three' is new)"), "{found:?}");
    assert!(found[1].ends_with("(target 'two' is gone)"), "{found:?}");
}

#[wasm_bindgen_test(unsupported = test)]
fn where_entries_are_needs_a_restart_and_no_address_is_told() {
    let with = |cache: &str| {
        let shared = "database: {url: {env: KT_DATABASE_URL}}\n";
        let text = format!("{STARTED}workflow_cache: {{{cache}}}\n{shared}");
        load("f.yaml", &text).unwrap().config
    };
    let redis = |more: &str| with(&format!("backend: redis, redis: {{{more}}}"));
    let started = redis("url: redis://one, prefix: 'a:'");
    for (config, what) in [
        (redis("url: redis://two, prefix: 'a:'"), "redis.url"),
        (redis("url: {env: ONE}, prefix: 'a:'"), "redis.url"),
        (redis("url: redis://two, prefix: 'b:'"), "redis.url, redis.prefix"),
        (
            redis("url: redis://one, prefix: 'a:', max_bytes_per_org: 65536"),
            "redis.max_bytes_per_org",
        ),
        (with("backend: memory"), "from redis to memory"),
    ] {
        let needs: Vec<_> =
            config.needs_restart(&started).iter().map(ToString::to_string).collect();
        let expected = "workflow_cache.backend changed: restart the gateways and the sidecar to put it in \
                        force";
        assert_eq!(needs, [format!("{expected} ({what})")]);
    }
    let live = redis("url: redis://one, prefix: 'a:'}, ttl_seconds: 9, memory: {max_entries: 9");
    assert_eq!(live.needs_restart(&started), []);
    let found = started.needs_restart(&with("enabled: true"));
    assert_eq!(found[0].what, "from memory to redis");

    let postgres = |more: &str| with(&format!("backend: postgres, postgres: {{{more}}}"));
    let table = postgres("table: a");
    for (config, started, what) in [
        (&table, &started, "from redis to postgres"),
        (&started, &table, "from postgres to redis"),
        (&postgres("table: b"), &table, "postgres.table"),
        (&postgres("table: a, max_bytes_per_org: 65536"), &table, "postgres.max_bytes_per_org"),
    ] {
        assert_eq!(config.needs_restart(started)[0].what, what);
    }
    assert_eq!(table.needs_restart(&table), []);
}
