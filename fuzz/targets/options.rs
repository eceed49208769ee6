#![no_main]
//! See `millstream_fuzz::options`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::options::run(data));
