//! See `kt_fuzz::flight_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kt_fuzz::flight_text::check(input));
