//! Record batches to Arrow rows: exactly the offsets asked for, without control records and, for
//! `read_committed`, without aborted ones.

use super::columns::{Columns, Origin};
use crate::metrics::{Counters, add};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use millstream_core::{Error, ErrorKind, Result};
use millstream_wire::{
    Batch, BatchHeader, Batches, ControlType, Decompressor, TimestampType, WireError,
};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Decompression memory that is kept from one batch to the next.
const KEEP_BYTES: usize = 16 << 20;

/// What one answer held of one partition.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) origin: Origin,
    /// First offset wanted.
    pub(crate) from: i64,
    /// Offset behind the last one wanted.
    pub(crate) end: i64,
    pub(crate) records: Bytes,
    /// Aborted transactions that reach into the records: producer id and first offset.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Room in the prefetch budget, given back when the last chunk of the answer is decoded.
    pub(crate) permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// A chunk while it is decoded.
#[derive(Debug)]
struct Cursor {
    chunk: Chunk,
    /// Bytes behind us.
    at: usize,
    /// Aborted transactions not reached yet, the next one last.
    ahead: Vec<(i64, i64)>,
    /// Producers inside an aborted transaction.
    aborting: HashSet<i64>,
}

/// Turns chunks into Arrow batches, one record batch at a step.
#[derive(Debug)]
pub(crate) struct Decoder {
    columns: Columns,
    /// Whether aborted records are left out.
    committed: bool,
    decompressor: Decompressor,
    cursor: Option<Cursor>,
    /// Finished batches: those of one record batch at most.
    ready: VecDeque<RecordBatch>,
    counters: Arc<Counters>,
}

impl Decoder {
    pub(crate) fn new(
        columns: Columns,
        committed: bool,
        decompressed_bytes_max: usize,
        counters: Arc<Counters>,
    ) -> Self {
        Decoder {
            columns,
            committed,
            decompressor: Decompressor::new(decompressed_bytes_max),
            cursor: None,
            ready: VecDeque::new(),
            counters,
        }
    }

    /// A finished batch, if there is one.
    pub(crate) fn pop(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    /// Takes the next chunk. Only called after [`Decoder::step`] answered `false`.
    pub(crate) fn feed(&mut self, mut chunk: Chunk) {
        let mut ahead = std::mem::take(&mut chunk.aborted);
        ahead.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
        self.cursor = Some(Cursor { chunk, at: 0, ahead, aborting: HashSet::new() });
    }

    /// Decodes one record batch; `false` when the chunk is used up.
    ///
    /// # Errors
    /// `KAFKA_CORRUPT_BATCH`, `KAFKA_FORMAT_UNSUPPORTED`, `KAFKA_BATCH_TOO_LARGE`.
    pub(crate) fn step(&mut self) -> Result<bool> {
        let Some(mut cursor) = self.cursor.take() else { return Ok(false) };
        let records = cursor.chunk.records.clone();
        let rest = records.get(cursor.at..).unwrap_or_default();
        let outcome = match Batches::new(rest).next() {
            None => Ok(false),
            Some(Err(error)) => Err(error),
            Some(Ok(batch)) if batch.header.base_offset >= cursor.chunk.end => Ok(false),
            Some(Ok(batch)) => {
                cursor.at += batch.header.length;
                self.batch(&mut cursor, &batch).map(|()| true)
            }
        };
        let more = outcome.map_err(|error| corrupt(&cursor.chunk.origin, error))?;
        if more {
            self.cursor = Some(cursor);
        }
        Ok(more)
    }

    /// The rows that are left.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.columns.is_empty() { Ok(None) } else { self.columns.take().map(Some) }
    }

    fn batch(&mut self, cursor: &mut Cursor, batch: &Batch<'_>) -> Result<(), WireError> {
        if batch.header.next_offset() <= cursor.chunk.from {
            return Ok(());
        }
        if self.committed && cursor.is_aborted(batch, &mut self.decompressor)? {
            return Ok(());
        }
        if batch.header.is_control() {
            return Ok(());
        }
        add(&self.counters.batches, 1);
        let rows = self.rows(&cursor.chunk, batch)?;
        add(&self.counters.records, rows);
        self.decompressor.shrink(KEEP_BYTES);
        Ok(())
    }

    fn rows(&mut self, chunk: &Chunk, batch: &Batch<'_>) -> Result<u64, WireError> {
        let kind: TimestampType = batch.header.timestamp_type();
        let mut rows = 0;
        for record in batch.records(&mut self.decompressor)? {
            let record = record?;
            if record.offset < chunk.from {
                continue;
            }
            if record.offset >= chunk.end {
                break;
            }
            if self.columns.is_full_for(&record) {
                let full = self.columns.take().map_err(|_| WireError::Malformed {
                    offset: record.offset,
                    why: "its columns do not fit together",
                })?;
                self.ready.push_back(full);
            }
            self.columns.push(&chunk.origin, kind, &record)?;
            rows += 1;
        }
        Ok(rows)
    }
}

impl Cursor {
    /// Whether the batch belongs to an aborted transaction, by the list that came with the answer
    /// and the markers on the way.
    fn is_aborted(
        &mut self,
        batch: &Batch<'_>,
        decompressor: &mut Decompressor,
    ) -> Result<bool, WireError> {
        let header: &BatchHeader = &batch.header;
        while self.ahead.last().is_some_and(|(_, first)| *first <= header.last_offset()) {
            self.aborting.extend(self.ahead.pop().map(|(producer, _)| producer));
        }
        if !header.is_transactional() || !self.aborting.contains(&header.producer_id) {
            return Ok(false);
        }
        if header.is_control() {
            let first = batch.records(decompressor)?.next().transpose()?;
            if first.and_then(|r| ControlType::parse(r.key)) == Some(ControlType::Abort) {
                self.aborting.remove(&header.producer_id);
            }
        }
        Ok(true)
    }
}

/// A batch that cannot be read, with its place.
pub(crate) fn corrupt(origin: &Origin, error: WireError) -> Error {
    let place = format!("Topic {} partition {}", origin.topic, origin.partition);
    match error {
        WireError::OldMagic { .. } => {
            Error::invalid("KAFKA_FORMAT_UNSUPPORTED", format!("{place}: {error}."))
                .cure("Rewrite the topic with a current producer, or start behind those records.")
        }
        WireError::TooLarge { .. } => {
            Error::new(ErrorKind::Exhausted, "KAFKA_BATCH_TOO_LARGE", format!("{place}: {error}."))
        }
        _ => Error::corrupt("KAFKA_CORRUPT_BATCH", format!("{place}: {error}.")),
    }
}

#[cfg(test)]
mod tests;
