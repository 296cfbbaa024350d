//! Counts against the tokenizer, and bounds for every text.

use kt_contract::json::{Bounds, parse};
use kt_providers::{Dialect, Recorded};
use proptest::prelude::*;

use super::*;

fn text(pieces: &[&str]) -> Countable {
    let prompt = serde_json::json!({ "prompt": pieces }).to_string();
    let bounds = Bounds { depth_max: 9, nodes_max: 99 };
    Dialect::OpenAiCompletions.countable(&parse(prompt.as_bytes(), bounds).unwrap())
}

/// Texts of many kinds: prose, code, white space, other scripts, pictures of letters, and nothing in particular.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,300}",
        "[a-z ]{0,300}",
        "[ \\n\\t\\r]{0,300}",
        "[0-9a-f]{0,300}",
        "[{}\\[\\]\":,a-z0-9 ]{0,300}",
        "[\u{4e00}-\u{9fff}]{0,100}",
        "[\u{600}-\u{6ff}\u{fb50}-\u{fdff}]{0,100}",
        "[\u{1f300}-\u{1faff}\u{200d}]{0,100}",
        "[e\u{300}-\u{36f}]{0,200}",
        any::<String>(),
    ]
}

#[test]
fn a_model_has_its_own_tokenizer_and_an_unknown_one_the_newest() {
    for (provider, model, expected) in [
        (Provider::OpenAi, "gpt-4o-mini", Tokenizer::O200k),
        (Provider::OpenAi, "gpt-5.4-nano-2026-03-17", Tokenizer::O200k),
        (Provider::OpenAi, "gpt-6-sol", Tokenizer::O200k),
        (Provider::OpenAi, "my-llama", Tokenizer::O200k),
        (Provider::OpenAi, "gpt-3.5-turbo", Tokenizer::Cl100k),
        (Provider::OpenAi, "davinci-002", Tokenizer::Cl100k),
        (Provider::OpenAi, "text-embedding-3-small", Tokenizer::Cl100k),
        (Provider::Azure, "gpt-4", Tokenizer::O200k),
        (Provider::Anthropic, "claude-sonnet-5", Tokenizer::Unpublished),
    ] {
        assert_eq!(Tokenizer::of(provider, model), expected, "{model}");
    }
}

#[test]
fn words_and_frames_are_counted() {
    // As OpenAI's own page of the tokenizer shows them.
    assert_eq!(Tokenizer::O200k.count(&text(&["Hello, world!"])), Tokens(4));
    assert_eq!(
        Tokenizer::Cl100k.count(&text(&["Hello, world!", "tiktoken is great!"])),
        Tokens(10)
    );
    assert_eq!(Tokenizer::O200k.count(&Countable::default()), Tokens(0));
    let body = br#"{"messages":[{"role":"user","content":"Hello, world!"}]}"#;
    let body = parse(body, Bounds { depth_max: 9, nodes_max: 99 }).unwrap();
    assert_eq!(Tokenizer::O200k.count(&Dialect::OpenAiChat.countable(&body)), Tokens(4 + 4 + 3));
    assert_eq!(Tokenizer::Unpublished.count(&text(&["Hello, world!"])), Tokens(6));
    assert_eq!(Tokenizer::Unpublished.count(&text(&["本"])), Tokens(2), "half as many again");
}

#[test]
fn no_text_is_too_long_or_too_odd_to_be_counted() {
    // A megabyte of spaces makes the tokenizer panic if it gets them at once.
    for (what, text) in [
        ("spaces", " ".repeat(1 << 20)),
        ("spaces before a word", " ".repeat(1 << 20) + "x"),
        ("line ends", "\n".repeat(1 << 18)),
        ("one letter", "a".repeat(1 << 18)),
        ("characters of four bytes", "🦀".repeat(1 << 16)),
    ] {
        for tokenizer in [Tokenizer::O200k, Tokenizer::Cl100k, Tokenizer::Unpublished] {
            let tokens = tokenizer.count_text(&text);
            assert!(0 < tokens && tokens <= text.len() as u64, "{what}: {tokens}");
        }
    }
}

#[test]
fn a_cut_costs_a_token_at_most() {
    let prose = "The quick brown fox jumps over the lazy dog, again and again. ".repeat(2_000);
    let whole = o200k_base_singleton().count_ordinary(&prose) as u64;
    let cuts = prose.len().div_ceil(CHUNK_BYTES_MAX) as u64;
    let counted = Tokenizer::O200k.count_text(&prose);
    assert!(whole <= counted && counted < whole + cuts, "{counted} of {whole}, {cuts} parts");
}

#[test]
fn usage_that_was_told_in_the_end_counts_and_else_the_more_of_what_is_known() {
    let chat = Dialect::OpenAiChat;
    let chunk = r#"data: {"choices":[{"index":0,"delta":{"content":"Hello, world!"}}]"#;
    let usage = r#","usage":{"prompt_tokens":7,"completion_tokens":TOLD}}"#;
    let done = "\n\ndata: [DONE]\n\n";
    let count = |stream: String, told: &str| {
        let stream = stream.replace("TOLD", told);
        used(&chat.delivered(Recorded::Sse, stream.as_bytes()), Tokenizer::O200k, |_| Tokens(99))
    };
    for (what, stream, told, input, output, is_estimated) in [
        ("told at the end", format!("{chunk}{usage}{done}"), "2", 7, 2, false),
        ("told on the way, less than came", format!("{chunk}{usage}\n\n"), "2", 7, 5, true),
        ("told on the way, more than came", format!("{chunk}{usage}\n\n"), "9", 7, 9, true),
        ("not told", format!("{chunk}}}{done}"), "", 99, 5, true),
        ("nothing came", String::new(), "", 99, 0, true),
    ] {
        let Used { tokens, is_estimated: estimated } = count(stream, told);
        assert_eq!((tokens.input.0, tokens.output.0), (input, output), "{what}");
        assert_eq!(estimated, is_estimated, "{what}");
    }
}

#[test]
fn the_input_of_a_cut_message_is_what_its_first_event_told() {
    let stream = br#"data: {"type":"message_start","message":{"usage":{"input_tokens":3,
data: "cache_read_input_tokens":40,"cache_creation_input_tokens":5,"output_tokens":1}}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello, world!"}}

"#;
    let delivered = Dialect::AnthropicMessages.delivered(Recorded::Sse, stream);
    let used = used(&delivered, Tokenizer::Unpublished, |_| Tokens(99));
    let Billable { input, cached_input, cache_write, cache_write_long, output } = used.tokens;
    assert_eq!(
        [input.0, cached_input.0, cache_write.0, cache_write_long.0, output.0],
        [3, 40, 5, 0, 9]
    );
    assert!(used.is_estimated);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What the bound of a reserve rests on.
    #[test]
    fn a_text_never_has_more_tokens_than_bytes(text in any_text()) {
        for bpe in [o200k_base_singleton(), cl100k_base_singleton()] {
            prop_assert!(bpe.count_ordinary(&text) <= text.len());
        }
    }

    #[test]
    fn nothing_of_a_text_is_lost_where_it_is_cut(text in any_text(), times in 1..400_usize) {
        let text = text.repeat(times);
        prop_assert_eq!(chunks(&text).collect::<String>(), text.as_str());
        prop_assert!(chunks(&text).all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    }
}
