//! Rows of partitions that have no open file because all places are taken.
//!
//! Closing a file for every row of a partition that comes next would leave a file for every row.
//! Rows wait here instead, within a bound; the partition with the most of them is written first.

use arrow::array::{Array as _, RecordBatch};
use arrow::compute;
use millstream_core::{Error, Result};
use std::collections::HashMap;

/// Bytes that may wait.
pub(super) const PENDING_BYTES_MAX: usize = 64 << 20;

/// What a batch and one of its columns take beside their values.
const BATCH_BYTES: usize = 256;
const COLUMN_BYTES: usize = 192;

/// Waiting rows of one partition.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// One value per partition column.
    pub values: Vec<Option<String>>,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Waiting {
    /// All rows as one batch; `None` if there are none.
    pub(super) fn rows(&self) -> Result<Option<RecordBatch>> {
        let Some(first) = self.batches.first() else { return Ok(None) };
        compute::concat_batches(first.schema_ref(), &self.batches)
            .map(Some)
            .map_err(|e| Error::internal("Waiting rows could not be put together.").caused_by(e))
    }
}

/// Waiting rows by partition.
#[derive(Debug, Default)]
pub(super) struct Pending {
    partitions: HashMap<Vec<u8>, Waiting>,
    bytes: usize,
}

impl Pending {
    /// Lets rows wait.
    pub(super) fn push(&mut self, key: Vec<u8>, values: Vec<Option<String>>, rows: RecordBatch) {
        let columns = rows.columns().iter().map(|c| c.get_buffer_memory_size() + COLUMN_BYTES);
        let bytes = BATCH_BYTES + columns.sum::<usize>();
        let waiting = self.partitions.entry(key).or_default();
        waiting.values = values;
        waiting.batches.push(rows);
        waiting.bytes += bytes;
        self.bytes += bytes;
    }

    /// Whether more waits than may.
    pub(super) fn is_too_much(&self) -> bool {
        self.bytes > PENDING_BYTES_MAX
    }

    /// Takes the partition with the most waiting bytes.
    pub(super) fn take_largest(&mut self) -> Option<(Vec<u8>, Waiting)> {
        let key = self.partitions.iter().max_by_key(|(_, w)| w.bytes).map(|(k, _)| k.clone())?;
        let waiting = self.partitions.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some((key, waiting))
    }

    /// Takes any partition.
    pub(super) fn take_any(&mut self) -> Option<(Vec<u8>, Waiting)> {
        let key = self.partitions.keys().next().cloned()?;
        let waiting = self.partitions.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some((key, waiting))
    }
}
