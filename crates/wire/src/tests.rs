use crate::*;
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 64 << 20;

type OwnedHeaders = Vec<(String, Option<Vec<u8>>)>;
type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>, OwnedHeaders);

fn builder(codec: Codec, rows: &[Row]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(100).codec(codec).leader_epoch(7);
    for (timestamp, key, value, headers) in rows {
        let headers: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    builder
}

fn read_all(data: &[u8], decompressor: &mut Decompressor) -> Result<Vec<(i64, Row)>> {
    let mut rows = Vec::new();
    for batch in Batches::new(data) {
        let batch = batch?;
        batch.verify()?;
        for record in batch.records(decompressor)? {
            let record = record?;
            let mut headers = Vec::new();
            for header in record.headers.iter() {
                let header = header?;
                let key = String::from_utf8_lossy(header.key).into_owned();
                headers.push((key, header.value.map(<[u8]>::to_vec)));
            }
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            rows.push((record.offset, (record.timestamp, key, value, headers)));
        }
    }
    Ok(rows)
}

fn row() -> impl Strategy<Value = Row> {
    let bytes = || proptest::option::of(vec(any::<u8>(), 0..80));
    let headers = vec(("[a-zé]{0,8}", bytes()), 0..3);
    (-5_000_000_000_000_i64..5_000_000_000_000, bytes(), bytes(), headers)
}

fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(Codec::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn batches_round_trip(codec in codec(), batches in vec(vec(row(), 0..20), 1..4)) {
        let mut data = Vec::new();
        for rows in &batches {
            data.extend_from_slice(&builder(codec, rows).build().unwrap());
        }
        let read = read_all(&data, &mut Decompressor::new(LIMIT)).unwrap();
        let expected: Vec<(i64, Row)> = batches
            .iter()
            .flat_map(|rows| rows.iter().cloned().enumerate().map(|(i, r)| (100 + i as i64, r)))
            .collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_cut_answer_yields_exactly_its_whole_batches(codec in codec(), rows in vec(row(), 1..10), cut: prop::sample::Index) {
        let one = builder(codec, &rows).build().unwrap();
        let two = [&one[..], &one[..]].concat();
        let cut = cut.index(two.len());
        let mut batches = Batches::new(&two[..cut]);
        let whole = batches.by_ref().inspect(|b| assert!(b.is_ok())).count();
        prop_assert_eq!(whole, cut / one.len());
        let rest = cut - whole * one.len();
        prop_assert_eq!(batches.rest().len(), rest);
        if rest >= HEADER_LEN {
            prop_assert_eq!(batches.cut_batch_len(), Some(one.len()));
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_outside_the_checksum(codec in codec(), rows in vec(row(), 1..10), bit: prop::sample::Index) {
        let good = builder(codec, &rows).build().unwrap();
        let mut bad = good.to_vec();
        let bit = bit.index(bad.len() * 8);
        bad[bit / 8] ^= 1 << (bit % 8);
        let read = read_all(&bad, &mut Decompressor::new(LIMIT));
        // Base offset and leader epoch are the broker's to change; a length can make it a cut one.
        if (17..bad.len()).contains(&(bit / 8)) {
            prop_assert!(read.is_err(), "bit {} went unnoticed", bit);
        }
    }

    #[test]
    fn flips_without_the_checksum_never_panic(codec in codec(), rows in vec(row(), 1..10), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bad = builder(codec, &rows).build().unwrap().to_vec();
        for (at, xor) in flips {
            let at = at.index(bad.len());
            bad[at] ^= xor;
        }
        let mut decompressor = Decompressor::new(1 << 20);
        for batch in Batches::new(&bad) {
            let Ok(batch) = batch else { break };
            let Ok(records) = batch.records(&mut decompressor) else { break };
            for record in records {
                let Ok(record) = record else { break };
                prop_assert!(record.headers.iter().count() <= record.headers.len());
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(data in vec(any::<u8>(), 0..300)) {
        let _ = read_all(&data, &mut Decompressor::new(1 << 16));
        let mut with_magic = data;
        if with_magic.len() > 16 {
            with_magic[16] = 2;
        }
        let _ = read_all(&with_magic, &mut Decompressor::new(1 << 16));
    }
}

#[test]
fn attributes_and_producer_come_back() {
    let producer = Producer { id: 9, epoch: 3, base_sequence: 40 };
    let mut builder = BatchBuilder::new(5).producer(producer).transactional();
    builder.push(10, None, Some(b"v"), &[]).push(30, Some(b"k"), None, &[]);
    let data = builder.build().unwrap();
    let header = BatchHeader::parse(&data).unwrap().unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (5, 6, 7));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 3, 40));
    assert_eq!((header.base_timestamp, header.max_timestamp, header.record_count), (10, 30, 2));
    assert!(header.is_transactional() && !header.is_control());
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(header.length, data.len());
}

#[test]
fn log_append_time_replaces_every_timestamp() {
    let mut builder = BatchBuilder::new(0).log_append_time(777);
    builder.push(1, None, None, &[]).push(2, None, None, &[]);
    let rows = read_all(&builder.build().unwrap(), &mut Decompressor::new(LIMIT)).unwrap();
    assert!(rows.iter().all(|(_, row)| row.0 == 777));
}

#[test]
fn restamping_keeps_the_checksum_right() {
    let mut builder = BatchBuilder::new(0).codec(Codec::Zstd);
    builder.push(1, None, Some(b"a"), &[]).push(2, None, Some(b"b"), &[]);
    let mut data = builder.build().unwrap().to_vec();
    let header = restamp(&mut data, 50, 4, None).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.leader_epoch), (50, 51, 4));
    let rows = read_all(&data, &mut Decompressor::new(LIMIT)).unwrap();
    assert_eq!(rows.iter().map(|(o, r)| (*o, r.0)).collect::<Vec<_>>(), [(50, 1), (51, 2)]);
    restamp(&mut data, 60, 4, Some(99)).unwrap();
    let rows = read_all(&data, &mut Decompressor::new(LIMIT)).unwrap();
    assert_eq!(rows.iter().map(|(o, r)| (*o, r.0)).collect::<Vec<_>>(), [(60, 99), (61, 99)]);
    data.push(0);
    assert!(matches!(restamp(&mut data, 0, 0, None), Err(WireError::Malformed { .. })));
}

#[test]
fn control_markers_say_commit_or_abort() {
    for (commit, expected) in [(true, ControlType::Commit), (false, ControlType::Abort)] {
        let producer = Producer { id: 4, epoch: 1, base_sequence: 0 };
        let data = control_marker(8, 0, producer, commit, 2, 5).unwrap();
        let batch = Batches::new(&data).next().unwrap().unwrap();
        assert!(batch.header.is_control() && batch.header.is_transactional());
        let mut decompressor = Decompressor::new(LIMIT);
        let record = batch.records(&mut decompressor).unwrap().next().unwrap().unwrap();
        assert_eq!(ControlType::parse(record.key), Some(expected));
    }
    assert_eq!(ControlType::parse(Some(&[0, 0, 0, 2])), Some(ControlType::Other(2)));
    assert_eq!(ControlType::parse(Some(&[0, 0])), None);
    assert_eq!(ControlType::parse(None), None);
}

#[test]
fn compaction_holes_and_emptied_batches_keep_the_next_offset() {
    let mut builder = BatchBuilder::new(10);
    builder.push_at(2, 1, None, Some(b"x"), &[]).push_at(5, 1, None, Some(b"y"), &[]);
    let data = builder.ends_at_delta(9).build().unwrap();
    assert_eq!(BatchHeader::parse(&data).unwrap().unwrap().next_offset(), 20);
    let rows = read_all(&data, &mut Decompressor::new(LIMIT)).unwrap();
    assert_eq!(rows.iter().map(|(o, _)| *o).collect::<Vec<_>>(), [12, 15]);
    let emptied = BatchBuilder::new(20).ends_at_delta(4).build().unwrap();
    assert_eq!(BatchHeader::parse(&emptied).unwrap().unwrap().next_offset(), 25);
    assert!(read_all(&emptied, &mut Decompressor::new(LIMIT)).unwrap().is_empty());
}

#[test]
fn raw_snappy_is_read_as_well() {
    let mut builder = BatchBuilder::new(0);
    builder.push(1, None, Some(b"plain plain plain plain"), &[]);
    let plain = builder.build().unwrap();
    let body = snap::raw::Encoder::new().compress_vec(&plain[HEADER_LEN..]).unwrap();
    let mut decompressor = Decompressor::new(LIMIT);
    let read = decompressor.decompress(Codec::Snappy, &body, 0).unwrap();
    assert_eq!(read, &plain[HEADER_LEN..]);
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let zeros = vec![0_u8; 8 << 20];
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(3).codec(codec);
        builder.push(1, None, Some(&zeros), &[]);
        let data = builder.build().unwrap();
        let read = read_all(&data, &mut Decompressor::new(1 << 20));
        assert_eq!(
            read,
            Err(WireError::TooLarge { offset: 3, limit: 1 << 20 }),
            "{}",
            codec.name()
        );
        assert_eq!(read_all(&data, &mut Decompressor::new(9 << 20)).unwrap().len(), 1);
    }
}

#[test]
fn the_buffer_of_a_huge_batch_is_given_back() {
    let mut builder = BatchBuilder::new(0).codec(Codec::Lz4);
    builder.push(1, None, Some(&vec![1; 2 << 20]), &[]);
    let data = builder.build().unwrap();
    let mut decompressor = Decompressor::new(LIMIT);
    read_all(&data, &mut decompressor).unwrap();
    assert!(decompressor.capacity() >= 2 << 20);
    decompressor.shrink(1 << 20);
    assert_eq!(decompressor.capacity(), 0);
}

#[test]
fn old_and_unknown_formats_are_refused_by_name() {
    for magic in [0_u8, 1] {
        let mut data = BatchBuilder::new(12).build().unwrap().to_vec();
        data[16] = magic;
        let error = Batches::new(&data).next().unwrap().unwrap_err();
        assert_eq!(error, WireError::OldMagic { magic: magic as i8, offset: 12 });
        assert!(error.to_string().contains(&format!("message format v{magic}")));
    }
    let mut data = BatchBuilder::new(12).build().unwrap().to_vec();
    data[16] = 3;
    let mut batches = Batches::new(&data);
    assert_eq!(batches.next(), Some(Err(WireError::UnknownMagic { magic: 3, offset: 12 })));
    assert!(batches.next().is_none(), "iteration ends after an error");
}

#[test]
fn contradictions_are_malformed() {
    let good = {
        let mut builder = BatchBuilder::new(0);
        builder.push(1, Some(b"k"), Some(b"v"), &[]);
        builder.build().unwrap()
    };
    let records = |data: &[u8]| -> Result<usize> {
        let mut decompressor = Decompressor::new(LIMIT);
        let batch = Batches::new(data).next().unwrap()?;
        batch.records(&mut decompressor)?.try_fold(0, |n, r| r.map(|_| n + 1))
    };
    let mut more = good.to_vec();
    more[60] = 2;
    assert!(matches!(records(&more), Err(WireError::Malformed { .. })), "fewer than counted");
    let mut fewer = good.to_vec();
    fewer[60] = 0;
    assert!(matches!(records(&fewer), Err(WireError::Malformed { .. })), "more than counted");
    let mut short = good.to_vec();
    short[11] = 1;
    assert!(matches!(records(&short), Err(WireError::Malformed { .. })), "length below a header");
    let mut codec = good.to_vec();
    codec[22] = 5;
    assert_eq!(records(&codec), Err(WireError::UnknownCodec { offset: 0, id: 5 }));
    let mut negative = good.to_vec();
    negative[0] = 0x80;
    assert!(matches!(records(&negative), Err(WireError::Malformed { .. })), "negative offset");
}
