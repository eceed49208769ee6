#![no_main]
//! See `millstream_fuzz::schemas`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::schemas::run(data));
