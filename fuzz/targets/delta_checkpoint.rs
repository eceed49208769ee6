#![no_main]
//! See `millstream_fuzz::delta_checkpoint`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::delta_checkpoint::run(data));
