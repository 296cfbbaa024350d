//! One script, played into the module and into the core that it is made of: the same calls to the host in the
//! same order, after every step. Unlike in `random.rs`, no Envoy keeps the callbacks in a possible order.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kt_contract::constants::{CLUSTER_SIDECAR, FilterConstants};
use kt_contract::limits::ADMIT_TIMEOUT_DEFAULT;
use kt_filter_core::script::{BEGIN_MS, Call, Native, Reply, SLOTS, Script, Step, Turned};
use kt_filter_core::script::{gateway, reply_to};
use kt_filter_host::{HeaderMap, MapKind, Noted, Random, RawVm};

use super::module;

/// How many random scripts are played, and how long they are.
const SCRIPTS: u64 = 400;
const SCRIPT_BYTES: usize = 600;
/// What the random ids of both follow from.
const SEED: u64 = 11;

/// The module, driven by a script.
struct Module {
    vm: RawVm,
    slots: Vec<u32>,
}

#[test]
fn a_script_does_the_same_to_the_module_and_to_the_core() {
    let mut seen = BTreeMap::new();
    for seed in 0..SCRIPTS {
        let mut bytes = vec![0; SCRIPT_BYTES];
        Random::seeded(seed).fill(&mut bytes);
        compare(&bytes, &format!("seed {seed}"), &mut seen);
    }
    // The scripts get everywhere, or they say little.
    for way in [
        "reply hit l1",
        "reply hit shared",
        "reply 504 not_cached",
        "reply 503 sidecar_unavailable",
        "reply 401 revoked_api_key",
        "reply 413 request_too_large",
        "lane sidecar",
        "lane direct-openai-1",
        "resume",
        "feed with hits",
        "refused",
        "kt_filter_l1_cleared_total",
        "kt_filter_host_refused_total",
        "kt_filter_unexpected_events_total",
        "kt_filter_breaker_opened_total",
    ] {
        assert!(seen.contains_key(way), "no script came to '{way}': {seen:#?}");
    }
}

#[test]
fn the_fuzzers_corpus_does_the_same_to_both() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folders = ["filter", "script"].map(|target| corpus.join(target).read_dir().unwrap());
    let mut paths: Vec<_> =
        folders.into_iter().flatten().map(|file| file.unwrap().path()).collect();
    assert!(paths.len() > 50, "{} scripts", paths.len());
    paths.sort_unstable();
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        compare(&bytes, &path.display().to_string(), &mut BTreeMap::new());
    }
}

/// Plays the script of `bytes` into both, and notes what it came to.
fn compare(bytes: &[u8], about: &str, seen: &mut BTreeMap<String, usize>) {
    let script = Script::decode(bytes);
    let mut random = Random::seeded(SEED);
    let mut native = Native::start(move |bytes| random.fill(bytes));
    let mut module = Module::start();
    let mut refuses = false;
    for (at, step) in script.steps.iter().enumerate() {
        let in_core = native.play(step);
        let in_module = module.play(step);
        if in_module != in_core {
            assert_eq!(readable(&in_module), readable(&in_core), "{about}, step {at}: {step:?}");
        }
        for call in &in_core.calls {
            let way = if refuses { "refused".to_owned() } else { way(call) };
            *seen.entry(way).or_insert(0) += 1;
        }
        refuses = matches!(step, Step::Refuse);
    }
}

/// The calls as a person reads them: bytes as text.
fn readable(turned: &Turned) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let fields = |fields: &[(Vec<u8>, Vec<u8>)]| {
        let field = |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}: {}", text(name), text(value));
        fields.iter().map(field).collect::<Vec<_>>().join("; ")
    };
    let call = |call: &Call| match call {
        Call::Callout { path, body, .. } => format!("callout {path} {}", text(body)),
        Call::Reply { status, fields: head, body } => {
            format!("reply {status} [{}] {}", fields(head), text(body))
        }
        Call::SetRequestHead(head) => format!("head [{}]", fields(head)),
        Call::SetRequestBody(body) => format!("body {}", text(body)),
        Call::SetResponseHeader(name, value) => format!("set {}: {}", text(name), text(value)),
        Call::RemoveResponseHeader(name) => format!("remove {}", text(name)),
        other @ (Call::ClearTrailers | Call::Property(..) | Call::Resume | Call::Count(..)) => {
            format!("{other:?}")
        }
    };
    let calls: Vec<_> = turned.calls.iter().map(call).collect();
    format!("holds {:?}\n{}", turned.holds, calls.join("\n"))
}

/// What a call comes to, in a few words.
fn way(call: &Call) -> String {
    let field = |fields: &[(Vec<u8>, Vec<u8>)], name: &str| {
        let value = fields.iter().find(|(at, _)| at == name.as_bytes()).map(|(_, value)| value);
        String::from_utf8_lossy(value.map_or(b"", Vec::as_slice)).into_owned()
    };
    match call {
        Call::Reply { status: 200, fields, .. } => {
            let status = field(fields, "cache-status");
            let from = status.rsplit_once("detail=").map_or("", |(_, from)| from);
            format!("reply hit {from}")
        }
        Call::Reply { status, body, .. } => {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            format!("reply {status} {}", body["error"]["code"].as_str().unwrap_or_default())
        }
        Call::SetRequestHead(fields) => format!("lane {}", field(fields, "x-kt-lane")),
        Call::Resume => "resume".to_owned(),
        Call::Count(name, _) => name.clone(),
        Call::Callout { path, body, .. } => {
            let has_hits = body.windows(7).any(|part| part == b"\"hits\":");
            if has_hits { "feed with hits".to_owned() } else { path.clone() }
        }
        Call::SetRequestBody(_) => "replace the body".to_owned(),
        Call::ClearTrailers => "clear trailers".to_owned(),
        Call::SetResponseHeader(..) => "set a response header".to_owned(),
        Call::RemoveResponseHeader(_) => "remove a response header".to_owned(),
        Call::Property(key, _) => key.clone(),
    }
}

// === impl Module ===

impl Module {
    fn start() -> Self {
        let constants = FilterConstants {
            gateway: gateway(),
            sidecar_cluster: CLUSTER_SIDECAR.into(),
            admit_timeout_ms: ADMIT_TIMEOUT_DEFAULT,
        };
        let starting = module()
            .envoy()
            .configured(serde_json::to_vec(&constants).unwrap())
            .cluster(CLUSTER_SIDECAR)
            .seed(SEED);
        let mut vm = starting.start_raw(Duration::from_millis(BEGIN_MS)).unwrap();
        let slots = (0..SLOTS).map(|_| vm.begin().unwrap()).collect();
        vm.noted();
        Self { vm, slots }
    }

    fn play(&mut self, step: &Step) -> Turned {
        let holds = self.step(step);
        self.vm.refuses(matches!(step, Step::Refuse));
        let calls = self.vm.noted().into_iter().map(call).collect();
        Turned { calls, holds }
    }

    fn step(&mut self, step: &Step) -> Option<bool> {
        let vm = &mut self.vm;
        let held = match step {
            Step::Begin { at } => {
                vm.end(self.slots[*at]).unwrap();
                self.slots[*at] = vm.begin().unwrap();
                return None;
            }
            Step::Head { at, fields, end } => {
                vm.request_headers(self.slots[*at], map(fields), *end)
            }
            Step::Body { at, piece, end } => vm.request_body(self.slots[*at], piece, *end),
            Step::Trailers { at } => vm.request_trailers(self.slots[*at]),
            Step::Response { at, fields, details } => {
                vm.response_headers(self.slots[*at], map(fields), details)
            }
            Step::Answer { which, reply } => {
                self.answer(*which, reply);
                return None;
            }
            Step::Tick => {
                vm.tick().unwrap();
                return None;
            }
            Step::Wait { ms } => {
                vm.pass(Duration::from_millis(*ms));
                return None;
            }
            Step::Refuse => return None,
        };
        Some(held.unwrap_or_else(|trap| panic!("{step:?}: {}", trap.0)))
    }

    fn answer(&mut self, which: usize, reply: &Reply) {
        let callouts = self.vm.callouts();
        let Some(back) = which.checked_rem(callouts.len()) else { return };
        let (token, asked) = &callouts[callouts.len() - 1 - back];
        let reply = reply_to(&asked.path(), &asked.body, reply);
        let reply = reply.map(|(fields, body)| (map(&fields), body));
        self.vm.answer(*token, reply).unwrap();
    }
}

fn map(fields: &[(Vec<u8>, Vec<u8>)]) -> HeaderMap {
    HeaderMap::of(fields.iter().map(|(name, value)| (name, value)))
}

fn fields(map: &HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    map.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// A call as the core words it.
fn call(noted: Noted) -> Call {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match noted {
        Noted::Callout { headers, body, timeout } => Call::Callout {
            path: headers.text(":path").unwrap(),
            request_id: headers.text("x-request-id"),
            body,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap(),
        },
        Noted::Reply { status, headers, body } => {
            let status = u16::try_from(status).unwrap();
            Call::Reply { status, fields: fields(&headers), body }
        }
        Noted::SetMap(MapKind::RequestHeaders, map) => Call::SetRequestHead(fields(&map)),
        Noted::SetMap(MapKind::RequestTrailers, map) if map.is_empty() => Call::ClearTrailers,
        Noted::SetBody(body) => Call::SetRequestBody(body),
        Noted::Put(MapKind::ResponseHeaders, name, value) => Call::SetResponseHeader(name, value),
        Noted::Remove(MapKind::ResponseHeaders, name) => Call::RemoveResponseHeader(name),
        Noted::Property(key, value) => Call::Property(text(key), text(value)),
        Noted::Resume => Call::Resume,
        Noted::Count(name, by) => Call::Count(name, u64::try_from(by).unwrap()),
        other @ (Noted::SetMap(..) | Noted::Put(..) | Noted::Remove(..)) => {
            panic!("the core asks for no such thing: {other:?}")
        }
    }
}
