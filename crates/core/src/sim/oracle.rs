//! What must hold.

use super::sinks::{Row, Takes};
use super::world::World;
use crate::protocol::invariants::{Multiset, same_records};

/// After every step: each sink's log has each batch once and in order (I2, I6), sinks that hold
/// the same batch hold the same attempt of the intent that was logged (I4, I7).
pub(super) fn after_step(world: &World) -> Option<String> {
    for (at, sink) in world.sinks.iter().enumerate() {
        if let [.., before, newest] = sink.log.as_slice()
            && before.batch.next() != newest.batch
        {
            let (a, b) = (before.batch, newest.batch);
            return Some(format!("I2: sink {at} has batch {a} and then batch {b}"));
        }
        let Some(newest) = sink.log.last() else { continue };
        let planned = world.plans.get(&newest.batch);
        if world.backups.is_none()
            && let (Some(digest), Some(planned)) = (newest.digest, planned)
            && digest != *planned
        {
            return Some(format!("I4: sink {at} has batch {} of another intent", newest.batch));
        }
        for other in &world.sinks {
            if let Some(theirs) = other.log.last()
                && theirs.batch == newest.batch
                && theirs.attempt != newest.attempt
            {
                return Some(format!("I7: batch {} is held by two attempts", newest.batch));
            }
        }
    }
    None
}

/// After a power failure: what was reported complete is complete (I8).
pub(super) fn after_power_loss(world: &World) -> Option<String> {
    let reported = world.reported?;
    if world.backups.is_some() || world.disk.read(&format!("commits/{reported}")).is_some() {
        return None;
    }
    Some(format!("I8: batch {reported} was reported complete and is not"))
}

/// At the end: every sink holds exactly the records that it should (I1, I2, I3).
pub(super) fn at_the_end(world: &World, complete: bool) -> Option<String> {
    let mut should: Multiset<Row> = Multiset::new();
    for (partition, end) in world.ends.iter().enumerate() {
        let partition = u8::try_from(partition).unwrap_or(u8::MAX);
        should.extend((0..*end).map(|offset| ((partition, offset), 1)));
    }
    let mut routed: Multiset<Row> = Multiset::new();
    let mut views: Vec<(String, Multiset<Row>)> = Vec::new();
    for (at, sink) in world.sinks.iter().enumerate() {
        let rows = sink.rows();
        if sink.takes == Takes::All {
            views.push((format!("sink {at}"), rows));
        } else {
            for (row, count) in rows {
                *routed.entry(row).or_insert(0) += count;
            }
        }
    }
    if world.sinks.iter().any(|sink| sink.takes != Takes::All) {
        views.push(("the routed sinks together".to_owned(), routed));
    }
    views.into_iter().find_map(|(who, does)| {
        let mut found = same_records(&should, &does);
        if !complete {
            found.lost.clear();
        }
        (!found.is_none()).then(|| format!("I1-I3: {who}: {found}"))
    })
}
