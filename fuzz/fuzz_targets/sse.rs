//! See `kt_fuzz::sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::sse::check(input));
