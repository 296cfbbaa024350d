//! See `kt_fuzz::filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::filter::check(input));
