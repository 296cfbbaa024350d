//! OpenAI embeddings: a short vector that follows from the input and, in its last place, the number of the
//! call, because the real object has no id.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::Answer;
use crate::request::Ask;

const DIMENSIONS: usize = 8;

/// The whole answer.
pub(super) fn object(ask: &Ask, answer: &Answer) -> Value {
    let data: Vec<Value> = (0..ask.n)
        .map(|index| {
            let vector = vector(&format!("{} {index} {}", answer.model, ask.prompt), answer.call);
            let embedding = if ask.base64 {
                let bytes: Vec<u8> =
                    vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let mut body = json!({"object": "list", "data": data, "model": answer.model});
    if let Some(usage) = &answer.usage {
        let usage = json!({"prompt_tokens": usage.input, "total_tokens": usage.input});
        super::put(&mut body, "usage", usage);
    }
    body
}

fn vector(text: &str, call: u64) -> Vec<f32> {
    let digest = Sha256::digest(text.as_bytes());
    let numbers = digest.iter().take(DIMENSIONS).map(|byte| f32::from(*byte) / 256.0 - 0.5);
    // So small a number is exact.
    let call = u16::try_from(call % 65_536).unwrap_or_default();
    numbers.chain([f32::from(call)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_place_tells_the_call() {
        let (first, second) = (vector("a", 1), vector("a", 2));
        assert_eq!(first[..DIMENSIONS], second[..DIMENSIONS]);
        assert!((second[DIMENSIONS] - 2.0).abs() < f32::EPSILON);
        assert_ne!(vector("b", 1)[..DIMENSIONS], first[..DIMENSIONS]);
    }
}
