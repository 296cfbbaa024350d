//! See `kt_fuzz::script`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::script::check(input));
