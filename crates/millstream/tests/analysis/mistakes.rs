//! What `check` says about typical mistakes, kept as text in `mistakes.txt`.
//!
//! Each block is a name, a file, and what is said about it. To record the answers anew after a
//! change, run the test with `MILLSTREAM_RECORD=1` and review the difference.

use millstream::pipeline::Pipeline;
use millstream::{Session, Trigger};
use millstream_core::options::OptionMap;
use std::path::Path;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/analysis/mistakes.txt");

fn load(sql: &str) -> Pipeline {
    let session = Session::builder().build().unwrap();
    Pipeline::load(&session, sql, &OptionMap::new())
}

fn says(sql: &str) -> String {
    let pipeline = load(sql);
    let all = pipeline.mistakes.iter().chain(&pipeline.warnings);
    let mut out: String = all.map(|m| format!("{m}\n")).collect();
    if out.is_empty() {
        out = "no mistakes\n".to_owned();
    }
    out
}

#[test]
fn every_mistake_has_its_place_and_its_cure() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (mut recorded, mut wrong, mut cases) = (String::new(), Vec::new(), 0);
    for block in text.split("\n### ").map(|b| b.trim_start_matches("### ")) {
        let (name, rest) = block.split_once('\n').unwrap();
        let (sql, expected) = rest.split_once("\n---\n").unwrap();
        let expected = format!("{}\n", expected.trim());
        let said = says(sql);
        if said != expected {
            wrong.push(format!("{name}:\n{said}but recorded is\n{expected}"));
        }
        if !recorded.is_empty() {
            recorded.push('\n');
        }
        recorded.push_str(&format!("### {name}\n{sql}\n---\n{said}"));
        cases += 1;
    }
    if std::env::var_os("MILLSTREAM_RECORD").is_some() {
        std::fs::write(FILE, recorded).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 40, "only {cases} cases");
}

#[test]
fn a_flow_reports_what_it_is_and_what_it_promises() {
    let pipeline = load(
        "SET topic = orders;\n\
         CREATE OR REFRESH STREAMING TABLE orders PARTITIONED BY (topic) COMMENT 'x'\n\
         AS SELECT from_json(CAST(value AS STRING), 'id BIGINT').id AS id, topic\n\
         FROM STREAM read_kafka(bootstrapServers => 'h:9092', subscribe => '${topic}',\n\
         deadLetter => '', `kafka.isolation.level` => 'read_committed');\n\
         CREATE STREAMING TABLE all_of_it LOCATION '/lake/all';\n\
         CREATE FLOW one AS INSERT INTO all_of_it BY NAME SELECT value FROM STREAM read_kafka(\n\
         bootstrapServers => 'h:9092', subscribe => 'a');\n\
         CREATE FLOW two AS INSERT INTO all_of_it BY NAME SELECT value FROM STREAM read_kafka(\n\
         bootstrapServers => 'h:9092', subscribe => 'b');",
    );
    assert_eq!(pipeline.mistakes, vec![]);
    let storage = Path::new("/lake/storage");
    let report = pipeline.flows[0].report(storage, Trigger::AvailableNow).unwrap();
    assert_eq!(report.path, Path::new("/lake/storage/orders"));
    assert_eq!(report.checkpoint, Path::new("/lake/storage/_checkpoints/orders/orders"));
    assert_eq!(
        report.dead_letters.as_deref(),
        Some(Path::new("/lake/storage/orders_dead_letters"))
    );
    assert_eq!(report.partition_by, ["topic"]);
    assert_eq!(report.sources[0].description, "KafkaV2[Subscribe[orders]]");
    assert!(report.schema.contains("id: bigint") || report.schema.contains("id: long"));
    assert!(report.guarantee.exactly_once);
    assert!(report.guarantee.to_string().starts_with("exactly-once: "));
    assert!(!report.guarantee.reason.contains("read_uncommitted"));
    let two = pipeline.flows[2].report(storage, Trigger::Once).unwrap();
    assert_eq!(two.path, Path::new("/lake/all"));
    assert_eq!(two.checkpoint, Path::new("/lake/storage/_checkpoints/all_of_it/two"));
    assert!(two.guarantee.reason.contains("read_uncommitted"));
}
