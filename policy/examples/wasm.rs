//! What scanning costs inside Wasm: 10 KB of prose, of JSON and of a program, a thousand times each, by the detectors alone and by
//! the default chain. Envoy's engine is V8, and so is Node's: `wasm.mjs` calls `main`, which does one of these with each
//! call, and times it. What it took stands in `docs/reference/detectors.md`.
#![expect(clippy::unwrap_used, reason = "a bench ends where it cannot begin")]

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use kt_contract::policy::{self, Check, Decision, Entities, Entity, Family, Phase, Step};
use kt_policy::{Chain, EntitySet, scan};

const ROUNDS: usize = 1000;
const BYTES: usize = 10 * 1024;
const TEXTS: [&str; 3] = [
    "The committee met on Tuesday to discuss the budget for the coming year. Nobody had expected that the \
     plan, which had been written in haste, would find so many friends. ",
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Summarize the minutes of the last \
     meeting, please.\"}],\"n\":1,\"temperature\":0.7}, ",
    "    for (name, text) in rows {\n        let text = text.repeat(BYTES / text.len());\n        let mut found = \
     Vec::new();\n    }\n",
];

static NEXT: AtomicUsize = AtomicUsize::new(0);

fn main() {
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = TEXTS.iter().cycle().nth(nth).unwrap();
    let text = text.repeat(BYTES / text.len());
    if (nth / TEXTS.len()).is_multiple_of(2) {
        let mut found = Vec::new();
        (0..ROUNDS).for_each(|_| scan(black_box(&text), EntitySet::all(), &mut found));
        black_box(found);
    } else {
        let (chain, body) = (default_chain(), body(&text));
        (0..ROUNDS).for_each(|_| drop(black_box(chain.read(black_box(&body)))));
    }
}

/// What `default` stands for.
fn default_chain() -> Chain {
    let of = |family| {
        let all = Entity::ALL.into_iter().filter(move |entity| entity.family() == family);
        Entities(all.map(|entity| (entity, Decision::Redact)).collect())
    };
    let checks = [
        Check::PiiDetector(of(Family::Pii)),
        Check::SecretDetector(of(Family::Secret)),
        Check::PromptInjection(Decision::Block),
    ];
    let step = |check| Step { phases: [Phase::Input].into(), check };
    let chain = policy::Chain { steps: checks.map(step).into() };
    Chain::compile(&chain, Phase::Input).unwrap()
}

/// A request that says so.
fn body(text: &str) -> Vec<u8> {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{text}"}}]}}"#).into()
}
