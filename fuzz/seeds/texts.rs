//! Texts: SQL, JSON, schemas, options, dates and numbers.

use crate::{Seeds, root};
use millstream_types::DataType;
use serde_json::Value;
use std::fs;

fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn add(seeds: &mut Seeds) {
    sql(seeds);
    json(seeds);
    schemas(seeds);
    options(seeds);
    values(seeds);
}

fn sql(seeds: &mut Seeds) {
    for example in ["orders.sql", "raw_copy.sql", "two_flows.sql"] {
        let text = fs::read_to_string(root().join("examples").join(example)).unwrap();
        seeds.add("sql_scripts", &[4], text);
    }
    for file in ["casts", "functions", "names"] {
        for line in lines(&format!("tests/oracle/{file}.jsonl")) {
            let expression = line["sql"].as_str().unwrap();
            if expression.len() < 200 {
                seeds.add("sql_scripts", &[2], expression);
            }
        }
    }
    for (kind, text) in [
        (3, "a + b AS c"),
        (1, "WITH x AS (SELECT 1 AS a) SELECT * FROM x WHERE a IN (1, 2) ORDER BY a LIMIT 3;"),
        (1, "SELECT a, count(*) FROM STREAM orders o GROUP BY a HAVING count(*) > 1"),
        (1, "SELECT * FROM STREAM read_kafka(subscribe => 'a', `kafka.group.id` => 'g') AS k"),
        (1, "SELECT * FROM a JOIN b ON a.x = b.y UNION ALL SELECT * FROM delta.`/data/orders`"),
        (1, "SELECT CASE WHEN a THEN 1 ELSE 2 END, m['k'], s.f[0], x -> x + 1, CAST(a AS INT)"),
        (0, "SET topic = orders; -- the topic\nSET n = ${topic}_${topic};\nSELECT '${n}' FROM t"),
        (0, "SET TIME ZONE 'Europe/Paris';\nSELECT r'\\d' 'b', \"c\", 1.5BD, 1e3, X'1f', ${given}"),
        (
            0,
            "CREATE OR REFRESH STREAMING TABLE db.orders (id BIGINT NOT NULL COMMENT 'key', m \
             MAP<STRING, ARRAY<INT>>) PARTITIONED BY (d, `re gion`) LOCATION '/lake' TBLPROPERTIES \
             ('delta.appendOnly' = 'true') AS SELECT 1 AS id",
        ),
        (
            0,
            "CREATE STREAMING TABLE IF NOT EXISTS t; CREATE FLOW f AS INSERT INTO t BY NAME \
             SELECT 1 AS a",
        ),
        (0, "CREATE TEMPORARY VIEW v AS VALUES (1, 'a'), (2, NULL); /* c /* d */ */ MERGE INTO t"),
    ] {
        seeds.add("sql_scripts", &[kind], text);
        seeds.add("sql_scripts", &[kind | 4], text);
    }
}

fn json(seeds: &mut Seeds) {
    let files = [
        "tests/oracle/from_json.jsonl",
        "crates/json/tests/json/more_answers.jsonl",
        "crates/json/tests/json/random_answers.jsonl",
    ];
    for line in files.into_iter().flat_map(lines) {
        let (Some(schema), Some(input)) = (line["schema"].as_str(), line["input"].as_str()) else {
            continue;
        };
        if input.len() > 600 {
            continue;
        }
        for schema in 0..8 {
            if schema == 0 || input.len() % 7 + 1 == schema {
                seeds.add("json_decode", &[schema as u8], input);
            }
        }
        if schema.len() < 120 {
            seeds.add("json_decode", &[200], format!("{schema}\n{input}"));
        }
        for kind in 0..3 {
            seeds.add("json_functions", &[kind], format!("$.a\n{input}"));
        }
    }
    for path in ["$", "$.a.b[0]", "$['a'][*]", "$..a", "$.*", "$.a[*].b"] {
        seeds.add(
            "json_functions",
            &[0],
            format!("{path}\n{{\"a\":[{{\"b\":1}},{{\"b\":\"x\"}}]}}"),
        );
    }
    let flat = r#"{"a":-12,"b":"x\"\u00e9\ud83d\ude00y","c":1.5e-3,"d":true,"f":[1,null,3],"j":7,"k":-8,"l":9}"#;
    seeds.add("json_decode", &[0], flat);
    seeds.add("json_functions", &[2], format!("\n{flat}"));
}

fn schemas(seeds: &mut Seeds) {
    for line in lines("tests/oracle/from_json.jsonl") {
        let Some(schema) = line["schema"].as_str() else { continue };
        seeds.add("schemas", &[3], schema);
        seeds.add("schemas", &[0], schema);
        if let Ok(DataType::Struct(fields)) = DataType::parse(schema) {
            seeds.add("schemas", &[2], fields.to_json());
            seeds.add("schemas", &[1], format!("STRUCT<{}>", fields.to_ddl()));
        }
    }
    for (kind, text) in [
        (0, "a INT NOT NULL COMMENT 'it\\'s', `b c` DECIMAL(10, 2), c: ARRAY<MAP<STRING, DATE>>"),
        (0, "a STRING COLLATE UTF8_BINARY -- c\n, /* d */ b VARCHAR(3)"),
        (1, "map<int, struct<a: timestamp_ntz, b: void>>"),
        (
            2,
            "{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":{\"type\":\"map\",\"keyType\":\
             \"string\",\"valueType\":{\"type\":\"array\",\"elementType\":\"decimal(5,2)\",\
             \"containsNull\":false},\"valueContainsNull\":true},\"nullable\":true,\"metadata\":\
             {\"comment\":\"c\"}}]}",
        ),
        (3, "\"integer\""),
    ] {
        seeds.add("schemas", &[kind], text);
    }
}

fn options(seeds: &mut Seeds) {
    let lines = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(n, v)| format!("\u{7f}{n}={v}\n")).collect::<String>()
    };
    for mode in [0, 1] {
        for pairs in [
            &[("subscribe", "a, b"), ("startingOffsets", "{\"a\":{\"0\":23,\"1\":-2}}")][..],
            &[("assign", "{\"a\":[0,1]}"), ("startingTimestamp", "1700000000000")],
            &[("subscribePattern", "ev.*ts"), ("kafka.bootstrap.servers", "[::1]:9,h:10")],
            &[
                ("subscribe", "a"),
                ("maxOffsetsPerTrigger", "10"),
                ("minOffsetsPerTrigger", "2"),
                ("maxTriggerDelay", "5m"),
                ("kafka.isolation.level", "read_committed"),
            ],
            &[
                ("subscribe", "a"),
                ("endingOffsets", "{\"a\":{\"0\":99}}"),
                ("startingOffsets", "{\"a\":{\"0\":3}}"),
                ("failOnDataLoss", "false"),
                ("includeHeaders", "TRUE"),
            ],
            &[("subscribe", "a"), ("kafka.sasl.mechanism", "PLAIN")],
            &[
                ("subscribe", "a"),
                ("startingOffsetsByTimestamp", "{\"a\":{\"0\":3}}"),
                ("startingOffsetsByTimestampStrategy", "latest"),
                ("commitGroupOffsets", "true"),
                ("kafka.group.id", "g"),
                ("kafka.fetch.max.bytes", "1000"),
            ],
        ] {
            seeds.add("options", &[mode], lines(pairs));
        }
        // Names by number.
        for name in 0..60_u8 {
            seeds.add("options", &[mode], [&[name][..], b"1\n\x7fsubscribe=a"].concat());
        }
    }
    seeds.add(
        "options",
        &[2],
        lines(&[
            ("timestampFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]"),
            ("mode", "FAILFAST"),
            ("timeZone", "Europe/Paris"),
            ("maxNestingDepth", "5"),
        ]),
    );
    for name in 0..50_u8 {
        seeds.add("options", &[2], [&[name][..], b"true\n"].concat());
    }
    for text in [
        "10 seconds",
        "1 minute 30 seconds",
        "500 ms",
        "interval 3 days",
        "available-now",
        "once",
        "15m",
        "7",
        "12 us",
    ] {
        seeds.add("options", &[3], text);
    }
    for text in ["file:///a%20b", "file:/a", "s3://b/c", "a/b", "file://h/x", "startingOfsets"] {
        seeds.add("options", &[4], text);
    }
    for text in [
        "ev.*ts\nmy-events",
        "^a$\na",
        "a(?=b)\nab",
        "[a-c]+\\d{2}\nb12",
        "(?i)A|b\na",
        "a++\na",
        "\\Qa\\E\na",
    ] {
        seeds.add("topic_patterns", &[], text);
    }
}

fn values(seeds: &mut Seeds) {
    for line in lines("tests/oracle/casts.jsonl") {
        let Some(text) = line["sql"].as_str().and_then(|s| s.split('\'').nth(1)) else { continue };
        seeds.add("text_values", &[0], text);
        seeds.add("text_values", &[1, 11, 2], text);
    }
    for text in [
        "2024-02-29",
        "2024-2-9 1:2:3.456789 Europe/Paris",
        "+12345-01-01",
        "T01:02:03Z",
        "1970-01-01T00:00:00+18:00",
        "0000-01-01",
        "-0001-12-31",
    ] {
        seeds.add("text_values", &[0], text);
    }
    for text in [
        "UTC",
        "Europe/Paris",
        "America/New_York",
        "+05:30",
        "GMT-3",
        "UTC+1:02:03",
        "Z",
        "Asia/Kolkata",
        "PST",
    ] {
        seeds.add("text_values", &[2, 9, 77], text);
    }
    for text in [
        "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]\n2024-01-02T03:04:05.678+01:00",
        "dd/MM/yyyy hh:mm a\n05/06/2024 07:08 PM",
        "D uuuu\n60 2024",
        "yyMMdd\n240102",
        "HH:mm:ss.SSSSSS VV\n01:02:03.000004 Europe/Paris",
        "QQQ ''z\nQ1 'UTC",
    ] {
        seeds.add("text_values", &[3, 170, 200], text);
    }
}
