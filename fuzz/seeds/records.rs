//! Record batches, and files of checkpoints.

use crate::{Seeds, root};
use millstream_core::contract::{Position, SourceRange, Staged};
use millstream_core::ids::{AttemptId, BatchId, Digest, Epoch, QueryId, RunId};
use millstream_core::log::{
    Identity, Intent, IntentRef, Lease, LedgerEntry, LedgerSegment, Metrics, Planner, Prepared,
    Rebuilt, Record,
};
use millstream_wire::{BatchBuilder, Codec, Producer, control_marker};
use serde_json::{Value, json};
use uuid::Uuid;

pub fn add(seeds: &mut Seeds) {
    let producer = Producer { id: 7, epoch: 0, base_sequence: 0 };
    for codec in Codec::ALL {
        let bytes = batch(codec, producer);
        for flags in [0, 1, 3, 3 | 4, 3 | 8] {
            seeds.add("wire_batches", &[flags], &bytes);
        }
        seeds.add("wire_batches", &[1], [&bytes[..], &bytes[..40]].concat());
    }
    let marker = control_marker(9, 1, producer, false, 3, 5).unwrap();
    seeds.add("wire_batches", &[1], [&batch(Codec::None, producer)[..], &marker].concat());
    let mut old = batch(Codec::None, producer);
    old[16] = 1;
    seeds.add("wire_batches", &[1], old);
    let mut late = BatchBuilder::new(5).log_append_time(1_700_000_000_000).leader_epoch(3);
    late.push_at(2, 5, None, None, &[]);
    seeds.add("wire_batches", &[3], late.ends_at_delta(40).build().unwrap());
    checkpoint(seeds);
}

/// Three records: with all there is, with headers, and a tombstone.
pub fn batch(codec: Codec, producer: Producer) -> Vec<u8> {
    let mut builder = BatchBuilder::new(3).codec(codec).producer(producer).transactional();
    builder.push(1_700_000_000_000, Some(b"key"), Some(b"{\"a\":1}"), &[]);
    builder.push(1_700_000_000_100, None, Some(&[b'v'; 90]), &[("h", Some(b"x")), ("i", None)]);
    builder.push(1_700_000_000_100, Some(b"key"), None, &[]);
    builder.build().unwrap().to_vec()
}

fn checkpoint(seeds: &mut Seeds) {
    let uuid = Uuid::from_u128;
    let (query, run, epoch) = (QueryId(uuid(1)), RunId(uuid(3)), Epoch(7));
    let digest = Digest::of(b"intent");
    let range = SourceRange {
        start: Position(json!({"one": {"0": 1}})),
        end: Position(json!({"one": {"0": 5}})),
        detail: json!({"topics": {"one": uuid(4)}, "epochs": {"one": {"0": 2}}}),
    };
    let intent = Intent {
        query,
        batch: BatchId(3),
        id: uuid(2),
        previous: Some(digest),
        epoch,
        run,
        batch_time_ms: 1_795_245_388_151,
        watermark_ms: 0,
        input_watermarks_ms: vec![5],
        plan: "4f2a".into(),
        sources: vec![Some(range.clone()), None],
    };
    let prepared = Prepared {
        query,
        batch: BatchId(3),
        attempt: AttemptId(uuid(9)),
        digest,
        epoch,
        run,
        sinks: vec![Staged(json!({"adds": [{"path": "p"}]})), Staged(Value::Null)],
        state: vec![json!(1)],
        next_watermark_ms: 12,
        input_watermarks_ms: vec![12],
        metrics: Metrics { rows_in: vec![14], rows_out: vec![13, 1], extra: json!({"x": 1}) },
    };
    let entry = LedgerEntry {
        query,
        batch: BatchId(3),
        digest,
        previous: None,
        planner: Planner::Other,
        attempt: Some(AttemptId(uuid(9))),
        epoch,
        batch_time_ms: 1,
        sources: vec![None, Some(range)],
        rows_in: Some(vec![1]),
        rows_out: None,
    };
    let identity = Identity {
        query,
        revision: 1,
        engine: "millstream 0.1.0".into(),
        plan: json!({"fingerprint": "4f2a"}),
        sources: vec![json!({"format": "kafka", "subscribe": ["one"]})],
        sinks: vec![json!({"kind": "delta", "path": "/t"})],
        state: json!({"a": []}),
    };
    ours(seeds, 0, &intent);
    ours(seeds, 1, &prepared);
    ours(seeds, 2, &entry);
    ours(seeds, 3, &LedgerSegment { query, entries: vec![entry.clone(), entry] });
    ours(seeds, 4, &Lease { query, epoch, run, process: 42, claimed_ms: 5 });
    ours(seeds, 5, &identity);
    ours(seeds, 6, &Rebuilt { query, batch: BatchId(3), digest, offsets: None });

    let data = root().join("crates/core/tests/data/spark-4.2");
    for (kind, file) in [(7, "metadata"), (8, "offsets/0"), (9, "commits/0"), (10, "sources/0/0")] {
        seeds.add("checkpoint_files", &[kind], std::fs::read(data.join(file)).unwrap());
    }
    for (kind, text) in [
        (8, "v1\n\n-\n7"),
        (8, "v1\n{\"batchWatermarkMs\":5,\"batchTimestampMs\":6}\n{\"logOffset\":0}"),
        (
            8,
            "v2\n{\"batchWatermarkMs\":0,\"batchTimestampMs\":1,\"conf\":{},\"sourceMetadataInfo\":\
             {}}\nclicks:{\"logOffset\":0}\norders:-",
        ),
        (9, "v1\n{}"),
        (9, "v2\n{\"nextBatchWatermarkMs\":3,\"stateUniqueIds\":{\"0\":[[\"u\"]]}}"),
        (11, "{\"topicA\":{\"0\":23,\"1\":-1},\"topicB\":{\"0\":-2}}"),
        (11, "0\n1\n.1.crc\n10"),
        (11, "3-17"),
        (11, "identity.4"),
    ] {
        seeds.add("checkpoint_files", &[kind], text);
    }
    let named = IntentRef { id: uuid(2), digest }.to_string();
    seeds.add("checkpoint_files", &[11], &named);
    let line = format!(
        "v1\n{{\"batchWatermarkMs\":0,\"batchTimestampMs\":1,\"conf\":\
         {{\"spark.a\":\"b\",\"millstream.intent\":\"{named}\"}}}}\n{{\"one\":{{\"0\":1}}}}"
    );
    seeds.add("checkpoint_files", &[8], line);
}

/// The file as it is, and its JSON alone, for which the target makes the frame.
fn ours<R: Record>(seeds: &mut Seeds, kind: u8, record: &R) {
    let bytes = record.encode().unwrap();
    seeds.add("checkpoint_files", &[kind], &bytes);
    let json = std::str::from_utf8(&bytes).unwrap().lines().nth(1).unwrap();
    seeds.add("checkpoint_files", &[0x80 | kind], json);
}
