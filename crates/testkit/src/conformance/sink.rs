//! The rules of a [`Sink`].
//!
//! A sink that is exactly once remembers which batches it has, and by which attempts; the others
//! promise only that nothing is seen before it is committed, and that what was committed stays.

use super::{hold, same};
use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId, Digest, Epoch, QueryId};
use millstream_core::protocol::{Resolved, resolve};
use millstream_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use uuid::Uuid;

/// Attempts that race for one batch.
const RACERS: i64 = 8;

/// Makes a sink, writes through it and reads it back. Everything that it opens is one place.
#[async_trait]
pub trait SinkHarness: Send + Sync {
    /// The sink; what tests of the engine use is `dyn DataSink`.
    type Sink: Sink + ?Sized + 'static;

    /// Opens the sink as a new process would.
    async fn open(&self) -> Result<Arc<Self::Sink>>;

    /// Writes rows as one attempt and stages them.
    async fn stage(&self, sink: &Arc<Self::Sink>, tag: &CommitTag, rows: &[i64]) -> Result<Staged>;

    /// Writes rows as one attempt that dies before it stages them.
    async fn abandon(&self, sink: &Arc<Self::Sink>, tag: &CommitTag, rows: &[i64]) -> Result<()>;

    /// The rows that readers see; `None` where there are none to see (a console).
    async fn rows(&self) -> Result<Option<Vec<i64>>>;

    /// Takes away a part of what was staged; `false` where that cannot happen.
    async fn lose(&self, staged: &Staged) -> Result<bool>;
}

/// Runs every check that applies, each over what `fresh` makes, and returns the first rule that
/// is broken.
///
/// # Errors
/// The rule, or the sink's own error where it should have answered.
pub async fn check<H: SinkHarness>(fresh: impl AsyncFn() -> Result<H>) -> Result<()> {
    nothing_is_there_before_the_first_commit(&fresh().await?).await?;
    a_commit_is_seen(&fresh().await?).await?;
    saying_a_commit_twice_loses_nothing(&fresh().await?).await?;
    housekeeping_changes_nothing(&fresh().await?).await?;
    let sink = fresh().await?.open().await?;
    if !sink.is_exactly_once() {
        return Ok(());
    }
    a_committed_attempt_is_remembered(&fresh().await?).await?;
    a_batch_is_committed_once(&fresh().await?).await?;
    another_digest_is_noticed(&fresh().await?).await?;
    later_batches_are_told(&fresh().await?).await?;
    queries_do_not_hide_each_other(&fresh().await?).await?;
    losers_harm_nobody(&fresh().await?).await?;
    one_of_many_attempts_wins(&fresh().await?).await?;
    a_lost_answer_is_found(&fresh().await?).await?;
    what_is_no_staged_commit_is_refused(&fresh().await?).await?;
    if sink.is_staged() {
        staged_work_outlives_its_process(&fresh().await?).await?;
        lost_staged_work_is_noticed(&fresh().await?).await?;
    }
    Ok(())
}

async fn nothing_is_there_before_the_first_commit<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let query = query();
    for batch in [0, 7] {
        let found = sink.probe(query, BatchId(batch)).await?;
        hold(found == Probe::Absent, "a new sink has no batch", || format!("{found:?}"))?;
    }
    let tag = tag(query, 0, 0);
    harness.abandon(&sink, &tag, &[1, 2]).await?;
    seen(harness, "rows of an attempt that died are not visible", &[]).await?;
    let staged = harness.stage(&sink, &tag, &[1, 2, 3]).await?;
    seen(harness, "staged rows are not visible", &[]).await?;
    let complete = sink.staged_is_complete(&staged).await?;
    hold(complete, "what was just staged is complete", || format!("{staged:?}"))?;
    for sink in [Arc::clone(&sink), harness.open().await?] {
        let found = sink.probe(query, tag.batch).await?;
        hold(found == Probe::Absent, "a staged batch is not committed", || format!("{found:?}"))?;
    }
    seen(harness, "staged rows are not visible", &[]).await
}

async fn a_commit_is_seen<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let query = query();
    let mut all = Vec::new();
    // The second batch is empty: filters may leave nothing, and it is a batch all the same.
    for (batch, rows) in [&[1, 2, 3][..], &[], &[4]].iter().enumerate() {
        let tag = tag(query, batch as u64, 0);
        let staged = harness.stage(&sink, &tag, rows).await?;
        let outcome = sink.commit(&tag, &staged).await?;
        committed("a batch is committed", &outcome)?;
        all.extend_from_slice(rows);
        seen(harness, "committed rows are visible", &all).await?;
    }
    Ok(())
}

async fn saying_a_commit_twice_loses_nothing<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let tag = tag(query(), 0, 0);
    let staged = harness.stage(&sink, &tag, &[1, 2, 3]).await?;
    committed("a batch is committed", &sink.commit(&tag, &staged).await?)?;
    // What comes of it depends on the sink's promise; that the rows stay does not.
    let _ = sink.commit(&tag, &staged).await;
    let Some(rows) = harness.rows().await? else { return Ok(()) };
    let lost = [1, 2, 3].into_iter().find(|row| !rows.contains(row));
    hold(lost.is_none(), "a commit that is said twice loses no rows", || format!("{lost:?}"))
}

async fn housekeeping_changes_nothing<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let query = query();
    let first = tag(query, 0, 0);
    commit(harness, &sink, &first, &[1, 2]).await?;
    let mut all = vec![1, 2];
    for batch in 1..14 {
        let row = 100 + i64::try_from(batch).unwrap_or(0);
        commit(harness, &sink, &tag(query, batch, 0), &[row]).await?;
        all.push(row);
        // Advice: it may fail.
        let _ = sink.after_completion().await;
    }
    let _ = sink.close().await;
    seen(harness, "housekeeping changes no rows", &all).await?;
    let found = sink.probe(query, BatchId(13)).await?;
    let known = matches!(found, Probe::Committed { .. }) || !sink.is_exactly_once();
    hold(known, "housekeeping forgets no batch", || format!("{found:?}"))?;
    let (one, two) = (harness.open().await?, harness.open().await?);
    hold(one.identity() == two.identity(), "a sink opened again has the same identity", || {
        format!("{} and {}.", one.identity(), two.identity())
    })?;
    hold(one.identity() == sink.identity(), "a sink keeps its identity", || {
        format!("{} and {}.", one.identity(), sink.identity())
    })?;
    hold(one.describe() == two.describe(), "a sink describes itself the same way", || {
        format!("`{}` and `{}`.", one.describe(), two.describe())
    })
}

async fn a_committed_attempt_is_remembered<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let query = query();
    for (batch, rows) in [&[1, 2][..], &[]].iter().enumerate() {
        let tag = tag(query, batch as u64, 0);
        commit(harness, &sink, &tag, rows).await?;
        for sink in [Arc::clone(&sink), harness.open().await?] {
            let found = sink.probe(query, tag.batch).await?;
            let digest_low_48 = Some(tag.digest.low_48_bits());
            let expected = Probe::Committed { attempt: Some(tag.attempt), digest_low_48 };
            let rule = "a committed batch is found, with its attempt and its digest";
            hold(found == expected, rule, || format!("{found:?} instead of {expected:?}."))?;
            let next = sink.probe(query, tag.batch.next()).await?;
            hold(next == Probe::Absent, "the batch after the newest is not there", || {
                format!("{next:?}")
            })?;
        }
    }
    Ok(())
}

async fn a_batch_is_committed_once<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let query = query();
    let first = tag(query, 0, 0);
    let staged = harness.stage(&sink, &first, &[1, 2]).await?;
    committed("a batch is committed", &sink.commit(&first, &staged).await?)?;
    for sink in [Arc::clone(&sink), harness.open().await?] {
        let again = sink.commit(&first, &staged).await?;
        already_there("the same attempt is committed once", &again)?;
        seen(harness, "the same attempt is committed once", &[1, 2]).await?;
        // Another attempt of the same batch: it has lost, and learns to whom.
        let second = CommitTag { attempt: attempt(), epoch: Epoch(2), ..first.clone() };
        let other = harness.stage(&sink, &second, &[1, 2]).await?;
        let outcome = sink.commit(&second, &other).await?;
        already_there("a batch is committed by one attempt", &outcome)?;
        seen(harness, "a batch is committed by one attempt", &[1, 2]).await?;
        let found = settle(&sink, &second, &outcome).await?;
        let expected = Resolved::Lost { winner: Some(first.attempt) };
        hold(found == expected, "an attempt that lost learns the winner", || format!("{found:?}"))?;
    }
    Ok(())
}

async fn another_digest_is_noticed<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let query = query();
    commit(harness, &sink, &tag(query, 0, 0), &[1]).await?;
    // The same number, another intent: a checkpoint that was restored from a backup.
    let foreign = tag(query, 0, 1);
    let staged = harness.stage(&sink, &foreign, &[9]).await?;
    let outcome = sink.commit(&foreign, &staged).await?;
    already_there("another intent does not take a committed batch's number", &outcome)?;
    seen(harness, "another intent does not take a committed batch's number", &[1]).await?;
    for sink in [sink, harness.open().await?] {
        let found = settle(&sink, &foreign, &outcome).await?;
        let refused = matches!(found, Resolved::Refuse(_));
        hold(refused, "a batch of another intent is refused", || format!("{found:?}"))?;
    }
    Ok(())
}

async fn later_batches_are_told<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let query = query();
    commit(harness, &sink, &tag(query, 0, 0), &[1]).await?;
    commit(harness, &sink, &tag(query, 1, 0), &[2]).await?;
    let late = tag(query, 0, 0);
    let staged = harness.stage(&sink, &late, &[1]).await?;
    let outcome = sink.commit(&late, &staged).await?;
    already_there("an old batch is not committed behind a newer one", &outcome)?;
    seen(harness, "an old batch is not committed behind a newer one", &[1, 2]).await?;
    for sink in [sink, harness.open().await?] {
        let found = sink.probe(query, late.batch).await?;
        let expected = Probe::Ahead { newest: BatchId(1) };
        let rule = "a sink that is further says how far";
        hold(found == expected, rule, || format!("{found:?} instead of {expected:?}."))?;
    }
    Ok(())
}

async fn queries_do_not_hide_each_other<H: SinkHarness>(harness: &H) -> Result<()> {
    let (one, two) = (tag(query(), 3, 0), tag(query(), 0, 1));
    let sink = harness.open().await?;
    commit(harness, &sink, &one, &[1]).await?;
    let other = harness.open().await?;
    let found = other.probe(two.query, two.batch).await?;
    let rule = "another query's batch is not this query's";
    hold(found == Probe::Absent, rule, || format!("{found:?}"))?;
    commit(harness, &other, &two, &[2]).await?;
    seen(harness, "the rows of both queries are there", &[1, 2]).await?;
    for tag in [&one, &two] {
        let found = settle(&sink, tag, &CommitOutcome::AlreadyThere).await?;
        let rule = "each query finds its own attempt";
        hold(found == Resolved::Ours, rule, || format!("{found:?}"))?;
    }
    Ok(())
}

async fn losers_harm_nobody<H: SinkHarness>(harness: &H) -> Result<()> {
    let (winners, losers) = (harness.open().await?, harness.open().await?);
    let won = tag(query(), 0, 0);
    let lost = CommitTag { attempt: attempt(), ..won.clone() };
    let dead = CommitTag { attempt: attempt(), ..won.clone() };
    let loser = harness.stage(&losers, &lost, &[1, 2]).await?;
    commit(harness, &winners, &won, &[1, 2]).await?;
    let outcome = losers.commit(&lost, &loser).await?;
    already_there("a batch is committed by one attempt", &outcome)?;
    harness.abandon(&losers, &dead, &[1, 2]).await?;
    seen(harness, "an attempt that ends leaves the winner's rows", &[1, 2]).await?;
    for sink in [&winners, &losers] {
        let _ = sink.after_completion().await;
        let _ = sink.close().await;
    }
    seen(harness, "an attempt that ends leaves the winner's rows", &[1, 2]).await?;
    // I13: whether the loser lost is for its own run to find out, not for others to decide.
    let complete = winners.staged_is_complete(&loser).await?;
    let rule = "what an attempt staged is not deleted by others";
    hold(complete || !winners.is_staged(), rule, || format!("{loser:?}"))
}

async fn one_of_many_attempts_wins<H: SinkHarness>(harness: &H) -> Result<()> {
    let query = query();
    let mut expected = Vec::new();
    // The first commit may have more to make than the later ones.
    for batch in 0..4 {
        let mut racers = Vec::new();
        for racer in 0..RACERS {
            let sink = harness.open().await?;
            let tag = tag(query, batch, 0);
            let row = i64::try_from(batch).unwrap_or(0) * 100 + racer;
            let staged = harness.stage(&sink, &tag, &[row]).await?;
            racers.push((sink, tag, staged, row));
        }
        let running: Vec<_> = racers
            .into_iter()
            .map(|(sink, tag, staged, row)| {
                tokio::spawn(async move {
                    let outcome = sink.commit(&tag, &staged).await?;
                    Ok::<_, Error>((settle(&sink, &tag, &outcome).await?, tag.attempt, row))
                })
            })
            .collect();
        let mut ended = Vec::new();
        for racer in running {
            ended.push(racer.await.map_err(|e| Error::internal(e.to_string()))??);
        }
        let won: Vec<_> = ended.iter().filter(|(end, ..)| *end == Resolved::Ours).collect();
        let [(_, winner, row)] = won.as_slice() else {
            return hold(false, "one of many attempts wins", || format!("{ended:?}"));
        };
        let lost = Resolved::Lost { winner: Some(*winner) };
        let agreed = ended.iter().all(|(end, by, _)| by == winner || *end == lost);
        hold(agreed, "all attempts agree who won", || format!("{ended:?}"))?;
        expected.push(*row);
        seen(harness, "one of many attempts has its rows in", &expected).await?;
    }
    Ok(())
}

async fn a_lost_answer_is_found<H: SinkHarness>(harness: &H) -> Result<()> {
    let query = query();
    for batch in 0..8 {
        let sink = harness.open().await?;
        let tag = tag(query, batch, 0);
        let row = i64::try_from(batch).unwrap_or(0);
        let staged = harness.stage(&sink, &tag, &[row]).await?;
        let (in_doubt, of, what) = (Arc::clone(&sink), tag.clone(), staged.clone());
        let asked = tokio::spawn(async move { in_doubt.commit(&of, &what).await });
        if batch % 2 == 0 {
            tokio::task::yield_now().await;
        }
        // Whoever asked is gone before the answer came; the commit itself may go on or not.
        asked.abort();
        let _ = asked.await;
        let outcome = sink.commit(&tag, &staged).await?;
        let found = settle(&sink, &tag, &outcome).await?;
        hold(found == Resolved::Ours, "a commit whose answer was lost is found", || {
            format!("{found:?}")
        })?;
    }
    let all: Vec<i64> = (0..8).collect();
    seen(harness, "a commit whose answer was lost is there once", &all).await
}

async fn what_is_no_staged_commit_is_refused<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let tag = tag(query(), 0, 0);
    let good = harness.stage(&sink, &tag, &[1]).await?;
    let foreign = [serde_json::Value::Null, serde_json::json!({ "foreign": true }), {
        let mut cut = good.0;
        if let Some(fields) = cut.as_object_mut() {
            let first = fields.keys().next().cloned().unwrap_or_default();
            fields.remove(&first);
        }
        cut
    }];
    for foreign in foreign {
        let answer = sink.commit(&tag, &Staged(foreign.clone())).await;
        let named = answer.as_ref().err().is_some_and(|e| e.kind() != ErrorKind::Internal);
        hold(named, "what is no staged commit is refused by name", || {
            format!("{foreign} gave {answer:?}.")
        })?;
    }
    let found = sink.probe(tag.query, tag.batch).await?;
    hold(found == Probe::Absent, "a refused commit is not there", || format!("{found:?}"))?;
    seen(harness, "a refused commit is not there", &[]).await
}

async fn staged_work_outlives_its_process<H: SinkHarness>(harness: &H) -> Result<()> {
    let query = query();
    for (batch, rows) in [&[1, 2][..], &[3]].iter().enumerate() {
        let tag = tag(query, batch as u64, 0);
        let sink = harness.open().await?;
        let staged = harness.stage(&sink, &tag, rows).await?;
        drop(sink);
        let text = staged.0.to_string();
        let later = harness.open().await?;
        let wrong = |e| Error::internal("the staged commit is no JSON").caused_by(e);
        let staged = Staged(serde_json::from_str(&text).map_err(wrong)?);
        let complete = later.staged_is_complete(&staged).await?;
        hold(complete, "what was staged is complete for a later process", || text.clone())?;
        let outcome = later.commit(&tag, &staged).await?;
        committed("a later process commits what was staged", &outcome)?;
        let found = settle(&later, &tag, &outcome).await?;
        hold(found == Resolved::Ours, "an attempt is rolled forward under its own name", || {
            format!("{found:?}")
        })?;
    }
    seen(harness, "what was rolled forward is visible", &[1, 2, 3]).await
}

async fn lost_staged_work_is_noticed<H: SinkHarness>(harness: &H) -> Result<()> {
    let sink = harness.open().await?;
    let tag = tag(query(), 0, 0);
    let staged = harness.stage(&sink, &tag, &[1, 2]).await?;
    if !harness.lose(&staged).await? {
        return Ok(());
    }
    let complete = sink.staged_is_complete(&staged).await?;
    hold(!complete, "what was lost of a staged commit is noticed", || format!("{staged:?}"))?;
    let answer = sink.commit(&tag, &staged).await;
    let named = answer.as_ref().err().is_some_and(|e| e.kind() != ErrorKind::Internal);
    let rule = "a staged commit that lost a part is refused by name";
    hold(named, rule, || format!("{answer:?}"))?;
    let found = sink.probe(tag.query, tag.batch).await?;
    hold(found == Probe::Absent, "a refused commit is not there", || format!("{found:?}"))
}

/// A tag of a new attempt. `intent` tells intents of the same number apart.
fn tag(query: QueryId, batch: u64, intent: u8) -> CommitTag {
    let digest = |batch: u64| Digest::of(format!("{query} {batch} {intent}").as_bytes());
    CommitTag {
        query,
        batch: BatchId(batch),
        attempt: attempt(),
        digest: digest(batch),
        previous: batch.checked_sub(1).map(digest),
        epoch: Epoch(1),
    }
}

fn query() -> QueryId {
    QueryId(Uuid::new_v4())
}

fn attempt() -> AttemptId {
    AttemptId(Uuid::new_v4())
}

/// Stages and commits rows that nothing stands against.
async fn commit<H: SinkHarness>(
    harness: &H,
    sink: &Arc<H::Sink>,
    tag: &CommitTag,
    rows: &[i64],
) -> Result<()> {
    let staged = harness.stage(sink, tag, rows).await?;
    committed("a batch is committed", &sink.commit(tag, &staged).await?)
}

/// What came of a commit, as the batch loop finds it out.
async fn settle<S: Sink + ?Sized>(
    sink: &Arc<S>,
    tag: &CommitTag,
    outcome: &CommitOutcome,
) -> Result<Resolved> {
    let found = resolve("sink", tag, &sink.probe(tag.query, tag.batch).await?);
    let said = matches!(outcome, CommitOutcome::Committed { .. });
    hold(!said || found == Resolved::Ours, "a commit that was confirmed is there", || {
        format!("{found:?}")
    })?;
    Ok(found)
}

fn committed(rule: &str, outcome: &CommitOutcome) -> Result<()> {
    hold(matches!(outcome, CommitOutcome::Committed { .. }), rule, || format!("{outcome:?}"))
}

fn already_there(rule: &str, outcome: &CommitOutcome) -> Result<()> {
    hold(matches!(outcome, CommitOutcome::AlreadyThere), rule, || format!("{outcome:?}"))
}

async fn seen<H: SinkHarness>(harness: &H, rule: &str, expected: &[i64]) -> Result<()> {
    match harness.rows().await? {
        Some(found) => same(rule, &found, expected),
        None => Ok(()),
    }
}
