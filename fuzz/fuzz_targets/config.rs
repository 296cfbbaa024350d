//! See `kt_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::config::check(input));
