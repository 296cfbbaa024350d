//! The policies that judge a request or an answer as a whole. The sidecar runs them, so they are in no snapshot.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::raw::SecretKeyRef;
use super::super::report::{Bounds, Report};
use super::super::targets::{BaseUrl, Scheme, SecretRef, base_url, check_secret};
use super::detectors::{self, Action};
use crate::fields::Fields;
use crate::policy::{Decision, Phase};

/// What a team's own service says.
pub(super) const EXTERNAL: &str = "external";
/// Whether an answer has the form that was asked for.
pub(super) const FORMAT_CHECK: &str = "format-check";
/// Whether what an answer says stands in the request.
pub(super) const HALLUCINATION_DETECTION: &str = "hallucination-detection";

/// The policies whose settings are read here.
pub(super) const KNOWN: [&str; 3] = [FORMAT_CHECK, HALLUCINATION_DETECTION, EXTERNAL];

const MIN_GROUNDED: Bounds<u8> = Bounds { min: 1, max: 100, default: 60 };
const MIN_CONTEXT_WORDS: Bounds<u64> = Bounds { min: 1, max: 1_000_000, default: 50 };

const TIMEOUT_MS: Bounds<u64> = Bounds { min: 10, max: 30_000, default: 1_000 };
const REQUESTS: Bounds<u32> = Bounds { min: 1, max: 1_000, default: 32 };
/// The longest name behind `external:`: it is a label of metrics.
const NAME_BYTES_MAX: usize = 40;
/// How many services a chain may ask: each of them delays whatever it judges.
const SERVICES_MAX: usize = 8;

/// Part of the policy gate where what we judge ourselves can block. Raised whenever another answer would pass.
const JUDGES_VERSION: u32 = 1;

/// A policy that judges a request or an answer as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judge {
    /// `format-check`: an answer has the form that its request asks for.
    FormatCheck(Decision),
    /// `hallucination-detection`: what an answer says stands in its request. A heuristic.
    HallucinationDetection(Groundedness),
    /// `external`: a team's own service is asked.
    External(External),
}

/// `hallucination-detection`: how much of an answer must stand in the request, and when that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Groundedness {
    /// `action`.
    pub decision: Decision,
    /// `min_grounded_percent`: of what can be looked up, so much must stand in the request.
    pub grounded_percent_min: u8,
    /// `min_context_words`: a request with fewer words carries no context.
    pub context_words_min: u64,
}

/// `external`: a service that is asked what it thinks of requests, of answers, or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct External {
    /// Its name in the chain: `external`, or `external:…`.
    pub name: String,
    /// `url`: where it is asked.
    pub url: ServiceUrl,
    /// `apply_to`: what it is asked about.
    pub phases: BTreeSet<Phase>,
    /// `action`: what follows where it says `block`.
    pub decision: Decision,
    /// `timeout_ms`: how long it may take, with the wait for a free place.
    pub timeout: Duration,
    /// `on_failure`: what follows where it does not say anything that could be understood.
    pub on_failure: OnFailure,
    /// `max_concurrent_requests`: how often it is asked at once.
    pub requests_max: u32,
    /// `secret_key_ref`: where the token is that it is sent.
    pub secret: Option<SecretRef>,
}

/// The address of a service, path included. Its scheme is `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl(BaseUrl);

/// What follows where a service cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// What was to be judged goes on, and is not stored.
    Allow,
    /// It does not go on.
    Block,
}

/// The settings of `format-check` as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatSettings {
    action: Option<Action>,
}

/// The settings of `hallucination-detection` as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroundingSettings {
    action: Option<Action>,
    min_grounded_percent: Option<u8>,
    min_context_words: Option<u64>,
}

/// The settings of `external` as they stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExternalSettings {
    url: Option<String>,
    action: Option<Action>,
    apply_to: Option<BTreeSet<Phase>>,
    timeout_ms: Option<u64>,
    on_failure: Option<OnFailure>,
    max_concurrent_requests: Option<u32>,
    secret_key_ref: Option<SecretKeyRef>,
}

/// Whether a chain may have a policy of this name that is read here.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || service_name(name).is_some()
}

/// Whether it is meant to be `external:NAME`, and the name is none.
pub(super) fn has_bad_name(name: &str) -> bool {
    name.strip_prefix(EXTERNAL).is_some_and(|rest| rest.starts_with(':')) && !is_known(name)
}

/// The policy `name` with its settings; `None` where it judges nothing, or is wrong, which was said.
pub(super) fn check(
    name: &str,
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<Judge> {
    match name {
        FORMAT_CHECK => {
            let field = detectors::field(name, settings.as_ref());
            let FormatSettings { action } = detectors::read(settings, report)?;
            let decision = action.unwrap_or(Action::Block).decision();
            refuse_redact(&field, decision, report);
            decision.map(Judge::FormatCheck)
        }
        HALLUCINATION_DETECTION => grounding(settings, report).map(Judge::HallucinationDetection),
        name => external(name, settings, report).map(Judge::External),
    }
}

fn grounding(settings: Option<(String, Value)>, report: &mut Report) -> Option<Groundedness> {
    let field = detectors::field(HALLUCINATION_DETECTION, settings.as_ref());
    let GroundingSettings { action, min_grounded_percent, min_context_words } =
        detectors::read(settings, report)?;
    // A heuristic that is wrong now and then: whoever lets it block has looked at what it finds.
    let decision = action.unwrap_or(Action::Monitor).decision();
    refuse_redact(&field, decision, report);
    let of = |name: &str| format!("{field}.{name}");
    let percent = of("min_grounded_percent");
    let words = of("min_context_words");
    Some(Groundedness {
        grounded_percent_min: report.within(&percent, min_grounded_percent, MIN_GROUNDED),
        context_words_min: report.within(&words, min_context_words, MIN_CONTEXT_WORDS),
        decision: decision?,
    })
}

/// More of them than would be asked one after the other in good time.
pub(super) fn check_count(judges: &[Judge], report: &mut Report) {
    let services = judges.iter().filter(|judge| matches!(judge, Judge::External(_))).count();
    if services > SERVICES_MAX {
        let problem = format!(
            "asks {services} services one after the other, and {SERVICES_MAX} are the most"
        );
        report.error("policies.chain", problem);
    }
}

/// What stands behind `external:`.
fn service_name(name: &str) -> Option<&str> {
    let own = name.strip_prefix(EXTERNAL)?.strip_prefix(':')?;
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (!own.is_empty() && own.len() <= NAME_BYTES_MAX && own.bytes().all(is_word)).then_some(own)
}

fn external(
    name: &str,
    settings: Option<(String, Value)>,
    report: &mut Report,
) -> Option<External> {
    let field = detectors::field(name, settings.as_ref());
    if settings.is_none() {
        if report.is_whole("policies.policy") && report.is_whole("policy") {
            let problem = format!("{name} needs its settings: {field}.url");
            report.error("policies.chain", problem);
        }
        return None;
    }
    let settings: ExternalSettings = detectors::read(settings, report)?;
    let of = |name: &str| format!("{field}.{name}");
    let url = check_url(&of("url"), settings.url, report);
    let decision = settings.action.unwrap_or(Action::Block).decision();
    refuse_redact(&field, decision, report);
    let phases =
        detectors::phases(&field, settings.apply_to, &[Phase::Input, Phase::Output], report);
    let timeout = report.within(&of("timeout_ms"), settings.timeout_ms, TIMEOUT_MS);
    let requests_max = settings.max_concurrent_requests;
    let requests_max = report.within(&of("max_concurrent_requests"), requests_max, REQUESTS);
    let secret = settings
        .secret_key_ref
        .and_then(|secret| check_secret(of("secret_key_ref"), secret, report));
    let url = url?;
    if secret.is_some() && !url.is_loopback() {
        report.warning(of("url"), "the token crosses the network unencrypted");
    }
    Some(External {
        name: name.to_owned(),
        url,
        phases,
        decision: decision?,
        timeout: Duration::from_millis(timeout),
        on_failure: settings.on_failure.unwrap_or(OnFailure::Block),
        requests_max,
        secret,
    })
}

fn check_url(field: &str, text: Option<String>, report: &mut Report) -> Option<ServiceUrl> {
    let Some(text) = text else {
        if report.is_whole(field) {
            report.error(field, "missing: where is the service asked?");
        }
        return None;
    };
    let url = base_url::parse_any(&text).map_err(|problem| report.error(field, problem)).ok()?;
    if url.scheme == Scheme::Https {
        let problem = "must begin with http://: the sidecar speaks no TLS to anybody but its stores. Have an Envoy egress \
                       listener beside it speak TLS to the service, and name that one here";
        report.error(field, problem);
        return None;
    }
    Some(ServiceUrl(url))
}

/// What these policies find has no place.
fn refuse_redact(field: &str, decision: Option<Decision>, report: &mut Report) {
    if decision == Some(Decision::Redact) {
        let problem =
            "must be 'block' or 'monitor': what it finds has no place that could be redacted";
        report.error(format!("{field}.action"), problem);
    }
}

// === impl Judge ===

impl Judge {
    /// Its name in the chain.
    #[must_use]
    pub fn policy(&self) -> &str {
        match self {
            Self::FormatCheck(_) => FORMAT_CHECK,
            Self::HallucinationDetection(_) => HALLUCINATION_DETECTION,
            Self::External(external) => &external.name,
        }
    }

    /// What follows where it finds something.
    #[must_use]
    pub const fn decision(&self) -> Decision {
        match self {
            Self::FormatCheck(decision) => *decision,
            Self::HallucinationDetection(groundedness) => groundedness.decision,
            Self::External(external) => external.decision,
        }
    }

    /// Whether it judges requests, or answers.
    #[must_use]
    pub fn judges(&self, phase: Phase) -> bool {
        match self {
            Self::FormatCheck(_) | Self::HallucinationDetection(_) => phase == Phase::Output,
            Self::External(external) => external.phases.contains(&phase),
        }
    }

    /// Adds what of it can change an answer. How long a service may take, and what follows where it cannot be asked,
    /// is none of that: what went on without its word is not stored.
    pub(in super::super) fn digest(&self, fields: &mut Fields) {
        if !self.decision().enforces() {
            return;
        }
        fields.field(self.policy().as_bytes());
        match self {
            Self::FormatCheck(_) => fields.field(&JUDGES_VERSION.to_be_bytes()),
            Self::HallucinationDetection(groundedness) => {
                let Groundedness { decision: _, grounded_percent_min, context_words_min } =
                    groundedness;
                fields.field(&JUDGES_VERSION.to_be_bytes());
                fields.field(&[*grounded_percent_min]);
                fields.field(&context_words_min.to_be_bytes());
            }
            Self::External(External { url, phases, .. }) => {
                fields.field(url.to_string().as_bytes());
                fields.list(phases.iter().map(|phase| phase.as_str()));
            }
        }
        fields.field(self.decision().as_str().as_bytes());
    }
}

// === impl ServiceUrl ===

impl ServiceUrl {
    /// The name or the IP address of the host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.0.port
    }

    fn is_loopback(&self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.0.path_prefix.is_empty() { "/" } else { "" };
        write!(f, "{}{slash}", self.0)
    }
}
