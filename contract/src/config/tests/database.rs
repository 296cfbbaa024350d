//! `database`: what sidecars share, and what it means for the wallet.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

const SHARED: &str = "database: {url: {env: KT_DATABASE_URL}}\n";

fn config_with(more: &str) -> Config {
    loaded_with(more).config
}

fn env(name: &str) -> SecretRef {
    SecretRef::Env(name.to_owned())
}

#[wasm_bindgen_test(unsupported = test)]
fn a_database_is_named_by_where_its_address_stands() {
    assert_eq!(config_with("").database, None);
    for (reference, url) in [
        ("env: KT_DATABASE_URL", env("KT_DATABASE_URL")),
        ("file: /run/secrets/db", SecretRef::File("/run/secrets/db".to_owned())),
    ] {
        let config = config_with(&format!("database: {{url: {{{reference}}}}}"));
        assert_eq!(config.database, Some(Database { url }));
        assert_eq!(config.wallet, None, "it is no wallet by itself");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_database_without_an_address_is_refused_and_its_address_never_repeated() {
    for (section, expected) in [
        (
            "{}",
            "database: needs 'url', with the name of an environment variable or of a file that \
             holds the address: url: {env: KT_DATABASE_URL}",
        ),
        ("{url: {}}", "database.url: is empty; it needs 'env' or 'file'"),
        ("{url: 'postgres://kt:hunter2@db/kt'}", "database.url: expected a map, found a text"),
        ("'postgres://kt:hunter2@db/kt'", "database: expected a map, found a text"),
        (
            "{url: {env: 'postgres://kt:hunter2@db/kt'}}",
            "database.url.env: is not the name of an environment variable (the secret itself does \
             not belong here)",
        ),
        (
            "{url: {store: db}}",
            "database.url.store: config variables of the control plane are not built yet; use \
             'env' or 'file'",
        ),
        ("{urll: {env: A}}", "database.urll: unknown field; did you mean 'url'?"),
    ] {
        let found = errors_with(&format!("database: {section}\n"));
        assert_eq!(found.first(), Some(&format!("f.yaml:6: {expected}")), "{found:?}");
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_wallet_is_in_the_database_that_sidecars_share_unless_it_names_another() {
    let budget = "budgets: {users: {default_daily_usd: 1}}";
    let rule = "policies: [{rules: [{action: allow, conditions: {wallet_balance: sufficient}}]}]";
    for (more, expected) in [
        ("wallet: {}", "KT_DATABASE_URL"),
        ("wallet: {backend: postgres}", "KT_DATABASE_URL"),
        ("wallet: {backend: postgres, url: {env: MONEY}}", "MONEY"),
        ("wallet: {url: {env: MONEY}}", "MONEY"),
        (budget, "KT_DATABASE_URL"),
        (rule, "KT_DATABASE_URL"),
    ] {
        let ledger = config_with(&format!("{SHARED}{more}")).ledger().map(|wallet| wallet.ledger);
        assert_eq!(ledger, Some(Ledger::Database(env(expected))), "{more}");
    }
    assert_eq!(config_with(SHARED).ledger(), None);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_wallet_of_each_sidecars_own_contradicts_a_shared_database() {
    for (fields, expected) in [
        (
            "backend: sqlite",
            "wallet.backend: 'sqlite' contradicts 'database': each of the sidecars that share it \
             would have a wallet of its own; leave 'backend' out, and the ledger is there too",
        ),
        (
            "path: w.db",
            "wallet.path: is for 'backend: sqlite'; with 'database', the ledger is there",
        ),
    ] {
        let found = errors_with(&format!("{SHARED}wallet: {{{fields}}}"));
        assert_eq!(found, [format!("f.yaml:7: {expected}")]);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn another_database_is_opened_by_a_restart_only() {
    let needs = |after: &str, before: &str| {
        let found = config_with(after).needs_restart(&config_with(before));
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let other = "database: {url: {env: OTHER}}\n";
    for (after, before, what) in
        [(SHARED, "", "it is new"), ("", SHARED, "it is gone"), (other, SHARED, "url")]
    {
        let message = format!(
            "database changed: restart the gateways and the sidecar to put it in force ({what})"
        );
        assert_eq!(needs(after, before), [message]);
    }
    assert_eq!(needs(SHARED, SHARED), Vec::<String>::new());
    let with_wallet = |database: &str| format!("{database}wallet: {{}}\n");
    let found = needs(&with_wallet(other), &with_wallet(SHARED));
    assert_eq!(found.len(), 2, "the wallet is there as well: {found:?}");
}
