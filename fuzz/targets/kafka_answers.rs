#![no_main]
//! See `millstream_fuzz::kafka_answers`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::kafka_answers::run(data));
