//! The policy `external`: what a service of the operator's says of a request or an answer. It is asked within its
//! time, in its places, and behind a breaker; whatever it says that is not the one or the other counts as nothing said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::config::{External, SecretRef};
use kt_contract::policy::Phase;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::admit::Grant;
use super::seat::Seat;
use super::upstream::{AskFailed, Question};
use super::{Sidecar, lock};
use crate::store::redis::breaker::{Admitted, Breaker, Verdict};

/// How long a question may be. A longer one cannot be asked, which is a failure.
const QUESTION_BYTES_MAX: usize = 8 << 20;
/// How long its answer may be.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How many services are remembered; the one that was asked the longest ago is forgotten first.
const REMEMBERED_MAX: usize = 1_024;
/// The longest category that is told, and how many of them are.
const CATEGORY_BYTES_MAX: usize = 40;
const CATEGORIES_MAX: usize = 8;

/// The services that policies ask, by what is configured of them: how they fare outlives a version of the file.
#[derive(Debug, Default)]
pub(super) struct Services(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Each with the number of the last question to it.
    services: HashMap<Name, (u64, Arc<Service>)>,
    asked: u64,
}

/// What a service is to one policy of one organization: neither the places nor the failures of one are another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    org: String,
    policy: String,
    url: String,
    requests_max: u32,
    timeout: Duration,
    secret: Option<SecretRef>,
}

#[derive(Debug)]
struct Service {
    places: Semaphore,
    breaker: Mutex<Breaker>,
}

/// What is judged.
#[derive(Clone, Debug)]
pub(super) struct Matter {
    pub(super) phase: Phase,
    /// The request as it goes on.
    pub(super) request: Bytes,
    /// The answer as JSON, where that is what is judged.
    pub(super) answer: Option<Bytes>,
}

/// What a service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has nothing against it.
    Allows,
    /// It does not want it to go on, for these reasons.
    Blocks(Vec<String>),
    /// Nothing, for this reason.
    Nothing(Silence),
}

/// Why a service has said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    TimedOut,
    Unreachable,
    Status,
    Garbage,
    AnswerTooLong,
    QuestionTooLong,
    NoToken,
    BreakerOpen,
}

/// What a service is told.
#[derive(Serialize)]
struct Asked<'a> {
    phase: &'static str,
    policy: &'a str,
    organization: &'a str,
    model: &'a str,
    dialect: &'a str,
    request_id: &'a str,
    texts: Vec<String>,
    request: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a RawValue>,
}

/// What it answers. What else it says is its own.
#[derive(Deserialize)]
struct Answer {
    action: Action,
    #[serde(default)]
    categories: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Allow,
    Block,
}

// === impl Sidecar ===

impl Sidecar {
    /// What a service says of a request or an answer.
    pub(super) async fn asks(
        self: Arc<Self>,
        external: External,
        seat: Arc<Seat>,
        matter: Matter,
    ) -> Said {
        let phase = matter.phase;
        let said = self.says(&external, &seat.grant, matter).await;
        self.metrics.service_asked(&external.name, phase, said.outcome());
        if let Said::Nothing(silence) = &said
            && *silence != Silence::BreakerOpen
        {
            let (policy, outcome) = (&external.name, said.outcome());
            let request_id = &seat.grant.request_id;
            tracing::warn!(policy, outcome, request_id, "an external policy was not answered");
        }
        said
    }

    async fn says(&self, external: &External, grant: &Grant, matter: Matter) -> Said {
        if !matter.is_askable() {
            return Said::Nothing(Silence::QuestionTooLong);
        }
        let service = self.services.of(&grant.gates.org, external);
        let admitted = lock(&service.breaker).admit(self.clock.mono());
        if admitted == Admitted::Refused {
            return Said::Nothing(Silence::BreakerOpen);
        }
        let asking = async {
            // Nobody closes it: without a place there is only the wait. Whoever waits has no question in memory yet.
            let _place = service.places.acquire().await;
            let Some(body) = question(external, grant, &matter) else {
                return Said::Nothing(Silence::QuestionTooLong);
            };
            let mut charge = self.logs.charge(&grant.caller.principal.org);
            charge.grow(body.len() as u64);
            let question = Question {
                url: external.url.clone(),
                secret: external.secret.clone(),
                request_id: grant.request_id.clone(),
                body,
                answer_bytes_max: ANSWER_BYTES_MAX,
            };
            match self.upstream.ask(question).await {
                Err(failed) => Said::Nothing(failed.into()),
                Ok(answer) => read(&answer),
            }
        };
        let asked = timeout(external.timeout, asking).await;
        let said = asked.unwrap_or(Said::Nothing(Silence::TimedOut));
        if said == Said::Nothing(Silence::QuestionTooLong) && admitted == Admitted::Call {
            // It was not asked, which says nothing of it.
            return said;
        }
        let verdict = match said {
            Said::Allows | Said::Blocks(_) => Verdict::Answered,
            Said::Nothing(_) => Verdict::Failed,
        };
        if lock(&service.breaker).ended(admitted, verdict, self.clock.mono()) {
            let policy = &external.name;
            tracing::error!(policy, "its service fails: it is asked once a second from now on");
        }
        said
    }
}

/// The question, unless it is too long.
fn question(external: &External, grant: &Grant, matter: &Matter) -> Option<Bytes> {
    let Matter { phase, request, answer } = matter;
    let judged = answer.as_ref().unwrap_or(request);
    let asked = Asked {
        phase: phase.as_str(),
        policy: &external.name,
        organization: &grant.gates.org,
        model: &grant.gates.model.served_model,
        dialect: grant.dialect.as_str(),
        request_id: &grant.request_id,
        texts: kt_policy::said(judged),
        request: serde_json::from_slice(request).ok()?,
        answer: match answer {
            Some(answer) => Some(serde_json::from_slice(answer).ok()?),
            None => None,
        },
    };
    let body = serde_json::to_vec(&asked).ok()?;
    (body.len() <= QUESTION_BYTES_MAX).then(|| body.into())
}

fn read(answer: &[u8]) -> Said {
    match serde_json::from_slice(answer) {
        Err(_) => Said::Nothing(Silence::Garbage),
        Ok(Answer { action: Action::Allow, categories: _ }) => Said::Allows,
        Ok(Answer { action: Action::Block, categories }) => {
            // They are told and logged: words, and not what was found.
            let words = categories.into_iter().filter(|word| is_word(word));
            Said::Blocks(words.take(CATEGORIES_MAX).collect())
        }
    }
}

fn is_word(word: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    !word.is_empty() && word.len() <= CATEGORY_BYTES_MAX && word.bytes().all(is_plain)
}

// === impl Matter ===

impl Matter {
    /// Whether it is no longer than a question may be.
    fn is_askable(&self) -> bool {
        self.request.len() + self.answer.as_ref().map_or(0, Bytes::len) <= QUESTION_BYTES_MAX
    }
}

// === impl Services ===

impl Services {
    fn of(&self, org: &str, external: &External) -> Arc<Service> {
        let name = Name {
            org: org.to_owned(),
            policy: external.name.clone(),
            url: external.url.to_string(),
            requests_max: external.requests_max,
            timeout: external.timeout,
            secret: external.secret.clone(),
        };
        let mut remembered = lock(&self.0);
        remembered.asked += 1;
        let now = remembered.asked;
        if let Some((asked, service)) = remembered.services.get_mut(&name) {
            *asked = now;
            return Arc::clone(service);
        }
        if remembered.services.len() >= REMEMBERED_MAX {
            let oldest = remembered.services.iter().min_by_key(|(_, (asked, _))| *asked);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.map(|name| remembered.services.remove(&name));
        }
        let places = usize::try_from(external.requests_max).unwrap_or(1);
        let service =
            Arc::new(Service { places: Semaphore::new(places), breaker: Mutex::default() });
        remembered.services.insert(name, (now, Arc::clone(&service)));
        service
    }
}

// === impl Said ===

impl Said {
    /// The word in metrics and logs.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Allows => "allow",
            Self::Blocks(_) => "block",
            Self::Nothing(silence) => silence.as_str(),
        }
    }
}

// === impl Silence ===

impl Silence {
    const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::Garbage => "garbage",
            Self::AnswerTooLong => "answer-too-long",
            Self::QuestionTooLong => "question-too-long",
            Self::NoToken => "no-token",
            Self::BreakerOpen => "breaker-open",
        }
    }
}

impl From<AskFailed> for Silence {
    fn from(failed: AskFailed) -> Self {
        match failed {
            AskFailed::Unreachable => Self::Unreachable,
            AskFailed::Status(_) => Self::Status,
            AskFailed::TooLong => Self::AnswerTooLong,
            AskFailed::NoToken => Self::NoToken,
        }
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::config::Judge;

    use super::*;

    #[test]
    fn what_is_neither_allow_nor_block_says_nothing() {
        for answer in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"action":"deny"}"#,
            r#"{"action":1}"#,
            "allow",
            r#"{"action":"allow"} x"#,
            r#"{"action":"block","categories":"x"}"#,
        ] {
            assert_eq!(read(answer.as_bytes()), Said::Nothing(Silence::Garbage), "{answer}");
        }
        assert_eq!(read(br#"{"action":"allow","score":0.1}"#), Said::Allows);
    }

    #[test]
    fn a_service_is_one_policys_of_one_organization_and_the_longest_unasked_is_forgotten() {
        let external = |more: &str| {
            let yaml = format!(
                "pack: {{name: t, version: 0.1.0}}\ngateway: {{id: g}}\nproviders: {{targets: [{{id: o, provider: openai, \
                 models: [m], secret_key_ref: {{env: KEY}}}}]}}\npolicies: {{chain: [external], policy: {{external: \
                 {{url: 'http://j/', {more}}}}}}}\n"
            );
            let loaded = kt_contract::config::load("t.yaml", &yaml).unwrap();
            let judges = loaded.config.policy.judges.clone();
            let Some(Judge::External(external)) = judges.into_iter().next() else {
                panic!("{yaml}")
            };
            external
        };
        let services = Services::default();
        let plain = external("timeout_ms: 500");
        let first = services.of("acme", &plain);
        assert!(Arc::ptr_eq(&first, &services.of("acme", &plain)));
        assert!(!Arc::ptr_eq(&first, &services.of("umbrella", &plain)));
        assert!(!Arc::ptr_eq(&first, &services.of("acme", &external("timeout_ms: 501"))));
        let mut named = plain.clone();
        named.name = "external:tone".to_owned();
        assert!(!Arc::ptr_eq(&first, &services.of("acme", &named)));
        let mut secret = plain.clone();
        secret.secret = Some(SecretRef::Env("T".to_owned()));
        assert!(!Arc::ptr_eq(&first, &services.of("acme", &secret)));
        for org in 0..REMEMBERED_MAX {
            services.of("acme", &plain);
            services.of(&org.to_string(), &plain);
        }
        assert_eq!(lock(&services.0).services.len(), REMEMBERED_MAX);
        assert!(Arc::ptr_eq(&first, &services.of("acme", &plain)));
    }

    #[test]
    fn of_the_categories_words_are_told_and_no_texts() {
        let answer = r#"{"action":"block","categories":["insult","", "you said: jane@example.com","self-harm/intent"]}"#;
        let words = vec!["insult".to_owned(), "self-harm/intent".to_owned()];
        assert_eq!(read(answer.as_bytes()), Said::Blocks(words));
    }
}
