//! Multisets of places: topic, partition and offset.
//!
//! Memory is one bit for each offset, in chunks that are there only where something is, so that a
//! billion records take some 125 MB; what is there several times is kept beside.

use millstream_core::offsets::TopicPartition;
use std::collections::BTreeMap;

const CHUNK_OFFSETS: i64 = 1 << 16;
const WORDS: usize = 1 << 10;

/// A set of offsets.
#[derive(Debug, Clone, Default)]
struct Seen(BTreeMap<i64, Box<[u64]>>);

impl Seen {
    /// Adds `offset`; `false` if it was there.
    fn insert(&mut self, offset: i64) -> bool {
        let (chunk, word, bit) = spot(offset);
        let words = self.0.entry(chunk).or_insert_with(|| vec![0; WORDS].into_boxed_slice());
        match words.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    fn contains(&self, offset: i64) -> bool {
        let (chunk, word, bit) = spot(offset);
        self.0.get(&chunk).and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
    }

    /// Those in `from..to`, in order. Holes cost nothing.
    fn range(&self, from: i64, to: i64) -> impl Iterator<Item = i64> {
        let chunks = from.div_euclid(CHUNK_OFFSETS)..=to.div_euclid(CHUNK_OFFSETS);
        let chunks = if from < to { Some(self.0.range(chunks)) } else { None };
        chunks
            .into_iter()
            .flatten()
            .flat_map(move |(chunk, words)| {
                let words = (0_i64..).zip(words.iter()).filter(|(_, word)| **word != 0);
                words.flat_map(move |(at, word)| {
                    let first = chunk * CHUNK_OFFSETS + at * 64;
                    (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| first + bit)
                })
            })
            .filter(move |offset| (from..to).contains(offset))
    }
}

fn spot(offset: i64) -> (i64, usize, u64) {
    let within = usize::try_from(offset.rem_euclid(CHUNK_OFFSETS)).unwrap_or(0);
    (offset.div_euclid(CHUNK_OFFSETS), within / 64, 1 << (within % 64))
}

/// A multiset of places.
#[derive(Debug, Clone, Default)]
pub struct Places {
    once: BTreeMap<TopicPartition, Seen>,
    /// Copies beyond the first.
    more: BTreeMap<TopicPartition, BTreeMap<i64, u32>>,
    len: u64,
    distinct: u64,
}

impl Places {
    /// Adds a place; `false` if it was there.
    pub fn insert(&mut self, partition: &TopicPartition, offset: i64) -> bool {
        self.len += 1;
        let new = match self.once.get_mut(partition) {
            Some(seen) => seen.insert(offset),
            None => self.once.entry(partition.clone()).or_default().insert(offset),
        };
        if new {
            self.distinct += 1;
        } else {
            *self.more.entry(partition.clone()).or_default().entry(offset).or_default() += 1;
        }
        new
    }

    /// How many times it is there.
    pub fn count(&self, partition: &TopicPartition, offset: i64) -> u32 {
        if !self.once.get(partition).is_some_and(|seen| seen.contains(offset)) {
            return 0;
        }
        let more = self.more.get(partition).and_then(|copies| copies.get(&offset));
        1 + more.copied().unwrap_or(0)
    }

    /// Different offsets of `from..to`, in order.
    pub fn range(
        &self,
        partition: &TopicPartition,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = i64> {
        self.once.get(partition).into_iter().flat_map(move |seen| seen.range(from, to))
    }

    /// Copies beyond the first in `from..to`.
    pub fn copies(&self, partition: &TopicPartition, from: i64, to: i64) -> u64 {
        let of_partition = self.more.get(partition).filter(|_| from < to);
        of_partition.map_or(0, |all| all.range(from..to).map(|(_, n)| u64::from(*n)).sum())
    }

    /// All places, copies counted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// All places, copies not counted.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_listed_in_order_over_holes() {
        let tp = TopicPartition::new("t", 0);
        let mut places = Places::default();
        let all = [0_i64, 63, 64, 65_535, 65_536, 1 << 50, (1 << 50) + 1];
        for offset in all {
            assert!(places.insert(&tp, offset));
        }
        assert!(!places.insert(&tp, 64));
        assert!(!places.insert(&tp, 64));
        assert_eq!((places.count(&tp, 64), places.count(&tp, 63), places.count(&tp, 1)), (3, 1, 0));
        assert_eq!(places.count(&TopicPartition::new("t", 1), 0), 0);
        assert_eq!(places.range(&tp, 0, i64::MAX).collect::<Vec<_>>(), all);
        let middle = places.range(&tp, 63, 65_536).collect::<Vec<_>>();
        assert_eq!(middle, [63, 64, 65_535]);
        assert_eq!(places.range(&tp, 5, 5).count() + places.range(&tp, 9, 3).count(), 0);
        assert_eq!((places.copies(&tp, 0, 64), places.copies(&tp, 64, 65)), (0, 2));
        assert_eq!((places.len(), places.distinct()), (9, 7));
    }
}
