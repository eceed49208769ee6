//! A table checkpoint: a Parquet file in the log of a table on a real directory.

use crate::check_error;
use millstream_delta::DeltaTable;
use std::fs;
use std::panic;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A directory in memory where there is one; each process has its own.
static TABLE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let table = parent.join(format!("millstream-fuzz-{}", std::process::id()));
    fs::create_dir_all(table.join("_delta_log")).unwrap();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // The Parquet library panics at some damage, which the product turns into an error; the
        // fuzzer's hook would end the process before.
        let is_decoders = |file: &str| file.contains("/parquet-") || file.contains("/arrow-");
        if !info.location().is_some_and(|place| is_decoders(place.file())) {
            hook(info);
        }
    }));
    table
});

/// One execution.
pub fn run(data: &[u8]) {
    let checkpoint = TABLE.join(format!("_delta_log/{:020}.checkpoint.parquet", 3));
    fs::write(&checkpoint, data).unwrap();
    match DeltaTable::open(TABLE.as_path()) {
        Ok(Some(table)) => {
            assert_eq!(table.version(), 3);
            match table.active_files() {
                Ok(live) => assert!(live.is_sorted_by(|a, b| a.path <= b.path)),
                Err(error) => check_error(&error),
            }
        }
        Ok(None) => panic!("a log with a checkpoint is a table"),
        Err(error) => check_error(&error),
    }
}

/// Removes the directory.
pub fn clean_up() {
    let _ = fs::remove_dir_all(TABLE.as_path());
}
