//! `wallet`, `budgets`, `pricing`, and the policies about them: what they become, and what is refused.

use std::time::Duration;

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::money::{MicroUsd, MicroUsdPerMillion, Tokens};
use crate::pricing::{Price, Rates};
use crate::provider::Provider;

/// The shortest file and `more`, loaded or not.
fn checked_with(more: &str) -> Result<Loaded, Vec<String>> {
    load("f.yaml", &format!("{LEAST}{more}"))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn config_with(more: &str) -> Config {
    checked_with(more).unwrap_or_else(|errors| panic!("{more}: {errors:?}")).config
}

/// The one error of `more`, which stands in line 6.
fn error_with(more: &str) -> String {
    let errors = checked_with(more).err().unwrap_or_default();
    let [error] = &errors[..] else { panic!("{more}: {errors:?}") };
    error.strip_prefix("f.yaml:6: ").unwrap_or(error).to_owned()
}

fn usd(text: &str) -> MicroUsd {
    MicroUsd::parse_usd(text).unwrap()
}

fn price_of(more: &str, model: &str) -> Option<Price> {
    config_with(more).pricing.price(Provider::OpenAi, model).copied()
}

#[wasm_bindgen_test(unsupported = test)]
fn a_file_without_money_has_no_wallet_no_limits_and_the_published_prices() {
    let Config { wallet, budgets, pricing, .. } = config_with("");
    assert_eq!((wallet, budgets.limit_anything()), (None, false));
    assert_eq!(pricing.unknown_model, None);
    assert!(pricing.price(Provider::OpenAi, "gpt-4o").is_some());
    assert_eq!(pricing.price(Provider::OpenAi, "my-model"), None);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_wallet_has_defaults_and_takes_what_is_written() {
    let wallet = |more: &str| config_with(more).wallet.unwrap();
    let default = wallet("wallet:\n  backend: sqlite\n");
    assert_eq!(default.ledger, Ledger::File("wallet.db".to_owned()));
    assert_eq!((default.time_zone.name(), default.time_zones.len()), ("UTC", 0));
    assert_eq!(default.default_max_output_tokens, Tokens(4_096));
    let written = wallet(
        "wallet: {path: /var/lib/kt/w.db, time_zone: Europe/Berlin, default_max_output_tokens: 9}",
    );
    assert_eq!(written.ledger, Ledger::File("/var/lib/kt/w.db".to_owned()));
    assert_eq!(written.time_zone.name(), "Europe/Berlin");
    assert_eq!(written.default_max_output_tokens, Tokens(9));
    let zoned = wallet(
        "wallet: {time_zone: Europe/Berlin, time_zones: {acme: Asia/Tokyo, a.b: America/Lima}}",
    );
    let zones: Vec<_> = zoned.time_zones.iter().map(|(org, zone)| (&**org, zone.name())).collect();
    assert_eq!(zones, [("a.b", "America/Lima"), ("acme", "Asia/Tokyo")]);
    assert_eq!(zoned.time_zone.name(), "Europe/Berlin");
    let shared = |allotment: &str| {
        let url = "url: {env: KT_DATABASE_URL}";
        wallet(&format!("wallet: {{backend: postgres, {url}, allotment: {allotment}}}")).allotment
    };
    let allotment = |max, part_millionths, seconds| {
        let ttl = Duration::from_secs(seconds);
        Some(Allotment { max: usd(max), part_millionths, ttl })
    };
    assert_eq!(default.allotment, None);
    assert_eq!(shared("{}"), allotment("5", 10_000, 60));
    let written = shared("{max_usd: 2.5, part: 0.2, ttl_seconds: 30}");
    assert_eq!(written, allotment("2.50", 200_000, 30));
    for (reference, secret) in [
        ("env: KT_DATABASE_URL", SecretRef::Env("KT_DATABASE_URL".to_owned())),
        ("file: /run/secrets/db", SecretRef::File("/run/secrets/db".to_owned())),
    ] {
        let shared = wallet(&format!("wallet: {{backend: postgres, url: {{{reference}}}}}"));
        assert_eq!(shared.ledger, Ledger::Database(secret));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_wallet_is_refused_where_money_could_be_lost_or_miscounted() {
    for (fields, expected) in [
        (
            "backend: postgres",
            "backend: 'postgres' needs 'url' beside it, with the name of an environment variable or of a \
             file that holds the address: url: {env: KT_DATABASE_URL}",
        ),
        (
            "backend: postgres, url: {env: KT_DATABASE_URL}, path: w.db",
            "path: is for 'backend: sqlite'; with 'postgres', 'url' says where",
        ),
        (
            "url: {env: KT_DATABASE_URL}",
            "url: is for 'backend: postgres'; with 'sqlite', 'path' names the file",
        ),
        ("backend: postgres, url: {}", "url: is empty; it needs 'env' or 'file'"),
        (
            "backend: postgres, url: 'postgres://kt:hunter2@db/kt'",
            "url: expected a map, found a text",
        ),
        ("backend: postgres, url: {file: ''}", "url.file: is no path"),
        (
            "backend: redis",
            "backend: 'redis' never holds money: in a power cut or a failover it loses what it has \
             acknowledged; use 'sqlite' or 'postgres'",
        ),
        ("backend: sqlit", "backend: unknown value 'sqlit'; did you mean 'sqlite'?"),
        ("on_outgrown_hold: cutt", "on_outgrown_hold: unknown value 'cutt'; did you mean 'cut'?"),
        ("path: ''", "path: is no path"),
        (
            "default_max_output_tokens: 0",
            "default_max_output_tokens: 0 is not between 1 and 1000000",
        ),
        (
            "time_zone: Europe/Berlni",
            "time_zone: is no time zone that is known; did you mean 'Europe/Berlin'?",
        ),
        (
            "time_zone: europe/berlin",
            "time_zone: is no time zone that is known; did you mean 'Europe/Berlin'?",
        ),
        (
            "time_zone: somewhere far away",
            "time_zone: is no time zone that is known; write an IANA name, like Europe/Berlin",
        ),
        (
            "time_zones: {acme: Asia/Tokio}",
            "time_zones.acme: is no time zone that is known; did you mean 'Asia/Tokyo'?",
        ),
        (
            "time_zones: {'a b': Asia/Tokyo}",
            "time_zones: the name of an organization may have ASCII letters, digits and . _ : / @ + - \
             # only",
        ),
        ("time_zones: Asia/Tokyo", "time_zones: expected a map, found a text"),
    ] {
        let more = format!("wallet: {{{fields}}}");
        assert_eq!(error_with(&more), format!("wallet.{expected}"), "{fields}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_allotment_is_refused_where_no_call_could_be_reserved_from_one() {
    for (fields, expected) in [
        (
            "allotment: {}",
            "allotment: is for a ledger that several sidecars share, 'backend: postgres': a file has \
             one sidecar, which asks it without a round trip",
        ),
        (
            "backend: postgres, url: {env: KT_DATABASE_URL}, allotment: {max_usd: 0}",
            "allotment.max_usd: must be more than 0; without allotments, leave 'allotment' out",
        ),
        (
            "backend: postgres, url: {env: KT_DATABASE_URL}, allotment: {part: 1.1}",
            "allotment.part: is no part of one: above 0 and up to 1, with at most six decimals, like \
             0.8",
        ),
        (
            "backend: postgres, url: {env: KT_DATABASE_URL}, allotment: {ttl_seconds: 5}",
            "allotment.ttl_seconds: 5 is not between 20 and 3600",
        ),
        (
            "backend: postgres, url: {env: KT_DATABASE_URL}, allotment: {}}\n\
             budgets: {organization: {daily_limit_usd: 5}",
            "allotment: contradicts budgets.organization, which limits every call: what falls under a \
             limit is reserved in the database. Leave one of them out",
        ),
    ] {
        let more = format!("wallet: {{{fields}}}");
        assert_eq!(error_with(&more), format!("wallet.{expected}"), "{fields}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_empty_wallet_section_is_a_wallet_and_an_empty_amount_is_a_mistake() {
    for empty in ["wallet:\n", "wallet: ~\n", "wallet: null\n", "wallet: {}\n"] {
        assert!(config_with(empty).is_prepaid(), "{empty:?}");
    }
    for (more, field) in [
        ("budgets: {organization: {daily_limit_usd: }}", "budgets.organization.daily_limit_usd"),
        ("budgets: {users: {default_daily_usd: ~}}", "budgets.users.default_daily_usd"),
        (
            "pricing: {models: {openai: {gpt-4o: {input_usd_per_million: null}}}}",
            "pricing.models.openai.gpt-4o.input_usd_per_million",
        ),
    ] {
        let problem = "is empty: write an amount, like 2.50, or leave it out";
        assert_eq!(error_with(more), format!("{field}: {problem}"));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_amount_is_written_in_digits() {
    for written in ["0x10", "0o10", "+5"] {
        let error = error_with(&format!("budgets: {{users: {{default_daily_usd: {written}}}}}"));
        assert!(error.contains("is no sum of dollars"), "{written}: {error}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn whoever_accounts_for_calls_makes_none_without_the_sidecar() {
    let direct = "gateway: {on_sidecar_loss: direct}\n";
    assert!(checked_with(direct).is_ok());
    for (more, what) in [
        ("wallet: {}\n", "wallet"),
        ("budgets: {users: {default_daily_usd: 1}}\n", "budgets"),
        (
            "pack: {name: p}\npolicies: {chain: [spend-limit], policy: {spend-limit: {max_daily_usd: 1}}}\n",
            "spend-limit",
        ),
    ] {
        assert_eq!(
            error_with(&format!("{direct}{more}")),
            format!(
                "gateway.on_sidecar_loss: direct calls providers without the sidecar, which alone \
                 accounts for calls: it contradicts {what}"
            )
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_budgets_of_seed_002_are_understood() {
    let budgets = config_with(
        "budgets:
  organization:
    daily_limit_usd: 1000
    monthly_limit_usd: 25000
    alert_threshold: 0.8

  teams:
    engineering:
      daily_limit_usd: 500
    research:
      daily_limit_usd: 300

  users:
    default_daily_usd: 50
",
    )
    .budgets;
    let daily = |text| Limits { daily: Some(usd(text)), monthly: None };
    assert_eq!(
        budgets.organization,
        Limits { daily: Some(usd("1000")), monthly: Some(usd("25000")) }
    );
    let teams = [("engineering", daily("500")), ("research", daily("300"))];
    assert_eq!(budgets.teams, teams.map(|(team, limits)| (team.to_owned(), limits)).into());
    assert_eq!(budgets.user_daily, Some(usd("50")));
    assert_eq!(budgets.alert_threshold.unwrap().of(usd("1000")), usd("800"));
}

#[wasm_bindgen_test(unsupported = test)]
fn an_amount_is_what_is_written_to_the_last_digit() {
    for (written, expected) in [
        ("12.5", "12.5"),
        ("'12.50'", "12.5"),
        ("0.1", "0.1"),
        ("0.000001", "0.000001"),
        ("7", "7"),
        // The nearest binary fraction of each is another amount.
        ("9007199254.740989", "9007199254.740989"),
        ("1234567890.123457", "1234567890.123457"),
    ] {
        let budgets = config_with(&format!("budgets: {{users: {{default_daily_usd: {written}}}}}"));
        assert_eq!(budgets.budgets.user_daily, Some(usd(expected)), "{written}");
    }
    let field = "budgets.users.default_daily_usd";
    let not = format!(
        "{field}: is no sum of dollars: digits with at most six decimals, like 2.50, up to \
         9007199254.740991"
    );
    for written in [
        "0.0000001",
        "1e3",
        "'1e3'",
        "'$5'",
        "'5 USD'",
        "'-5'",
        "''",
        "9007199254.740992",
        "9007199255",
        "'1,000'",
    ] {
        let error = error_with(&format!("budgets: {{users: {{default_daily_usd: {written}}}}}"));
        assert_eq!(error, not, "{written}");
    }
    for (written, found) in [
        ("-5", "another number"),
        ("-0.5", "another number"),
        ("true", "true or false"),
        ("[]", "a list"),
    ] {
        let error = error_with(&format!("budgets: {{users: {{default_daily_usd: {written}}}}}"));
        assert_eq!(error, format!("{field}: expected a number of zero or more, found {found}"));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn amounts_are_read_where_they_stand_whatever_stands_around_them() {
    let budgets = config_with(
        "# Bücher, 本, 🦀\r
budgets: # ünïcode before it, and CRLF\r
  organization: {daily_limit_usd: &limit 2.25, monthly_limit_usd: 30.125}\r
  users: {default_daily_usd: *limit}\r
",
    )
    .budgets;
    let Limits { daily, monthly } = budgets.organization;
    assert_eq!((daily, monthly), (Some(usd("2.25")), Some(usd("30.125"))));
    assert_eq!(budgets.user_daily, Some(usd("2.25")));
}

#[wasm_bindgen_test(unsupported = test)]
fn budgets_that_make_no_sense_are_refused() {
    for (more, expected) in [
        (
            "organization: {daily_limit_usd: 0}",
            "organization.daily_limit_usd: is 0, which would refuse every call; leave it out for no \
             limit",
        ),
        (
            "organization: {alert_threshold: 0.8}",
            "organization.alert_threshold: is a part of limits, and there is none",
        ),
        (
            "teams: {a: {}}",
            "teams.a: sets no limit: it needs 'daily_limit_usd' or 'monthly_limit_usd'",
        ),
        (
            "teams: {a b: {daily_limit_usd: 1}}",
            "teams: the name of a team may have ASCII letters, digits and . _ : / @ + - # only",
        ),
        (
            "teams: {a: {daily_limit: 1}}",
            "teams.a.daily_limit: unknown field; did you mean 'daily_limit_usd'?",
        ),
        (
            "users: {default_daily: 1}",
            "users.default_daily: unknown field; did you mean 'default_daily_usd'?",
        ),
    ] {
        assert_eq!(error_with(&format!("budgets: {{{more}}}")), format!("budgets.{expected}"));
    }
    for threshold in ["0", "1.000001", "80", "'80%'", "0.0000001"] {
        let more = format!(
            "budgets: {{organization: {{daily_limit_usd: 1, alert_threshold: {threshold}}}}}"
        );
        assert_eq!(
            error_with(&more),
            "budgets.organization.alert_threshold: is no part of one: above 0 and up to 1, with at \
             most six decimals, like 0.8",
            "{threshold}"
        );
    }
    let whole = "budgets: {organization: {daily_limit_usd: 1, alert_threshold: 1}}";
    assert_eq!(config_with(whole).budgets.alert_threshold.unwrap().of(usd("7")), usd("7"));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_limit_that_is_never_reached_is_told() {
    let loaded = checked_with("budgets: {teams: {a: {daily_limit_usd: 2, monthly_limit_usd: 1}}}");
    let told = warnings(&loaded.unwrap());
    assert_eq!(
        told[1..],
        [
            "f.yaml:6: budgets.teams.a.daily_limit_usd: is never reached: it is above monthly_limit_usd"
        ]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn models_that_nobody_can_pay_for_are_told_where_calls_are_accounted_for() {
    let unpriced = |more: &str| warnings(&checked_with(more).unwrap());
    let none = Vec::<String>::new();
    assert_eq!(unpriced(""), none, "nobody pays");
    let told = unpriced("wallet: {}");
    let begins =
        "f.yaml:3: providers.targets[0].models: no price is known for 'chatgpt-4o-latest' and ";
    assert!(told.len() == 1 && told[0].starts_with(begins), "{told:?}");
    let flat = "pricing: {unknown_model: {input_usd_per_million: 1, output_usd_per_million: 1}}\n";
    assert_eq!(unpriced(&format!("{flat}wallet: {{}}")), none);
}

#[wasm_bindgen_test(unsupported = test)]
fn own_prices_are_exact_and_win_over_the_list() {
    let more = "pricing:
  version: ours-7
  models:
    openai:
      gpt-4.1: {input_usd_per_million: \"2.50\", cached_input_usd_per_million: 0.075, output_usd_per_million: 10}
      my-embedding: {input_usd_per_million: 0.02, output_usd_per_million: 0, max_input_tokens: 8191}
";
    let rates = |price: Price| {
        let Rates { input, cached_input, cache_write, output, .. } = price.rates;
        [input, cached_input, cache_write, output].map(|rate| rate.0.to_string())
    };
    let own = price_of(more, "gpt-4.1").unwrap();
    assert_eq!(rates(own), ["2.50", "0.075", "2.50", "10.00"]);
    let listed = price_of("", "gpt-4.1").unwrap();
    assert_eq!(own.max_output_tokens, listed.max_output_tokens, "what is not said is the list's");
    let embedding = price_of(more, "my-embedding").unwrap();
    assert_eq!(rates(embedding), ["0.02", "0.02", "0.02", "0.00"]);
    assert_eq!(
        (embedding.max_input_tokens, embedding.max_output_tokens),
        (Some(Tokens(8_191)), None)
    );
    let table = config_with(more).pricing.table;
    assert!(table.version().starts_with("ours-7+"), "{}", table.version());
}

#[wasm_bindgen_test(unsupported = test)]
fn an_unknown_model_is_refused_or_has_the_price_that_is_said() {
    assert_eq!(price_of("pricing: {unknown_model: refuse}", "my-model"), None);
    let priced = "pricing: {unknown_model: {input_usd_per_million: 3, output_usd_per_million: 15}}";
    let price = price_of(priced, "my-model").unwrap();
    assert_eq!(price.rates.output, MicroUsdPerMillion(usd("15")));
    assert_eq!(price_of(priced, "gpt-4o"), price_of("", "gpt-4o"), "a known one keeps its own");
}

#[wasm_bindgen_test(unsupported = test)]
fn a_price_that_is_half_said_or_contradicts_itself_is_refused() {
    let both = "input_usd_per_million: 1, output_usd_per_million: 2";
    let long =
        |fields: &str| format!("models: {{openai: {{m: {{{both}, long_inputs: {{{fields}}}}}}}}}");
    for (fields, expected) in [
        (
            "models: {opnai: {}}".to_owned(),
            "models.opnai: is no provider that is known here; did you mean 'openai'?",
        ),
        (
            "models: {acme: {}}".to_owned(),
            "models.acme: is no provider that is known here; known: openai, azure, anthropic",
        ),
        (
            "models: {openai: {m: {output_usd_per_million: 2}}}".to_owned(),
            "models.openai.m.input_usd_per_million: missing: a price has a rate for input",
        ),
        (
            "models: {openai: {m: {input_usd_per_million: 2}}}".to_owned(),
            "models.openai.m.output_usd_per_million: missing: a price has a rate for output; 0 for \
             embeddings",
        ),
        (
            format!("models: {{anthropic: {{m: {{{both}, cache_write_usd_per_million: 1}}}}}}"),
            "models.anthropic.m.cache_write_long_usd_per_million: missing: this provider prices \
             what is written to its prompt cache apart",
        ),
        (
            format!("models: {{openai: {{m: {{{both}, max_output_tokens: 0}}}}}}"),
            "models.openai.m.max_output_tokens: 0 is not between 1 and 10000000",
        ),
        (
            long(both),
            "models.openai.m.long_inputs.above_input_tokens: missing: how long is a long input?",
        ),
        (
            long("above_input_tokens: 9, input_usd_per_million: 1, output_usd_per_million: 1.5"),
            "models.openai.m.long_inputs: has a rate below the ordinary one of its kind: more \
             tokens would cost less",
        ),
        (
            "unknown_model: ask".to_owned(),
            "unknown_model: expected refuse, or the rates of a price, found a text",
        ),
        (
            "unknown_model: {input: 1}".to_owned(),
            "unknown_model.input: unknown field; did you mean 'input_usd_per_million'?",
        ),
        ("version: 'a b'".to_owned(), "version: must be 1 to 64 letters, digits, '-', '_' and '.'"),
    ] {
        let errors = checked_with(&format!("pricing: {{{fields}}}")).unwrap_err();
        assert_eq!(errors[0], format!("f.yaml:6: pricing.{expected}"), "{fields}");
    }
    let good = long("above_input_tokens: 9, input_usd_per_million: 1, output_usd_per_million: 2.5");
    assert!(price_of(&format!("pricing: {{{good}}}"), "m").unwrap().above.is_some());
}

#[wasm_bindgen_test(unsupported = test)]
fn the_rule_of_seed_001_is_understood_and_brings_a_wallet() {
    let rule = |action: &str, condition: &str| {
        format!(
            "policies: [{{name: cost-governance, rules: [{{{action}conditions: {{{condition}}}}}]}}]"
        )
    };
    let config = config_with(&rule("action: allow, ", "wallet_balance: sufficient"));
    assert!(config.policy.needs_wallet_balance);
    assert_eq!(config.wallet.unwrap().ledger, Ledger::File("wallet.db".to_owned()));
    assert!(!config_with("wallet: {}").policy.needs_wallet_balance);
    let at = "policies[0].rules[0]";
    let must = "must be 'allow': requests go on where the wallet has the money for them, and are \
                refused where it has not";
    for (action, condition, expected) in [
        (
            "action: allow, ",
            "wallet_balance: plenty",
            format!(
                "{at}.conditions.wallet_balance: is not what belongs here: known is 'sufficient'"
            ),
        ),
        (
            "action: allow, ",
            "wallet_balance: sufficient, moon: full",
            format!(
                "{at}.conditions.moon: the rule 'moon' of policy 'cost-governance' is configured but \
                 not enforced yet"
            ),
        ),
        ("action: deny, ", "wallet_balance: sufficient", format!("{at}.action: {must}")),
        ("", "wallet_balance: sufficient", format!("{at}.action: {must}")),
    ] {
        assert_eq!(error_with(&rule(action, condition)), expected);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_spend_limit_of_seed_003_is_understood() {
    let with = |settings: &str| {
        format!("pack: {{name: p}}\npolicies: {{chain: [spend-limit]{settings}}}\n")
    };
    let config = config_with(&with(", policy: {spend-limit: {max_daily_usd: 500}}"));
    assert_eq!(config.policy.spend_limit_daily, Some(usd("500")));
    let exact = config_with(&with(", policy: {spend-limit: {max_daily_usd: 0.07}}"));
    assert_eq!(exact.policy.spend_limit_daily, Some(usd("0.07")));
    let field = "policies.policy.spend-limit.max_daily_usd";
    for (more, expected) in [
        (with(""), format!("f.yaml:7: policies.chain: spend-limit needs its settings: {field}")),
        (
            with(", policy: {spend-limit: {}}"),
            format!("f.yaml:7: {field}: missing: how much may be spent in a day?"),
        ),
        (
            with(", policy: {spend-limit: {max_daily_usd: 0}}"),
            format!(
                "f.yaml:7: {field}: is 0, which would refuse every call; leave it out for no limit"
            ),
        ),
        (
            with(", policy: {spend-limit: {max_daily: 1}}"),
            "f.yaml:7: policies.policy.spend-limit.max_daily: unknown field; did you mean \
             'max_daily_usd'?"
                .to_owned(),
        ),
        (
            with(", policy: {spend-limit: {max_daily_usd: 1}}").replace("name: p", "version: '1'"),
            "pack.name: missing: spend-limit counts what the pack of this name spends".to_owned(),
        ),
    ] {
        let errors = checked_with(&more).unwrap_err();
        assert_eq!(errors[0].trim_start_matches("f.yaml:6: "), expected, "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn money_decides_whether_a_call_is_made_and_not_what_it_says() {
    let digest = |more: &str| config_with(more).snapshot(false).policy.digest;
    for more in [
        "policies: [{rules: [{action: allow, conditions: {wallet_balance: sufficient}}]}]",
        "pack: {name: p}\npolicies: {chain: [spend-limit], policy: {spend-limit: {max_daily_usd: 1}}}",
        "budgets: {users: {default_daily_usd: 1}}",
        "wallet: {}",
    ] {
        assert_eq!(digest(more), digest(""), "{more}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_ledger_stays_where_it_was_until_a_restart_and_limits_change_live() {
    let needs = |after: &str, before: &str| {
        let found = config_with(after).needs_restart(&config_with(before));
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let wallet = "wallet: {path: a.db}\n";
    for (after, before, what) in [
        (wallet, "", "it is new"),
        ("", wallet, "it is gone"),
        ("wallet: {path: b.db}", wallet, "path"),
        ("wallet: {path: b.db, time_zone: Asia/Tokyo}", wallet, "path, time_zone"),
        ("wallet: {path: a.db, time_zones: {acme: Asia/Tokyo}}", wallet, "time_zones"),
        (wallet, "wallet: {path: a.db, time_zones: {acme: Asia/Tokyo}}", "time_zones"),
    ] {
        let message = format!(
            "wallet changed: restart the gateways and the sidecar to put it in force ({what})"
        );
        assert_eq!(needs(after, before), [message]);
    }
    for after in [
        "wallet: {path: a.db, default_max_output_tokens: 7}",
        "wallet: {path: a.db}\nbudgets: {users: {default_daily_usd: 1}}",
        "wallet: {path: a.db}\npricing: {version: ours}",
    ] {
        assert_eq!(needs(after, wallet), Vec::<String>::new(), "{after}");
    }
}
