//! See `kt_fuzz::cache_control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::cache_control::check(input));
