//! See `kt_fuzz::redaction`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::redaction::check(input));
