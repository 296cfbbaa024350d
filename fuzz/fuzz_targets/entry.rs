//! See `kt_fuzz::entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::entry::check(input));
