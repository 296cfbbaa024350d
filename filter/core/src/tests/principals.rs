//! What a worker remembers of principals and tenants, and within which bounds.

use wasm_bindgen_test::wasm_bindgen_test;

use kt_contract::hex::Digest;
use kt_contract::policy::{Decision, ModelAllowlist};
use kt_contract::snapshot::{
    CacheSettings, ModelRoute, ModelTable, OnSidecarLoss, PolicySettings, RequestLimits, Tier,
};

use super::*;

fn principal(number: usize, org: String) -> Principal {
    Principal {
        key_id: format!("gk_{number}"),
        lineage: None,
        org,
        team: None,
        user: None,
        agent: None,
        group: None,
        codebases: [].into(),
        entitlements: [].into(),
    }
}

fn key(number: usize) -> KeyHash {
    KeyHash(Digest(*blake3::hash(&number.to_be_bytes()).as_bytes()))
}

fn rules(version: &str, models: usize) -> Rc<Rules> {
    Rc::new(Rules::of(snapshot(version, models)).unwrap())
}

fn snapshot(version: &str, models: usize) -> Snapshot {
    Snapshot {
        version: version.to_owned(),
        limits: RequestLimits { request_bytes_max: 1_000, json_depth_max: 8, json_nodes_max: 100 },
        cache: CacheSettings { enabled: true, tier: Tier::OrgShared, l1_bytes_max: 100_000 },
        models: Arc::default(),
        policy: PolicySettings {
            digest: Digest([7; 32]),
            block_status: 409,
            model_allowlist: Some(ModelAllowlist {
                decision: Decision::Block,
                models: (0..models).map(|number| format!("model-{number}")).collect(),
            }),
            request_limits: None,
            chain: kt_contract::policy::Chain::default(),
        },
        on_sidecar_loss: OnSidecarLoss::Unavailable,
        identities: None,
        open_with_cap: None,
    }
}

/// Of so many models, as a host's file without a list of its own has them.
fn models(count: usize) -> Arc<ModelTable> {
    let route = |number: usize| ModelRoute {
        model: format!("model-{number}"),
        target: "openai-1".into(),
        provider: "openai".into(),
        upstream: "https://api.openai.com".into(),
        version: None,
    };
    ModelTable { routes: (0..count).map(route).collect() }.into()
}

#[wasm_bindgen_test(unsupported = test)]
fn tenants_without_models_of_their_own_keep_the_hosts() {
    let host = Snapshot { models: models(83), ..snapshot("host", 1) };
    let mut principals = Principals::default();
    for number in 0..3_000 {
        let (org, version) = (format!("org-{number}"), format!("v-{number}"));
        // As it comes off the wire: a table of its own that says the same.
        let of_tenant = Snapshot { models: models(83), ..snapshot(&version, 1) };
        let rules = Rules::of_tenant(of_tenant, Some(&host)).unwrap();
        principals.remember(key(number), Known::of_tenant(principal(number, org), rules.into()));
    }
    let first = principals.get(&key(0)).expect("all of them fit").tenant.unwrap();
    assert!(Arc::ptr_eq(&first.snapshot.models, &host.models));
    let own = Snapshot { models: models(2), ..snapshot("own", 1) };
    let own = Rules::of_tenant(own, Some(&host)).unwrap();
    assert_eq!(own.snapshot.models.routes.len(), 2);
    let (shared, own) = (first.weight(), own.weight());
    assert!(own > shared, "what is kept for it alone counts: {own} and {shared}");
    principals.forget_rules();
    assert!(principals.get(&key(0)).is_none(), "the host's table has changed");
}

#[wasm_bindgen_test(unsupported = test)]
fn of_many_tenants_those_that_were_used_last_are_remembered_within_the_bound() {
    let mut principals = Principals::default();
    for number in 0..10_000 {
        let (org, version) = (format!("org-{number}"), format!("v-{number}"));
        let known = Known::of_tenant(principal(number, org), rules(&version, 300));
        principals.remember(key(number), known);
        assert!(principals.tenants.weight() <= TENANT_BYTES_MAX, "{number}");
        assert!(principals.keys.weight() <= PRINCIPAL_BYTES_MAX, "{number}");
    }
    assert!(principals.get(&key(9_999)).is_some_and(|known| known.tenant.is_some()));
    // Its principal is remembered, its rules are not: it is asked for again, and never decided by another's.
    assert!(principals.get(&key(7_000)).is_none());
}

#[wasm_bindgen_test(unsupported = test)]
fn tenants_that_say_the_same_share_their_rules() {
    let mut principals = Principals::default();
    for number in 0..3 {
        let rules = principals.rules("v-1").unwrap_or_else(|| rules("v-1", 1));
        let known = Known::of_tenant(principal(number, format!("org-{number}")), rules);
        principals.remember(key(number), known);
    }
    let of = |principals: &mut Principals, number| principals.get(&key(number)).unwrap().tenant;
    let (first, last) = (of(&mut principals, 0).unwrap(), of(&mut principals, 2).unwrap());
    assert!(Rc::ptr_eq(&first, &last));
}

#[wasm_bindgen_test(unsupported = test)]
fn rules_that_made_room_for_others_are_made_ready_once_as_long_as_a_request_waits_for_them() {
    let mut principals = Principals::default();
    let held = rules("v-0", 300);
    principals.remember(key(0), Known::of_tenant(principal(0, "org-0".to_owned()), held.clone()));
    for number in 1..10_000 {
        let version = format!("v-{number}");
        let known = Known::of_tenant(principal(number, "other".to_owned()), rules(&version, 300));
        principals.remember(key(number), known);
    }
    assert!(principals.tenants.get(&"v-0".into()).is_none(), "they made room");
    assert!(principals.rules("v-0").is_some_and(|ready| Rc::ptr_eq(&ready, &held)));
    drop(held);
    assert!(principals.rules("v-0").is_none());
    assert!(principals.alive.len() < 1_000, "nobody keeps a list of what was");
    let waits = principals.rules("v-9999");
    principals.forget_rules();
    assert!(
        waits.is_some() && principals.rules("v-9999").is_none(),
        "the host's table has changed"
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn principals_weigh_what_their_keys_name() {
    let mut principals = Principals::default();
    let names = |number: usize| (0..256).map(|at| format!("{number}-{at:0>120}")).collect();
    for number in 0..1_000 {
        let principal = principal(number, "acme".to_owned());
        let wide = Principal { codebases: names(number), entitlements: names(number), ..principal };
        principals.remember(key(number), Known::new(wide));
    }
    let known = (0..1_000).filter(|number| principals.get(&key(*number)).is_some()).count();
    assert!((1..100).contains(&known), "each takes some 64 KiB, and {known} are known");
}

#[wasm_bindgen_test(unsupported = test)]
fn a_change_of_one_tenant_makes_its_principals_unknown_and_no_others() {
    let mut principals = Principals::default();
    for (number, org) in [(1, "acme"), (2, "acme"), (3, "globex")] {
        principals.remember(key(number), Known::new(principal(number, org.to_owned())));
    }
    principals.forget_org("acme");
    let known = [1, 2, 3].map(|number| principals.get(&key(number)).is_some());
    assert_eq!(known, [false, false, true]);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_tenant_weighs_what_its_patterns_may_take_and_the_heaviest_is_kept() {
    let plain = rules("v-1", 1);
    let with = |patterns: usize| {
        let mut snapshot = plain.snapshot.as_ref().clone();
        let list = kt_contract::policy::WordList {
            decision: Decision::Block,
            terms: Vec::new(),
            patterns: (0..patterns).map(|number| format!("a{number}b")).collect(),
        };
        let check = kt_contract::policy::Check::ContentPolicy(list);
        snapshot.policy.chain.steps =
            vec![kt_contract::policy::Step { phases: [Phase::Input].into(), check }];
        Rules::of(snapshot).unwrap()
    };
    assert!(with(2).weight() > plain.weight() + 2 * PATTERN_BYTES_MAX as u64);
    // The largest snapshot with the most patterns leaves room for others.
    let most = with(kt_contract::limits::PATTERNS_MAX).weight()
        + kt_contract::limits::SNAPSHOT_BYTES_MAX as u64 * READY_FOR_EACH_BYTE;
    assert!(most < TENANT_BYTES_MAX, "{most}");
}
