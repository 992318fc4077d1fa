//! See `crashlab::fuzzing::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crashlab::fuzzing::journal(data));
