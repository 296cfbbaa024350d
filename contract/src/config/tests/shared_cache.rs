//! `workflow_cache.backend`: what is taken, and what is refused because it would lose or multiply something.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

const REDIS: &str = "workflow_cache: {backend: redis, redis: {url: 'redis://cache-host:6379'}}\n";
const DATABASE: &str = "database: {url: {env: KT_DATABASE_URL}}\n";

fn backend(fields: &str) -> Backend {
    loaded_with(&format!("workflow_cache: {{{fields}}}\n{DATABASE}")).config.cache.backend
}

fn redis(fields: &str) -> Redis {
    match backend(&format!("backend: redis, redis: {{{fields}}}")) {
        Backend::Redis(redis) => redis,
        other @ (Backend::Memory | Backend::Postgres(_)) => panic!("{other:?}"),
    }
}

fn postgres(fields: &str) -> Postgres {
    match backend(&format!("backend: postgres, postgres: {{{fields}}}")) {
        Backend::Postgres(postgres) => postgres,
        other @ (Backend::Memory | Backend::Redis(_)) => panic!("{other:?}"),
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn entries_in_the_database_have_a_table() {
    assert_eq!(backend("backend: postgres"), Backend::Postgres(postgres("")));
    let default = postgres("");
    assert_eq!((default.table.as_str(), default.max_bytes_per_org), ("cache_entries", 1 << 30));
    let longest = "a".repeat(48);
    let written = postgres(&format!("table: {longest}, max_bytes_per_org: 70000"));
    assert_eq!((written.table, written.max_bytes_per_org), (longest, 70_000));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_table_has_a_plain_name() {
    let longer = "a".repeat(49);
    for name in ["''", "1a", "A", "a.b", "'a b'", "a-b", "'a\"; drop'", &longer] {
        assert_eq!(
            errors_with(&format!(
                "workflow_cache: {{backend: postgres, postgres: {{table: {name}}}}}\n{DATABASE}"
            )),
            [
                "f.yaml:6: workflow_cache.postgres.table: must have 1 to 48 characters, lower-case letters, \
              digits and '_', and begin with no digit"
            ],
            "{name}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn entries_in_a_database_that_is_not_named_are_refused() {
    let without = "workflow_cache: {backend: postgres}\n";
    let expected = "f.yaml:6: workflow_cache.backend: 'postgres' keeps entries in the database that \
                    sidecars share, with the keys and invalidations that they go by. Say where it is: \
                    database: {url: {env: KT_DATABASE_URL}}";
    for more in ["", "wallet: {}\n"] {
        assert_eq!(errors_with(&format!("{without}{more}")), [expected], "{more}");
    }
    let file = "wallet: {backend: sqlite, path: w.db}\n";
    assert_eq!(errors_with(&format!("{without}{DATABASE}{file}")).len(), 1);
    assert!(loaded_with(&format!("{without}{DATABASE}wallet: {{}}\n")).config.is_prepaid());
}

#[wasm_bindgen_test(unsupported = test)]
fn a_redis_has_defaults_and_takes_what_is_written() {
    assert_eq!(backend(""), Backend::Memory);
    assert_eq!(backend("backend: memory"), Backend::Memory);
    let default = redis("url: redis://cache-host:6379");
    assert_eq!(default.url, RedisUrl::Written("redis://cache-host:6379".to_owned()));
    assert_eq!((default.prefix.as_str(), default.max_bytes_per_org), ("kt:cache:", 1 << 30));
    let written = redis("url: {env: KT_REDIS_URL}, prefix: 'a:', max_bytes_per_org: 70000");
    assert_eq!(written.url, RedisUrl::Kept(SecretRef::Env("KT_REDIS_URL".to_owned())));
    assert_eq!((written.prefix.as_str(), written.max_bytes_per_org), ("a:", 70_000));
    let kept = redis("url: {file: /run/secrets/redis}");
    assert_eq!(kept.url, RedisUrl::Kept(SecretRef::File("/run/secrets/redis".to_owned())));
}

#[wasm_bindgen_test(unsupported = test)]
fn addresses_of_every_kind_of_redis_are_taken() {
    for url in [
        "redis://cache-host",
        "redis://[::1]:6379/2",
        "unix:///run/redis/redis.sock",
        "unix:///run/redis.sock?db=1",
        "redis-sentinel://a,b:26380/1#main",
        "redis-cluster://a:7000,b:7001",
        "rediss://cache-host/2",
        "valkeys://cache-host:6380",
        "rediss-sentinel://a,b:26380/1#main",
        "rediss-cluster://a:7000,b:7001",
    ] {
        assert_eq!(redis(&format!("url: '{url}'")).url, RedisUrl::Written(url.to_owned()));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_no_address_is_refused_with_what_to_do() {
    let none = "is no address of a Redis: it begins with redis://, unix://, redis-sentinel:// or \
                redis-cluster://; for TLS with rediss instead of redis";
    let login = "has a login in it, which does not belong here: put the whole address into an environment \
                 variable or a file, and name that: url: {env: KT_REDIS_URL}";
    let insecure = "has something behind its database. There is no #insecure, and nothing else: with TLS the \
                    certificate of the server is always verified, by the authorities that the sidecar's machine \
                    trusts, or those in the file that SSL_CERT_FILE names";
    let master = "names no master: redis-sentinel://host:26379,host:26379#master";
    for (url, expected) in [
        ("cache-host:6379", none),
        ("http://cache-host", none),
        ("redis://", none),
        ("", none),
        ("redis://:hunter2@cache-host", login),
        ("redis://kt@cache-host", login),
        ("redis-cluster://kt:hunter2@a,b", login),
        ("unix:///run/redis.sock?db=1&pass=hunter2", login),
        ("rediss://", none),
        ("rediss://:hunter2@cache-host", login),
        ("rediss://cache-host#insecure", insecure),
        ("redis://cache-host#insecure", insecure),
        ("valkeys://cache-host/0#insecure", insecure),
        ("rediss://cache-host/0#anything", insecure),
        ("rediss://cache-host/0?ssl_cert_reqs=none", insecure),
        ("rediss-sentinel://a,b/0#insecure", insecure),
        ("rediss-cluster://a,b#insecure", insecure),
        ("rediss-sentinel://a,b", master),
        ("redis-sentinel://a,b", master),
        ("redis-sentinel://a,b#", master),
    ] {
        assert_eq!(
            errors_with(&format!(
                "workflow_cache: {{backend: redis, redis: {{url: '{url}'}}}}\n{DATABASE}"
            )),
            [format!("f.yaml:6: workflow_cache.redis.url: {expected}")],
            "{url}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_missing_or_does_not_fit_is_named() {
    let needs = "backend: 'redis' needs 'redis.url' beside it: redis: {url: 'redis://host:6379'}, or, where \
                 there is a password, redis: {url: {env: KT_REDIS_URL}}";
    let url = "url: redis://cache-host";
    for (fields, expected) in [
        ("backend: redis".to_owned(), needs.to_owned()),
        ("backend: redis, redis: {prefix: 'a:'}".to_owned(), needs.to_owned()),
        (format!("redis: {{{url}}}"), "redis: is for 'backend: redis'".to_owned()),
        (format!("backend: memory, redis: {{{url}}}"), "redis: is for 'backend: redis'".to_owned()),
        (
            format!("backend: postgres, redis: {{{url}}}"),
            "redis: is for 'backend: redis'".to_owned(),
        ),
        ("postgres: {table: t}".to_owned(), "postgres: is for 'backend: postgres'".to_owned()),
        (
            format!("backend: redis, redis: {{{url}}}, postgres: {{}}"),
            "postgres: is for 'backend: postgres'".to_owned(),
        ),
        (
            "backend: postgres, postgres: {max_bytes_per_org: 1}".to_owned(),
            "postgres.max_bytes_per_org: 1 is not between 65536 and 1099511627776".to_owned(),
        ),
        (
            "backend: redis, redis: {url: 3}".to_owned(),
            "redis.url: expected an address, or a map with 'env' or 'file', found a number".to_owned(),
        ),
        (
            "backend: redis, redis: {url: {}}".to_owned(),
            "redis.url: is empty; it needs 'env' or 'file'".to_owned(),
        ),
        (
            "backend: redis, redis: {url: {evn: A}}".to_owned(),
            "redis.url: unknown field; did you mean 'env'?".to_owned(),
        ),
        (
            format!("backend: redis, redis: {{{url}, prefix: 'a b'}}"),
            "redis.prefix: must have at most 64 characters, printable ones of ASCII without spaces and \
             braces"
                .to_owned(),
        ),
        (
            format!("backend: redis, redis: {{{url}, max_bytes_per_org: 1}}"),
            "redis.max_bytes_per_org: 1 is not between 65536 and 1099511627776".to_owned(),
        ),
    ] {
        assert_eq!(
            errors_with(&format!("workflow_cache: {{{fields}}}\n{DATABASE}")),
            [format!("f.yaml:6: workflow_cache.{expected}")],
            "{fields}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_shared_cache_with_a_ledger_of_each_sidecar_is_refused() {
    for (more, accounts_for) in [
        ("wallet: {}\n", "wallet"),
        ("wallet: {backend: sqlite, path: w.db}\n", "wallet"),
        ("budgets: {organization: {daily_limit_usd: 5}}\n", "budgets"),
        (
            "pack: {name: p}\npolicies: {chain: [spend-limit], policy: {spend-limit: \
             {max_daily_usd: 5}}}\n",
            "spend-limit",
        ),
    ] {
        let expected = format!(
            "f.yaml:6: workflow_cache.backend: 'redis' is for several sidecars, and each would keep a \
             ledger of its own for {accounts_for}: so many sidecars, so many times the money. Set \
             'wallet: {{backend: postgres, url: {{env: KT_DATABASE_URL}}}}', or 'backend: memory'"
        );
        assert_eq!(errors_with(&format!("{REDIS}{more}")), [expected, ALONE.to_owned()], "{more}");
    }
    for shared in ["wallet: {backend: postgres, url: {env: KT_WALLET_URL}}\n", "wallet: {}\n"] {
        assert!(loaded_with(&format!("{REDIS}{shared}{DATABASE}")).config.is_prepaid());
    }
    let counted = "budgets: {organization: {daily_limit_usd: 5}}\n";
    let loaded = loaded_with(&format!("{REDIS}{counted}{DATABASE}"));
    assert!(matches!(
        loaded.config.ledger().map(|wallet| wallet.ledger),
        Some(Ledger::Database(_))
    ));
    loaded_with(&format!("workflow_cache: {{backend: memory}}\nwallet: {{}}\n{counted}"));
}

const ALONE: &str = "f.yaml:6: workflow_cache.backend: 'redis' is for several sidecars, and each would keep gateway \
     keys and invalidations to itself: what one has purged or revoked, the others would go on serving. Say where they \
     share both: database: {url: {env: KT_DATABASE_URL}}";

#[wasm_bindgen_test(unsupported = test)]
fn a_shared_cache_without_a_shared_database_is_refused() {
    assert_eq!(errors_with(REDIS), [ALONE]);
    loaded_with(&format!("{REDIS}{DATABASE}"));
    // What is shared may be less than everything.
    loaded_with(&format!("workflow_cache: {{backend: memory}}\n{DATABASE}"));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_gateway_with_a_sidecar_of_its_own_is_told_that_it_shares_nothing() {
    for (file, name) in [(REDIS, "redis"), ("workflow_cache: {backend: postgres}\n", "postgres")] {
        let notes = loaded_with(&format!("{file}{DATABASE}")).local_notes;
        assert_eq!(
            notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [format!(
                "f.yaml:6: workflow_cache.backend: {name} is for gateways that join their group's sidecar \
                 (--sidecar SOCKET); one that spawns its own is local and keeps its entries in memory"
            )]
        );
    }
}
