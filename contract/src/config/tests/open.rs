//! `wallet.open_with_cap`: what it becomes, and beside what it is refused.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::money::MicroUsd;
use crate::snapshot::OpenWithCap;

const CAP: &str = "wallet: {open_with_cap: {max_usd: \"1.00\", usd_per_call: 0.05}}\n";

#[wasm_bindgen_test(unsupported = test)]
fn a_cap_reaches_the_filters_and_can_change_without_a_restart() {
    let cap = |max, per_call| OpenWithCap {
        max_micro_usd: MicroUsd::new(max).unwrap(),
        micro_usd_per_call: MicroUsd::new(per_call).unwrap(),
    };
    let started = loaded_with(CAP).config;
    assert_eq!(started.snapshot(false).open_with_cap, Some(cap(1_000_000, 50_000)));
    let larger = loaded_with("wallet: {open_with_cap: {max_usd: 1000, usd_per_call: 1000}}\n");
    let snapshot = larger.config.snapshot(false);
    assert_eq!(snapshot.open_with_cap, Some(cap(1_000_000_000, 1_000_000_000)));
    assert_ne!(snapshot.version, started.snapshot(false).version);
    assert_eq!(larger.config.needs_restart(&started), []);
    let none = loaded_with("wallet: {}\n").config;
    assert_eq!(none.snapshot(false).open_with_cap, None);
    assert_eq!(started.needs_restart(&none), []);
}

#[wasm_bindgen_test(unsupported = test)]
fn both_amounts_are_needed_and_have_bounds() {
    for (fields, expected) in [
        ("usd_per_call: 1", "max_usd: missing: how many dollars, in each process of Envoy?"),
        ("max_usd: 1", "usd_per_call: missing: how many dollars, as which a call counts?"),
        ("max_usd: 0, usd_per_call: 1", "max_usd: 0.00 is not above 0 and up to 1000.00"),
        ("max_usd: 1, usd_per_call: 0", "usd_per_call: 0.00 is not above 0 and up to 1000.00"),
        (
            "max_usd: 1000.000001, usd_per_call: 1",
            "max_usd: 1000.000001 is not above 0 and up to 1000.00",
        ),
        (
            "max_usd: 1, usd_per_call: 1.000001",
            "usd_per_call: 1.000001 is more than max_usd, 1.00: no call would ever pass",
        ),
    ] {
        let found = errors_with(&format!("wallet: {{open_with_cap: {{{fields}}}}}\n"));
        assert_eq!(found, [format!("f.yaml:6: wallet.open_with_cap.{expected}")], "{fields}");
    }
    let negative = errors_with("wallet: {open_with_cap: {max_usd: -1, usd_per_call: 1}}\n");
    assert!(negative[0].contains("max_usd: expected a number of zero or more"), "{negative:?}");
    let unknown = errors_with("wallet: {open_with_cap: {usd: 5}}\n");
    assert!(unknown[0].contains("open_with_cap.usd: unknown field"), "{unknown:?}");
}

#[wasm_bindgen_test(unsupported = test)]
fn a_cap_is_refused_beside_what_calls_without_the_sidecar_would_pass_by() {
    let policies = |name: &str, settings: &str| {
        format!("policies: {{chain: [{name}], policy: {{{name}: {settings}}}}}\n")
    };
    for (more, what) in [
        ("budgets: {users: {default_daily_usd: 1}}\n".to_owned(), "budgets"),
        (
            format!("pack: {{name: p}}\n{}", policies("spend-limit", "{max_daily_usd: 1}")),
            "spend-limit",
        ),
        (policies("rate-limit", "{per_user: {tokens_per_minute: 9}}"), "rate-limit"),
        (policies("audit-logger", "{}"), "audit-logger"),
        (policies("pii-detector", "{action: redact, apply_to: [output]}"), "'pii-detector'"),
        ("tenants: {folder: packs}\n".to_owned(), "tenants"),
    ] {
        let found = errors_with(&format!("{CAP}{more}"));
        let expected =
            format!("f.yaml:6: wallet.open_with_cap: contradicts {what}: while the sidecar");
        assert!(found.iter().any(|it| it.starts_with(&expected)), "{what}: {found:?}");
    }
    let input = policies("pii-detector", "{action: redact, apply_to: [input]}");
    let _ = loaded_with(&format!("{CAP}{input}"));
    // Nothing that is refused of `direct` anyway becomes possible by it.
    let direct = errors_with(&format!("{CAP}gateway: {{on_sidecar_loss: direct}}\n"));
    assert!(direct[0].contains("it contradicts wallet"), "{direct:?}");
}
