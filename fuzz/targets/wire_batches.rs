#![no_main]
//! See `millstream_fuzz::wire_batches`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::wire_batches::run(data));
