//! The answers: a chat completion of about 1.4 KB, whole or in numbered tokens.

use std::time::Duration;

/// How many tokens a streamed answer has.
pub(crate) const TOKENS: usize = 200;
/// How many tokens a held stream sends before it stands still: about 16 KB.
pub(crate) const HELD_AFTER: usize = 80;
/// How long a steady stream waits between two of them.
pub(crate) const EVERY: Duration = Duration::from_millis(20);
/// How long a steady stream takes.
pub(crate) const STEADY_FOR: Duration = Duration::from_millis(20 * TOKENS as u64);

const HEAD: &str = r#""id":"chatcmpl-bench","created":1700000000,"model":"gpt-4o-2024-08-06""#;

/// The JSON answer.
pub(crate) fn json() -> String {
    let text = "It checks who asks. ".repeat(55);
    format!(
        r#"{{{HEAD},"object":"chat.completion","choices":[{{"index":0,"finish_reason":"stop","logprobs":null,"message":{{"role":"assistant","refusal":null,"content":"{text}"}}}}],"usage":{{"prompt_tokens":400,"completion_tokens":280,"total_tokens":680}}}}"#
    )
}

/// The event of token `number`, which carries its number.
pub(crate) fn event(number: usize) -> String {
    chunk(
        &format!(r##"{{"index":0,"delta":{{"content":"#{number:04}# "}},"finish_reason":null}}"##),
        "null",
    )
}

/// What follows the last token.
pub(crate) fn ending() -> String {
    let stop = chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "null");
    let usage = chunk("", r#"{"prompt_tokens":400,"completion_tokens":200,"total_tokens":600}"#);
    format!("{stop}{usage}data: [DONE]\n\n")
}

fn chunk(choice: &str, usage: &str) -> String {
    format!(
        "data: {{{HEAD},\"object\":\"chat.completion.chunk\",\"choices\":[{choice}],\"usage\":{usage}}}\n\n"
    )
}
