//! What a fetch answer says about a partition, from its batch headers alone.
//!
//! A batch's offsets are not covered by its checksum: the broker sets them after the producer has
//! computed it. An offset that broke on the way would make records seem to be missing, or the
//! range to be read. So batches must follow each other, and a hole in front of a batch is believed
//! when the batch behind it agrees, or a second answer does.

use millstream_wire::{BatchHeader, Batches, WireError};

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
    /// Where the only batch of the answer begins, if there is a hole in front of it that nothing
    /// confirms.
    pub(crate) hole: Option<i64>,
}

/// Where a walk begins, and what is known of that place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standpoint {
    /// The offset that was asked for.
    pub(crate) offset: i64,
    /// Whether the batch before ended there, so that no batch reaches over it.
    pub(crate) is_boundary: bool,
    /// Where the next batch begins by an earlier answer.
    pub(crate) hole_seen: Option<i64>,
}

/// Walks the batches of `records` from `from` up to offset `end`, checking their sums if asked.
pub(crate) fn walk(
    records: &[u8],
    from: Standpoint,
    end: i64,
    check_crcs: bool,
) -> Result<Walk, WireError> {
    let (next, is_done) = (from.offset, from.offset >= end);
    let mut walk = Walk { next, is_done, bytes: 0, cut: None, hole: None };
    let mut batches = Batches::new(records);
    while !walk.is_done {
        let Some(batch) = batches.next() else { break };
        let batch = batch?;
        follows(&batch.header, &walk, from)?;
        let begins = batch.header.base_offset;
        if begins > walk.next && from.hole_seen != Some(begins) {
            let behind = batches.clone().next().and_then(Result::ok);
            if behind.is_none_or(|b| b.header.base_offset < batch.header.next_offset()) {
                // The answer to what is behind the batches before it begins with this hole.
                walk.hole = (walk.bytes == 0).then_some(begins);
                return Ok(walk);
            }
        }
        if begins >= end {
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

/// Whether a batch may come where the walk stands.
fn follows(header: &BatchHeader, walk: &Walk, from: Standpoint) -> Result<(), WireError> {
    let malformed = |why| Err(WireError::Malformed { offset: header.base_offset, why });
    if header.next_offset() <= walk.next {
        return malformed("it ends in front of the offset that was asked for");
    }
    let is_at_boundary = walk.bytes > 0 || from.is_boundary;
    if is_at_boundary && header.base_offset < walk.next {
        return malformed("it begins before the batch in front of it ends");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_wire::BatchBuilder;

    fn walk(data: &[u8], from: i64, end: i64, check_crcs: bool) -> Result<Walk, WireError> {
        let from = Standpoint { offset: from, is_boundary: false, hole_seen: None };
        super::walk(data, from, end, check_crcs)
    }

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
        let data = [batch(50, 1, 0), batch(51, 1, 0)].concat();
        let walk = walk(&data, 10, 50, true).unwrap();
        assert_eq!((walk.next, walk.is_done, walk.bytes), (10, true, 0));
    }

    #[test]
    fn a_hole_is_believed_when_something_confirms_it() {
        let data = [batch(10, 1, 0), batch(15, 1, 0), batch(16, 1, 0)].concat();
        assert_eq!(walk(&data, 10, 17, true).unwrap().next, 17, "the batch behind it agrees");
        // What is in front of a doubtful hole is taken, and then the hole comes first.
        let data = [batch(10, 1, 0), batch(15, 1, 0)].concat();
        let first = walk(&data, 10, 16, true).unwrap();
        let taken = batch(10, 1, 0).len();
        assert_eq!((first.next, first.is_done, first.bytes, first.hole), (11, false, taken, None));
        for end in [12, 16] {
            let alone = batch(15, 1, 0);
            let doubtful = walk(&alone, 11, end, true).unwrap();
            let said = (doubtful.next, doubtful.is_done, doubtful.bytes, doubtful.cut);
            assert_eq!((said, doubtful.hole), ((11, false, 0, None), Some(15)));
            let from = Standpoint { offset: 11, is_boundary: true, hole_seen: Some(15) };
            assert!(super::walk(&alone, from, end, true).unwrap().is_done, "said twice");
            let from = Standpoint { hole_seen: Some(14), ..from };
            assert_eq!(super::walk(&alone, from, end, true).unwrap().hole, Some(15));
        }
    }

    #[test]
    fn batches_that_do_not_follow_each_other_are_malformed() {
        let overlap = [batch(10, 4, 3), batch(12, 4, 3)].concat();
        assert!(walk(&overlap, 10, 16, true).is_err());
        assert!(walk(&batch(10, 4, 3), 14, 16, true).is_err(), "it ends before");
        assert!(walk(&batch(10, 4, 3), 13, 16, true).is_ok());
        let from = Standpoint { offset: 13, is_boundary: true, hole_seen: None };
        assert!(
            super::walk(&batch(10, 4, 3), from, 16, true).is_err(),
            "the one before ended here"
        );
    }

    #[test]
    fn a_cut_batch_tells_its_size() {
        let data = batch(0, 3, 2);
        let walk = walk(&data[..data.len() - 1], 0, 3, true).unwrap();
        assert_eq!((walk.next, walk.is_done, walk.cut), (0, false, Some(data.len())));
        assert_eq!(super::tests::walk(&[], 0, 3, true).unwrap().cut, None);
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
