//! The functions other than `from_json`: Spark's recorded answers, and `to_json` by example.

use arrow::array::{Array, ArrayRef, BinaryArray, StringArray, StructArray};
use millstream_core::options::OptionMap;
use millstream_json::{
    FromJson, FromJsonOptions, Report, SchemaOfJsonOptions, SessionFormat, ToJsonOptions,
    get_json_object, json_array_length, json_object_keys, json_tuple, schema_of_json, to_json,
};
use millstream_types::DataType;
use serde_json::{Value, json};
use std::sync::Arc;

fn ours(function: &str, arguments: &[Value]) -> Result<Value, String> {
    let text = |at: usize| arguments.get(at).and_then(Value::as_str);
    let Some(json) = text(0) else { return Ok(Value::Null) };
    Ok(match function {
        "get_json_object" => {
            let Some(path) = text(1) else { return Ok(Value::Null) };
            let input: ArrayRef = Arc::new(StringArray::from(vec![json]));
            let found = get_json_object(&input, path).unwrap();
            found.iter().next().flatten().into()
        }
        "json_array_length" => json_array_length(json).into(),
        "json_object_keys" => json_object_keys(json).into(),
        _ => {
            let options = arguments.get(1).and_then(Value::as_object).into_iter().flatten();
            let options: OptionMap =
                options.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect();
            let options = SchemaOfJsonOptions::parse(&options).unwrap();
            schema_of_json(json, &options).map_err(|e| e.code().to_owned())?.sql().into()
        }
    })
}

#[test]
fn answers_are_sparks() {
    for line in include_str!("function_answers.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let arguments = case["arguments"].as_array().unwrap();
        let ours = ours(case["function"].as_str().unwrap(), arguments);
        match case.get("answer") {
            Some(theirs) => assert_eq!(ours.as_ref(), Ok(theirs), "{case}"),
            None => assert!(ours.is_err(), "{case}: {ours:?}"),
        }
    }
}

#[test]
fn tuples() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        json_tuple(r#"{"a":1,"b":{"c":"x"},"d":null,"e":"y"}"#, &["b", "e", "d", "z", "b"]),
        [some(r#"{"c":"x"}"#), some("y"), None, None, some(r#"{"c":"x"}"#)]
    );
    assert_eq!(json_tuple(r#"[1]"#, &["a"]), [None]);
    assert_eq!(json_tuple(r#"{"a":1,"#, &["a"]), [None]);
}

fn options(pairs: &[(&str, &str)], zone: &str) -> ToJsonOptions {
    let session = SessionFormat { time_zone: zone.into(), ..SessionFormat::default() };
    ToJsonOptions::parse(&pairs.iter().copied().collect(), &session).unwrap()
}

/// Decodes a document and writes it again.
fn written(schema: &str, json: &str, options: &ToJsonOptions) -> String {
    let decoder =
        FromJson::new(&DataType::parse(schema).unwrap(), &FromJsonOptions::default()).unwrap();
    let input: ArrayRef = Arc::new(BinaryArray::from_vec(vec![json.as_bytes()]));
    let decoded = decoder.decode(&input, Report::BadRows).unwrap();
    assert_eq!(decoded.bad, []);
    to_json(&decoded.array, options).unwrap().value(0).into()
}

#[test]
fn every_type_is_written_as_spark_does() {
    let plain = options(&[], "UTC");
    for (schema, json, expected) in [
        ("a INT, b STRING, c ARRAY<INT>", r#"{"a":1,"c":[1,null]}"#, r#"{"a":1,"c":[1,null]}"#),
        (
            "t TIMESTAMP, n TIMESTAMP_NTZ, d DATE",
            r#"{"t":"2020-01-02T03:04:05.123456Z","n":"2020-01-02 03:04:05.123456","d":"2020-01-02"}"#,
            r#"{"t":"2020-01-02T03:04:05.123Z","n":"2020-01-02T03:04:05.123","d":"2020-01-02"}"#,
        ),
        (
            "t TIMESTAMP, d DATE",
            r#"{"t":"-0001-01-02 03:04:05","d":"12020-01-02"}"#,
            r#"{"t":"-0001-01-02T03:04:05.000Z","d":"+12020-01-02"}"#,
        ),
        (
            "f FLOAT, d DOUBLE, e DOUBLE, g DOUBLE, h FLOAT, i DECIMAL(3,2), j DOUBLE",
            r#"{"f":1.1,"d":1e10,"e":1,"g":"NaN","h":"-INF","i":1.1,"j":-0.0}"#,
            r#"{"f":1.1,"d":1.0E10,"e":1.0,"g":"NaN","h":"-Infinity","i":1.10,"j":-0.0}"#,
        ),
        (
            "x BINARY, s STRING, z BOOLEAN, l BIGINT, y TINYINT",
            "{\"x\":\"U3Bhcms=\",\"s\":\"a\\\"b\\\\c\\/d\\u0001\u{7f}é😀\\n\",\"z\":true,\"l\":-9223372036854775808,\"y\":-1}",
            "{\"x\":\"U3Bhcms=\",\"s\":\"a\\\"b\\\\c/d\\u0001\u{7f}é😀\\n\",\"z\":true,\"l\":-9223372036854775808,\"y\":-1}",
        ),
        (
            "i DECIMAL(20,10), j DECIMAL(20,10), k DECIMAL(38,0)",
            r#"{"i":1e-7,"j":0,"k":123}"#,
            r#"{"i":1.000E-7,"j":0E-10,"k":123}"#,
        ),
        (
            "m MAP<STRING, STRUCT<x: INT>>",
            r#"{"m":{"q\"":{"x":1},"n":null}}"#,
            r#"{"m":{"q\"":{"x":1},"n":null}}"#,
        ),
        ("array<struct<a: int>>", r#"[{"a":1},null,{}]"#, r#"[{"a":1},null,{}]"#),
        ("map<string,int>", r#"{"a":1,"b":null}"#, r#"{"a":1,"b":null}"#),
        ("v void", r#"{"v":1}"#, "{}"),
        ("a struct<b: int>", r#"{"a":{}}"#, r#"{"a":{}}"#),
    ] {
        assert_eq!(written(schema, json, &plain), expected);
    }
    assert_eq!(
        written("a INT, v VOID", "{}", &options(&[("ignoreNullFields", "false")], "UTC")),
        r#"{"a":null,"v":null}"#
    );
}

#[test]
fn formats_of_dates_and_times() {
    let timestamps = "{\"t\":\"2020-07-02T03:04:05.123456Z\"}";
    for (pairs, zone, expected) in [
        (
            &[("timestampFormat", "dd/MM/yyyy HH:mm:ss.SSSSSS")][..],
            "UTC",
            "02/07/2020 03:04:05.123456",
        ),
        (&[("timeZone", "Europe/Paris")][..], "UTC", "2020-07-02T05:04:05.123+02:00"),
        (&[][..], "America/New_York", "2020-07-01T23:04:05.123-04:00"),
        (
            &[("timestampFormat", "E, d MMM yy h:mm a XX")][..],
            "Asia/Kolkata",
            "Thu, 2 Jul 20 8:34 AM +0530",
        ),
        (
            &[("timestampFormat", "EEEE MMMM D k Z 'o''clock' VV")][..],
            "UTC",
            "Thursday July 184 3 +0000 o'clock Z",
        ),
    ] {
        let text = written("t TIMESTAMP", timestamps, &options(pairs, zone));
        assert_eq!(text, format!("{{\"t\":\"{expected}\"}}"));
    }
    let old = written(
        "t TIMESTAMP",
        r#"{"t":"1800-01-01T00:00:00-04:56:02"}"#,
        &options(&[], "America/New_York"),
    );
    assert_eq!(old, r#"{"t":"1800-01-01T00:00:00.000-04:56:02"}"#);
    let ascii = options(&[("writeNonAsciiCharacterAsCodePoint", "true")], "UTC");
    assert_eq!(written("s STRING", r#"{"s":"é😀"}"#, &ascii), r#"{"s":"\u00E9\uD83D\uDE00"}"#);
    assert_eq!(
        written("d DATE", r#"{"d":"2020-01-02"}"#, &options(&[("dateFormat", "d MMM yy")], "UTC")),
        r#"{"d":"2 Jan 20"}"#
    );
}

#[test]
fn wide_encodings_are_written_too() {
    let array = arrow::compute::cast(
        &(Arc::new(StringArray::from(vec!["x"])) as ArrayRef),
        &arrow::datatypes::DataType::Utf8View,
    )
    .unwrap();
    let field = arrow::datatypes::Field::new("a", array.data_type().clone(), true);
    let array: ArrayRef = Arc::new(StructArray::from(vec![(Arc::new(field), array)]));
    assert_eq!(to_json(&array, &options(&[], "UTC")).unwrap().value(0), r#"{"a":"x"}"#);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    assert_eq!(to_json(&text, &options(&[], "UTC")).unwrap_err().code(), "DATATYPE_MISMATCH");
}

#[test]
fn options_are_checked() {
    let refused = |name: &str, value: &str| {
        let options: OptionMap = [(name, value)].into_iter().collect();
        FromJsonOptions::parse(&options, &SessionFormat::default()).unwrap_err()
    };
    for (name, value, code) in [
        ("allowComment", "true", "OPTION_UNKNOWN"),
        ("allowComments", "yes", "OPTION_INVALID"),
        ("mode", "dropmalformed", "PARSE_MODE_UNSUPPORTED"),
        ("timeZone", "Mars/Base", "OPTION_INVALID"),
        ("maxNestingDepth", "-1", "OPTION_INVALID"),
        ("locale", "de-DE", "OPTION_INVALID"),
        ("timestampFormat", "YYYY", "DATETIME_PATTERN_UNSUPPORTED"),
        ("dateFormat", "yyyy-MM-dd'", "DATETIME_PATTERN_UNSUPPORTED"),
        ("dateFormat", "[yyyy", "DATETIME_PATTERN_UNSUPPORTED"),
        ("dateFormat", "yyyy]", "DATETIME_PATTERN_UNSUPPORTED"),
    ] {
        assert_eq!(refused(name, value).code(), code, "{name}={value}");
    }
    assert!(refused("allowComment", "true").to_string().contains("Did you mean `allowComments`?"));
    let unused = json!({"mode": "anything", "locale": "en-US", "samplingRatio": "0.5"});
    let options: OptionMap = unused
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
        .collect();
    assert!(FromJsonOptions::parse(&options, &SessionFormat::default()).is_ok());
}
