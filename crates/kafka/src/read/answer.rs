//! What a fetch answer says about a partition, from its batch headers alone.

use millstream_wire::{Batches, WireError};

/// How far an answer leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The offset to fetch next.
    pub(crate) next: i64,
    /// Whether everything before the end has come.
    pub(crate) is_done: bool,
    /// Bytes of the whole batches, up to the end.
    pub(crate) bytes: usize,
    /// Size of the batch that was cut off, where nothing else came.
    pub(crate) cut: Option<usize>,
}

/// Walks the batches of `records` from offset `from` up to `end`, checking their sums if asked.
pub(crate) fn walk(
    records: &[u8],
    from: i64,
    end: i64,
    check_crcs: bool,
) -> Result<Walk, WireError> {
    let mut walk = Walk { next: from, is_done: from >= end, bytes: 0, cut: None };
    let mut batches = Batches::new(records);
    while !walk.is_done {
        let Some(batch) = batches.next() else { break };
        let batch = batch?;
        if batch.header.base_offset >= end {
            walk.is_done = true;
            break;
        }
        if check_crcs {
            batch.verify()?;
        }
        walk.bytes += batch.header.length;
        walk.next = walk.next.max(batch.header.next_offset());
        walk.is_done = walk.next >= end;
    }
    if walk.bytes == 0 && !walk.is_done {
        walk.cut = batches.cut_batch_len();
    }
    Ok(walk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_wire::BatchBuilder;

    fn batch(base: i64, records: i32, ends_at: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(base);
        for _ in 0..records {
            builder.push(0, None, Some(b"v"), &[]);
        }
        builder.ends_at_delta(ends_at).build().unwrap().to_vec()
    }

    #[test]
    fn the_next_offset_comes_from_the_header() {
        let data = [batch(10, 2, 1), batch(12, 1, 7)].concat();
        let all = walk(&data, 10, 100, true).unwrap();
        assert_eq!((all.next, all.is_done, all.bytes), (20, false, data.len()));
        assert!(walk(&data, 10, 20, true).unwrap().is_done);
        let first = walk(&data, 10, 12, true).unwrap();
        assert_eq!((first.next, first.is_done, first.bytes), (12, true, batch(10, 2, 1).len()));
    }

    #[test]
    fn a_batch_behind_the_end_ends_the_range() {
        let data = batch(50, 1, 0);
        let walk = walk(&data, 10, 50, true).unwrap();
        assert_eq!((walk.next, walk.is_done, walk.bytes), (10, true, 0));
    }

    #[test]
    fn a_cut_batch_tells_its_size() {
        let data = batch(0, 3, 2);
        let walk = walk(&data[..data.len() - 1], 0, 3, true).unwrap();
        assert_eq!((walk.next, walk.is_done, walk.cut), (0, false, Some(data.len())));
        assert_eq!(super::walk(&[], 0, 3, true).unwrap().cut, None);
    }

    #[test]
    fn a_wrong_checksum_is_seen_only_where_asked() {
        let mut data = batch(0, 3, 2);
        let last = data.len() - 1;
        data[last] ^= 1;
        assert!(matches!(walk(&data, 0, 3, true), Err(WireError::Checksum { .. })));
        assert!(walk(&data, 0, 3, false).unwrap().is_done);
    }
}
