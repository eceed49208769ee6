//! The other functions over JSON texts: paths, keys, lengths, tuples, inferred schemas, and back to
//! JSON.

use crate::check_error;
use crate::input::Input;
use arrow::array::{ArrayRef, StringArray};
use millstream_json::{
    FromJson, FromJsonOptions, JsonPath, Report, SchemaOfJsonOptions, SessionFormat, ToJsonOptions,
    json_array_length, json_object_keys, json_tuple, quoted, schema_of_json, to_json,
};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

static SCHEMA_OPTIONS: LazyLock<SchemaOfJsonOptions> =
    LazyLock::new(|| SchemaOfJsonOptions::parse(&Default::default()).unwrap());
static READ: LazyLock<FromJsonOptions> = LazyLock::new(FromJsonOptions::default);
static WRITE: LazyLock<ToJsonOptions> =
    LazyLock::new(|| ToJsonOptions::parse(&Default::default(), &SessionFormat::default()).unwrap());

/// One execution: a path up to the first line end, then a document.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let Ok(path) = std::str::from_utf8(input.until(b'\n')) else { return };
    let Some(json) = input.text() else { return };
    match kind % 3 {
        0 => paths(path, json),
        1 => against_a_library(json),
        _ => inferred(json),
    }
}

fn paths(path: &str, json: &str) {
    let Some(parsed) = JsonPath::parse(path) else { return };
    let found = parsed.get(json);
    // A document that a general library reads gives no more than it has.
    if let (Some(found), true) = (found, !path.contains('*')) {
        assert!(found.len() <= 6 * json.len() + 64);
    }
    let _ = json_tuple(json, &[path, "a", "b"]);
}

fn against_a_library(json: &str) {
    let keys = json_object_keys(json);
    let length = json_array_length(json);
    match serde_json::from_str::<Value>(json) {
        Ok(Value::Array(items)) => {
            assert_eq!(length, i32::try_from(items.len()).ok());
            assert_eq!(keys, None);
        }
        Ok(Value::Object(members)) => {
            assert_eq!(length, None);
            let mut keys = keys.unwrap();
            keys.dedup();
            // Repeated keys are listed as often as they stand there.
            assert!(members.keys().all(|k| keys.contains(k)));
            assert!(keys.iter().all(|k| members.contains_key(k)));
        }
        Ok(_) => assert_eq!((length, keys), (None, None)),
        Err(_) => {}
    }
    // A quoted text is JSON that says the text.
    assert_eq!(serde_json::from_str::<String>(&quoted(json)).unwrap(), json);
}

/// A document has the schema that is inferred from it; written again it is JSON.
fn inferred(json: &str) {
    let schema = match schema_of_json(json, &SCHEMA_OPTIONS) {
        Ok(schema) => schema,
        Err(error) => return check_error(&error),
    };
    assert_eq!(millstream_types::DataType::parse_ddl(&schema.sql()).ok(), Some(schema.clone()));
    let Ok(decoder) = FromJson::new(&schema, &READ) else { return };
    let input: ArrayRef = Arc::new(StringArray::from(vec![json]));
    let decoded = decoder.decode(&input, Report::BadRows).unwrap();
    let Ok(written) = to_json(&decoded.array, &WRITE) else { return };
    if arrow::array::Array::is_valid(&written, 0) {
        serde_json::from_str::<Value>(written.value(0)).unwrap();
    }
}
