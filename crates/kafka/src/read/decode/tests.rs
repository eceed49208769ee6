use super::*;
use crate::config::{KafkaConfig, ReadMode};
use crate::read::ReadOptions;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream_wire::{BatchBuilder, Codec, Producer, control_marker};
use proptest::prelude::*;

fn decoder(committed: bool, options: ReadOptions) -> Decoder {
    let pairs =
        [("kafka.bootstrap.servers", "h:1"), ("subscribe", "t"), ("includeHeaders", "true")];
    let config = KafkaConfig::from_options(&pairs.into_iter().collect(), ReadMode::Stream).unwrap();
    let columns = Columns::new(&config.schema(), None, &options).unwrap();
    Decoder::new(columns, committed, options.decompressed_bytes_max, Arc::default())
}

fn chunk(records: Vec<u8>, from: i64, end: i64, aborted: &[(i64, i64)]) -> Chunk {
    Chunk {
        origin: Origin { topic: "t".into(), partition: 0 },
        from,
        end,
        records: records.into(),
        aborted: aborted.to_vec(),
        permit: None,
    }
}

fn decode(mut decoder: Decoder, chunk: Chunk) -> Result<Vec<i64>> {
    decoder.feed(chunk);
    while decoder.step()? {}
    let mut batches: Vec<RecordBatch> = std::iter::from_fn(|| decoder.pop()).collect();
    batches.extend(decoder.finish()?);
    let offsets = batches.iter().flat_map(|b| {
        b.column(4).as_primitive::<Int64Type>().values().iter().copied().collect::<Vec<_>>()
    });
    Ok(offsets.collect())
}

fn plain(base: i64, count: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(base).codec(Codec::Lz4);
    for n in 0..count {
        builder.push(n.into(), Some(b"k"), Some(b"v"), &[("h", None)]);
    }
    builder.build().unwrap().to_vec()
}

fn transactional(base: i64, count: i32, id: i64) -> Vec<u8> {
    let producer = Producer { id, epoch: 0, base_sequence: 0 };
    let mut builder = BatchBuilder::new(base).producer(producer).transactional();
    for _ in 0..count {
        builder.push(0, None, Some(b"v"), &[]);
    }
    builder.build().unwrap().to_vec()
}

fn marker(at: i64, id: i64, commit: bool) -> Vec<u8> {
    let producer = Producer { id, epoch: 0, base_sequence: 0 };
    control_marker(at, 0, producer, commit, 0, 0).unwrap().to_vec()
}

#[test]
fn offsets_outside_the_range_are_left_out() {
    let data = [plain(0, 10), plain(10, 10), plain(20, 10)].concat();
    let read = decode(decoder(false, ReadOptions::default()), chunk(data, 5, 23, &[])).unwrap();
    assert_eq!(read, (5..23).collect::<Vec<_>>());
}

#[test]
fn one_record_batch_becomes_several_arrow_batches() {
    let mut decoder = decoder(false, ReadOptions { batch_rows: 4, ..ReadOptions::default() });
    decoder.feed(chunk(plain(0, 10), 0, 10, &[]));
    while decoder.step().unwrap() {}
    let sizes: Vec<usize> = std::iter::from_fn(|| decoder.pop()).map(|b| b.num_rows()).collect();
    assert_eq!(sizes, [4, 4]);
    assert_eq!(decoder.finish().unwrap().unwrap().num_rows(), 2);
    assert!(decoder.finish().unwrap().is_none());
}

#[test]
fn aborted_records_are_left_out_per_producer_and_transaction() {
    // Producer 1 aborts 0-1 and 5, then commits 8; producer 2 commits 2-3 in between.
    let data = [
        transactional(0, 2, 1),
        transactional(2, 2, 2),
        marker(4, 1, false),
        transactional(5, 1, 1),
        marker(6, 1, false),
        marker(7, 2, true),
        transactional(8, 1, 1),
        marker(9, 1, true),
        plain(10, 1),
    ]
    .concat();
    let aborted = [(1, 5), (1, 0)];
    let committed = decoder(true, ReadOptions::default());
    assert_eq!(decode(committed, chunk(data.clone(), 0, 11, &aborted)).unwrap(), [2, 3, 8, 10]);
    let uncommitted = decoder(false, ReadOptions::default());
    let all = decode(uncommitted, chunk(data.clone(), 0, 11, &aborted)).unwrap();
    assert_eq!(all, [0, 1, 2, 3, 5, 8, 10]);
    let later = decode(decoder(true, ReadOptions::default()), chunk(data, 5, 11, &aborted));
    assert_eq!(later.unwrap(), [8, 10], "a transaction that began before the range");
}

#[test]
fn other_control_records_end_no_transaction() {
    let producer = Producer { id: 1, epoch: 0, base_sequence: 0 };
    let mut other = BatchBuilder::new(1).producer(producer).transactional().control();
    other.push(0, Some(&[0, 0, 0, 9]), None, &[]);
    let data =
        [transactional(0, 1, 1), other.build().unwrap().to_vec(), transactional(2, 1, 1)].concat();
    let read = decode(decoder(true, ReadOptions::default()), chunk(data, 0, 3, &[(1, 0)]));
    assert_eq!(read.unwrap(), Vec::<i64>::new());
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let mut old = plain(7, 1);
    old[16] = 1;
    let error = decode(decoder(false, ReadOptions::default()), chunk(old, 0, 9, &[])).unwrap_err();
    assert_eq!(error.code(), "KAFKA_FORMAT_UNSUPPORTED");
    assert!(error.message().contains("Topic t partition 0: message format v1 at offset 7"));
    let mut broken = plain(7, 1);
    let at = broken.len() - 12;
    broken.truncate(at);
    broken[8..12].copy_from_slice(&((at - 12) as u32).to_be_bytes());
    let error =
        decode(decoder(false, ReadOptions::default()), chunk(broken, 0, 9, &[])).unwrap_err();
    assert_eq!(error.code(), "KAFKA_CORRUPT_BATCH");
    let small = ReadOptions { decompressed_bytes_max: 20, ..ReadOptions::default() };
    let error = decode(decoder(false, small), chunk(plain(0, 100), 0, 9, &[])).unwrap_err();
    assert_eq!(error.code(), "KAFKA_BATCH_TOO_LARGE");
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(
        mut data in proptest::collection::vec(any::<u8>(), 0..400),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        use_valid: bool,
    ) {
        if use_valid {
            data = [plain(0, 5), transactional(5, 3, 1), marker(8, 1, false)].concat();
        }
        for (at, xor) in flips {
            if !data.is_empty() {
                let at = at.index(data.len());
                data[at] ^= xor;
            }
        }
        let options = ReadOptions { decompressed_bytes_max: 1 << 16, ..ReadOptions::default() };
        let _ = decode(decoder(true, options), chunk(data, 0, i64::MAX, &[(1, 0)]));
    }
}
