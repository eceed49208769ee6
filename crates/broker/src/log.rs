//! The log of one partition: batches in order, in memory or in segment files.
//!
//! Invariants: base offsets grow; `log_start <= next`; the index holds exactly the batches that
//! can be read. Offsets may have holes, as compaction leaves them. Everything but the log's start
//! and a planted end is derived from the batches, so a restart rebuilds it by reading them.

mod compact;

use crate::disk::{self, FilePlace, Segments};
use crate::sequence::{Aborted, Check, Producers};
use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use millstream_core::{Error, Result};
use millstream_wire::{Batch, BatchHeader, Batches, ControlType, Decompressor, HEADER_LEN};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Plain bytes of one batch when the broker looks into it for a timestamp.
const BATCH_PLAIN_MAX: usize = 256 << 20;

#[derive(Debug)]
pub(crate) struct PartitionLog {
    store: Store,
    index: VecDeque<Entry>,
    log_start: i64,
    next: i64,
    /// Leader epochs and the offsets at which they began.
    epochs: Vec<(i32, i64)>,
    pub(crate) producers: Producers,
}

#[derive(Debug)]
enum Store {
    Memory(MemoryBudget),
    Disk(Segments),
}

/// Bytes of records in memory over all partitions of a broker.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    pub used: Arc<AtomicUsize>,
    pub max: usize,
}

#[derive(Debug)]
struct Entry {
    base: i64,
    last: i64,
    max_timestamp: i64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Bytes),
    File(FilePlace),
}

impl Place {
    fn size(&self) -> usize {
        match self {
            Place::Memory(bytes) => bytes.len(),
            Place::File(place) => place.size,
        }
    }
}

/// An offset found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub offset: i64,
    pub timestamp: i64,
    pub epoch: i32,
}

impl PartitionLog {
    pub(crate) fn in_memory(budget: MemoryBudget) -> Self {
        Self::empty(Store::Memory(budget))
    }

    /// Opens a partition's directory and reads its batches. A torn batch at the very end, which a
    /// killed broker leaves, is cut off.
    ///
    /// # Errors
    /// `BROKER_LOG_CORRUPT` where a batch is damaged that is not the last, `BROKER_DIR`.
    pub(crate) fn open(dir: &Path, segment_bytes: u64, log_start: i64, end: i64) -> Result<Self> {
        let segments = Segments::open(dir, segment_bytes).map_err(|e| disk::dir_error(dir, e))?;
        let list = segments.list();
        let mut log = Self::empty(Store::Disk(segments));
        for (at, (base, len)) in list.iter().enumerate() {
            let whole = log.recover(*base, *len)?;
            if whole == *len {
                continue;
            }
            let Store::Disk(segments) = &mut log.store else { break };
            let path = segments.path(*base);
            if at + 1 < list.len() {
                return Err(Error::corrupt(
                    "BROKER_LOG_CORRUPT",
                    format!("'{}' is damaged at byte {whole}.", path.display()),
                )
                .cure("Remove the broker's directory; it holds development data only."));
            }
            tracing::warn!(file = %path.display(), cut = len - whole, "torn end of a log cut off");
            segments.cut(*base, whole).map_err(|e| disk::dir_error(&path, e))?;
        }
        log.next = log.next.max(end);
        log.log_start = log_start.min(log.next);
        log.producers.forget_before(log.log_start);
        Ok(log)
    }

    fn empty(store: Store) -> Self {
        PartitionLog {
            store,
            index: VecDeque::new(),
            log_start: 0,
            next: 0,
            epochs: Vec::new(),
            producers: Producers::default(),
        }
    }

    /// Reads one segment from its front; the length of its whole, undamaged part.
    fn recover(&mut self, segment: i64, len: u64) -> Result<u64> {
        let mut position = 0;
        while position < len {
            let Store::Disk(segments) = &self.store else { break };
            let left = usize::try_from(len - position).unwrap_or(usize::MAX);
            let read = |size| {
                segments
                    .read(segment, position, size)
                    .map_err(|e| disk::dir_error(&segments.path(segment), e))
            };
            let header = match BatchHeader::parse(&read(left.min(HEADER_LEN))?) {
                Ok(Some(header)) if header.length <= left => header,
                _ => break,
            };
            let bytes = read(header.length)?;
            let Some(Ok(batch)) = Batches::new(&bytes).next() else { break };
            if batch.verify().is_err() || header.base_offset < self.next {
                break;
            }
            let place = FilePlace { segment, position, size: header.length };
            self.observe(&batch, Place::File(place));
            position += header.length as u64;
        }
        Ok(position)
    }

    pub(crate) fn start(&self) -> i64 {
        self.log_start
    }

    /// The next offset to be given, which is the high watermark on a cluster without replicas.
    pub(crate) fn end(&self) -> i64 {
        self.next
    }

    /// Where readers that want only committed records must stop.
    pub(crate) fn last_stable(&self) -> i64 {
        self.producers.first_open().unwrap_or(self.next)
    }

    /// What to do with a producer's batch.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Check, ResponseError> {
        self.producers.check(header)
    }

    /// Appends one batch whose offsets are set and not below [`PartitionLog::end`].
    pub(crate) fn append(&mut self, bytes: Bytes) -> Result<BatchHeader, ResponseError> {
        let batch = match Batches::new(&bytes).next() {
            Some(Ok(batch)) if batch.header.length == bytes.len() => batch,
            _ => return Err(ResponseError::InvalidRecord),
        };
        if batch.header.base_offset < self.next {
            return Err(ResponseError::InvalidRecord);
        }
        let place = self.keep(batch.header.base_offset, &bytes)?;
        self.observe(&batch, place);
        Ok(batch.header)
    }

    /// Appends bytes that need not be a readable batch, as the positions `base..=last`.
    pub(crate) fn append_opaque(
        &mut self,
        bytes: &Bytes,
        base: i64,
        last: i64,
    ) -> Result<(), ResponseError> {
        if base < self.next || last < base {
            return Err(ResponseError::InvalidRecord);
        }
        let place = self.keep(base, bytes)?;
        self.index.push_back(Entry { base, last, max_timestamp: -1, place });
        self.next = last + 1;
        Ok(())
    }

    fn keep(&mut self, base: i64, bytes: &Bytes) -> Result<Place, ResponseError> {
        match &mut self.store {
            Store::Memory(budget) => {
                let used = budget.used.fetch_add(bytes.len(), Ordering::SeqCst);
                if used + bytes.len() > budget.max {
                    budget.used.fetch_sub(bytes.len(), Ordering::SeqCst);
                    tracing::warn!(max = budget.max, "the broker's memory for records is full");
                    return Err(ResponseError::KafkaStorageError);
                }
                Ok(Place::Memory(bytes.clone()))
            }
            Store::Disk(segments) => match segments.append(base, bytes) {
                Ok(place) => Ok(Place::File(place)),
                Err(error) => {
                    tracing::warn!(%error, "a batch cannot be written");
                    Err(ResponseError::KafkaStorageError)
                }
            },
        }
    }

    fn observe(&mut self, batch: &Batch<'_>, place: Place) {
        let header = &batch.header;
        self.index.push_back(Entry {
            base: header.base_offset,
            last: header.last_offset(),
            max_timestamp: header.max_timestamp,
            place,
        });
        self.next = header.next_offset();
        self.begin_epoch_at(header.leader_epoch, header.base_offset);
        if !header.is_control() {
            self.producers.appended(header);
        } else if let Some(committed) = marker(batch) {
            self.producers.ended(header, committed);
        }
    }

    /// Notes that `epoch` begins at the end of the log.
    pub(crate) fn begin_epoch(&mut self, epoch: i32) {
        self.begin_epoch_at(epoch, self.next);
    }

    fn begin_epoch_at(&mut self, epoch: i32, offset: i64) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) && epoch >= 0 {
            self.epochs.push((epoch, offset));
        }
    }

    /// The greatest epoch not above `epoch` and where it ends, as OffsetForLeaderEpoch asks.
    pub(crate) fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        let Some((newest, _)) = self.epochs.last() else { return (-1, -1) };
        if epoch == *newest {
            return (epoch, self.next);
        }
        if epoch > *newest || epoch < 0 {
            return (-1, -1);
        }
        let above = self.epochs.partition_point(|(e, _)| *e <= epoch);
        let end = self.epochs.get(above).map_or(self.next, |(_, start)| *start);
        let found = above.checked_sub(1).and_then(|at| self.epochs.get(at));
        (found.map_or(epoch, |(e, _)| *e), end)
    }

    /// The epoch under which `offset` was written.
    fn epoch_of(&self, offset: i64) -> i32 {
        let above = self.epochs.partition_point(|(_, start)| *start <= offset);
        above.checked_sub(1).and_then(|at| self.epochs.get(at)).map_or(-1, |(epoch, _)| *epoch)
    }

    /// Batches from the one that holds `offset` on, below `to`, as many as begin within `max`
    /// bytes; the last may be cut, as Apache Kafka cuts it. `whole_first` returns the first batch
    /// whole whatever its size; without it nothing is returned that would cut the first batch.
    pub(crate) fn read(
        &self,
        offset: i64,
        to: i64,
        max: usize,
        whole_first: bool,
    ) -> io::Result<Bytes> {
        let from = self.index.partition_point(|e| e.last < offset);
        let mut taken: Vec<&Place> = Vec::new();
        let mut size = 0;
        for entry in self.index.range(from..).take_while(|e| e.base < to) {
            if taken.is_empty() && entry.place.size() > max && !whole_first {
                return Ok(Bytes::new());
            }
            if !taken.is_empty() && size >= max {
                break;
            }
            size += entry.place.size();
            taken.push(&entry.place);
        }
        let limit = max.max(taken.first().map_or(0, |p| p.size()));
        Ok(self.bytes_of(&taken, size)?.slice(..size.min(limit)))
    }

    fn bytes_of(&self, places: &[&Place], size: usize) -> io::Result<Bytes> {
        if let [Place::Memory(bytes)] = places {
            return Ok(bytes.clone());
        }
        let mut out = BytesMut::with_capacity(size);
        let mut run: Option<FilePlace> = None;
        for place in places {
            match place {
                Place::Memory(bytes) => out.extend_from_slice(bytes),
                Place::File(next) => match &mut run {
                    Some(r)
                        if r.segment == next.segment
                            && r.position + r.size as u64 == next.position =>
                    {
                        r.size += next.size;
                    }
                    _ => {
                        self.read_run(run.replace(*next), &mut out)?;
                    }
                },
            }
        }
        self.read_run(run, &mut out)?;
        Ok(out.freeze())
    }

    fn read_run(&self, run: Option<FilePlace>, out: &mut BytesMut) -> io::Result<()> {
        if let (Some(run), Store::Disk(segments)) = (run, &self.store) {
            out.extend_from_slice(&segments.read(run.segment, run.position, run.size)?);
        }
        Ok(())
    }

    /// The first record below `to` whose timestamp is `timestamp` or later.
    pub(crate) fn find_time(&self, timestamp: i64, to: i64) -> io::Result<Option<Found>> {
        for entry in self.index.iter().filter(|e| e.max_timestamp >= timestamp && e.base < to) {
            let found = self.record_in(entry, |offset, time| {
                time >= timestamp && offset >= self.log_start && offset < to
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the greatest timestamp.
    pub(crate) fn find_max_time(&self) -> io::Result<Option<Found>> {
        let visible = self.index.iter().filter(|e| e.last >= self.log_start);
        let Some(max) = visible.map(|e| e.max_timestamp).max().filter(|t| *t >= 0) else {
            return Ok(None);
        };
        self.find_time(max, self.next)
    }

    fn record_in(
        &self,
        entry: &Entry,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> io::Result<Option<Found>> {
        let bytes = self.bytes_of(&[&entry.place], entry.place.size())?;
        let mut decompressor = Decompressor::new(BATCH_PLAIN_MAX);
        let Some(Ok(batch)) = Batches::new(&bytes).next() else { return Ok(None) };
        let records = batch.records(&mut decompressor).map_err(io::Error::other)?;
        for record in records {
            let record = record.map_err(io::Error::other)?;
            if wanted(record.offset, record.timestamp) {
                return Ok(Some(Found {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    epoch: self.epoch_of(record.offset),
                }));
            }
        }
        Ok(None)
    }

    /// Epoch reported with the end or the start of the log.
    pub(crate) fn epoch_at(&self, offset: i64) -> i32 {
        self.epoch_of(offset.min(self.next))
    }

    pub(crate) fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        self.producers.aborted(from, to)
    }

    /// Makes the log begin at `offset`.
    pub(crate) fn delete_before(&mut self, offset: i64) -> io::Result<()> {
        self.log_start = self.log_start.max(offset.min(self.next));
        while self.index.front().is_some_and(|e| e.last < self.log_start) {
            if let Some(entry) = self.index.pop_front() {
                self.release(&entry);
            }
        }
        let keep = self.index.front().and_then(|e| match &e.place {
            Place::File(place) => Some(place.segment),
            Place::Memory(_) => None,
        });
        self.producers.forget_before(self.log_start);
        match &mut self.store {
            Store::Disk(segments) => segments.drop_before(keep),
            Store::Memory(_) => Ok(()),
        }
    }

    /// Cuts the log so that it ends at `offset` or, where a batch spans it, at that batch's base.
    /// Producers' sequences are read anew from what is left.
    pub(crate) fn truncate(&mut self, offset: i64) -> io::Result<()> {
        let mut cut = None;
        while self.index.back().is_some_and(|e| e.last >= offset) {
            if let Some(entry) = self.index.pop_back() {
                self.release(&entry);
                self.next = entry.base;
                cut = Some(entry.place);
            }
        }
        self.next = self.next.min(offset).max(0);
        self.log_start = self.log_start.min(self.next);
        self.epochs.retain(|(_, start)| *start < self.next);
        if let (Some(Place::File(place)), Store::Disk(segments)) = (cut, &mut self.store) {
            segments.cut(place.segment, place.position)?;
        }
        self.relearn_producers()
    }

    fn relearn_producers(&mut self) -> io::Result<()> {
        let mut producers = Producers::default();
        for entry in &self.index {
            let bytes = self.bytes_of(&[&entry.place], entry.place.size())?;
            let Some(Ok(batch)) = Batches::new(&bytes).next() else { continue };
            if !batch.header.is_control() {
                producers.appended(&batch.header);
            } else if let Some(committed) = marker(&batch) {
                producers.ended(&batch.header, committed);
            }
        }
        self.producers = producers;
        Ok(())
    }

    /// Moves the end of the log to `offset` without any record, as compaction of a tail does.
    pub(crate) fn skip_to(&mut self, offset: i64) {
        self.next = self.next.max(offset);
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.store {
            Store::Disk(segments) => segments.sync(),
            Store::Memory(_) => Ok(()),
        }
    }

    fn release(&self, entry: &Entry) {
        if let (Store::Memory(budget), Place::Memory(bytes)) = (&self.store, &entry.place) {
            budget.used.fetch_sub(bytes.len(), Ordering::SeqCst);
        }
    }
}

impl Drop for PartitionLog {
    fn drop(&mut self) {
        self.index.iter().for_each(|entry| self.release(entry));
    }
}

/// Whether a control batch commits or aborts; `None` for other control records.
fn marker(batch: &Batch<'_>) -> Option<bool> {
    let mut decompressor = Decompressor::new(1 << 20);
    let record = batch.records(&mut decompressor).ok()?.next()?.ok()?;
    match ControlType::parse(record.key)? {
        ControlType::Commit => Some(true),
        ControlType::Abort => Some(false),
        ControlType::Other(_) => None,
    }
}
