//! See `kt_fuzz::answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::answers::check(input));
