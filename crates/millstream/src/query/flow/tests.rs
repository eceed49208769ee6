//! A bound plan of a real flow, over a broker, executed here and after a journey as bytes.

use super::*;
use crate::dataframe::DataFrame;
use crate::plan::{BatchBinding, DeadLetterRequest, bind, decode_bound, encode_bound};
use crate::query::assemble::{FlowSpec, SinkSpec, assemble};
use crate::session::Session;
use crate::sources::SourceScans;
use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use datafusion::physical_plan::{ExecutionPlan, collect};
use millstream_core::contract::Limit;
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::options::OptionMap;
use millstream_delta::DeltaSinkOptions;
use millstream_testkit::{KafkaHarness, TestRecord};
use millstream_wire::Codec;
use std::path::Path;
use std::sync::atomic::Ordering;
use uuid::Uuid;

const RECORDS: usize = 900;
const PARTITIONS: i32 = 3;
/// A record in so many does not decode.
const BAD_EVERY: usize = 10;
const BATCH_TIME_MS: i64 = 1_700_000_000_000;

async fn kafka() -> KafkaHarness {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("orders", PARTITIONS).await;
    let mut producer = kafka.producer().await;
    for partition in 0..PARTITIONS {
        let records: Vec<TestRecord> = (0..RECORDS / 3)
            .map(|n| {
                let value = match n % BAD_EVERY {
                    3 => "{broken".to_owned(),
                    _ => format!("{{\"id\":{n},\"name\":\"n{partition}\",\"price\":\"{n}.25\"}}"),
                };
                TestRecord::value(value).key(format!("k{n}")).header("trace", Some(b"t"))
            })
            .collect();
        producer.produce("orders", partition, &records, Codec::Zstd).await;
    }
    kafka
}

/// The flow of a query with casts, functions, batch time and a filter, into a table whose types
/// are not the query's.
async fn flow(session: &Session, kafka: &KafkaHarness, directory: &Path, letters: bool) -> Flow {
    let frame = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", kafka.bootstrap_servers())
        .option("subscribe", "orders")
        .option("startingOffsets", "earliest")
        .option("minPartitions", 5)
        .option("kafka.client.id", "planner")
        .load()
        .unwrap()
        .select_expr([
            "from_json(CAST(value AS STRING), 'id BIGINT, name STRING, price DECIMAL(9,2)') AS data",
            "topic",
            "partition",
            "offset",
            "CAST(key AS STRING) AS k",
        ])
        .unwrap()
        .filter(crate::functions::expr("partition < 2 OR offset > 5").unwrap())
        .unwrap()
        .select_expr([
            "data.id % 7 AS id",
            "upper(data.name) AS name",
            "data.price * 2 AS price",
            "concat(k, '-', topic) AS k",
            "date_format(current_timestamp(), 'yyyy-MM-dd HH:mm') AS seen",
            "CASE WHEN data.id IS NULL THEN 'none' ELSE CAST(data.id AS STRING) END AS kind",
            "partition",
            "offset",
        ])
        .unwrap();
    let request = DeadLetterRequest { target: String::new(), casts: Vec::new() };
    flow_of(session, &frame, letters.then_some(&request), directory).await
}

async fn flow_of(
    session: &Session,
    frame: &DataFrame,
    letters: Option<&DeadLetterRequest>,
    directory: &Path,
) -> Flow {
    let spec = FlowSpec {
        name: None,
        plan: frame.flow_plan(letters).unwrap(),
        sink: SinkSpec::Delta(Box::new(DeltaSinkOptions::new(directory.join("t")))),
        dead_letters: letters.map(|_| directory.join("letters")),
        checkpoint: directory.join("checkpoint"),
        trigger: Trigger::AvailableNow,
        listeners: Vec::new(),
    };
    assemble(session, spec).await.unwrap()
}

fn tap(flow: &Flow) -> Option<Arc<DeadLetterTap>> {
    let letters = flow.dead_letters.as_ref()?;
    let attempt = AttemptId(Uuid::from_u128(flow.checkpoint.as_os_str().len() as u128));
    Some(DeadLetterTap::new(letters.sink.clone(), QueryId(Uuid::nil()), BatchId(0), attempt))
}

async fn bound(
    flow: &Flow,
    rows: &Arc<AtomicU64>,
    tap: Option<&Arc<DeadLetterTap>>,
) -> Arc<dyn ExecutionPlan> {
    let start = flow.sources[0].initial_position().await.unwrap();
    let admitted = flow.sources[0].admit(&start, None, Limit::None).await.unwrap();
    let scans = flow.scans(&[admitted.range.unwrap()], std::slice::from_ref(rows), tap).unwrap();
    bind(&flow.template, &BatchBinding { batch_time_ms: BATCH_TIME_MS, scans }).unwrap()
}

/// The rows as text, sorted: a multiset.
async fn rows(plan: Arc<dyn ExecutionPlan>) -> Vec<String> {
    let line = |batch: &RecordBatch, row: usize| {
        let cells = batch.columns().iter().map(|c| array_value_to_string(c, row).unwrap());
        cells.collect::<Vec<_>>().join("|")
    };
    let batches = collect(plan, Arc::new(TaskContext::default())).await.unwrap();
    let mut lines: Vec<String> =
        batches.iter().flat_map(|b| (0..b.num_rows()).map(move |row| line(b, row))).collect();
    lines.sort();
    lines
}

/// Takes the bytes apart as their readers do: JSON inside JSON inside a protocol buffer would hide
/// a text from a plain search only by escaping it, so the search is for something without escapes.
fn holds(bytes: &[u8], text: &str) -> bool {
    // The plan is an array of numbers in the envelope.
    let envelope: Value = serde_json::from_slice(bytes).unwrap();
    let numbers = envelope["plan"].as_array().unwrap().iter();
    let plan: Vec<u8> = numbers.map(|n| u8::try_from(n.as_u64().unwrap()).unwrap()).collect();
    [bytes, &plan].iter().any(|b| b.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_over_kafka_yields_the_same_rows_after_its_journey() {
    let (kafka, directory) = (kafka().await, tempfile::tempdir().unwrap());
    let here = Session::builder().config("spark.sql.session.timeZone", "Asia/Tokyo").build();
    let here = here.unwrap();
    let flow = flow(&here, &kafka, directory.path(), false).await;
    let read = Arc::new(AtomicU64::new(0));
    let plan = bound(&flow, &read, None).await;
    let bytes = encode_bound(&plan, &here.conf()).unwrap();
    // Records that come later belong to later batches.
    let late = [TestRecord::value("{\"id\":1}")];
    kafka.producer().await.produce("orders", 0, &late, Codec::None).await;

    let there = Session::builder().build().unwrap();
    let context = there.streaming_state().task_ctx();
    let again = decode_bound(&bytes, &context, Arc::new(there.scan_resolver())).unwrap();
    let expected = rows(plan).await;
    assert_eq!(expected.len(), RECORDS - 6, "partition 2 loses offsets 0 to 5");
    assert!(expected.iter().any(|row| row.contains("|N1|")), "{expected:?}");
    assert!(expected.iter().all(|row| row.contains("|2023-11-15 07:13|")), "{expected:?}");
    assert_eq!(rows(Arc::clone(&again)).await, expected);
    assert_eq!(read.load(Ordering::Relaxed), RECORDS as u64, "only the original was counted");
    // What was decoded can travel on.
    let once_more = encode_bound(&again, &here.conf()).unwrap();
    assert_eq!(once_more, bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_told_apart_after_the_journey_as_before() {
    let (kafka, directory) = (kafka().await, tempfile::tempdir().unwrap());
    let session = Session::builder().build().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("number two"));
    let here = flow(&session, &kafka, &one, true).await;
    let there = flow(&session, &kafka, &two, true).await;
    let (letters, letters_there) = (tap(&here).unwrap(), tap(&there).unwrap());
    let plan = bound(&here, &Arc::default(), Some(&letters)).await;
    let bytes = encode_bound(&plan, &session.conf()).unwrap();
    let context = session.streaming_state().task_ctx();

    let no_place = decode_bound(&bytes, &context, Arc::new(session.scan_resolver()));
    assert_eq!(no_place.unwrap_err().code(), "DEAD_LETTERS_NO_TABLE");

    let resolver = session.scan_resolver().dead_letters(Arc::clone(&letters_there));
    let again = decode_bound(&bytes, &context, Arc::new(resolver)).unwrap();
    let expected = rows(plan).await;
    assert_eq!(rows(again).await, expected);
    let count = |tap: Arc<DeadLetterTap>| -> u64 {
        tap.finish().unwrap().iter().map(|output| output.rows).sum()
    };
    assert_eq!(count(letters), (RECORDS / BAD_EVERY) as u64);
    assert_eq!(count(letters_there), (RECORDS / BAD_EVERY) as u64);
    assert_eq!(expected.len(), RECORDS - RECORDS / BAD_EVERY - 5, "offset 3 of the six is bad");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_casts_travel_with_their_settings() {
    let (kafka, directory) = (KafkaHarness::embedded(), tempfile::tempdir().unwrap());
    kafka.admin().await.create_topic("orders", 1).await;
    let values = ["{\"a\":\"1\"}", "{\"a\":\"x\"}", "{\"a\":\"1.5\"}", "no json", "{\"a\":null}"];
    let records: Vec<TestRecord> = values.iter().map(|v| TestRecord::value(*v)).collect();
    kafka.producer().await.produce("orders", 0, &records, Codec::None).await;
    // ANSI off here, on there: the plan keeps what it was written under.
    let session = Session::builder().config("spark.sql.ansi.enabled", "false").build().unwrap();
    let frame = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", kafka.bootstrap_servers())
        .option("subscribe", "orders")
        .option("startingOffsets", "earliest")
        .load()
        .unwrap()
        .select_expr(["from_json(CAST(value AS STRING), 'a STRING') AS data", "offset"])
        .unwrap()
        .select_expr([
            "CAST(CAST(data.a AS DOUBLE) AS TIMESTAMP) AS t",
            "CAST(data.a AS INT) AS n",
            "offset",
        ])
        .unwrap();
    let casts = vec!["n".to_owned(), "t".to_owned()];
    let request = DeadLetterRequest { target: String::new(), casts };
    let here = flow_of(&session, &frame, Some(&request), &directory.path().join("one")).await;
    let there = flow_of(&session, &frame, Some(&request), &directory.path().join("two")).await;
    let (letters, letters_there) = (tap(&here).unwrap(), tap(&there).unwrap());
    let plan = bound(&here, &Arc::default(), Some(&letters)).await;
    let bytes = encode_bound(&plan, &session.conf()).unwrap();
    let other = Session::builder().build().unwrap();
    let resolver = other.scan_resolver().dead_letters(Arc::clone(&letters_there));
    let context = other.streaming_state().task_ctx();
    let again = decode_bound(&bytes, &context, Arc::new(resolver)).unwrap();
    assert_eq!(encode_bound(&again, &session.conf()).unwrap(), bytes);
    let expected = rows(plan).await;
    assert_eq!(expected, ["1970-01-01T00:00:01Z|1|0", "||4"]);
    assert_eq!(rows(again).await, expected);
    for letters in [letters, letters_there] {
        let outputs = letters.finish().unwrap();
        assert_eq!(outputs.iter().map(|output| output.rows).sum::<u64>(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_travelling_plan_names_its_brokers_and_holds_no_secret() {
    let (kafka, directory) = (kafka().await, tempfile::tempdir().unwrap());
    let session = Session::builder().build().unwrap();
    let flow = flow(&session, &kafka, directory.path(), false).await;
    let plan = bound(&flow, &Arc::default(), None).await;
    let bytes = encode_bound(&plan, &session.conf()).unwrap();
    assert!(holds(&bytes, &kafka.bootstrap_servers()));
    assert!(holds(&bytes, "planner"), "the search finds what is there");

    // What the process that runs the plan adds to its own connections stays with it.
    let own: OptionMap = [("kafka.client.id", "hunter2")].into_iter().collect();
    let resolver = Arc::new(SourceScans::new(session.env()).connection(own));
    let context = session.streaming_state().task_ctx();
    let again = decode_bound(&bytes, &context, resolver).unwrap();
    assert!(!holds(&encode_bound(&again, &session.conf()).unwrap(), "hunter2"));
    assert_eq!(rows(again).await, rows(plan).await);
}

#[test]
fn a_damaged_description_is_refused() {
    use crate::plan::ScanResolver as _;
    let resolver = Session::builder().build().unwrap().scan_resolver();
    let kafka = serde_json::json!({
        "scan": "kafka", "options": {"kafka.bootstrap.servers": "h:1", "subscribe": "t"},
        "batchRead": false, "tasks": [], "batchRows": 1, "batchBytes": 1, "prefetchBytes": 1,
        "decompressedBytesMax": 1,
    });
    let nested = serde_json::json!({
        "scan": "decoding", "source": "", "schema": "", "decoding": {},
        "records": {"scan": "decoding"},
    });
    for damaged in [Value::Null, serde_json::json!({"scan": "tape"}), kafka, nested] {
        let error = resolver.scan(0, &damaged).unwrap_err();
        assert_eq!(error.code(), "PLAN_MALFORMED", "{damaged}");
    }
}
