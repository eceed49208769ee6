#![no_main]
//! See `millstream_fuzz::sql_scripts`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::sql_scripts::run(data));
