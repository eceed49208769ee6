#![no_main]
//! See `millstream_fuzz::topic_patterns`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::topic_patterns::run(data));
