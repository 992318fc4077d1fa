//! See `crashlab::fuzzing::apply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crashlab::fuzzing::apply(data));
