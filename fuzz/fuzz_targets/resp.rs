//! See `kt_fuzz::resp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::resp::check(input));
