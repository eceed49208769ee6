//! `from_json`: the fast parser against the exact one, in company, and both against
//! a general library with a few lines of Spark's rules.
//!
//! The exact parser is forced by a comment before the document: the fast one does not know
//! comments, and the exact one is told to allow them.

use crate::check_error;
use crate::input::Input;
use crate::memory;
use crate::values::value;
use arrow::array::{Array, ArrayRef, BinaryArray};
use millstream_core::Error;
use millstream_json::{Decoded, FromJson, FromJsonOptions, Report, SessionFormat};
use millstream_types::DataType;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The flat one comes first: it is the one that the general library is compared over.
const SCHEMAS: &[&str] = &[
    "a INT, c DOUBLE, d BOOLEAN, f ARRAY<INT>, j TINYINT, k SMALLINT, b STRING, l BIGINT",
    "a INT, b STRING, c DOUBLE, d BOOLEAN, e TIMESTAMP, f ARRAY<INT>, g MAP<STRING, STRING>, \
     h STRUCT<x: BIGINT, y: STRING, z: ARRAY<STRUCT<p: FLOAT, q: DATE>>>, i DECIMAL(12,3), \
     j TINYINT, k SMALLINT, l TIMESTAMP_NTZ, m BINARY, n VOID, _corrupt_record STRING",
    "ARRAY<STRUCT<a: INT, b: STRING>>",
    "MAP<STRING, ARRAY<DOUBLE>>",
    "a STRING, a INT, A BIGINT",
    "STRUCT<>",
    "a STRUCT<a: STRUCT<a: STRUCT<a: MAP<STRING, STRUCT<a: INT>>>>>, b DECIMAL(38,10)",
    "t TIMESTAMP, d DATE, n TIMESTAMP_NTZ, f FLOAT, x BINARY",
];
const COMMENT: &[u8] = b"/**/";
/// What a document's columns may hold for one of its bytes, beside a basis.
const BYTES_PER_BYTE: usize = 256;
const BYTES: usize = 1 << 20;

/// The fast decoder and the exact one, and the type of both.
struct Pair {
    fast: FromJson,
    exact: FromJson,
    data_type: DataType,
}

impl Pair {
    fn new(schema: &DataType) -> Result<Pair, Error> {
        let decoder = |pairs: &[(&str, &str)]| {
            let options = pairs.iter().copied().collect();
            FromJson::new(schema, &FromJsonOptions::parse(&options, &SessionFormat::default())?)
        };
        let (fast, exact) = (decoder(&[])?, decoder(&[("allowComments", "true")])?);
        let data_type = fast.data_type();
        assert_eq!(exact.data_type(), data_type);
        Ok(Pair { fast, exact, data_type })
    }
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let pair = |ddl: &&str| Pair::new(&DataType::parse(ddl).unwrap()).unwrap();
    SCHEMAS.iter().map(pair).collect()
});

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let chosen = usize::from(input.byte());
    if let Some(pair) = PAIRS.get(chosen) {
        parsers_agree(pair, input.0, chosen == 0);
        return;
    }
    // A schema of the input's own.
    let Ok(ddl) = std::str::from_utf8(input.until(b'\n')) else { return };
    let Ok(schema) = DataType::parse(ddl) else { return };
    match Pair::new(&schema) {
        Ok(pair) => parsers_agree(&pair, input.0, false),
        Err(error) => check_error(&error),
    }
}

fn decode(decoder: &FromJson, documents: &[&[u8]]) -> Decoded {
    let input: ArrayRef = Arc::new(BinaryArray::from_iter_values(documents));
    let decoded = decoder.decode(&input, Report::BadRows).unwrap();
    assert_eq!(decoded.array.len(), documents.len());
    // The builders promise well-formed arrays; a full check notices if they are not.
    decoded.array.to_data().validate_full().unwrap();
    decoded
}

/// Row `row` as JSON and whether it is bad. The corrupt-record column is left out: it has the
/// text, which differs by the comment.
fn row(data_type: &DataType, decoded: &Decoded, row: usize) -> (Value, bool) {
    let bad = decoded.bad.iter().any(|b| b.row == row);
    let mut value = value(&decoded.array, row, data_type);
    if let (DataType::Struct(fields), Value::Array(values)) = (data_type, &mut value)
        && let Some(at) = fields.index_of("_corrupt_record")
    {
        assert_eq!(values.remove(at).is_string(), bad);
    }
    (value, bad)
}

fn parsers_agree(pair: &Pair, document: &[u8], is_flat: bool) {
    // Comments inside a document would be the only difference between the two decoders.
    if document.contains(&b'/') {
        return;
    }
    let commented = [COMMENT, document].concat();
    let before: &[u8] = br#"{"b":"x","h":{"z":[{"p":1}, 2"#;
    memory::bounded(BYTES + BYTES_PER_BYTE * document.len(), || {
        // Nothing of a neighbour may remain.
        let together = decode(&pair.fast, &[before, document, document]);
        let exact = decode(&pair.exact, &[&commented]);
        let row = |decoded: &Decoded, at: usize| row(&pair.data_type, decoded, at);
        let (expected, ours) = (row(&exact, 0), row(&together, 1));
        assert_eq!(ours, expected);
        assert_eq!(row(&together, 2), expected);
        if is_flat {
            library_agrees(&ours.0, document);
        }
        assert!(together.bad.iter().all(|b| !b.reason.is_empty() && !b.detail.is_empty()));
    });
}

/// Fields of an object without repeated names; the general library keeps the last of them.
fn members(document: &[u8]) -> Option<BTreeMap<String, Value>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Option<BTreeMap<String, Value>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let (mut members, mut is_plain) = (BTreeMap::new(), true);
            while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                is_plain &= members.insert(name, value).is_none();
            }
            Ok(is_plain.then_some(members))
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok()?;
    members
}

/// What a general library and a few lines of the rules make of a flat document.
fn library_agrees(ours: &Value, document: &[u8]) {
    let Some(members) = members(document) else { return };
    // A zero with a sign is a double to the library and a whole number to Jackson.
    if document.windows(2).any(|w| w == b"-0") {
        return;
    }
    let field = |name: &str| members.get(name).cloned().unwrap_or(Value::Null);
    let int = |v: Value, low: i64, high: i64| match v.as_i64() {
        Some(n) if (low..=high).contains(&n) => Value::from(n),
        _ => Value::Null,
    };
    let double = match field("c") {
        Value::Number(n) => n.as_f64().unwrap().into(),
        Value::String(s) => match s.as_str() {
            "NaN" => "NaN".into(),
            "+INF" | "+Infinity" | "Infinity" | "INF" => "Infinity".into(),
            "-INF" | "-Infinity" => "-Infinity".into(),
            _ => Value::Null,
        },
        _ => Value::Null,
    };
    let flag = if field("d").is_boolean() { field("d") } else { Value::Null };
    let fits = |v: &Value| v.is_null() || v.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
    let ints = match field("f") {
        Value::Array(items) if items.iter().all(fits) => Value::Array(items),
        _ => Value::Null,
    };
    let byte = match int(field("j"), -128, 255) {
        Value::Number(n) => Value::from(n.as_i64().unwrap() as i8),
        other => other,
    };
    let expected = [
        int(field("a"), i32::MIN.into(), i32::MAX.into()),
        rounded(double),
        flag,
        ints,
        byte,
        int(field("k"), i16::MIN.into(), i16::MAX.into()),
    ];
    let Value::Array(ours) = ours else { panic!("a document is a row") };
    for (at, expected) in expected.iter().enumerate() {
        assert_eq!(&rounded(ours[at].clone()), expected, "field {at}");
    }
    if let (Value::String(text), Value::String(ours)) = (field("b"), &ours[6]) {
        assert_eq!(&text, ours);
    }
    assert_eq!(ours[7], int(field("l"), i64::MIN, i64::MAX));
}

/// The general library reads the last digit of long numbers carelessly.
fn rounded(value: Value) -> Value {
    match value.as_f64() {
        Some(double) if value.is_f64() => format!("{double:.12e}").into(),
        _ => value,
    }
}
