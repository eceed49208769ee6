#![no_main]
//! See `millstream_fuzz::checkpoint_files`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::checkpoint_files::run(data));
