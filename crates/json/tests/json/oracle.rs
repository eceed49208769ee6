//! Real Spark's recorded answers, in the form that `tests/oracle/README.md` describes.
//!
//! `more_answers.jsonl` holds doubtful and damaged records thought out by hand,
//! `random_answers.jsonl` a sample of some twenty thousand random ones. Each line is a whole case,
//! so that it can be put to Spark again.

use crate::support::value;
use arrow::array::{ArrayRef, BinaryArray};
use millstream_core::options::OptionMap;
use millstream_json::{DecodeError, FromJson, FromJsonOptions, Report, SessionFormat};
use millstream_types::DataType;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where we differ on purpose: the input, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    (r#"{"t":"03:04:05"}"#, "a time alone means today in Spark; a batch made again would differ"),
    (r#"{"t":"T03:04"}"#, "as above"),
    (r#"7B2261223A2278222C2262223A22FF227D"#, "our texts are UTF-8, with U+FFFD"),
    (r#"7B2262223A22F0908022227D"#, "as above"),
    (r#"{"x":"١"}"#, "only ASCII digits are digits"),
    (r#"{"a":1,"b":2e23}"#, "Java 17 prints more digits than needed; Java 19 prints ours"),
    (r#"{"b":1.0E23}"#, "as above"),
    (r#"{"a":1,"b":["\ud83d"]}"#, "half a surrogate pair printed again becomes a question mark"),
    (r#"{"t":"2020-01-02 03:04:05 PST","d":"03/04"}"#, "the pattern letter z is refused"),
    (r#"{"t":"2020-01-02 03:04:05 UTC","d":"03/04"}"#, "as above"),
    (r#"{"t":"2020-01-02 +01","d":"02.01.2020 AD"}"#, "the pattern letter G is refused"),
    (r#"{"t":"2020-01-02 Z","d":"02.01.2020 AD"}"#, "as above"),
    (r#"7B2262223A22EDA080227D"#, "a surrogate in UTF-8 is three errors, as Unicode recommends"),
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
        .collect()
}

/// Our answer in the recorded form, or the code of our error.
fn ours(case: &Value) -> Result<Value, String> {
    let options: OptionMap = case["options"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let session = SessionFormat {
        time_zone: case["settings"]["timeZone"].as_str().unwrap().into(),
        ..SessionFormat::default()
    };
    let input = match (&case["input"], &case["input_hex"]) {
        (Value::String(text), _) => Some(text.clone().into_bytes()),
        (_, Value::String(text)) => Some(hex(text)),
        _ => None,
    };
    let code = |e: millstream_core::Error| e.code().to_owned();
    let schema = DataType::parse(case["schema"].as_str().unwrap()).map_err(code)?;
    let options = FromJsonOptions::parse(&options, &session).map_err(code)?;
    let decoder = FromJson::new(&schema, &options).map_err(code)?;
    let input: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![input.as_deref()]));
    let decoded =
        decoder.decode(&input, Report::BadRows).map_err(|e: DecodeError| code(e.into()))?;
    Ok(value(&decoded.array, 0, &decoder.data_type()))
}

fn error_matches(theirs: &Value, code: &str) -> bool {
    let class = theirs["class"].as_str().unwrap();
    let ours = match class {
        "UNSUPPORTED_CHAR_OR_VARCHAR_AS_STRING" => "SCHEMA_UNSUPPORTED_TYPE",
        "PARSE_SYNTAX_ERROR" => "SCHEMA_INVALID",
        "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION" => {
            "DATETIME_PATTERN_UNSUPPORTED"
        }
        other => other.split('.').next().unwrap(),
    };
    ours == code
}

/// Whether two recorded values are the same; whole numbers may be written as 1 or 1.0.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b,
    }
}

fn compare(answers: &str) -> Vec<String> {
    let known: BTreeMap<&str, &str> = DIFFERENCES.iter().copied().collect();
    let mut wrong = Vec::new();
    for line in answers.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let input = case["input"].as_str().or(case["input_hex"].as_str()).unwrap_or_default();
        let ours = ours(&case);
        let agrees = match (&ours, case.get("answer"), case.get("error")) {
            (Ok(ours), Some(theirs), _) => same(ours, theirs),
            (Err(code), _, Some(theirs)) => error_matches(theirs, code),
            _ => false,
        };
        // Options that Spark ignores without a word are refused here.
        let unknown_option = ours.as_ref().is_err_and(|code| code == "OPTION_UNKNOWN");
        let expected = !known.contains_key(input) && !unknown_option;
        if agrees != expected {
            let id = case["id"].as_str().unwrap();
            let theirs = case.get("answer").or(case.get("error")).unwrap();
            wrong.push(format!("{id} {input}\n   spark {theirs}\n   ours  {ours:?}"));
        }
    }
    wrong
}

#[test]
fn answers_are_sparks() {
    let wrong = compare(include_str!("../../../../tests/oracle/from_json.jsonl"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn answers_about_damaged_and_doubtful_records_are_sparks() {
    let wrong = compare(include_str!("more_answers.jsonl"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn answers_about_random_records_are_sparks() {
    let wrong = compare(include_str!("random_answers.jsonl"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
