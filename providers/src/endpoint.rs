//! Where a request goes: what its path says before a byte of its body is read. The same dialects are spoken on
//! OpenAI's own paths and, in another manner, on those of a resource in Azure; which of them a target serves is
//! a matter of its provider.

use std::borrow::Cow;

use kt_contract::json::Node;
use kt_contract::problem::Problem;
use kt_contract::provider::Provider;
use kt_contract::snapshot::ModelRoute;

use crate::{Asked, Dialect};

/// What a resource in Azure has its paths under.
const AZURE: &str = "/openai";
/// What stands before the deployment.
const DEPLOYMENTS: &str = "/openai/deployments/";
/// What may stand behind the deployment; each is a dialect's path without its `/v1`.
const OF_DEPLOYMENT: &[&str] = &["/chat/completions", "/completions", "/embeddings"];
/// The longest name of a deployment, and the longest version of an API.
const NAME_BYTES_MAX: usize = 64;

/// A path that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    dialect: Dialect,
    /// As it is forwarded and keyed, with what is kept of the query.
    path: Cow<'static, str>,
    manner: Manner,
}

/// In whose manner the path is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Manner {
    /// The dialect's own path.
    Own,
    /// A resource in Azure, as OpenAI does it: the model is in the body.
    AzureV1,
    /// A deployment in Azure, which is the model.
    AzureDeployment(String),
}

/// A query that could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadQuery;

// === impl Endpoint ===

impl Endpoint {
    /// The endpoint at a dialect's own path.
    #[must_use]
    pub const fn of(dialect: Dialect) -> Self {
        Self { dialect, path: Cow::Borrowed(dialect.path()), manner: Manner::Own }
    }

    /// The endpoint of a path and its query, if the path is one. The comparison is exact: nothing is decoded,
    /// folded or left out, because what is almost ours is not what the provider would take either.
    pub(crate) fn find(path: &str, query: Option<&str>) -> Option<Result<Self, BadQuery>> {
        if let Some(dialect) = of_path(path) {
            let endpoint = Self::of(dialect);
            return Some(Ok(if dialect == Dialect::AnthropicMessages && has_beta(query) {
                Self { path: Cow::Owned(format!("{path}?beta=true")), ..endpoint }
            } else {
                endpoint
            }));
        }
        let (dialect, manner) = of_azure(path)?;
        Some(api_version(query).map(|version| Self {
            dialect,
            path: Cow::Owned(match version {
                Some(version) => format!("{path}?api-version={version}"),
                None => path.to_owned(),
            }),
            manner,
        }))
    }

    /// The dialect that is spoken there.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The path as it is forwarded and keyed. Of the query it has what can change the answer: `api-version` in
    /// Azure, and the `beta=true` of Anthropic's SDK. Everything else of a query stays behind.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads what a request asks for. A deployment is the model, whatever the body says; the body need not say.
    ///
    /// # Errors
    /// As of [`Dialect::read`].
    pub fn read(&self, body: &Node<'_>) -> Result<Asked, Problem> {
        let Manner::AzureDeployment(model) = &self.manner else { return self.dialect.read(body) };
        let asked = match with_model(body, model) {
            Some(named) => self.dialect.read(&named)?,
            None => self.dialect.read(body)?,
        };
        Ok(Asked { model: model.clone(), ..asked })
    }

    /// Whether the target of a model serves this path.
    ///
    /// # Errors
    /// [`Problem::OtherPath`], which names the paths that do.
    pub fn check(&self, route: &ModelRoute) -> Result<(), Problem> {
        let is_anthropics = self.dialect == Dialect::AnthropicMessages;
        let (is_served, paths) = match Provider::named(&route.provider) {
            Some(Provider::OpenAi) => (self.manner == Manner::Own && !is_anthropics, own_paths()),
            Some(Provider::Azure) => (self.manner != Manner::Own, azure_paths(&route.model)),
            Some(Provider::Anthropic) => {
                (is_anthropics, Dialect::AnthropicMessages.path().to_owned())
            }
            // A newer sidecar's word. Nobody here knows what such a target speaks.
            None => return Err(Problem::ModelNotFound { model: route.model.clone() }),
        };
        if is_served {
            return Ok(());
        }
        Err(Problem::OtherPath { model: route.model.clone(), paths })
    }
}

fn of_path(path: &str) -> Option<Dialect> {
    Dialect::ALL.iter().copied().find(|dialect| dialect.path() == path)
}

fn of_azure(path: &str) -> Option<(Dialect, Manner)> {
    let Some(rest) = path.strip_prefix(DEPLOYMENTS) else {
        let dialect = of_path(path.strip_prefix(AZURE)?)?;
        return (dialect != Dialect::AnthropicMessages).then_some((dialect, Manner::AzureV1));
    };
    let (model, rest) = rest.split_at_checked(rest.find('/')?)?;
    let is_there = OF_DEPLOYMENT.contains(&rest) && is_name(model);
    let dialect = of_path(&format!("/v1{rest}")).filter(|_| is_there)?;
    Some((dialect, Manner::AzureDeployment(model.to_owned())))
}

/// Letters, digits and what names are joined with; never a dot first, so never `..`.
fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn has_beta(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "beta=true"))
}

/// The version of the API: given once, and in the form that versions have.
fn api_version(query: Option<&str>) -> Result<Option<&str>, BadQuery> {
    let pairs =
        query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut versions = pairs.filter(|(name, _)| *name == "api-version").map(|(_, value)| value);
    match (versions.next(), versions.next()) {
        (None, _) => Ok(None),
        (Some(version), None) if is_name(version) => Ok(Some(version)),
        (Some(_), Some(_) | None) => Err(BadQuery),
    }
}

/// The body with the model that its path names, where it has none of its own.
fn with_model<'a>(body: &Node<'a>, model: &'a str) -> Option<Node<'a>> {
    let Node::Object(fields) = body else { return None };
    let at = fields.binary_search_by(|(name, _)| name.as_ref().cmp("model")).err()?;
    let mut fields = fields.clone();
    fields.insert(at, (Cow::Borrowed("model"), Node::String(Cow::Borrowed(model))));
    Some(Node::Object(fields))
}

fn own_paths() -> String {
    let dialects = Dialect::ALL.iter().filter(|dialect| **dialect != Dialect::AnthropicMessages);
    dialects.map(|dialect| dialect.path()).collect::<Vec<_>>().join(", ")
}

fn azure_paths(model: &str) -> String {
    let deployments = OF_DEPLOYMENT.iter().map(|rest| format!("{DEPLOYMENTS}{model}{rest}"));
    format!("{AZURE}/v1/…, {}", deployments.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use kt_contract::json::{Bounds, parse};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn found(path: &str, query: Option<&str>) -> Option<(Dialect, String)> {
        let endpoint = Endpoint::find(path, query)?.unwrap();
        Some((endpoint.dialect(), endpoint.path().to_owned()))
    }

    fn route(provider: &str) -> ModelRoute {
        ModelRoute {
            model: "m".into(),
            target: "t".into(),
            provider: provider.into(),
            upstream: "https://x.example".into(),
            version: None,
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_path_in_azure_speaks_the_same_dialect() {
        for (path, dialect) in [
            ("/openai/deployments/gpt-4o/chat/completions", Dialect::OpenAiChat),
            ("/openai/deployments/my.model_2/completions", Dialect::OpenAiCompletions),
            ("/openai/deployments/e/embeddings", Dialect::OpenAiEmbeddings),
            ("/openai/v1/chat/completions", Dialect::OpenAiChat),
            ("/openai/v1/completions", Dialect::OpenAiCompletions),
            ("/openai/v1/embeddings", Dialect::OpenAiEmbeddings),
        ] {
            assert_eq!(found(path, None), Some((dialect, path.to_owned())), "{path}");
        }
        for path in [
            "/openai/v1/messages",
            "/openai/v1",
            "/openai/v1/",
            "/openai/chat/completions",
            "/openai//v1/chat/completions",
            "/openai/deployments//chat/completions",
            "/openai/deployments/../chat/completions",
            "/openai/deployments/./chat/completions",
            "/openai/deployments/a%2Fb/chat/completions",
            "/openai/deployments/a b/chat/completions",
            "/openai/deployments/a;b/chat/completions",
            "/openai/deployments/a/b/chat/completions",
            "/openai/deployments/a/chat/completions/",
            "/openai/deployments/a/responses",
            "/openai/deployments/a/messages",
            "/OpenAI/deployments/a/chat/completions",
            "/openai/deployments/ä/chat/completions",
        ] {
            assert_eq!(found(path, None), None, "{path}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(found(&format!("{DEPLOYMENTS}{long}/completions"), None), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn of_a_query_only_what_can_change_the_answer_is_kept() {
        let chat = "/v1/chat/completions";
        let azure = "/openai/deployments/m/chat/completions";
        for (path, query, kept) in [
            (chat, "beta=true&api-version=1", ""),
            ("/v1/messages", "beta=true", "?beta=true"),
            ("/v1/messages", "x=1&beta=true&beta=true", "?beta=true"),
            ("/v1/messages", "beta=false", ""),
            ("/v1/messages", "beta", ""),
            (azure, "api-version=2024-10-21", "?api-version=2024-10-21"),
            (azure, "x=1&api-version=2025-04-01-preview&y", "?api-version=2025-04-01-preview"),
            (azure, "beta=true", ""),
            (azure, "", ""),
            ("/openai/v1/chat/completions", "api-version=preview", "?api-version=preview"),
        ] {
            let forwarded = found(path, Some(query)).unwrap().1;
            assert_eq!(forwarded, format!("{path}{kept}"), "{query}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_version_that_could_be_read_in_two_ways_is_refused() {
        let azure = "/openai/deployments/m/chat/completions";
        for query in [
            "api-version",
            "api-version=",
            "api-version=1&api-version=1",
            "api-version=1&api-version=2",
            "api-version=2024%2D10",
            "api-version=1?x=2",
            "api-version=1#x",
            "api-version=../x",
        ] {
            assert_eq!(Endpoint::find(azure, Some(query)), Some(Err(BadQuery)), "{query}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_deployment_is_the_model_whatever_the_body_says() {
        let bounds = Bounds { depth_max: 9, nodes_max: 99 };
        let path = "/openai/deployments/mine/chat/completions";
        let endpoint = Endpoint::find(path, None).unwrap().unwrap();
        for body in [
            r#"{"messages":[]}"#,
            r#"{"messages":[],"model":"other"}"#,
            r#"{"max_tokens":5,"messages":[],"z":1}"#,
        ] {
            let asked = endpoint.read(&parse(body.as_bytes(), bounds).unwrap()).unwrap();
            assert_eq!(asked.model, "mine", "{body}");
            assert_eq!(asked.client_limited, body.contains("max_tokens"), "{body}");
        }
        for body in ["[]", r#"{"messages":[],"model":7}"#, r#"{"messages":7}"#] {
            assert!(endpoint.read(&parse(body.as_bytes(), bounds).unwrap()).is_err(), "{body}");
        }
        let own = Endpoint::of(Dialect::OpenAiChat);
        let body = parse(br#"{"messages":[],"model":"theirs"}"#, bounds).unwrap();
        assert_eq!(own.read(&body).unwrap().model, "theirs");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_target_serves_the_paths_of_its_provider_and_a_refusal_names_them() {
        let own = Endpoint::of(Dialect::OpenAiChat);
        let messages = Endpoint::of(Dialect::AnthropicMessages);
        let [deployment, v1] =
            ["/openai/deployments/m/chat/completions", "/openai/v1/chat/completions"]
                .map(|path| Endpoint::find(path, None).unwrap().unwrap());
        for (provider, served, refused, named) in [
            ("openai", vec![&own], vec![&messages, &deployment, &v1], "/v1/chat/completions"),
            ("azure", vec![&deployment, &v1], vec![&own, &messages], "/openai/deployments/m/chat"),
            ("anthropic", vec![&messages], vec![&own, &deployment, &v1], "/v1/messages"),
        ] {
            for endpoint in served {
                assert_eq!(endpoint.check(&route(provider)), Ok(()), "{provider} {endpoint:?}");
            }
            for endpoint in refused {
                let problem = endpoint.check(&route(provider)).unwrap_err();
                assert_eq!((problem.status(), problem.param()), (404, Some("model")));
                assert!(problem.to_string().contains(named), "{problem}");
            }
        }
        assert_eq!(own.check(&route("google")).unwrap_err().code(), "model_not_found");
    }
}
