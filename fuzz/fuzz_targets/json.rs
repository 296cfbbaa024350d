//! See `kt_fuzz::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::json::check(input));
