//! A source over a list, honest or with one bug.

use async_trait::async_trait;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::{Error, Result};
use millstream_testkit::SourceHarness;
use millstream_testkit::conformance::source::check;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What can be wrong with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    FirstPositionMoves,
    IdentityMoves,
    EmptyRange,
    EndIsRead,
    LastIsLost,
    ReadsToTheNewest,
    ForgetsWhenReopened,
    StartIsRounded,
    AdmissionMoves,
    LimitIgnored,
    LimitTooHigh,
    NoLimitIsLimited,
    LatestIsTheEnd,
    PinIgnored,
    EndsAreReadAnew,
    CompletionMoves,
    ForeignIsTheStart,
}

#[derive(Clone)]
struct List {
    bug: Bug,
    records: Arc<Mutex<Vec<String>>>,
    opened: Arc<AtomicUsize>,
}

struct ListSource {
    list: List,
    records_max: Option<usize>,
    /// How often the list was opened before.
    before: usize,
    pinned: Mutex<Option<usize>>,
    admitted: AtomicUsize,
    completed: AtomicUsize,
}

impl ListSource {
    fn is(&self, bug: Bug) -> bool {
        self.list.bug == bug
    }

    fn at(&self, position: &Position) -> Result<usize> {
        match position.0.as_u64() {
            Some(at) => Ok(usize::try_from(at).unwrap()),
            None if self.is(Bug::ForeignIsTheStart) => Ok(0),
            None => Err(Error::corrupt("LIST_OFFSET_MALFORMED", "This is no position.")),
        }
    }

    fn read(&self, range: &SourceRange) -> Result<Vec<String>> {
        let (from, mut to) = (self.at(&range.start)?, self.at(&range.end)?);
        let records = self.list.records.lock().unwrap();
        match self.list.bug {
            Bug::EndIsRead => to += 1,
            Bug::LastIsLost if to - from > 8 => to -= 1,
            Bug::ReadsToTheNewest => to = records.len(),
            Bug::EndsAreReadAnew if range.detail.is_null() => to = records.len(),
            Bug::ForgetsWhenReopened if self.before > 0 => return Ok(Vec::new()),
            _ => {}
        }
        Ok(records[from.min(records.len())..to.min(records.len())].to_vec())
    }
}

#[async_trait]
impl Source for ListSource {
    fn describe(&self) -> String {
        "List".to_owned()
    }

    fn identity(&self) -> Value {
        let moved = if self.is(Bug::IdentityMoves) { self.before } else { 0 };
        json!({ "format": "list", "moved": moved })
    }

    async fn initial_position(&self) -> Result<Position> {
        let moved = match self.list.bug {
            Bug::FirstPositionMoves => self.before,
            Bug::CompletionMoves => self.completed.load(Ordering::SeqCst),
            _ => 0,
        };
        Ok(Position(json!(moved)))
    }

    async fn pin_available_now(&self) -> Result<()> {
        if !self.is(Bug::PinIgnored) {
            *self.pinned.lock().unwrap() = Some(self.list.records.lock().unwrap().len());
        }
        Ok(())
    }

    async fn admit(&self, start: &Position, _: Option<&Value>, limit: Limit) -> Result<Admitted> {
        let mut from = self.at(start)?;
        let newest = self.list.records.lock().unwrap().len();
        let newest = self.pinned.lock().unwrap().unwrap_or(newest);
        if self.is(Bug::AdmissionMoves) {
            from = from.max(self.admitted.load(Ordering::SeqCst));
        }
        let none = limit == Limit::None && !self.is(Bug::NoLimitIsLimited);
        let most = match self.records_max.filter(|_| !none) {
            Some(max) if self.is(Bug::LimitTooHigh) => max + 1,
            Some(max) if !self.is(Bug::LimitIgnored) => max,
            _ => usize::MAX,
        };
        let to = from.saturating_add(most).min(newest);
        self.admitted.store(to, Ordering::SeqCst);
        let begin = if self.is(Bug::StartIsRounded) { from / 4 * 4 } else { from };
        let range = (to > from || self.is(Bug::EmptyRange)).then(|| SourceRange {
            start: Position(json!(begin)),
            end: Position(json!(to)),
            detail: json!({ "seen": true }),
        });
        let latest = if self.is(Bug::LatestIsTheEnd) { to } else { newest };
        Ok(Admitted { range, latest: Position(json!(latest)) })
    }

    async fn range_between(&self, start: &Position, end: &Position) -> Result<SourceRange> {
        self.at(start)?;
        self.at(end)?;
        Ok(SourceRange { start: start.clone(), end: end.clone(), detail: Value::Null })
    }

    async fn completed(&self, end: &Position) -> Result<()> {
        self.completed.store(self.at(end)?, Ordering::SeqCst);
        Err(Error::unavailable("LIST_AWAY", "Advice may fail."))
    }
}

#[async_trait]
impl SourceHarness for List {
    type Source = ListSource;

    async fn open(&self, records_max: Option<usize>) -> Result<Arc<ListSource>> {
        Ok(Arc::new(ListSource {
            list: self.clone(),
            records_max,
            before: self.opened.fetch_add(1, Ordering::SeqCst),
            pinned: Mutex::default(),
            admitted: AtomicUsize::default(),
            completed: AtomicUsize::default(),
        }))
    }

    fn slack(&self) -> Option<usize> {
        Some(0)
    }

    async fn feed(&self, records: usize) -> Result<Vec<String>> {
        let mut all = self.records.lock().unwrap();
        let begin = all.len();
        all.extend((begin..begin + records).map(|n| format!("r{n}")));
        Ok(all[begin..].to_vec())
    }

    async fn read(&self, source: &Arc<ListSource>, range: &SourceRange) -> Result<Vec<String>> {
        source.read(range)
    }

    fn foreign(&self) -> Vec<Position> {
        vec![Position(json!({ "orders": { "0": 5 } })), Position(json!(-1))]
    }
}

async fn run(bug: Bug) -> Result<()> {
    check(async || Ok(List { bug, records: Arc::default(), opened: Arc::default() })).await
}

#[tokio::test]
async fn an_honest_source_passes() {
    run(Bug::None).await.unwrap();
}

#[tokio::test]
async fn each_bug_of_a_source_is_caught() {
    for (bug, rule) in [
        (Bug::FirstPositionMoves, "the first position is the same after opening again"),
        (Bug::IdentityMoves, "a source opened again has the same identity"),
        (Bug::EmptyRange, "without new records there is no range"),
        (Bug::EndIsRead, "a range has no records from behind its end"),
        (Bug::LastIsLost, "all records are read"),
        (Bug::ReadsToTheNewest, "a range has no records from behind its end"),
        (Bug::ForgetsWhenReopened, "a range is read alike by a source opened again"),
        (Bug::StartIsRounded, "a range's end belongs to the next range"),
        (Bug::AdmissionMoves, "what was admitted and dropped is admitted again"),
        (Bug::LimitIgnored, "a batch stays within the limit"),
        (Bug::LimitTooHigh, "a batch stays within the limit"),
        (Bug::NoLimitIsLimited, "without a limit one batch has everything"),
        (Bug::LatestIsTheEnd, "the newest position is behind all there is"),
        (Bug::PinIgnored, "a pinned run reads what was there when it began"),
        (Bug::EndsAreReadAnew, "a range made of its ends has the same records"),
        (Bug::CompletionMoves, "a completion does not move the first position"),
        (Bug::ForeignIsTheStart, "a position that is not the source's is refused by name"),
    ] {
        super::caught(&bug, run(bug).await, rule);
    }
}
