//! See `kt_fuzz::crossings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::crossings::check(input));
