//! Takes single records out of a log, as compaction does: offsets stay, batches keep their bounds,
//! and control records stay.

use super::{PartitionLog, Place, Store};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use millstream_wire::{BatchBuilder, Batches, Decompressor, Producer, TimestampType, WireError};
use std::sync::atomic::Ordering;

impl PartitionLog {
    /// Takes the records away whose offset is `gone`. Only logs in memory.
    pub(crate) fn compact(&mut self, gone: &dyn Fn(i64) -> bool) -> Result<(), ResponseError> {
        let Store::Memory(budget) = &self.store else {
            return Err(ResponseError::KafkaStorageError);
        };
        for entry in &mut self.index {
            let Place::Memory(bytes) = &entry.place else { continue };
            let kept = without(bytes, gone).map_err(|_| ResponseError::CorruptMessage)?;
            if let Some(kept) = kept {
                budget.used.fetch_sub(bytes.len(), Ordering::SeqCst);
                budget.used.fetch_add(kept.len(), Ordering::SeqCst);
                entry.place = Place::Memory(kept);
            }
        }
        Ok(())
    }
}

/// A batch without some records; `None` where all of them stay.
fn without(bytes: &[u8], gone: &dyn Fn(i64) -> bool) -> Result<Option<Bytes>, WireError> {
    let Some(batch) = Batches::new(bytes).next() else { return Ok(None) };
    let (batch, mut decompressor) = (batch?, Decompressor::new(super::BATCH_PLAIN_MAX));
    let header = batch.header;
    if header.is_control() {
        return Ok(None);
    }
    let mut builder = BatchBuilder::new(header.base_offset)
        .codec(header.codec()?)
        .leader_epoch(header.leader_epoch)
        .producer(Producer {
            id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
    if header.is_transactional() {
        builder = builder.transactional();
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        builder = builder.log_append_time(header.max_timestamp);
    }
    let mut changed = false;
    for record in batch.records(&mut decompressor)? {
        let record = record?;
        if gone(record.offset) {
            changed = true;
            continue;
        }
        let mut headers = Vec::with_capacity(record.headers.len());
        for header in record.headers.iter() {
            let header = header?;
            let why = "the name of a header is not UTF-8";
            let name = std::str::from_utf8(header.key)
                .map_err(|_| WireError::Malformed { offset: record.offset, why })?;
            headers.push((name, header.value));
        }
        let delta = i32::try_from(record.offset - header.base_offset).unwrap_or(i32::MAX);
        builder.push_at(delta, record.timestamp, record.key, record.value, &headers);
    }
    if !changed {
        return Ok(None);
    }
    builder.ends_at_delta(header.last_offset_delta).build().map(Some)
}
