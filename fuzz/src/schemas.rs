//! Schemas: DDL texts and StructType JSON. What is parsed is printed and parsed again as the same.

use crate::check_error;
use crate::input::Input;
use millstream_core::{Error, ErrorKind, Result};
use millstream_types::{DataType, StructType, quoted_if_needed};

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let Some(text) = input.text() else { return };
    match kind & 3 {
        0 => {
            let Some(schema) = parsed(text, StructType::parse_ddl(text)) else { return };
            assert_eq!(StructType::parse_ddl(&schema.to_ddl()).unwrap(), schema);
            check(&DataType::Struct(schema));
        }
        1 => {
            let Some(data_type) = parsed(text, DataType::parse_ddl(text)) else { return };
            assert_eq!(DataType::parse_ddl(&data_type.sql()).unwrap(), data_type);
            check(&data_type);
        }
        2 => {
            let Some(schema) = parsed(text, StructType::from_json(text)) else { return };
            check(&DataType::Struct(schema));
        }
        _ => {
            let Some(data_type) = parsed(text, DataType::parse(text)) else { return };
            check(&data_type);
        }
    }
}

fn parsed<T>(text: &str, outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            check_refusal(text, &error);
            None
        }
    }
}

/// The code is one of two, and a place that is named lies in the text.
fn check_refusal(text: &str, error: &Error) {
    check_error(error);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(["SCHEMA_INVALID", "SCHEMA_UNSUPPORTED_TYPE"].contains(&error.code()), "{error}");
    let Some((_, place)) = error.message().split_once("not valid at line ") else { return };
    let numbers: Vec<usize> =
        place.split([' ', ',', ':']).filter_map(|w| w.parse().ok()).take(2).collect();
    let [line, column] = numbers[..] else { panic!("{error}") };
    let width = text.split('\n').nth(line - 1).map(|l| l.chars().count()).unwrap();
    assert!((1..=width + 1).contains(&column), "{error}");
}

fn check(data_type: &DataType) {
    let schema =
        StructType::new(vec![millstream_types::StructField::new("c", data_type.clone(), true)]);
    // One level more than the parser lets in is refused, not overflowed.
    match StructType::from_json(&schema.to_json()) {
        Ok(again) => assert_eq!(again, schema),
        Err(error) => assert!(error.message().contains("nest deeper"), "{error}"),
    }
    if let DataType::Struct(fields) = data_type {
        assert_eq!(&StructType::from_json(&fields.to_json()).unwrap(), fields);
        assert!(fields.tree_string().starts_with("root\n"));
        for field in &fields.fields {
            let quoted = quoted_if_needed(&field.name);
            assert!(quoted.contains(&field.name.replace('`', "``")));
            assert!(fields.field(&field.name).is_some());
        }
        assert_eq!(fields.to_arrow().fields().len(), fields.fields.len());
    }
    let nullable = data_type.as_nullable();
    assert_eq!(nullable.as_nullable(), nullable);
    assert_eq!(nullable.simple_string(), data_type.simple_string());
}
