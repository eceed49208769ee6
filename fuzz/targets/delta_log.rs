#![no_main]
//! See `millstream_fuzz::delta_log`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::delta_log::run(data));
