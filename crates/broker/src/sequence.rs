//! What a partition remembers of producers: sequence numbers of idempotent ones, open and aborted
//! transactions.
//!
//! Everything here is derived from the batches of the log in their order, so that a restart
//! arrives at the same state by reading the log.

use kafka_protocol::ResponseError;
use millstream_wire::BatchHeader;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Batches a retry is recognised among, as in Apache Kafka.
const BATCHES_KEPT: usize = 5;
/// Producers remembered per partition; the one that was silent longest is forgotten.
const PRODUCERS_MAX: usize = 10_000;

/// What to do with an idempotent producer's batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Append it.
    Fresh,
    /// It was appended before, at this offset.
    Duplicate { base_offset: i64 },
}

/// A transaction that was aborted, as Fetch reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: HashMap<i64, Known>,
    /// First offset of each open transaction, by producer.
    open: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
    clock: u64,
}

#[derive(Debug)]
struct Known {
    epoch: i16,
    batches: VecDeque<Appended>,
    used: u64,
}

#[derive(Debug, Clone, Copy)]
struct Appended {
    first: i32,
    last: i32,
    base_offset: i64,
}

impl Producers {
    /// Compares a producer's batch with what it sent before.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Check, ResponseError> {
        if header.producer_id < 0 {
            return Ok(Check::Fresh);
        }
        let Some(known) = self.known.get(&header.producer_id) else {
            return Ok(Check::Fresh);
        };
        if header.producer_epoch < known.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        let (first, last) = (header.base_sequence, last_sequence(header));
        if header.producer_epoch > known.epoch {
            return if first == 0 {
                Ok(Check::Fresh)
            } else {
                Err(ResponseError::OutOfOrderSequenceNumber)
            };
        }
        if let Some(b) = known.batches.iter().find(|b| b.first == first && b.last == last) {
            return Ok(Check::Duplicate { base_offset: b.base_offset });
        }
        match known.batches.back() {
            Some(b) if first != add(b.last, 1) => Err(ResponseError::OutOfOrderSequenceNumber),
            _ => Ok(Check::Fresh),
        }
    }

    /// Takes note of a batch of records that was appended.
    pub(crate) fn appended(&mut self, header: &BatchHeader) {
        if header.producer_id < 0 {
            return;
        }
        self.clock += 1;
        let known = self.known.entry(header.producer_id).or_insert_with(|| Known {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            used: 0,
        });
        if known.epoch != header.producer_epoch {
            known.epoch = header.producer_epoch;
            known.batches.clear();
        }
        known.used = self.clock;
        if known.batches.len() == BATCHES_KEPT {
            known.batches.pop_front();
        }
        known.batches.push_back(Appended {
            first: header.base_sequence,
            last: last_sequence(header),
            base_offset: header.base_offset,
        });
        if header.is_transactional() {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
        }
        self.forget_surplus();
    }

    /// Takes note of a marker that ends a producer's transaction.
    pub(crate) fn ended(&mut self, header: &BatchHeader, committed: bool) {
        self.clock += 1;
        let known = self.known.entry(header.producer_id).or_insert_with(|| Known {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            used: 0,
        });
        known.used = self.clock;
        if header.producer_epoch > known.epoch {
            known.epoch = header.producer_epoch;
            known.batches.clear();
        }
        let Some(first_offset) = self.open.remove(&header.producer_id) else { return };
        if !committed {
            self.aborted.push(Aborted {
                producer_id: header.producer_id,
                first_offset,
                last_offset: header.base_offset,
            });
        }
    }

    /// Where the first open transaction begins.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.open.values().min().copied()
    }

    /// Aborted transactions that reach into `from..to`.
    pub(crate) fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        let reaches = |a: &&Aborted| a.last_offset >= from && a.first_offset < to;
        self.aborted.iter().filter(reaches).copied().collect()
    }

    /// Forgets aborted transactions that end in front of the log.
    pub(crate) fn forget_before(&mut self, log_start: i64) {
        self.aborted.retain(|a| a.last_offset >= log_start);
    }

    fn forget_surplus(&mut self) {
        if self.known.len() <= PRODUCERS_MAX {
            return;
        }
        let open = &self.open;
        let idle = self.known.iter().filter(|(id, _)| !open.contains_key(id));
        if let Some(id) = idle.min_by_key(|(_, k)| k.used).map(|(id, _)| *id) {
            self.known.remove(&id);
        }
    }
}

fn last_sequence(header: &BatchHeader) -> i32 {
    add(header.base_sequence, header.last_offset_delta)
}

/// Sequence numbers run from 0 to `i32::MAX` and start over.
fn add(sequence: i32, n: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(n);
    i32::try_from(sum % (1 << 31)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_wire::{BatchBuilder, Producer};

    fn header(epoch: i16, base_sequence: i32, base_offset: i64, records: i32) -> BatchHeader {
        let mut builder =
            BatchBuilder::new(base_offset).producer(Producer { id: 7, epoch, base_sequence });
        for _ in 0..records {
            builder.push(0, None, Some(b"x"), &[]);
        }
        BatchHeader::parse(&builder.build().unwrap()).unwrap().unwrap()
    }

    #[test]
    fn retries_are_recognised_and_gaps_refused() {
        let mut producers = Producers::default();
        for n in 0..7 {
            let batch = header(0, n * 2, i64::from(n) * 2, 2);
            assert_eq!(producers.check(&batch), Ok(Check::Fresh));
            producers.appended(&batch);
        }
        let again = producers.check(&header(0, 8, 0, 2));
        assert_eq!(again, Ok(Check::Duplicate { base_offset: 8 }));
        let too_old = producers.check(&header(0, 0, 0, 2));
        assert_eq!(too_old, Err(ResponseError::OutOfOrderSequenceNumber));
        let gap = producers.check(&header(0, 15, 0, 1));
        assert_eq!(gap, Err(ResponseError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn epochs_fence_and_start_over() {
        let mut producers = Producers::default();
        producers.appended(&header(3, 0, 0, 1));
        assert_eq!(producers.check(&header(2, 1, 1, 1)), Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(producers.check(&header(4, 0, 1, 1)), Ok(Check::Fresh));
        let late = producers.check(&header(4, 5, 1, 1));
        assert_eq!(late, Err(ResponseError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(add(i32::MAX, 1), 0);
        assert_eq!(add(i32::MAX - 1, 3), 1);
    }
}
