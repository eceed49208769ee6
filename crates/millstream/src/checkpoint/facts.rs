//! The facts of P2, gathered from a scan and the sinks: for recovery, which acts on them, and for
//! the doctor, who foretells what recovery would say.

use millstream_core::Result;
use millstream_core::contract::{Probe, Sink};
use millstream_core::fault::{Moment, point};
use millstream_core::ids::{BatchId, Epoch, QueryId};
use millstream_core::protocol::{Facts, LeaseFact, Scan, SinkFact};

/// Asks every sink about the newest batch and, where that is in doubt, about the one before.
/// `sinks` are in the order of their commits.
///
/// # Errors
/// What the sinks say; a prepared attempt that changed meanwhile.
pub(crate) async fn facts(
    scan: &Scan,
    query: QueryId,
    ours: Epoch,
    sinks: &[&dyn Sink],
) -> Result<Facts> {
    let (newest, completed) = (scan.newest_offsets(), scan.newest_commits());
    let mut log = scan.log();
    for fact in &mut log.prepared {
        let Some(batch) = newest else { continue };
        let prepared = scan.prepared(batch, fact.attempt)?;
        if prepared.sinks.len() != sinks.len() {
            continue;
        }
        for (sink, staged) in sinks.iter().zip(&prepared.sinks) {
            fact.staged &= sink.staged_is_complete(staged).await?;
        }
    }
    let asked = newest.unwrap_or(BatchId(0));
    let in_doubt = newest.is_some() && newest != completed;
    let before = asked.previous().filter(|_| in_doubt);
    let mut sink_facts = Vec::with_capacity(sinks.len());
    point("P5", Moment::Before, asked.0);
    for (at, sink) in sinks.iter().enumerate() {
        if at > 0 {
            point("P5", Moment::Inside, asked.0);
        }
        let before = match before {
            Some(before) => Some(sink.probe(query, before).await?),
            None => None,
        };
        sink_facts.push(SinkFact {
            name: sink.describe(),
            remembers: sink.is_exactly_once(),
            may_forget: sink.may_forget(),
            staged: sink.is_staged(),
            newest: sink.probe(query, asked).await?,
            before,
        });
    }
    point("P5", Moment::After, asked.0);
    let newest_epoch = scan.newest_epoch().unwrap_or(ours);
    Ok(Facts {
        lease: LeaseFact { ours, newest: newest_epoch },
        log,
        sinks: sink_facts,
        stateful: false,
    })
}

/// The batch that a run stands after before it settles the newest one: the newest if that is
/// complete, else the one before.
pub(crate) fn standing_after(
    newest: Option<BatchId>,
    completed: Option<BatchId>,
) -> Option<BatchId> {
    match (newest, completed) {
        (Some(newest), Some(completed)) if newest == completed => Some(newest),
        (Some(newest), _) => newest.previous(),
        (None, _) => None,
    }
}

/// The newest batch of `query` that a sink holds.
///
/// # Errors
/// What the sink says.
pub(crate) async fn newest_in(sink: &dyn Sink, query: QueryId) -> Result<Option<BatchId>> {
    Ok(match sink.probe(query, BatchId(0)).await? {
        Probe::Absent => None,
        Probe::Committed { .. } => Some(BatchId(0)),
        Probe::Ahead { newest } => Some(newest),
    })
}
