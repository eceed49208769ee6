//! Arrow builders for the source's columns. Columns that nobody asked for are not built.

use super::ReadOptions;
use crate::config::{header_fields, headers_item};
use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListArray, NullBufferBuilder, StringBuilder,
    StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use millstream_core::{Error, Result};
use millstream_wire::{Headers, Record, TimestampType, WireError};
use std::sync::Arc;

/// Bytes that a row takes besides key, value, topic and headers.
const ROW_BYTES: usize = 40;
/// Arrow's offsets of 32 bits end here; a batch is closed well before.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Where records come from: what is the same for every record of a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// The columns of the batch that is being filled.
#[derive(Debug)]
pub(crate) struct Columns {
    schema: SchemaRef,
    /// Column numbers of the full schema, in the order asked for.
    wanted: Vec<usize>,
    rows_max: usize,
    bytes_max: usize,
    rows: usize,
    bytes: usize,
    key: Option<BinaryBuilder>,
    value: Option<BinaryBuilder>,
    /// Topics by runs of rows.
    topic: Option<Vec<(Arc<str>, usize)>>,
    partition: Option<Vec<i32>>,
    offset: Option<Vec<i64>>,
    timestamp: Option<Vec<i64>>,
    timestamp_type: Option<Vec<i32>>,
    headers: Option<HeadersBuilder>,
}

#[derive(Debug)]
struct HeadersBuilder {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    keys: StringBuilder,
    values: BinaryBuilder,
}

impl Columns {
    pub(crate) fn new(
        full: &Schema,
        projection: Option<&[usize]>,
        options: &ReadOptions,
    ) -> Result<Columns> {
        let wanted: Vec<usize> = match projection {
            Some(columns) => columns.to_vec(),
            None => (0..full.fields().len()).collect(),
        };
        let schema = full
            .project(&wanted)
            .map_err(|e| Error::internal(format!("projection {wanted:?}: {e}")))?;
        let mut columns = Columns {
            schema: Arc::new(schema),
            wanted,
            rows_max: options.batch_rows.max(1),
            bytes_max: options.batch_bytes.clamp(1, BATCH_BYTES_MAX),
            rows: 0,
            bytes: 0,
            key: None,
            value: None,
            topic: None,
            partition: None,
            offset: None,
            timestamp: None,
            timestamp_type: None,
            headers: None,
        };
        columns.renew(0, 0, 0);
        Ok(columns)
    }

    /// Fresh builders, with room for what the last batch held.
    fn renew(&mut self, rows: usize, key_bytes: usize, value_bytes: usize) {
        let has = |column: usize| self.wanted.contains(&column);
        let binary = |bytes| BinaryBuilder::with_capacity(rows, bytes);
        self.key = has(0).then(|| binary(key_bytes));
        self.value = has(1).then(|| binary(value_bytes));
        self.topic = has(2).then(Vec::new);
        self.partition = has(3).then(|| Vec::with_capacity(rows));
        self.offset = has(4).then(|| Vec::with_capacity(rows));
        self.timestamp = has(5).then(|| Vec::with_capacity(rows));
        self.timestamp_type = has(6).then(|| Vec::with_capacity(rows));
        self.headers = has(7).then(HeadersBuilder::new);
        (self.rows, self.bytes) = (0, 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether the batch has to be handed out before `record` goes in.
    #[inline]
    pub(crate) fn is_full_for(&self, record: &Record<'_>) -> bool {
        self.rows > 0
            && (self.rows >= self.rows_max || self.bytes + self.size_of(record) > self.bytes_max)
    }

    #[inline]
    fn size_of(&self, record: &Record<'_>) -> usize {
        let of = |wanted: bool, data: Option<&[u8]>| match data {
            Some(data) if wanted => data.len(),
            _ => 0,
        };
        ROW_BYTES
            + of(self.key.is_some(), record.key)
            + of(self.value.is_some(), record.value)
            + if self.headers.is_some() { record.headers.byte_len() } else { 0 }
    }

    /// Adds a record.
    #[inline]
    pub(crate) fn push(
        &mut self,
        origin: &Origin,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), WireError> {
        self.bytes += self.size_of(record);
        self.rows += 1;
        if let Some(key) = &mut self.key {
            key.append_option(record.key);
        }
        if let Some(value) = &mut self.value {
            value.append_option(record.value);
        }
        if let Some(topics) = &mut self.topic {
            match topics.last_mut() {
                Some((topic, run)) if Arc::ptr_eq(topic, &origin.topic) => *run += 1,
                _ => topics.push((origin.topic.clone(), 1)),
            }
        }
        if let Some(partition) = &mut self.partition {
            partition.push(origin.partition);
        }
        if let Some(offset) = &mut self.offset {
            offset.push(record.offset);
        }
        if let Some(timestamp) = &mut self.timestamp {
            timestamp.push(record.timestamp.saturating_mul(1_000));
        }
        if let Some(kind) = &mut self.timestamp_type {
            kind.push(timestamp_type as i32);
        }
        match &mut self.headers {
            Some(headers) => headers.push(&record.headers),
            None => Ok(()),
        }
    }

    /// The batch so far; empties the builders.
    pub(crate) fn take(&mut self) -> Result<RecordBatch> {
        let rows = self.rows;
        let (mut key_bytes, mut value_bytes) = (0, 0);
        let mut built: [Option<ArrayRef>; 8] = Default::default();
        let [key, value, topic, partition, offset, timestamp, timestamp_type, headers] = &mut built;
        if let Some(builder) = &mut self.key {
            key_bytes = builder.values_slice().len();
            *key = Some(Arc::new(builder.finish()));
        }
        if let Some(builder) = &mut self.value {
            value_bytes = builder.values_slice().len();
            *value = Some(Arc::new(builder.finish()));
        }
        if let Some(runs) = self.topic.take() {
            let bytes = runs.iter().map(|(t, n)| t.len() * n).sum();
            let mut builder = StringBuilder::with_capacity(rows, bytes);
            for (name, run) in &runs {
                (0..*run).for_each(|_| builder.append_value(name));
            }
            *topic = Some(Arc::new(builder.finish()));
        }
        if let Some(values) = self.partition.take() {
            *partition = Some(Arc::new(Int32Array::from(values)));
        }
        if let Some(values) = self.offset.take() {
            *offset = Some(Arc::new(Int64Array::from(values)));
        }
        if let Some(values) = self.timestamp.take() {
            let array = TimestampMicrosecondArray::from(values).with_timezone("UTC");
            *timestamp = Some(Arc::new(array));
        }
        if let Some(values) = self.timestamp_type.take() {
            *timestamp_type = Some(Arc::new(Int32Array::from(values)));
        }
        if let Some(builder) = self.headers.take() {
            *headers = Some(Arc::new(builder.finish()?));
        }
        let arrays = self
            .wanted
            .iter()
            .map(|column| {
                built
                    .get(*column)
                    .and_then(Clone::clone)
                    .ok_or_else(|| Error::internal(format!("column {column} was not built")))
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        self.renew(rows, key_bytes, value_bytes);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|e| Error::internal(format!("Kafka columns: {e}")))
    }
}

impl HeadersBuilder {
    fn new() -> Self {
        HeadersBuilder {
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
            keys: StringBuilder::new(),
            values: BinaryBuilder::new(),
        }
    }

    /// One row: NULL without headers, as Spark has it. Keys that are no UTF-8 get U+FFFD.
    fn push(&mut self, headers: &Headers<'_>) -> Result<(), WireError> {
        for header in headers.iter() {
            let header = header?;
            self.keys.append_value(String::from_utf8_lossy(header.key));
            self.values.append_option(header.value);
        }
        self.nulls.append(!headers.is_empty());
        let count = i32::try_from(arrow::array::ArrayBuilder::len(&self.keys)).unwrap_or(i32::MAX);
        self.offsets.push(count);
        Ok(())
    }

    fn finish(mut self) -> Result<ListArray> {
        let failed = |e| Error::internal(format!("headers: {e}"));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let entries = StructArray::try_new(header_fields(), columns, None).map_err(failed)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        ListArray::try_new(headers_item(), offsets, Arc::new(entries), self.nulls.finish())
            .map_err(failed)
    }
}
