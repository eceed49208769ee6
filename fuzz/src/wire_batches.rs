//! Record batches. Half of the inputs get right checksums first, or nothing behind them would ever
//! be reached.

use crate::input::Input;
use crate::memory;
use millstream_wire::{
    Batch, BatchBuilder, BatchHeader, Batches, Codec, Decompressor, HEADER_LEN, Record, restamp,
};

/// Plain bytes of a batch.
const PLAIN_MAX: usize = 1 << 18;
/// What codecs hold besides what comes out: windows, blocks, tables.
const CODEC_BYTES: usize = 24 << 20;

const REPAIRS: u8 = 1;
const REBUILDS: u8 = 2;

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let mut bytes = input.0.to_vec();
    if flags & REPAIRS != 0 {
        repair(&mut bytes);
    }
    let mut decompressor = Decompressor::new(PLAIN_MAX);
    let mut batches = Batches::new(&bytes);
    let mut whole = 0;
    while let Some(batch) = batches.next() {
        let Ok(batch) = batch else {
            assert!(batches.next().is_none(), "nothing follows an error");
            return;
        };
        assert_eq!(batch.bytes().len(), batch.header.length);
        whole += batch.header.length;
        if batch.verify().is_err() {
            assert_eq!(flags & REPAIRS, 0, "a repaired checksum is right");
            continue;
        }
        check_batch(&batch, &mut decompressor, flags);
    }
    assert_eq!(whole + batches.rest().len(), bytes.len());
    if let Some(length) = batches.cut_batch_len() {
        assert!(length > batches.rest().len(), "a whole batch is not cut");
    }
}

/// Gives every whole batch the checksum of its bytes.
pub fn repair(bytes: &mut [u8]) {
    let mut at = 0;
    while let Ok(Some(header)) = BatchHeader::parse(&bytes[at..]) {
        let Some(batch) = bytes.get_mut(at..at + header.length) else { return };
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        at += header.length;
    }
}

fn check_batch(batch: &Batch<'_>, decompressor: &mut Decompressor, flags: u8) {
    let header = batch.header;
    assert!(header.length >= HEADER_LEN && header.base_offset >= 0);
    assert!(header.last_offset() >= header.base_offset);
    memory::bounded(2 * PLAIN_MAX + CODEC_BYTES, || {
        let Ok(mut records) = batch.records(decompressor) else { return };
        let mut good: Vec<Record<'_>> = Vec::new();
        let mut bytes = 0;
        let hint = records.size_hint().1;
        for record in records.by_ref() {
            let Ok(record) = record else { return };
            check_record(&header, &record);
            bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            assert!(bytes <= PLAIN_MAX, "records are slices of the plain bytes");
            good.push(record);
        }
        assert!(records.next().is_none());
        assert_eq!(good.len(), header.record_count as usize, "without an error all are there");
        assert!(hint.is_none_or(|most| good.len() <= most));
        if flags & REBUILDS != 0 && good.len() < 64 {
            check_rebuilt(&header, &good, Codec::ALL[usize::from(flags >> 2) % 5]);
        }
    });
    let mut copy = batch.bytes().to_vec();
    let stamped = restamp(&mut copy, 77, 5, Some(9)).unwrap();
    assert_eq!((stamped.base_offset, stamped.leader_epoch, stamped.max_timestamp), (77, 5, 9));
    Batches::new(&copy).next().unwrap().unwrap().verify().unwrap();
}

fn check_record(header: &BatchHeader, record: &Record<'_>) {
    assert!((header.base_offset..=header.last_offset()).contains(&record.offset));
    let mut headers = 0;
    for header in record.headers.iter() {
        if header.is_err() {
            return;
        }
        headers += 1;
    }
    assert_eq!(headers, record.headers.len());
}

/// The records of a batch, written anew, are the same records.
fn check_rebuilt(header: &BatchHeader, records: &[Record<'_>], codec: Codec) {
    let mut builder = BatchBuilder::new(header.base_offset).codec(codec);
    let mut written = Vec::new();
    for record in records {
        let mut headers = Vec::new();
        for header in record.headers.iter() {
            let Ok(header) = header else { return };
            let Ok(key) = std::str::from_utf8(header.key) else { return };
            headers.push((key, header.value));
        }
        let delta = i32::try_from(record.offset - header.base_offset).unwrap();
        builder.push_at(delta, record.timestamp, record.key, record.value, &headers);
        written.push((*record, headers));
    }
    let bytes = builder.build().unwrap();
    let batch = Batches::new(&bytes).next().unwrap().unwrap();
    batch.verify().unwrap();
    assert_eq!(batch.bytes().len(), bytes.len());
    let mut decompressor = Decompressor::new(2 * PLAIN_MAX);
    let again: Vec<_> = batch.records(&mut decompressor).unwrap().map(Result::unwrap).collect();
    assert_eq!(again.len(), written.len());
    for (again, (record, headers)) in again.iter().zip(&written) {
        assert_eq!((again.offset, again.timestamp), (record.offset, record.timestamp));
        assert_eq!((again.key, again.value), (record.key, record.value));
        let read: Vec<_> = again.headers.iter().map(|h| h.unwrap()).collect();
        let read: Vec<_> =
            read.iter().map(|h| (std::str::from_utf8(h.key).unwrap(), h.value)).collect();
        assert_eq!(&read, headers);
    }
}
