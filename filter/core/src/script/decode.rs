//! From bytes to a script.

use kt_contract::gateway_key::GatewayKey;
use kt_contract::wire::{VERSION_TEXT, headers};
use kt_providers::Dialect;

use super::choices::Choices;
use super::{Fields, Reply, SLOTS, Script, Step};

/// The longest script.
const STEPS_MAX: usize = 400;

/// More calls than the breaker bears to lose.
const CALLS_LOST: usize = 22;
/// Choices that make a chat request.
const USUAL: &[u8] = &[15, 1, 7];

/// What clients send beside method, path and key.
const MORE: &[(&str, &str)] = &[
    ("cache-control", "no-cache"),
    ("cache-control", "max-age=60"),
    ("cache-control", "max-age=3"),
    ("cache-control", "only-if-cached"),
    ("cache-control", "max-age=\"0\", only-if-cached"),
    ("cache-control", "max-age=x"),
    ("pragma", "no-cache"),
    ("x-kt-codebase", "acme/web"),
    ("x-kt-codebase", "acme/other"),
    ("x-kt-lane", "sidecar"),
    ("openai-beta", "a=1"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "b"),
    ("content-type", "application/json"),
    ("content-type", "text/plain"),
    ("content-encoding", "br"),
    ("content-length", "90000"),
    ("authorization", "Bearer kt_gk_wrong"),
    (":authority", "gateway"),
    (":scheme", "http"),
    ("cookie", "a=b"),
];

/// Names to which any bytes are given.
const ANY: &[&str] =
    &["cache-control", "x-api-key", "x-kt-codebase", "openai-beta", "content-type", "x"];

/// Bodies, of which some are asked for in more than one dialect.
const BODIES: &[&str] = &[
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#,
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true}"#,
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true}}"#,
    r#"{"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"ho"}]}"#,
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"to jane@example.com"}]}"#,
    r#"{"model":"gpt-4o","prompt":"hi"}"#,
    r#"{"model":"gpt-4o","input":"hi"}"#,
    r#"{"model":"gpt-0","messages":[]}"#,
    r#"{"model":"gpt-4o-mini","messages":[],"messages":[]}"#,
    r#"{"model":"#,
    "[[[[[[[[[[]]]]]]]]]]",
    "",
];

/// Responses, and who made them.
const RESPONSES: &[(&[(&str, &str)], &str)] = &[
    (
        &[(":status", "200"), (headers::MARKER, VERSION_TEXT), ("x-cache-status", "miss")],
        "via_upstream",
    ),
    (&[(":status", "200"), (headers::MARKER, VERSION_TEXT), ("cache-status", "kt; fwd=miss")], ""),
    (&[(":status", "503"), ("content-type", "text/plain")], "upstream_reset"),
    (&[(":status", "401"), ("set-cookie", "a"), ("openai-organization", "o")], "via_upstream"),
    (&[(":status", "413")], "request_payload_too_large"),
    (&[(":status", "200"), ("retry-after", "1"), ("x-kt-secret", "s")], "via_upstream"),
];

// === impl Script ===

impl Script {
    /// The script that these bytes stand for. Every byte string is one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut choices = Choices::of(bytes);
        let mut script = Self::default();
        while !choices.is_empty() && script.steps.len() < STEPS_MAX {
            script.extend(&mut choices);
        }
        script
    }

    fn extend(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(SLOTS);
        match choices.below(24) {
            0..=6 => self.served(at, choices),
            7..=9 => self.request(at, choices),
            10..=12 => self.answer(0, Reply::Fitting(choices.byte())),
            13 => {
                let which = choices.below(8);
                self.answer(which, Reply::Fitting(choices.byte()));
            }
            14 => self.answer(choices.below(4), Reply::Lost),
            15 => {
                let (mut fields, which) = (Fields::new(), choices.below(4));
                for (name, value) in
                    [(":status", "200"), (headers::MARKER, VERSION_TEXT), ("x-kt-admit", "{}")]
                {
                    if !choices.once_in(8) {
                        fields.push((name.into(), value.into()));
                    }
                }
                if choices.once_in(4) {
                    fields.push((b"x-kt-admit".to_vec(), sendable(choices.bytes())));
                }
                self.answer(which, Reply::Came(fields, choices.bytes().to_vec()));
            }
            16 => self.steps.push(Step::Begin { at }),
            17 => {
                let fields = head(choices);
                self.steps.push(Step::Head { at, fields, end: choices.once_in(3) });
            }
            18 => {
                let piece = body(choices);
                self.steps.push(Step::Body { at, piece, end: choices.once_in(2) });
            }
            19 => self.steps.push(Step::Trailers { at }),
            20 => {
                let (fields, details) = choices.pick(RESPONSES);
                let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
                self.steps.push(Step::Response { at, fields: fields.collect(), details });
            }
            21 => self.steps.push(Step::Tick),
            22 => {
                let ms = choices.pick(&[50, 300, 700, 1_100, 5_000, 61_000]);
                self.steps.push(Step::Wait { ms });
                // The poll that is under way ends, and the next one is new.
                self.answer(choices.below(2), Reply::Fitting(0));
            }
            _ if choices.once_in(4) => self.lost(at),
            _ => self.steps.push(Step::Refuse),
        }
    }

    fn answer(&mut self, which: usize, reply: Reply) {
        self.steps.push(Step::Answer { which, reply });
    }

    /// A whole request, as Envoy delivers it.
    fn request(&mut self, at: usize, choices: &mut Choices<'_>) {
        self.steps.push(Step::Begin { at });
        self.steps.push(Step::Head { at, fields: head(choices), end: false });
        let whole = body(choices);
        let cut = choices.below(64);
        let (front, back) = whole.split_at_checked(cut).unwrap_or((&whole, &[]));
        self.steps.push(Step::Body { at, piece: front.to_vec(), end: false });
        self.steps.push(Step::Body { at, piece: back.to_vec(), end: false });
        self.steps.push(if choices.once_in(4) {
            Step::Trailers { at }
        } else {
            Step::Body { at, piece: Vec::new(), end: true }
        });
    }

    /// So many requests whose questions nobody answers that the breaker opens.
    fn lost(&mut self, at: usize) {
        for _ in 0..CALLS_LOST {
            self.request(at, &mut Choices::of(USUAL));
            self.answer(0, Reply::Lost);
        }
    }

    /// A request, the answers to two of the questions that it may raise, and what comes of it.
    fn served(&mut self, at: usize, choices: &mut Choices<'_>) {
        self.request(at, choices);
        let how = if choices.once_in(3) { choices.byte() } else { 0 };
        self.answer(0, Reply::Fitting(0));
        self.answer(0, Reply::Fitting(how));
    }
}

fn head(choices: &mut Choices<'_>) -> Fields {
    let mut fields = Fields::new();
    let mut field = |name: &str, value: &str| fields.push((name.into(), value.into()));
    let (method, path) = match choices.below(16) {
        0 => ("GET", "/v1/models"),
        1 => ("GET", "/health"),
        2 => ("POST", "/nowhere?a"),
        3 => ("PUT", "/v1/chat/completions"),
        4..=7 => {
            let at = choices.below(Dialect::ALL.len());
            ("POST", Dialect::ALL.get(at).map_or("/", |dialect| dialect.path()))
        }
        _ => ("POST", Dialect::OpenAiChat.path()),
    };
    field(":method", method);
    field(":path", path);
    let who = if choices.once_in(6) { 2 } else { 1 };
    let key = GatewayKey::from_random(&[who; 32]);
    match choices.below(8) {
        0 => {}
        1 => field("x-api-key", key.reveal()),
        _ => field("authorization", &format!("Bearer {}", key.reveal())),
    }
    let mut more = 0;
    while choices.once_in(3) && more < 4 {
        let (name, value) = choices.pick(MORE);
        field(name, value);
        more += 1;
    }
    if choices.once_in(8) {
        let name = choices.pick(ANY);
        fields.push((name.into(), sendable(choices.bytes())));
    }
    fields
}

fn body(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(12) {
        0 => choices.bytes().to_vec(),
        1 => {
            format!(r#"{{"model":"gpt-4o","messages":["{}"]}}"#, "x".repeat(choices.below(256) * 9))
                .into_bytes()
        }
        2..=5 => choices.pick(BODIES).into(),
        _ => BODIES.first().copied().unwrap_or_default().into(),
    }
}

/// What a peer can put on the wire as a value.
fn sendable(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')).collect()
}
