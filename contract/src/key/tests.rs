//! Keys: the published vectors, and that every part of every gate counts.

use std::collections::BTreeSet;

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::golden;
use crate::json::{Bounds, parse};
use crate::outcome::Reason;

macro_rules! vectors {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/keys/", $name, ".json"))),)*]
    };
}

/// The published vectors, as name and text.
const VECTORS: &[(&str, &str)] = vectors! {
    "plain" "spelled-differently" "other-organization" "group" "private-edge" "physical-gateway"
    "number-lexeme" "everything"
};

/// A published vector: from a request's text to its key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    note: String,
    body: String,
    left_out: Vec<String>,
    headers: Vec<(String, String)>,
    gates: Gates,
    /// The vector with the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_as: Option<String>,
    expected: Option<Expected>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    request: RequestDigests,
    key: CacheKey,
    check: CheckHash,
}

// === impl Vector ===

impl Vector {
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap()
    }

    fn named(name: &str) -> Self {
        Self::read(VECTORS.iter().find(|(of, _)| *of == name).unwrap().1)
    }

    fn compute(&self) -> Expected {
        let keys = OrgKeys::derive(&self.gates.org);
        let body = parse(self.body.as_bytes(), Bounds { depth_max: 64, nodes_max: 1_000 }).unwrap();
        let left_out: Vec<&str> = self.left_out.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = keys.request_digests(&body, &left_out, &headers);
        Expected {
            request,
            key: keys.cache_key(&self.gates, &request),
            check: keys.check_hash(&self.gates, &request),
        }
    }
}

/// All of `everything`, changed in one place each, with the reason that a reader would be told.
fn changed_in_one_gate() -> Vec<(&'static str, Reason, Gates)> {
    let base = Vector::named("everything").gates;
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<BTreeSet<_>>();
    let mut all = Vec::new();
    let mut with = |what, reason, change: &dyn Fn(&mut Gates)| {
        let mut gates = base.clone();
        change(&mut gates);
        all.push((what, reason, gates));
    };
    with("org", Reason::Org, &|gates| gates.org = "globex".into());
    let group = |group: Option<&str>| Scope::OrgShared { group: group.map(str::to_owned) };
    with("other group", Reason::Group, &|gates| gates.scope = group(Some("sales")));
    with("no group", Reason::Group, &|gates| gates.scope = group(None));
    with("empty group", Reason::Group, &|gates| gates.scope = group(Some("")));
    with("private tier", Reason::Tier, &|gates| {
        gates.scope = Scope::PrivateEdge { key_id: "support".into() };
    });
    with("physical tier", Reason::Tier, &|gates| {
        gates.scope = Scope::PhysicalGateway { gateway: "support".into() };
    });
    with("one codebase less", Reason::Codebase, &|gates| gates.codebases = tags(&["acme/api"]));
    with("codebases run together", Reason::Codebase, &|gates| {
        gates.codebases = tags(&["acme/apiacme/web"]);
    });
    with("codebases cut elsewhere", Reason::Codebase, &|gates| {
        gates.codebases = tags(&["acme/apia", "cme/web"]);
    });
    with("no codebase", Reason::Codebase, &|gates| gates.codebases = tags(&[]));
    with("an empty codebase", Reason::Codebase, &|gates| gates.codebases = tags(&[""]));
    with("other fabric", Reason::Fabric, &|gates| gates.fabric = Some("fab-2".into()));
    with("no fabric", Reason::Fabric, &|gates| gates.fabric = None);
    with("empty fabric", Reason::Fabric, &|gates| gates.fabric = Some(String::new()));
    with("policy", Reason::Policy, &|gates| gates.policy.0[0] ^= 1);
    with("dialect", Reason::Model, &|gates| gates.model.dialect.push('x'));
    with("path", Reason::Model, &|gates| gates.model.path.push('x'));
    with("provider", Reason::Model, &|gates| gates.model.provider.push('x'));
    with("upstream", Reason::Model, &|gates| gates.model.upstream.push('x'));
    with("served model", Reason::Model, &|gates| gates.model.served_model.push('x'));
    with("a letter moved between fields", Reason::Model, &|gates| {
        let letter = gates.model.provider.pop().unwrap();
        gates.model.served_model.insert(0, letter);
    });
    with("version", Reason::Model, &|gates| gates.model.version = Some("2".into()));
    with("no version", Reason::Model, &|gates| gates.model.version = None);
    with("empty version", Reason::Model, &|gates| gates.model.version = Some(String::new()));
    with("more tags", Reason::Entitlement, &|gates| {
        gates.entitlements.insert("more".into());
    });
    with("no tags", Reason::Entitlement, &|gates| gates.entitlements = tags(&[]));
    with("codebases as tags", Reason::Codebase, &|gates| {
        std::mem::swap(&mut gates.codebases, &mut gates.entitlements);
    });
    all
}

#[wasm_bindgen_test(unsupported = test)]
fn the_published_vectors_hold() {
    for (name, text) in VECTORS {
        let mut vector = Vector::read(text);
        vector.expected = Some(vector.compute());
        golden::check(&format!("keys/{name}.json"), text, &golden::pretty(&vector));
    }
}

#[cfg(not(target_family = "wasm"))]
#[wasm_bindgen_test(unsupported = test)]
fn every_published_vector_is_tested() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/keys");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut tested: Vec<_> = VECTORS.iter().map(|(name, _)| format!("{name}.json")).collect();
    tested.sort();
    assert_eq!(files, tested);
}

#[wasm_bindgen_test(unsupported = test)]
fn vectors_have_the_same_key_only_where_they_say_so() {
    let all: Vec<_> = VECTORS.iter().map(|(name, _)| (*name, Vector::named(name))).collect();
    for (left, of_left) in &all {
        for (right, of_right) in &all {
            let same = left == right
                || of_left.same_as.as_deref() == Some(*right)
                || of_right.same_as.as_deref() == Some(*left);
            let (ours, theirs) = (of_left.compute(), of_right.compute());
            assert_eq!(ours.key == theirs.key, same, "{left}, {right}");
            assert_eq!(ours.check == theirs.check, same, "{left}, {right}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn every_gate_alone_changes_key_and_check_and_is_named() {
    let base = Vector::named("everything");
    let before = base.compute();
    let mut keys = BTreeSet::from([before.key]);
    for (what, reason, gates) in changed_in_one_gate() {
        assert_eq!(gates.first_difference(&base.gates), Some(reason), "{what}");
        assert_eq!(base.gates.first_difference(&gates), Some(reason), "{what}");
        // The digests of the request are those of the base: only the gate differs.
        let org = OrgKeys::derive(&gates.org);
        let (key, check) =
            (org.cache_key(&gates, &before.request), org.check_hash(&gates, &before.request));
        assert!(keys.insert(key), "{what}: the key does not change");
        assert_ne!(check, before.check, "{what}: the check hash does not change");
    }
    assert_eq!(base.gates.first_difference(&base.gates), None);
}

#[wasm_bindgen_test(unsupported = test)]
fn private_scopes_differ_by_whom_they_are_private_to() {
    let mut gates = Vector::named("private-edge").gates;
    let before = gates.clone();
    gates.scope = Scope::PrivateEdge { key_id: "gk_other".into() };
    assert_eq!(gates.first_difference(&before), Some(Reason::GatewayKey));
    gates = Vector::named("physical-gateway").gates;
    let before = gates.clone();
    gates.scope = Scope::PhysicalGateway { gateway: "gw-b".into() };
    assert_eq!(gates.first_difference(&before), Some(Reason::Gateway));
}

#[wasm_bindgen_test(unsupported = test)]
fn the_first_differing_gate_is_the_one_that_is_named() {
    let base = Vector::named("plain").gates;
    let other = Vector::named("everything").gates;
    assert_eq!(other.first_difference(&base), Some(Reason::Group));
    let mut other = other;
    other.org = "globex".into();
    assert_eq!(other.first_difference(&base), Some(Reason::Org));
}

#[wasm_bindgen_test(unsupported = test)]
fn semantic_headers_count_by_name_value_and_number() {
    let keys = OrgKeys::derive("acme");
    let body = parse(b"{}", Bounds { depth_max: 1, nodes_max: 1 }).unwrap();
    let digests: BTreeSet<Digest> = [
        &[][..],
        &[("openai-beta", &b"a"[..])],
        &[("openai-beta", b"b")],
        &[("openai-bet", b"ab")],
        &[("openai-beta", b"")],
        &[("openai-beta", b"a"), ("openai-beta", b"a")],
    ]
    .iter()
    .map(|headers| keys.request_digests(&body, &[], headers).digest)
    .collect();
    assert_eq!(digests.len(), 6);
}

#[wasm_bindgen_test(unsupported = test)]
fn two_organizations_share_no_digest_of_any_kind() {
    let body = parse(b"{}", Bounds { depth_max: 1, nodes_max: 1 }).unwrap();
    let (acme, globex) = (OrgKeys::derive("acme"), OrgKeys::derive("globex"));
    let ours = acme.request_digests(&body, &[], &[]);
    let theirs = globex.request_digests(&body, &[], &[]);
    assert_ne!(ours.digest, theirs.digest);
    assert_ne!(ours.check, theirs.check);
    assert_ne!(ours.digest, ours.check);
    assert_ne!(acme.entry_mac(b"entry"), globex.entry_mac(b"entry"));
}

#[wasm_bindgen_test(unsupported = test)]
fn logs_never_show_the_keys_of_an_organization() {
    assert_eq!(format!("{:?}", OrgKeys::derive("acme")), "OrgKeys(…)");
}

#[wasm_bindgen_test(unsupported = test)]
fn the_reference_page_names_what_the_code_hashes() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cache-key.md"));
    let vector = Vector::named("everything");
    let scopes = ["plain", "private-edge", "physical-gateway"]
        .map(|name| Vector::named(name).gates.scope.tier());
    let contexts = [context::REQUEST, context::KEY, context::CHECK, context::ENTRY];
    let left_out = vector.left_out.iter().map(String::as_str);
    for word in left_out.chain(scopes).chain(contexts) {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
    assert!(page.contains(&format!("the key version: `{KEY_VERSION}`")));
}
