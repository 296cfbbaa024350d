//! See `kt_fuzz::detectors`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::detectors::check(input));
