//! Whether an Envoy that lets certificates say who a client is has verified them. Pure.

use kt_contract::identity::PEER_URIS;
use serde_json::Value;

use super::envoy_view::{View, field, holds, objects, text};
use super::finding::Finding;

/// What makes Envoy hold a certificate against something.
const ANCHORS: [&str; 6] = [
    "trusted_ca",
    "system_root_certs",
    "ca_certificate_provider_instance",
    "custom_validator_config",
    "verify_certificate_spki",
    "verify_certificate_hash",
];

/// How a context of TLS looks at clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Looks {
    /// It asks for none.
    Not,
    /// Somebody must have signed them.
    Verifies,
    /// By a secret that does not stand in the configuration.
    Elsewhere(String),
    /// It lets everybody in.
    Trusts(&'static str),
}

/// Whether a client can name itself by a certificate that nobody has signed.
pub(super) fn client_certificates(view: &View<'_>) -> Finding {
    const NAME: &str = "client certificates";
    let names = |value: &Value| text(value, "object_key") == Some(PEER_URIS);
    let naming: Vec<_> = view.ingress.iter().filter(|it| holds(it, &names)).collect();
    if naming.is_empty() {
        return Finding::ok(NAME, "none says who a client is");
    }
    let contexts = naming.iter().flat_map(|listener| objects(listener, "common_tls_context"));
    let looks: Vec<_> = contexts.map(|context| looks(context, view)).collect();
    let trusting = looks.iter().find_map(|it| match it {
        Looks::Trusts(why) => Some(*why),
        Looks::Not | Looks::Verifies | Looks::Elsewhere(_) => None,
    });
    let unseen = looks.iter().find_map(|it| match it {
        Looks::Elsewhere(secret) => Some(secret),
        Looks::Not | Looks::Verifies | Looks::Trusts(_) => None,
    });
    match (trusting, unseen) {
        (Some(why), _) => Finding::fail(
            NAME,
            format!("{why}, and certificates say who a client is: anybody can be anybody"),
            "set trusted_ca of the listener's validation_context to the authority that signs clients' certificates, and \
             leave trust_chain_verification out; or take the rules with spiffe out of `identities`",
        ),
        (None, Some(secret)) => Finding::skipped(
            NAME,
            format!("they are verified by the secret {secret}, which does not stand in it"),
        ),
        (None, None) if looks.contains(&Looks::Verifies) => {
            Finding::ok(NAME, "those that say who a client is are held against an authority")
        }
        (None, None) => Finding::ok(NAME, "none is asked for, so none says who a client is"),
    }
}

fn looks(context: &Value, view: &View<'_>) -> Looks {
    let combined = field(context, "combined_validation_context");
    let own = field(context, "validation_context")
        .or_else(|| combined.and_then(|it| field(it, "default_validation_context")));
    let secret = field(context, "validation_context_sds_secret_config")
        .or_else(|| combined.and_then(|it| field(it, "validation_context_sds_secret_config")))
        .map(|it| text(it, "name").unwrap_or_default());
    let of_secret = secret.and_then(|secret| {
        let named = |it: &&&Value| text(it, "name") == Some(secret);
        view.validations.iter().find(named).and_then(|it| field(it, "validation_context"))
    });
    let all = [own, of_secret];
    let accepts = |it: &&Value| text(it, "trust_chain_verification") == Some("ACCEPT_UNTRUSTED");
    let is_anchored = |it: &&Value| ANCHORS.iter().any(|name| field(it, name).is_some());
    if all.iter().flatten().any(accepts) {
        return Looks::Trusts("trust_chain_verification is ACCEPT_UNTRUSTED");
    }
    if all.iter().flatten().any(is_anchored) {
        return Looks::Verifies;
    }
    match (secret, of_secret, own) {
        (Some(secret), None, _) => Looks::Elsewhere(secret.to_owned()),
        (Some(_), Some(_), _) | (None, _, Some(_)) => {
            Looks::Trusts("the listener's validation_context names no authority")
        }
        (None, _, None) => Looks::Not,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::State;
    use super::*;

    /// A gateway whose listener has this context of TLS, and a secret.
    fn found(names: &str, tls: &Value, secret: &Value) -> Finding {
        let config = json!({
            "listeners": [{
                "filter_chains": [{
                    "transport_socket": {"typed_config": {"common_tls_context": tls}},
                    "filters": [{"typed_config": {"http_filters": [
                        {"name": "peer_uris", "typed_config": {"on_request_headers": [{"object_key": names}]}},
                        {"name": "kt"},
                    ]}}],
                }],
            }],
            "secrets": [{"name": "ours", "validation_context": secret}],
        });
        client_certificates(&View::of(&config))
    }

    #[test]
    fn a_certificate_that_nobody_has_signed_names_nobody() {
        let ca = json!({"trusted_ca": {"filename": "/ca.pem"}});
        let open = json!({
            "trusted_ca": {"filename": "/ca.pem"}, "trust_chain_verification": "ACCEPT_UNTRUSTED",
        });
        let sds = json!({"name": "ours"});
        for (tls, secret, state) in [
            (json!({"validation_context": ca}), json!({}), State::Ok),
            (json!({"validation_context": open}), json!({}), State::Fail),
            (
                json!({"validationContext": {"trustChainVerification": "ACCEPT_UNTRUSTED"}}),
                json!({}),
                State::Fail,
            ),
            (json!({"validation_context": {}}), json!({}), State::Fail),
            (json!({}), json!({}), State::Ok),
            (json!({"validation_context_sds_secret_config": sds}), ca.clone(), State::Ok),
            (json!({"validation_context_sds_secret_config": sds}), open.clone(), State::Fail),
            (json!({"validation_context_sds_secret_config": sds}), json!({}), State::Fail),
            (
                json!({"validation_context_sds_secret_config": {"name": "else"}}),
                json!({}),
                State::Skipped,
            ),
            (
                json!({"combined_validation_context": {
                    "default_validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"},
                    "validation_context_sds_secret_config": sds,
                }}),
                ca.clone(),
                State::Fail,
            ),
            (
                json!({"combined_validation_context": {
                    "default_validation_context": {}, "validation_context_sds_secret_config": sds,
                }}),
                ca.clone(),
                State::Ok,
            ),
        ] {
            let finding = found(PEER_URIS, &tls, &secret);
            assert_eq!(finding.state, state, "{tls}: {finding:?}");
            let finding = found("something.else", &tls, &secret);
            assert_eq!(finding.state, State::Ok, "they name nobody: {tls}: {finding:?}");
        }
    }
}
