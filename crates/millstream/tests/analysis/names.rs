//! Result-column names and types against those that real Spark answered (tests/oracle).

use millstream::Session;
use serde_json::Value;

/// Cases whose syntax or function is refused by name, which is another answer than Spark's.
const REFUSED: &[&str] = &[
    "TRIM(BOTH 'x' FROM b)",
    "first(a)",
    "transform(arr, x -> x + 1)",
    "filter(arr, x -> x > 1)",
    "exists(arr, x -> x > 1)",
    "window(ts, '5 minutes')",
];

/// Cases whose name differs from Spark's: (SQL, our name).
const DIFFERENT: &[(&str, &str)] = &[
    ("INTERVAL 1 DAY", ""),
    ("d + INTERVAL 1 DAY", "d + INTERVAL '1 DAY'"),
    ("ts + INTERVAL '1' HOUR", "ts + INTERVAL '1 HOUR'"),
    ("extract(YEAR FROM d)", "extract(YEAR, d)"),
];

fn session() -> Session {
    let session = Session::builder().build().unwrap();
    session
        .sql(
            "CREATE TEMPORARY VIEW t AS SELECT 1 AS a, 'xyz' AS b, 5 AS `c d`, \
             named_struct('x', 7, 'y', 'w') AS s, array(10, 20) AS arr, map('k', 100) AS m, \
             DATE'2020-01-02' AS d, TIMESTAMP'2020-01-02 03:04:05' AS ts, \
             CAST(12.50 AS DECIMAL(10,2)) AS dec, 2.5D AS dbl",
        )
        .unwrap();
    session
}

#[test]
fn columns_are_named_and_typed_as_spark_names_and_types_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/names.jsonl");
    let session = session();
    let (mut compared, mut wrong) = (0, Vec::new());
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let sql = case["sql"].as_str().unwrap();
        let answer = session.sql(&format!("SELECT {sql} FROM t"));
        if REFUSED.contains(&sql) {
            assert!(answer.is_err(), "{sql} is no longer refused");
            continue;
        }
        let expected = DIFFERENT
            .iter()
            .find(|(s, _)| *s == sql)
            .map_or(case["name"].as_str().unwrap(), |(_, ours)| ours);
        if expected.is_empty() {
            continue;
        }
        compared += 1;
        match answer {
            Err(error) => wrong.push(format!("{sql}: {error}")),
            Ok(frame) => {
                let name = frame.columns().pop().unwrap();
                if name != expected {
                    wrong.push(format!("{sql}: named {name}, Spark says {expected}"));
                }
                // Spark's nullability of nested fields is not part of this comparison.
                let data_type = frame.schema().unwrap().fields[0].data_type.sql();
                let spark = case["type"].as_str().unwrap().replace(" NOT NULL", "");
                if data_type.replace(" NOT NULL", "") != spark {
                    wrong.push(format!("{sql}: type {data_type}, Spark says {spark}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 110, "only {compared} cases were compared");
}
