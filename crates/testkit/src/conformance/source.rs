//! The rules of a [`Source`].
//!
//! A range is a promise: whoever reads it, whenever, in whatever process, gets the same records;
//! ranges that follow each other lose nothing and repeat nothing. Everything else here serves that.

use super::{hold, same};
use async_trait::async_trait;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::{Error, ErrorKind, Result};
use serde_json::Value;
use std::sync::Arc;

/// Batches after which a source that was fed a few dozen records must have come to the end.
const BATCHES_MAX: usize = 100;

/// Makes, feeds and reads one source. Everything that it opens reads the same data.
#[async_trait]
pub trait SourceHarness: Send + Sync {
    /// The source; what tests of the engine use is `dyn StreamingSource`.
    type Source: Source + ?Sized;

    /// Opens the source as a new process would, with at most `records_max` records a batch.
    async fn open(&self, records_max: Option<usize>) -> Result<Arc<Self::Source>>;

    /// Records that one batch may have above the limit because of rounding; `None` where the
    /// source knows no limits.
    fn slack(&self) -> Option<usize>;

    /// Adds records, and answers them in the form that [`SourceHarness::read`] gives. All of them
    /// can be read when this returns, and no two records of one harness look the same.
    async fn feed(&self, records: usize) -> Result<Vec<String>>;

    /// Reads exactly `range`.
    async fn read(&self, source: &Arc<Self::Source>, range: &SourceRange) -> Result<Vec<String>>;

    /// Positions that are not this source's: of other kinds, damaged ones.
    fn foreign(&self) -> Vec<Position>;
}

/// Runs every check, each over what `fresh` makes, and returns the first rule that is broken.
///
/// # Errors
/// The rule, or the source's own error where it should have answered.
pub async fn check<H: SourceHarness>(fresh: impl AsyncFn() -> Result<H>) -> Result<()> {
    first_positions_agree(&fresh().await?).await?;
    nothing_is_admitted_where_nothing_is(&fresh().await?).await?;
    a_range_is_read_again_as_it_was(&fresh().await?).await?;
    ranges_follow_each_other(&fresh().await?).await?;
    positions_survive_their_text(&fresh().await?).await?;
    admission_is_only_a_plan(&fresh().await?).await?;
    limits_hold(&fresh().await?).await?;
    the_newest_position_never_goes_back(&fresh().await?).await?;
    available_now_ends_where_it_was_pinned(&fresh().await?).await?;
    ends_alone_make_the_same_range(&fresh().await?).await?;
    completion_is_advice(&fresh().await?).await?;
    foreign_positions_are_refused(&fresh().await?).await
}

async fn first_positions_agree<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(None).await?;
    let first = source.initial_position().await?;
    let again = source.initial_position().await?;
    hold(first == again, "the first position is the same when asked again", || {
        format!("{first:?}, then {again:?}.")
    })?;
    let other = harness.open(None).await?;
    let reopened = other.initial_position().await?;
    hold(first == reopened, "the first position is the same after opening again", || {
        format!("{first:?}, then {reopened:?}.")
    })?;
    hold(
        source.identity() == other.identity(),
        "a source opened again has the same identity",
        || format!("{} and {}.", source.identity(), other.identity()),
    )?;
    hold(source.describe() == other.describe(), "a source describes itself the same way", || {
        format!("`{}` and `{}`.", source.describe(), other.describe())
    })
}

async fn nothing_is_admitted_where_nothing_is<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(None).await?;
    let first = source.initial_position().await?;
    for limit in [Limit::Options, Limit::None] {
        let admitted = source.admit(&first, None, limit).await?;
        hold(admitted.range.is_none(), "without new records there is no range", || {
            format!("Admitted {:?}.", admitted.range)
        })?;
    }
    let fed = harness.feed(10).await?;
    let (records, last) = drain(harness, &source, first, Limit::Options).await?;
    same("all records are read", &records, &fed)?;
    let admitted = source.admit(&last.end, Some(&last.detail), Limit::Options).await?;
    hold(admitted.range.is_none(), "at the end there is no range", || {
        format!("Admitted {:?}.", admitted.range)
    })
}

async fn a_range_is_read_again_as_it_was<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(None).await?;
    let first = source.initial_position().await?;
    let fed = harness.feed(30).await?;
    let range = admitted(&source, &first, None).await?;
    same("a range has the records that were there", &harness.read(&source, &range).await?, &fed)?;
    same("a range is read twice alike", &harness.read(&source, &range).await?, &fed)?;
    harness.feed(20).await?;
    let later = harness.read(&source, &range).await?;
    same("a range has no records from behind its end", &later, &fed)?;
    let reopened = harness.open(None).await?;
    let elsewhere = harness.read(&reopened, &through_text(&range)?).await?;
    same("a range is read alike by a source opened again", &elsewhere, &fed)?;
    let (rest, _) = drain(harness, &reopened, range.end.clone(), Limit::Options).await?;
    let early = rest.iter().find(|record| fed.contains(record));
    hold(early.is_none(), "a range's end belongs to the next range", || {
        format!("{early:?} is read again behind it.")
    })
}

async fn ranges_follow_each_other<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(None).await?;
    let mut at = source.initial_position().await?;
    let mut detail: Option<Value> = None;
    let (mut fed, mut read) = (Vec::new(), Vec::new());
    for round in 0..4 {
        // A run may end between two batches.
        let source = if round % 2 == 0 { Arc::clone(&source) } else { harness.open(None).await? };
        fed.extend(harness.feed(7 + round).await?);
        let range = admitted(&source, &at, detail.as_ref()).await?;
        hold(range.start == at, "a range starts where the one before ended", || {
            format!("{:?} after {at:?}.", range.start)
        })?;
        read.extend(harness.read(&source, &range).await?);
        same("adjacent ranges have every record once", &read, &fed)?;
        (at, detail) = (range.end, Some(range.detail));
    }
    Ok(())
}

async fn positions_survive_their_text<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(harness.slack().map(|_| 6)).await?;
    let first = source.initial_position().await?;
    let fed = harness.feed(30).await?;
    let mut at = first;
    let mut detail: Option<Value> = None;
    let mut read = Vec::new();
    for _ in 0..BATCHES_MAX {
        let Some(range) = source.admit(&at, detail.as_ref(), Limit::Options).await?.range else {
            break;
        };
        let copy = through_text(&range)?;
        hold(copy == range, "a range is the same after it was written down", || {
            format!("{range:?} became {copy:?}.")
        })?;
        read.extend(harness.read(&source, &copy).await?);
        (at, detail) = (copy.end, Some(copy.detail));
    }
    same("written positions lose nothing and repeat nothing", &read, &fed)
}

async fn admission_is_only_a_plan<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(harness.slack().map(|_| 6)).await?;
    let first = source.initial_position().await?;
    let fed = harness.feed(30).await?;
    // What is admitted and then not logged, because the process died, is admitted again.
    let dropped = admitted(&source, &first, None).await?;
    let again = admitted(&source, &first, None).await?;
    hold(dropped == again, "what was admitted and dropped is admitted again", || {
        format!("{dropped:?}, then {again:?}.")
    })?;
    let (read, _) = drain(harness, &source, first, Limit::Options).await?;
    same("what was admitted and dropped is not lost", &read, &fed)
}

async fn limits_hold<H: SourceHarness>(harness: &H) -> Result<()> {
    let Some(slack) = harness.slack() else { return Ok(()) };
    let source = harness.open(Some(6)).await?;
    let first = source.initial_position().await?;
    let fed = harness.feed(30).await?;
    let mut at = first.clone();
    let mut detail: Option<Value> = None;
    let mut read = Vec::new();
    while read.len() < fed.len() {
        let range = admitted(&source, &at, detail.as_ref()).await?;
        let records = harness.read(&source, &range).await?;
        hold(!records.is_empty(), "a limited batch makes progress", || format!("{range:?}"))?;
        hold(records.len() <= 6 + slack, "a batch stays within the limit", || {
            format!("{} records of at most 6 and {slack}.", records.len())
        })?;
        read.extend(records);
        (at, detail) = (range.end, Some(range.detail));
    }
    same("limited batches have every record once", &read, &fed)?;
    let all = source.admit(&first, None, Limit::None).await?;
    let all = all.range.ok_or_else(|| nothing_admitted(&first))?;
    let all = harness.read(&source, &all).await?;
    same("without a limit one batch has everything", &all, &fed)
}

async fn the_newest_position_never_goes_back<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(harness.slack().map(|_| 6)).await?;
    let first = source.initial_position().await?;
    let mut fed = Vec::new();
    for _ in 0..3 {
        fed.extend(harness.feed(12).await?);
        // The newest position does not depend on where somebody is, nor on limits.
        let Admitted { latest, range } = source.admit(&first, None, Limit::Options).await?;
        let whole = source.range_between(&first, &latest).await?;
        let whole = harness.read(&source, &whole).await?;
        same("the newest position is behind all there is", &whole, &fed)?;
        let range = range.ok_or_else(|| nothing_admitted(&first))?;
        let further = source.admit(&range.end, Some(&range.detail), Limit::Options).await?;
        hold(further.latest == latest, "the newest position is everyone's", || {
            format!("{latest:?} from the start, {:?} from further on.", further.latest)
        })?;
    }
    Ok(())
}

async fn available_now_ends_where_it_was_pinned<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(harness.slack().map(|_| 6)).await?;
    let first = source.initial_position().await?;
    let before = harness.feed(30).await?;
    source.pin_available_now().await?;
    let after = harness.feed(20).await?;
    let (read, last) = drain(harness, &source, first, Limit::Options).await?;
    same("a pinned run reads what was there when it began", &read, &before)?;
    let reopened = harness.open(None).await?;
    let rest = admitted(&reopened, &last.end, Some(&last.detail)).await?;
    let rest = harness.read(&reopened, &rest).await?;
    same("the next run goes on behind the pin", &rest, &after)
}

async fn ends_alone_make_the_same_range<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(harness.slack().map(|_| 12)).await?;
    let first = source.initial_position().await?;
    harness.feed(30).await?;
    let range = admitted(&source, &first, None).await?;
    let expected = harness.read(&source, &range).await?;
    let reopened = harness.open(None).await?;
    let ends = reopened.range_between(&range.start, &range.end).await?;
    hold(ends.end == range.end, "a range between two positions ends at the second", || {
        format!("{:?} instead of {:?}.", ends.end, range.end)
    })?;
    let found = harness.read(&reopened, &ends).await?;
    same("a range made of its ends has the same records", &found, &expected)?;
    let empty = reopened.range_between(&range.end, &range.end).await?;
    let none = harness.read(&reopened, &empty).await?;
    same("a range from a position to itself has no records", &none, &[])
}

async fn completion_is_advice<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(None).await?;
    let first = source.initial_position().await?;
    harness.feed(10).await?;
    let range = admitted(&source, &first, None).await?;
    // Advice may fail; what it must not do is to move anything.
    let before = source.initial_position().await?;
    let _ = source.completed(&range.end).await;
    let after = source.initial_position().await?;
    hold(before == after, "a completion does not move the first position", || {
        format!("{before:?}, then {after:?}.")
    })?;
    let fed = harness.feed(10).await?;
    for source in [source, harness.open(None).await?] {
        let next = admitted(&source, &range.end, Some(&range.detail)).await?;
        let next = harness.read(&source, &next).await?;
        same("after a completion the next records follow", &next, &fed)?;
    }
    Ok(())
}

async fn foreign_positions_are_refused<H: SourceHarness>(harness: &H) -> Result<()> {
    let source = harness.open(None).await?;
    let first = source.initial_position().await?;
    harness.feed(5).await?;
    for foreign in harness.foreign() {
        let range =
            SourceRange { start: foreign.clone(), end: foreign.clone(), detail: Value::Null };
        let answers = [
            ("admitting", source.admit(&foreign, None, Limit::Options).await.map(|_| ())),
            ("a range that ends there", source.range_between(&first, &foreign).await.map(|_| ())),
            ("a range that starts there", source.range_between(&foreign, &first).await.map(|_| ())),
            ("reading", harness.read(&source, &range).await.map(|_| ())),
        ];
        for (what, answer) in answers {
            let seen = || format!("{what} with {foreign:?} gave {answer:?}.");
            let named = answer.as_ref().err().is_some_and(|e| e.kind() != ErrorKind::Internal);
            hold(named, "a position that is not the source's is refused by name", seen)?;
        }
    }
    Ok(())
}

/// The next range, where there must be one.
async fn admitted<S: Source + ?Sized>(
    source: &Arc<S>,
    start: &Position,
    detail: Option<&Value>,
) -> Result<SourceRange> {
    let admitted = source.admit(start, detail, Limit::Options).await?;
    admitted.range.ok_or_else(|| nothing_admitted(start))
}

fn nothing_admitted(start: &Position) -> Error {
    let rule = "This rule is broken: new records are admitted.";
    Error::internal(format!("{rule} There was no range from {start:?}.")).context("conformance")
}

/// Reads batch after batch to the end; answers the records and the last range.
async fn drain<H: SourceHarness>(
    harness: &H,
    source: &Arc<H::Source>,
    start: Position,
    limit: Limit,
) -> Result<(Vec<String>, SourceRange)> {
    let mut last = SourceRange { start: start.clone(), end: start, detail: Value::Null };
    let mut records = Vec::new();
    for _ in 0..BATCHES_MAX {
        let detail = Some(&last.detail).filter(|detail| !detail.is_null());
        match source.admit(&last.end, detail, limit).await?.range {
            None => return Ok((records, last)),
            Some(range) => {
                records.extend(harness.read(source, &range).await?);
                last = range;
            }
        }
    }
    let rule = "This rule is broken: a source that is not fed comes to an end.";
    Err(Error::internal(format!("{rule} It still had ranges at {:?}.", last.end)))
}

/// The range as the intent keeps it.
fn through_text(range: &SourceRange) -> Result<SourceRange> {
    let wrong = |e| Error::internal("a range is no JSON").caused_by(e);
    let text = serde_json::to_string(range).map_err(wrong)?;
    serde_json::from_str(&text).map_err(wrong)
}
