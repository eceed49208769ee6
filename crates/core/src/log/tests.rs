use super::*;
use crate::contract::{Position, SourceRange, Staged};
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId, RunId};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const METADATA: &[u8] = include_bytes!("../../tests/data/spark-4.2/metadata");
const OFFSETS: &[u8] = include_bytes!("../../tests/data/spark-4.2/offsets/0");
const COMMITS: &[u8] = include_bytes!("../../tests/data/spark-4.2/commits/0");
const SOURCES: &[u8] = include_bytes!("../../tests/data/spark-4.2/sources/0/0");

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn intent() -> Intent {
    Intent {
        query: QueryId(uuid(1)),
        batch: BatchId(3),
        id: uuid(2),
        previous: Some(Digest::of(b"before")),
        epoch: Epoch(7),
        run: RunId(uuid(3)),
        batch_time_ms: 1_795_245_388_151,
        watermark_ms: 0,
        input_watermarks_ms: vec![],
        plan: "4f2a".into(),
        sources: vec![
            Some(SourceRange {
                start: Position(json!({"one": {"0": 1, "1": 0}})),
                end: Position(json!({"one": {"0": 5, "1": 9}})),
                detail: json!({"topicIds": {"one": "x"}}),
            }),
            None,
        ],
    }
}

fn prepared() -> Prepared {
    Prepared {
        query: QueryId(uuid(1)),
        batch: BatchId(3),
        attempt: AttemptId(uuid(9)),
        digest: Digest::of(b"intent"),
        epoch: Epoch(7),
        run: RunId(uuid(3)),
        sinks: vec![Staged(json!({"adds": [{"path": "p"}]})), Staged(Value::Null)],
        state: vec![],
        next_watermark_ms: 12,
        input_watermarks_ms: vec![12],
        metrics: Metrics { rows_in: vec![14], rows_out: vec![13, 1], extra: Value::Null },
    }
}

fn entry(batch: u64) -> LedgerEntry {
    LedgerEntry {
        query: QueryId(uuid(1)),
        batch: BatchId(batch),
        digest: Digest::of(b"intent"),
        previous: None,
        planner: Planner::Other,
        attempt: None,
        epoch: Epoch(7),
        batch_time_ms: 1,
        sources: vec![None],
        rows_in: Some(vec![1]),
        rows_out: None,
    }
}

fn lease() -> Lease {
    Lease {
        query: QueryId(uuid(1)),
        epoch: Epoch(7),
        run: RunId(uuid(3)),
        process: 42,
        claimed_ms: 5,
    }
}

fn identity() -> Identity {
    Identity {
        query: QueryId(uuid(1)),
        revision: 0,
        engine: "millstream 0.1.0".into(),
        plan: json!({"fingerprint": "4f2a"}),
        sources: vec![json!({"kind": "kafka", "subscribe": "one"})],
        sinks: vec![json!({"kind": "delta", "path": "/t", "id": "x"})],
        state: Value::Null,
    }
}

/// Round trip, and nothing but the exact bytes is accepted.
fn only_the_exact_bytes<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
    let bytes = record.encode().unwrap();
    assert_eq!(&R::decode(&bytes).unwrap(), record);
    for end in 0..bytes.len() {
        let error = R::decode(&bytes[..end]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {end}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let error = R::decode(&flipped).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}, bit {bit}");
        }
        let mut zeroed = bytes.clone();
        zeroed[at..].fill(0);
        assert!(R::decode(&zeroed).is_err(), "zeros from {at}");
    }
    let mut longer = bytes.clone();
    longer.push(b'\n');
    assert!(R::decode(&longer).is_err());
}

#[test]
fn every_cut_and_every_flipped_bit_of_our_files_is_noticed() {
    only_the_exact_bytes(&intent());
    only_the_exact_bytes(&prepared());
    only_the_exact_bytes(&entry(3));
    only_the_exact_bytes(&LedgerSegment { query: lease().query, entries: vec![entry(3)] });
    only_the_exact_bytes(&lease());
    only_the_exact_bytes(&identity());
}

#[test]
fn cut_and_changed_files_have_different_codes() {
    let bytes = lease().encode().unwrap();
    let code = |bytes: &[u8]| Lease::decode(bytes).unwrap_err().code();
    assert_eq!(code(b""), "CHECKPOINT_FILE_TORN");
    assert_eq!(code(&bytes[..bytes.len() - 1]), "CHECKPOINT_FILE_TORN");
    assert_eq!(code(&bytes[..20]), "CHECKPOINT_FILE_TORN");
    let mut changed = bytes.clone();
    changed[30] ^= 1;
    assert_eq!(code(&changed), "CHECKPOINT_FILE_DAMAGED");
    // Whole, but something else.
    assert_eq!(code(&identity().encode().unwrap()), "CHECKPOINT_FILE_DAMAGED");
}

#[test]
fn records_have_a_largest_size() {
    let code = |bytes: usize| Lease::decode(&vec![0; bytes]).unwrap_err().code();
    assert_eq!(code(256 << 20), "CHECKPOINT_FILE_TORN");
    assert_eq!(code((256 << 20) + 1), "CHECKPOINT_FILE_DAMAGED");
}

#[test]
fn json_keeps_every_kind_of_value() {
    let text =
        r#"{"a":1.5,"b":null,"c":"x\n","d":true,"e":-1,"f":18446744073709551615,"g":[[],{}]}"#;
    assert_eq!(strict::parse(text).unwrap().to_string(), text);
    assert!(strict::parse(r#"{"a":1,"a":1}"#).is_err());
    assert!(strict::parse("1 2").is_err());
}

#[test]
fn confs_are_taken_out_and_checksum_twins_have_hadoops_name() {
    let mut conf = Conf::default();
    conf.set("a", "1");
    conf.set("b", "2");
    conf.remove("a");
    assert_eq!(conf.iter().collect::<Vec<_>>(), [("b", "2")]);
    assert_eq!(hadoop_twin("7"), ".7.crc");
}

#[test]
fn sources_of_version_2_have_plain_names() {
    let text = "v2\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1,\"conf\":{}}\na_B9:1\nc:-";
    let offsets = OffsetsFile::decode(text.as_bytes()).unwrap();
    assert_eq!(offsets.sources, [Some(Position(json!(1))), None]);
}

#[test]
fn a_newer_version_is_named_as_such() {
    let old = String::from_utf8(lease().encode().unwrap()).unwrap();
    let body = old.rsplit_once("sha256:").unwrap().0.replace("lease v1", "lease v2");
    let bytes = format!("{body}sha256:{}\n", Digest::of(body.as_bytes()));
    let error = Lease::decode(bytes.as_bytes()).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("CHECKPOINT_VERSION_NEWER", ErrorKind::Invalid));
    for (bytes, what) in [(&b"v3\n{}\n1"[..], "offsets"), (b"v9\n{}", "offsets")] {
        assert_eq!(OffsetsFile::decode(bytes).unwrap_err().code(), error.code(), "{what}");
    }
    assert_eq!(CommitFile::decode(b"v4\n{}").unwrap_err().code(), error.code());
}

#[test]
fn sparks_own_files_are_read_and_written_byte_for_byte() {
    let metadata = Metadata::decode(METADATA).unwrap();
    assert_eq!(metadata.id.to_string(), "4077a053-3254-4644-9959-6babc266d209");
    assert_eq!(metadata.encode(), METADATA);

    let offsets = OffsetsFile::decode(OFFSETS).unwrap();
    assert_eq!(offsets.encode(), OFFSETS);
    assert_eq!(offsets.intent().unwrap(), None);
    assert_eq!(offsets.sources, [Some(Position(json!({"one": {"0": 1}})))]);

    let commit = CommitFile::decode(COMMITS).unwrap();
    assert_eq!(commit.encode(), COMMITS);
    assert_eq!(commit, CommitFile::new(0));

    let start = SourceStart::decode(SOURCES).unwrap();
    assert_eq!(start.encode(), SOURCES);
    assert_eq!(start.position, Position(json!({"one": {"0": 0}})));
}

#[test]
fn a_new_query_pins_the_confs_that_spark_pins() {
    let offsets = OffsetsFile::decode(OFFSETS).unwrap();
    let conf = Conf::spark(4);
    assert_eq!(offsets.metadata.as_ref().unwrap().conf, conf);
    assert_eq!(conf.iter().count(), 15);
    let metadata = OffsetsMetadata {
        watermark_ms: 0,
        timestamp_ms: 1_795_245_388_151,
        conf,
        source_info: None,
    };
    assert_eq!(OffsetsFile::new(metadata, offsets.sources).encode(), OFFSETS);
}

#[test]
fn the_intent_key_goes_last_and_comes_back() {
    let reference = IntentRef { id: uuid(2), digest: Digest::of(b"intent") };
    let mut file = OffsetsFile::decode(OFFSETS).unwrap();
    let conf = &mut file.metadata.as_mut().unwrap().conf;
    conf.set(INTENT_KEY, reference.to_string());
    let bytes = file.encode();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(&format!(r#","millstream.intent":"{reference}"}}}}"#)), "{text}");
    assert_eq!(OffsetsFile::decode(&bytes).unwrap().intent().unwrap(), Some(reference));
    let bad = text.replace(&reference.to_string(), &reference.to_string().to_uppercase());
    let error = OffsetsFile::decode(bad.as_bytes()).unwrap().intent().unwrap_err();
    assert_eq!(error.code(), "CHECKPOINT_FILE_DAMAGED");
}

#[test]
fn odd_but_lawful_files_of_spark_are_read() {
    // No metadata line (continuous mode), a source without offsets, a bare number.
    let file = OffsetsFile::decode(b"v1\n\n-\n7").unwrap();
    assert_eq!(file.metadata, None);
    assert_eq!(file.sources, [None, Some(Position(json!(7)))]);
    assert_eq!(file.encode(), b"v1\n\n-\n7");
    // Fewer confs, and none.
    let old = b"v1\n{\"batchWatermarkMs\":5,\"batchTimestampMs\":6}\n{\"logOffset\":0}";
    let metadata = OffsetsFile::decode(old).unwrap().metadata.unwrap();
    assert_eq!((metadata.watermark_ms, metadata.timestamp_ms), (5, 6));
    // Named sources.
    let named = b"v2\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1,\"conf\":{},\"sourceMetadataInfo\":{}}\nclicks:{\"logOffset\":0}\norders:-";
    let file = OffsetsFile::decode(named).unwrap();
    assert_eq!((file.version, &*file.names), (2, &["clicks".to_owned(), "orders".into()][..]));
    assert_eq!(file.encode(), named);
    // Commits without a watermark, and with state ids.
    assert_eq!(CommitFile::decode(b"v1\n{}").unwrap().next_watermark_ms, 0);
    let state = b"v2\n{\"nextBatchWatermarkMs\":3,\"stateUniqueIds\":{\"0\":[[\"u\"]]}}";
    let commit = CommitFile::decode(state).unwrap();
    assert_eq!((commit.next_watermark_ms, commit.encode()), (3, state.to_vec()));
}

#[test]
fn what_the_grammar_lets_one_notice_is_noticed() {
    let torn: [&[u8]; 8] = [
        b"",
        b"v",
        b"v1",
        b"v1\n",
        b"v1\n{\"batchW",
        b"v1\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1}",
        b"v1\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1}\n",
        b"\0\0\0\0",
    ];
    for bytes in torn {
        let error = OffsetsFile::decode(bytes).unwrap_err();
        assert_eq!(error.code(), "CHECKPOINT_FILE_TORN", "{:?}", String::from_utf8_lossy(bytes));
    }
    let line = r#"{"batchWatermarkMs":0,"batchTimestampMs":1,"conf":{}}"#;
    for (bytes, why) in [
        (format!("v1\n{line}\n{{\"t\":{{\"0\":1,\"0\":2}}}}"), "a doubled partition"),
        (format!("v1\n{line}\n{{\"t\":1}} x"), "trailing text"),
        (format!("v1 \n{line}\n1"), "a blank in the version"),
        (format!("v01\n{line}\n1"), "a leading zero in the version"),
        ("v1\n{\"batchWatermarkMs\":0,\"batchTimestampMt\":1}\n1".into(), "a misspelt field"),
        ("v1\n{\"batchWatermarkMs\":0.5,\"batchTimestampMs\":1}\n1".into(), "a fraction"),
        (format!("v1\n{}\n1", line.replace("{}}", r#"{"millstream.intend":"x"}}"#)), "our key"),
        (format!("v1\n{}\n1", line.replace("{}}", r#"{"spark.a":1}}"#)), "a conf that is no text"),
        (format!("v2\n{line}\n1"), "a source without a name"),
        (format!("v2\n{line}\na:1\na:2"), "a name twice"),
        (format!("v2\n{line}\n:1"), "an empty name"),
        (format!("v2\n{line}\na-b:1"), "a name that is none"),
        ("v2\n\na:1".into(), "no metadata line"),
    ] {
        let error = OffsetsFile::decode(bytes.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{why}");
    }
    for bytes in [&b"v1\n{\"nextBatchWatermarkMt\":1}"[..], b"v1\n[]", b"v1\n{} ", b"x"] {
        if bytes != b"v1\n{} " {
            assert!(CommitFile::decode(bytes).is_err());
        }
    }
    assert!(SourceStart::decode(b"v1\n{}").is_err(), "the zero byte is needed");
    for id in ["4077A053-3254-4644-9959-6babc266d209", "x", ""] {
        assert!(Metadata::decode(format!("{{\"id\":\"{id}\"}}").as_bytes()).is_err(), "{id}");
    }
}

/// Cuts are always noticed; a flipped bit gives an error, or another value, or (only where
/// Spark's grammar has a second spelling) the same value.
fn cuts_are_noticed<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> crate::Result<T>,
) -> usize {
    let value = decode(bytes).unwrap();
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end]).unwrap_err().code(), "CHECKPOINT_FILE_TORN", "{end}");
    }
    let mut same = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            match decode(&flipped) {
                Ok(other) => same += usize::from(other == value),
                Err(e) => assert!(matches!(
                    e.code(),
                    "CHECKPOINT_FILE_TORN" | "CHECKPOINT_FILE_DAMAGED" | "CHECKPOINT_VERSION_NEWER"
                )),
            }
        }
    }
    same
}

#[test]
fn every_cut_of_sparks_files_is_noticed() {
    assert_eq!(cuts_are_noticed(METADATA, Metadata::decode), 0);
    assert_eq!(cuts_are_noticed(OFFSETS, OffsetsFile::decode), 0);
    assert_eq!(cuts_are_noticed(COMMITS, CommitFile::decode), 0);

    assert_eq!(cuts_are_noticed(SOURCES, SourceStart::decode), 0);
}

#[test]
fn identities_are_compared_precisely() {
    let then = identity();
    assert!(then.differences(&then).is_empty());
    let mut now = identity();
    now.engine = "millstream 9".into();
    now.revision = 4;
    assert!(then.differences(&now).is_empty());
    now.sources[0]["subscribe"] = json!("two");
    now.sinks.push(json!({"kind": "delta"}));
    let found: Vec<String> = then.differences(&now).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            r#"sources[0].subscribe: was "one", is "two""#,
            r#"sinks[1]: was nothing, is {"kind":"delta"}"#,
        ]
    );
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn records_of_ours_round_trip(
        batch: u64,
        time: i64,
        plan in "\\PC{0,20}",
        values in prop::collection::vec(prop::option::of((json_value(), json_value())), 0..4),
    ) {
        let record = Intent {
            batch: BatchId(batch),
            batch_time_ms: time,
            plan,
            sources: values
                .into_iter()
                .map(|v| v.map(|(start, end)| SourceRange::new(Position(start), Position(end))))
                .collect(),
            ..intent()
        };
        let bytes = record.encode().unwrap();
        prop_assert_eq!(Intent::decode(&bytes).unwrap(), record);
    }

    #[test]
    fn sparks_records_round_trip(
        watermark: i64,
        timestamp: i64,
        confs in prop::collection::btree_map("spark\\.[a-z.]{0,10}", "\\PC{0,10}", 0..5),
        sources in prop::collection::vec(prop::option::of(json_value()), 1..4),
    ) {
        let mut conf = Conf::default();
        for (key, value) in &confs {
            conf.set(key, value.as_str());
        }
        let file = OffsetsFile::new(
            OffsetsMetadata { watermark_ms: watermark, timestamp_ms: timestamp, conf, source_info: None },
            sources.into_iter().map(|s| s.map(Position)).collect(),
        );
        prop_assert_eq!(OffsetsFile::decode(&file.encode()).unwrap(), file);
        let commit = CommitFile::new(watermark);
        prop_assert_eq!(CommitFile::decode(&commit.encode()).unwrap(), commit);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Intent::decode(&bytes);
        let _ = OffsetsFile::decode(&bytes);
        let _ = CommitFile::decode(&bytes);
        let _ = SourceStart::decode(&bytes);
        let _ = Metadata::decode(&bytes);
    }
}
