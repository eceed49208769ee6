#![no_main]
//! See `millstream_fuzz::text_values`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::text_values::run(data));
