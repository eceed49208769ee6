//! Schema rules of a streaming write: names, merging, and which values Spark would convert.
//!
//! Names are compared without regard to case and kept as the table has them.

use millstream_core::{Error, Result};
use millstream_types::{DataType, StructField, StructType};
use std::collections::HashMap;

/// Characters that Parquet files of other engines cannot have in column names.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// How a value of a query's column becomes a value of a table's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// The types are equal, nullability aside.
    Identical,
    /// A cast with ANSI semantics, structs matched by name, absent fields null.
    Cast,
}

/// Checks the schema of a query before anything is planned with it.
///
/// # Errors
/// `DELTA_EMPTY_DATA`, `DELTA_NULL_SCHEMA_IN_STREAMING_WRITE`, `DELTA_DUPLICATE_COLUMNS_FOUND`,
/// `DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES`.
pub(crate) fn check_query_schema(schema: &StructType) -> Result<()> {
    if schema.fields.is_empty() {
        return Err(Error::invalid("DELTA_EMPTY_DATA", "The query has no columns to write.")
            .cure("Select at least one column."));
    }
    if crate::features::any_type(schema, &|t| matches!(t, DataType::Null)) {
        return Err(Error::invalid(
            "DELTA_NULL_SCHEMA_IN_STREAMING_WRITE",
            "Delta doesn't accept NullTypes in the schema for streaming writes.",
        )
        .cure("Give the column a type, for example CAST(NULL AS STRING)."));
    }
    check_names(schema)
}

/// Checks names at every depth.
pub(crate) fn check_names(schema: &StructType) -> Result<()> {
    let mut invalid = Vec::new();
    let mut duplicates = Vec::new();
    collect_bad_names(schema, "", &mut invalid, &mut duplicates);
    if !duplicates.is_empty() {
        return Err(Error::invalid(
            "DELTA_DUPLICATE_COLUMNS_FOUND",
            format!("Found duplicate column(s) in the data to save: {}.", duplicates.join(", ")),
        )
        .cure("Names are compared without regard to case; rename one of them."));
    }
    if invalid.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES",
        format!(
            "Found invalid character(s) among ' ,;{{}}()\\n\\t=' in the column names of your \
             schema.\nInvalid column names: {}.",
            invalid.join(", ")
        ),
    )
    .cure("Rename the columns with AS."))
}

fn collect_bad_names(
    schema: &StructType,
    prefix: &str,
    invalid: &mut Vec<String>,
    duplicates: &mut Vec<String>,
) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for field in &schema.fields {
        let path = format!("{prefix}{}", field.name);
        if field.name.is_empty() || field.name.contains(FORBIDDEN) {
            invalid.push(path.clone());
        }
        let count = seen.entry(field.name.to_lowercase()).or_default();
        *count += 1;
        if *count == 2 {
            duplicates.push(path.to_lowercase());
        }
        if let Some(inner) = struct_inside(&field.data_type) {
            collect_bad_names(inner, &format!("{path}."), invalid, duplicates);
        }
    }
}

/// The struct in a struct, an array or a map's value (keys are checked where they are merged).
fn struct_inside(data_type: &DataType) -> Option<&StructType> {
    match data_type {
        DataType::Struct(inner) => Some(inner),
        DataType::Array { element, .. } => struct_inside(element),
        DataType::Map { key, value, .. } => struct_inside(value).or_else(|| struct_inside(key)),
        _ => None,
    }
}

/// The schema that Spark gives a new table: everything nullable, only comments kept.
pub(crate) fn for_new_table(schema: &StructType) -> StructType {
    let mut schema = schema.as_nullable();
    keep_comments(&mut schema);
    schema
}

fn keep_comments(schema: &mut StructType) {
    for field in &mut schema.fields {
        field.metadata.retain(|key, _| key == "comment");
        keep_comments_in(&mut field.data_type);
    }
}

fn keep_comments_in(data_type: &mut DataType) {
    match data_type {
        DataType::Struct(inner) => keep_comments(inner),
        DataType::Array { element, .. } => keep_comments_in(element),
        DataType::Map { key, value, .. } => {
            keep_comments_in(key);
            keep_comments_in(value);
        }
        _ => {}
    }
}

/// Columns and nested fields that the data has and the table lacks, by path.
pub(crate) fn extra_columns(table: &StructType, data: &StructType) -> Vec<String> {
    let mut extra = Vec::new();
    collect_extra(table, data, "", &mut extra);
    extra
}

fn collect_extra(table: &StructType, data: &StructType, prefix: &str, extra: &mut Vec<String>) {
    for field in &data.fields {
        let path = format!("{prefix}{}", field.name);
        match find(table, &field.name) {
            None => extra.push(path),
            Some(known) => collect_extra_in(&known.data_type, &field.data_type, &path, extra),
        }
    }
}

fn collect_extra_in(table: &DataType, data: &DataType, path: &str, extra: &mut Vec<String>) {
    match (table, data) {
        (DataType::Struct(table), DataType::Struct(data)) => {
            collect_extra(table, data, &format!("{path}."), extra);
        }
        (DataType::Array { element: table, .. }, DataType::Array { element: data, .. }) => {
            collect_extra_in(table, data, &format!("{path}.element"), extra);
        }
        (
            DataType::Map { key: table_key, value: table_value, .. },
            DataType::Map { key, value, .. },
        ) => {
            collect_extra_in(table_key, key, &format!("{path}.key"), extra);
            collect_extra_in(table_value, value, &format!("{path}.value"), extra);
        }
        _ => {}
    }
}

/// The table's schema with the data's extra columns and fields added at the end, nullable.
pub(crate) fn merge(table: &StructType, data: &StructType) -> StructType {
    let mut merged = table.clone();
    for field in &data.fields {
        let at = merged.fields.iter().position(|f| same_name(&f.name, &field.name));
        match at.and_then(|at| merged.fields.get_mut(at)) {
            Some(known) => known.data_type = merge_types(&known.data_type, &field.data_type),
            None => {
                let added = StructType::new(vec![field.clone()]);
                merged.fields.extend(for_new_table(&added).fields);
            }
        }
    }
    merged
}

fn merge_types(table: &DataType, data: &DataType) -> DataType {
    match (table, data) {
        (DataType::Struct(table), DataType::Struct(data)) => DataType::Struct(merge(table, data)),
        (
            DataType::Array { element: table, contains_null },
            DataType::Array { element: data, .. },
        ) => DataType::Array {
            element: Box::new(merge_types(table, data)),
            contains_null: *contains_null,
        },
        (
            DataType::Map { key: table_key, value: table_value, value_contains_null },
            DataType::Map { key, value, .. },
        ) => DataType::Map {
            key: Box::new(merge_types(table_key, key)),
            value: Box::new(merge_types(table_value, value)),
            value_contains_null: *value_contains_null,
        },
        _ => table.clone(),
    }
}

/// The field of this name, without regard to case.
pub(crate) fn find<'a>(schema: &'a StructType, name: &str) -> Option<&'a StructField> {
    schema.fields.iter().find(|field| same_name(&field.name, name))
}

/// Whether two names mean the same column.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// How values of `from` are stored in a column of type `to` under Spark's store assignment policy
/// ANSI; `None` where Spark refuses.
pub fn store_assignment(from: &DataType, to: &DataType) -> Option<Conversion> {
    if from.as_nullable() == to.as_nullable() {
        return Some(Conversion::Identical);
    }
    let allowed = match (from, to) {
        (DataType::Struct(from), DataType::Struct(to)) => from.fields.iter().all(|field| {
            find(to, &field.name)
                .is_some_and(|to| store_assignment(&field.data_type, &to.data_type).is_some())
        }),
        (DataType::Array { element: from, .. }, DataType::Array { element: to, .. }) => {
            store_assignment(from, to).is_some()
        }
        (
            DataType::Map { key: from_key, value: from_value, .. },
            DataType::Map { key: to_key, value: to_value, .. },
        ) => {
            store_assignment(from_key, to_key).is_some()
                && store_assignment(from_value, to_value).is_some()
        }
        (DataType::Null, _) => true,
        (from, DataType::String) => !from.is_nested(),
        (from, to) if is_numeric(from) && is_numeric(to) => true,
        (from, to) => is_datetime(from) && is_datetime(to),
    };
    allowed.then_some(Conversion::Cast)
}

fn is_numeric(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Byte
            | DataType::Short
            | DataType::Integer
            | DataType::Long
            | DataType::Float
            | DataType::Double
            | DataType::Decimal(..)
    )
}

fn is_datetime(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date | DataType::Timestamp | DataType::TimestampNtz)
}

/// Whether files written with schema `written` may join a table with schema `table`: every
/// column is still there with its type, and no other column forbids nulls.
pub(crate) fn fits(written: &StructType, table: &StructType) -> bool {
    let kept = written.fields.iter().all(|field| {
        table.fields.iter().any(|known| {
            known.name == field.name && type_fits(&field.data_type, &known.data_type)
                // Rows were checked against the nullability they were written under.
                && (known.nullable || !field.nullable)
        })
    });
    kept && table
        .fields
        .iter()
        .all(|known| known.nullable || written.fields.iter().any(|f| f.name == known.name))
}

fn type_fits(written: &DataType, table: &DataType) -> bool {
    match (written, table) {
        (DataType::Struct(written), DataType::Struct(table)) => fits(written, table),
        (
            DataType::Array { element: written, contains_null: written_null },
            DataType::Array { element: table, contains_null },
        ) => type_fits(written, table) && (*contains_null || !written_null),
        (
            DataType::Map { key: written_key, value: written_value, value_contains_null: nulls },
            DataType::Map { key, value, value_contains_null },
        ) => {
            type_fits(written_key, key)
                && type_fits(written_value, value)
                && (*value_contains_null || !nulls)
        }
        (written, table) => written == table,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(ddl: &str) -> StructType {
        StructType::parse_ddl(ddl).unwrap()
    }

    fn types(ddl: &str) -> DataType {
        DataType::parse_ddl(ddl).unwrap()
    }

    #[test]
    fn store_assignment_is_sparks_ansi_table() {
        let cases = [
            ("INT", "INT", Some(Conversion::Identical)),
            ("INT", "BIGINT", Some(Conversion::Cast)),
            ("BIGINT", "INT", Some(Conversion::Cast)),
            ("DOUBLE", "DECIMAL(10,2)", Some(Conversion::Cast)),
            ("DECIMAL(10,2)", "DECIMAL(12,2)", Some(Conversion::Cast)),
            ("INT", "STRING", Some(Conversion::Cast)),
            ("BOOLEAN", "STRING", Some(Conversion::Cast)),
            ("BINARY", "STRING", Some(Conversion::Cast)),
            ("TIMESTAMP", "STRING", Some(Conversion::Cast)),
            ("DATE", "TIMESTAMP", Some(Conversion::Cast)),
            ("TIMESTAMP", "DATE", Some(Conversion::Cast)),
            ("TIMESTAMP_NTZ", "TIMESTAMP", Some(Conversion::Cast)),
            ("STRING", "INT", None),
            ("STRING", "DATE", None),
            ("STRING", "BINARY", None),
            ("STRING", "BOOLEAN", None),
            ("INT", "BOOLEAN", None),
            ("BOOLEAN", "INT", None),
            ("INT", "DATE", None),
            ("BIGINT", "TIMESTAMP", None),
            ("TIMESTAMP", "BIGINT", None),
            ("ARRAY<INT>", "STRING", None),
            ("ARRAY<INT>", "ARRAY<BIGINT>", Some(Conversion::Cast)),
            ("ARRAY<STRING>", "ARRAY<INT>", None),
            ("MAP<STRING, INT>", "MAP<STRING, STRING>", Some(Conversion::Cast)),
            ("STRUCT<a: INT>", "STRUCT<A: INT, b: INT>", Some(Conversion::Cast)),
            ("STRUCT<a: INT, c: INT>", "STRUCT<a: INT>", None),
        ];
        for (from, to, expected) in cases {
            assert_eq!(store_assignment(&types(from), &types(to)), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn names_are_checked_at_every_depth() {
        for (bad, code) in [
            ("`a b` INT", "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES"),
            ("s STRUCT<`x=y`: INT>", "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES"),
            ("l ARRAY<STRUCT<`x;`: INT>>", "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES"),
            ("a INT, A STRING", "DELTA_DUPLICATE_COLUMNS_FOUND"),
            ("s STRUCT<a: INT, A: INT>", "DELTA_DUPLICATE_COLUMNS_FOUND"),
        ] {
            assert_eq!(check_query_schema(&schema(bad)).unwrap_err().code(), code, "{bad}");
        }
        assert!(check_query_schema(&schema("`a.b` INT, `é-x` STRING")).is_ok());
        let void = StructType::new(vec![StructField::new("n", DataType::Null, true)]);
        assert_eq!(
            check_query_schema(&void).unwrap_err().code(),
            "DELTA_NULL_SCHEMA_IN_STREAMING_WRITE"
        );
    }

    #[test]
    fn merging_adds_at_the_end_and_keeps_the_tables_case() {
        let table = schema("Id INT NOT NULL, s STRUCT<a: INT>");
        let data = schema("extra STRING NOT NULL, ID INT, S STRUCT<A: INT, b: STRING>");
        assert_eq!(extra_columns(&table, &data), ["extra", "S.b"]);
        let merged = merge(&table, &data);
        assert_eq!(merged, schema("Id INT NOT NULL, s STRUCT<a: INT, b: STRING>, extra STRING"));
        assert!(fits(&table, &merged));
        assert!(!fits(&merged, &table));
    }

    #[test]
    fn files_fit_only_where_nothing_they_say_changes() {
        let written = schema("a INT, b STRING");
        assert!(fits(&written, &schema("b STRING, a INT, c DATE")));
        assert!(!fits(&written, &schema("a BIGINT, b STRING")));
        assert!(!fits(&written, &schema("a INT")));
        assert!(!fits(&written, &schema("a INT, b STRING, c DATE NOT NULL")));
        assert!(!fits(&written, &schema("a INT NOT NULL, b STRING")));
        assert!(fits(&schema("a INT NOT NULL"), &schema("a INT")));
    }
}
