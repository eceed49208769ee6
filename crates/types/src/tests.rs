use crate::{DataType, NESTING_MAX, StructField, StructType};
use arrow::datatypes::{DataType as ArrowType, Field, TimeUnit};
use proptest::prelude::*;
use std::sync::Arc;

fn columns(text: &str) -> StructType {
    StructType::parse_ddl(text).unwrap()
}

fn refused(text: &str) -> String {
    DataType::parse(text).unwrap_err().to_string()
}

#[test]
fn every_name_and_synonym() {
    for (name, sql) in [
        ("INT", "INT"),
        ("integer", "INT"),
        ("BIGINT", "BIGINT"),
        ("Long", "BIGINT"),
        ("SMALLINT", "SMALLINT"),
        ("short", "SMALLINT"),
        ("TINYINT", "TINYINT"),
        ("byte", "TINYINT"),
        ("FLOAT", "FLOAT"),
        ("real", "FLOAT"),
        ("DOUBLE", "DOUBLE"),
        ("DECIMAL", "DECIMAL(10,0)"),
        ("dec(5)", "DECIMAL(5,0)"),
        ("NUMERIC( 38 , 18 )", "DECIMAL(38,18)"),
        ("STRING", "STRING"),
        ("string collate UTF8_BINARY", "STRING"),
        ("BINARY", "BINARY"),
        ("boolean", "BOOLEAN"),
        ("DATE", "DATE"),
        ("TIMESTAMP", "TIMESTAMP"),
        ("timestamp_ltz", "TIMESTAMP"),
        ("TIMESTAMP_NTZ", "TIMESTAMP_NTZ"),
        ("VOID", "VOID"),
        ("ARRAY<ARRAY<INT>>", "ARRAY<ARRAY<INT>>"),
        ("map<string,array<bigint>>", "MAP<STRING, ARRAY<BIGINT>>"),
        ("struct<a:int, b string not null>", "STRUCT<a: INT, b: STRING NOT NULL>"),
        ("struct<>", "STRUCT<>"),
    ] {
        assert_eq!(DataType::parse_ddl(name).unwrap().sql(), sql, "{name}");
        assert_eq!(DataType::parse(name).unwrap().sql(), sql, "{name}");
    }
}

#[test]
fn columns_with_quotes_comments_and_constraints() {
    let schema = columns(
        "a INT, b STRING NOT NULL COMMENT 'it''s \\'x\\'\\n', -- a remark\n\
         c STRUCT<d: BIGINT>, `q ``r` DECIMAL(10,2), /* more */ date DATE, e: int",
    );
    let names: Vec<_> = schema.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "q `r", "date", "e"]);
    assert!(!schema.fields[1].nullable);
    assert_eq!(schema.fields[1].comment(), Some("it's 'x'\n"));
    assert_eq!(schema.fields[3].data_type, DataType::Decimal(10, 2));
    assert_eq!(StructType::parse(&schema.to_ddl()).unwrap(), schema);
}

#[test]
fn errors_name_the_place() {
    for (text, part) in [
        (
            "a INT,\n b STRIN",
            "line 2, column 4: unsupported data type `STRIN`. Did you mean STRING?",
        ),
        ("a INT b STRING", "line 1, column 7: expected `,` or the end of the schema, found `b`"),
        ("a ARRAY<INT", "column 12: expected `>`, found the end"),
        ("a DECIMAL(39,0)", "must not exceed 38"),
        ("a DECIMAL(3,4)", "scale must not exceed"),
        ("a DECIMAL(0)", "at least 1"),
        ("a INT,", "expected a column name, found the end"),
        ("a", "unsupported data type `a`"),
        ("`a INT", "backquote is not closed"),
        ("a INT COMMENT 'x", "string literal is not closed"),
        ("a INT COMMENT x", "expected a string literal"),
        ("a INT NOT NULL NOT NULL", "given twice"),
        ("a MAP<MAP<INT,INT>,INT>", "cannot be the key"),
        ("a INT DEFAULT 3", "not supported"),
        ("a-b INT", "expected a data type, found `-`"),
        ("a VARCHAR(10)", "[SCHEMA_UNSUPPORTED_TYPE] The type VARCHAR at line 1, column 3"),
        ("variant", "[SCHEMA_UNSUPPORTED_TYPE]"),
        ("a STRING COLLATE UNICODE", "[SCHEMA_UNSUPPORTED_TYPE]"),
        ("array<itn>", "Did you mean INT?"),
        (
            "{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"itn\"}]}",
            "at a: unknown type",
        ),
        ("{\"type\":\"struct\"}", "`fields` is missing"),
        ("{", "not valid JSON"),
    ] {
        let message = refused(text);
        assert!(message.contains(part), "{text}: {message}");
    }
    assert!(StructType::parse("INT").unwrap_err().to_string().contains("must be a struct"));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}INT{}", "ARRAY<".repeat(depth), ">".repeat(depth));
    assert!(DataType::parse_ddl(&nested(NESTING_MAX)).is_ok());
    assert!(refused(&nested(NESTING_MAX + 1)).contains("nest deeper"));
    assert!(DataType::parse_ddl(&nested(1_000_000)).is_err());
    let json =
        format!("{}\"int\"{}", "{\"type\":\"array\",\"elementType\":".repeat(200), "}".repeat(200));
    assert!(StructType::from_json(&json).is_err());
    let mut arrow = ArrowType::Int32;
    for _ in 0..=NESTING_MAX {
        arrow = ArrowType::List(Arc::new(Field::new("element", arrow, true)));
    }
    assert!(DataType::from_arrow(&arrow).is_err());
}

#[test]
fn json_is_sparks() {
    let schema = columns(
        "a INT, b STRING NOT NULL COMMENT 'x', c ARRAY<DOUBLE>, d MAP<STRING, DECIMAL(5,2)>, \
         e STRUCT<f: TIMESTAMP_NTZ>, g BIGINT, h SMALLINT, i TINYINT, j VOID",
    );
    let json = concat!(
        r#"{"type":"struct","fields":["#,
        r#"{"name":"a","type":"integer","nullable":true,"metadata":{}},"#,
        r#"{"name":"b","type":"string","nullable":false,"metadata":{"comment":"x"}},"#,
        r#"{"name":"c","type":{"type":"array","elementType":"double","containsNull":true},"nullable":true,"metadata":{}},"#,
        r#"{"name":"d","type":{"type":"map","keyType":"string","valueType":"decimal(5,2)","valueContainsNull":true},"nullable":true,"metadata":{}},"#,
        r#"{"name":"e","type":{"type":"struct","fields":[{"name":"f","type":"timestamp_ntz","nullable":true,"metadata":{}}]},"nullable":true,"metadata":{}},"#,
        r#"{"name":"g","type":"long","nullable":true,"metadata":{}},"#,
        r#"{"name":"h","type":"short","nullable":true,"metadata":{}},"#,
        r#"{"name":"i","type":"byte","nullable":true,"metadata":{}},"#,
        r#"{"name":"j","type":"void","nullable":true,"metadata":{}}]}"#,
    );
    assert_eq!(schema.to_json(), json);
    assert_eq!(StructType::parse(json).unwrap(), schema);
    assert_eq!(StructType::from_json(json).unwrap(), schema);
}

#[test]
fn printed_names() {
    let schema = columns("a BIGINT, b ARRAY<STRUCT<`c d`: DECIMAL(5,2)>>, e MAP<STRING, INT>");
    assert_eq!(
        schema.simple_string(),
        "struct<a:bigint,b:array<struct<c d:decimal(5,2)>>,e:map<string,int>>"
    );
    assert_eq!(
        DataType::Struct(schema.clone()).sql(),
        "STRUCT<a: BIGINT, b: ARRAY<STRUCT<`c d`: DECIMAL(5,2)>>, e: MAP<STRING, INT>>"
    );
    assert_eq!(
        schema.tree_string(),
        "root\n |-- a: long (nullable = true)\n |-- b: array (nullable = true)\n \
         |    |-- element: struct (containsNull = true)\n \
         |    |    |-- c d: decimal(5,2) (nullable = true)\n \
         |-- e: map (nullable = true)\n |    |-- key: string\n \
         |    |-- value: integer (valueContainsNull = true)\n"
    );
}

#[test]
fn arrow_from_other_producers() {
    for (arrow, spark) in [
        (ArrowType::LargeUtf8, DataType::String),
        (ArrowType::Utf8View, DataType::String),
        (ArrowType::BinaryView, DataType::Binary),
        (ArrowType::UInt64, DataType::Decimal(20, 0)),
        (ArrowType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())), DataType::Timestamp),
        (ArrowType::Timestamp(TimeUnit::Second, None), DataType::TimestampNtz),
        (
            ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8)),
            DataType::String,
        ),
    ] {
        assert_eq!(DataType::from_arrow(&arrow).unwrap(), spark);
    }
    for arrow in [
        ArrowType::Decimal256(39, 2),
        ArrowType::Decimal128(5, -2),
        ArrowType::Duration(TimeUnit::Second),
    ] {
        assert_eq!(DataType::from_arrow(&arrow).unwrap_err().code(), "SCHEMA_UNSUPPORTED_TYPE");
    }
}

#[test]
fn lookups() {
    let schema = columns("Aa INT, b INT, B INT");
    assert_eq!(schema.index_of("aa"), None);
    assert_eq!(schema.index_of_ignoring_case("aA"), Some(0));
    assert_eq!(schema.index_of_ignoring_case("b"), None);
    assert_eq!(schema.index_of("B"), Some(2));
}

fn any_type() -> impl Strategy<Value = DataType> {
    let leaf = prop_oneof![
        Just(DataType::Null),
        Just(DataType::Boolean),
        Just(DataType::Byte),
        Just(DataType::Short),
        Just(DataType::Integer),
        Just(DataType::Long),
        Just(DataType::Float),
        Just(DataType::Double),
        Just(DataType::String),
        Just(DataType::Binary),
        Just(DataType::Date),
        Just(DataType::Timestamp),
        Just(DataType::TimestampNtz),
        (1u8..=38)
            .prop_flat_map(|p| (Just(p), 0..=p))
            .prop_map(|(p, s)| DataType::Decimal(p, s as i8)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let field = ("[a-zA-Z_`' \\\\é1-9]{1,6}", inner.clone(), any::<bool>(), ".{0,6}").prop_map(
            |(name, data_type, nullable, comment)| {
                let field = StructField::new(name, data_type, nullable);
                if comment.is_empty() { field } else { field.with_comment(comment) }
            },
        );
        prop_oneof![
            inner.clone().prop_map(DataType::array),
            (inner.clone(), inner)
                .prop_filter("map keys", |(k, _)| !matches!(k, DataType::Map { .. }))
                .prop_map(|(k, v)| DataType::map(k, v)),
            prop::collection::vec(field, 0..4).prop_map(|f| DataType::Struct(StructType::new(f))),
        ]
    })
}

fn without_metadata(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Array { element, contains_null } => DataType::Array {
            element: Box::new(without_metadata(element)),
            contains_null: *contains_null,
        },
        DataType::Map { key, value, value_contains_null } => DataType::Map {
            key: Box::new(without_metadata(key)),
            value: Box::new(without_metadata(value)),
            value_contains_null: *value_contains_null,
        },
        DataType::Struct(fields) => DataType::Struct(
            fields
                .fields
                .iter()
                .map(|f| StructField::new(&f.name, without_metadata(&f.data_type), f.nullable))
                .collect(),
        ),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn sql_round_trips(data_type in any_type()) {
        prop_assert_eq!(DataType::parse_ddl(&data_type.sql()).unwrap(), data_type);
    }

    #[test]
    fn json_round_trips(data_type in any_type()) {
        let schema = StructType::new(vec![StructField::new("x", data_type, true)]);
        prop_assert_eq!(StructType::from_json(&schema.to_json()).unwrap(), schema);
    }

    #[test]
    fn arrow_round_trips(data_type in any_type()) {
        let back = DataType::from_arrow(&data_type.to_arrow()).unwrap();
        prop_assert_eq!(back, without_metadata(&data_type));
    }

    #[test]
    fn nothing_panics(text in "[a-z<>(),:` '\"0-9\\\\-]{0,40}", any in ".{0,40}") {
        let _ = DataType::parse(&text);
        let _ = DataType::parse(&any);
        let _ = StructType::from_json(&any);
    }
}

#[test]
fn a_key_that_spark_does_not_read_is_refused() {
    let schema = |key: &str| {
        format!(
            r#"{{"type":"struct","fields":[{{"name":"a","type":"long","nullable":true,"{key}":{{}}}}]}}"#
        )
    };
    assert!(StructType::from_json(&schema("metadata")).is_ok());
    let error = StructType::from_json(&schema("eetadata")).unwrap_err();
    assert_eq!(error.code(), "SCHEMA_INVALID");
    assert!(error.message().contains("eetadata"), "{error}");
}
