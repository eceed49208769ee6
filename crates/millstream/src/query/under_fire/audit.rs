//! What is in a table, read from its log and its Parquet files without the engine and without the
//! Delta crate.

use arrow::array::Int64Array;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

/// The column `offset` of every live row, sorted: a multiset. Also checks that every application's
/// numbers go up by one with every commit, which a batch that is committed twice would break.
pub fn offsets(table: &Path) -> Vec<i64> {
    let mut live: BTreeMap<String, ()> = BTreeMap::new();
    let mut numbers: BTreeMap<String, i64> = BTreeMap::new();
    for version in 0u64.. {
        let path = table.join(format!("_delta_log/{version:020}.json"));
        let Ok(text) = fs::read_to_string(&path) else { break };
        for line in text.lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            if let Some(add) = action.get("add") {
                let path = add["path"].as_str().unwrap().to_owned();
                assert!(live.insert(path.clone(), ()).is_none(), "{path} is added twice");
            }
            if let Some(txn) = action.get("txn") {
                let app = txn["appId"].as_str().unwrap().to_owned();
                if app.contains('#') {
                    continue;
                }
                let number = txn["version"].as_i64().unwrap();
                let before = numbers.insert(app, number);
                assert_eq!(before.map_or(0, |b| b + 1), number, "batches of {}", table.display());
            }
        }
    }
    let mut found: Vec<i64> = live.keys().flat_map(|path| of_file(&table.join(path))).collect();
    found.sort_unstable();
    found
}

fn of_file(path: &Path) -> Vec<i64> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let column = |batch: arrow::array::RecordBatch| {
        let column = batch.column_by_name("offset").unwrap().clone();
        column.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
    };
    reader.flat_map(|batch| column(batch.unwrap())).collect()
}

/// The names of the data files under `table`; none if there is no table.
pub fn data_files(table: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(table) else { return Vec::new() };
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".parquet")).collect()
}
