//! Where a source starts and where a batch read ends (`KafkaOffsetRangeLimit`).

use super::{ReadMode, invalid};
use crate::loss;
use millstream_core::offsets::{Offsets, TopicPartition};
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use std::collections::BTreeMap;

/// Stands for the end of a partition in offsets that a user writes.
pub(crate) const LATEST: i64 = -1;
/// Stands for its beginning.
pub(crate) const EARLIEST: i64 = -2;

/// A start or an end before a broker was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OffsetLimit {
    Earliest,
    Latest,
    /// Offsets of all partitions; -1 and -2 as above.
    Specific(BTreeMap<TopicPartition, i64>),
    /// Milliseconds since the epoch, per partition.
    ByTimestamp(BTreeMap<TopicPartition, i64>),
    /// The same milliseconds for every partition.
    Timestamp(i64),
}

/// What to do where no record is as young as the starting timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoMatch {
    Error,
    Latest,
}

impl NoMatch {
    pub(super) fn parse(options: &OptionMap) -> Result<NoMatch> {
        match options.get("startingOffsetsByTimestampStrategy") {
            None => Ok(NoMatch::Error),
            Some(text) if text.eq_ignore_ascii_case("error") => Ok(NoMatch::Error),
            Some(text) if text.eq_ignore_ascii_case("latest") => Ok(NoMatch::Latest),
            // The words of Scala's Enumeration.withName, which upper-cases what it was given.
            Some(text) => {
                Err(invalid(format!("No value found for '{}'", text.to_ascii_uppercase()))
                    .cure("'startingOffsetsByTimestampStrategy' is error or latest."))
            }
        }
    }
}

/// Start and end of a source in `mode`, with the refusals of that mode.
pub(super) fn limits(options: &OptionMap, mode: ReadMode) -> Result<(OffsetLimit, OffsetLimit)> {
    if mode == ReadMode::Stream {
        if options.get("endingOffsets").is_some() {
            return Err(invalid("ending offset not valid in streaming queries"));
        }
        if options.get("endingOffsetsByTimestamp").is_some() {
            return Err(invalid("ending timestamp not valid in streaming queries"));
        }
        let starting = starting(options, OffsetLimit::Latest)?;
        return Ok((starting, OffsetLimit::Latest));
    }
    let starting = starting(options, OffsetLimit::Earliest)?;
    match &starting {
        OffsetLimit::Latest => {
            return Err(invalid("starting offset can't be latest for batch queries on Kafka"));
        }
        OffsetLimit::Specific(offsets) => {
            if let Some(tp) = first_with(offsets, LATEST) {
                return Err(invalid(format!(
                    "startingOffsets for {tp} can't be latest for batch queries on Kafka"
                )));
            }
        }
        _ => {}
    }
    let ending = limit(
        options,
        ["endingTimestamp", "endingOffsetsByTimestamp", "endingOffsets"],
        OffsetLimit::Latest,
    )?;
    match &ending {
        OffsetLimit::Earliest => {
            return Err(invalid("ending offset can't be earliest for batch queries on Kafka"));
        }
        OffsetLimit::Specific(offsets) => {
            if let Some(tp) = first_with(offsets, EARLIEST) {
                return Err(invalid(format!(
                    "ending offset for {tp} can't be earliest for batch queries on Kafka"
                )));
            }
        }
        _ => {}
    }
    check_order(&starting, &ending)?;
    Ok((starting, ending))
}

fn starting(options: &OptionMap, default: OffsetLimit) -> Result<OffsetLimit> {
    limit(options, ["startingTimestamp", "startingOffsetsByTimestamp", "startingOffsets"], default)
}

fn first_with(offsets: &BTreeMap<TopicPartition, i64>, value: i64) -> Option<&TopicPartition> {
    offsets.iter().find(|(_, offset)| **offset == value).map(|(tp, _)| tp)
}

/// The first of three options that is given wins: one timestamp, timestamps, offsets.
fn limit(options: &OptionMap, names: [&str; 3], default: OffsetLimit) -> Result<OffsetLimit> {
    let [timestamp, by_timestamp, offsets] = names;
    if let Some(text) = options.get(timestamp) {
        let text = text.trim();
        let milliseconds = text.parse::<i64>().ok().filter(|t| *t >= 0);
        return milliseconds
            .map(OffsetLimit::Timestamp)
            .ok_or_else(|| invalid(format!("Expected a single long value, got {text}")));
    }
    if let Some(text) = options.get(by_timestamp) {
        let parsed = Offsets::parse(text).ok().filter(|o| o.0.values().all(|t| *t >= 0));
        return parsed.map(|o| OffsetLimit::ByTimestamp(o.0)).ok_or_else(|| {
            invalid(format!(
                "Expected e.g. {{\"topicA\": {{\"0\": 123456789, \"1\": 123456789}}, \"topicB\": \
                 {{\"0\": 123456789, \"1\": 123456789}}}}, got {text}"
            ))
        });
    }
    match options.get(offsets) {
        None => Ok(default),
        Some(text) if text.trim().eq_ignore_ascii_case("latest") => Ok(OffsetLimit::Latest),
        Some(text) if text.trim().eq_ignore_ascii_case("earliest") => Ok(OffsetLimit::Earliest),
        Some(text) => {
            let parsed = Offsets::parse(text).ok().filter(|o| o.0.values().all(|t| *t >= EARLIEST));
            parsed.map(|o| OffsetLimit::Specific(o.0)).ok_or_else(|| {
                invalid(format!(
                    "Expected e.g. {{\"topicA\":{{\"0\":23,\"1\":-1}},\"topicB\":{{\"0\":-2}}}}, \
                     got {text}"
                ))
            })
        }
    }
}

/// Start and end that were both given per partition must name the same ones, in order.
fn check_order(starting: &OffsetLimit, ending: &OffsetLimit) -> Result<()> {
    let (start, end, are_offsets) = match (starting, ending) {
        (OffsetLimit::Specific(start), OffsetLimit::Specific(end)) => (start, end, true),
        (OffsetLimit::ByTimestamp(start), OffsetLimit::ByTimestamp(end)) => (start, end, false),
        _ => return Ok(()),
    };
    if !start.keys().eq(end.keys()) {
        return Err(loss::mismatched_start_and_end(start.keys(), end.keys()));
    }
    for (tp, from) in start {
        let to = end.get(tp).copied().unwrap_or(LATEST);
        if *from > to && *from >= 0 && to >= 0 {
            let what = if are_offsets { "offset" } else { "timestamp" };
            return Err(Error::invalid(
                "UNRESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET",
                format!(
                    "The specified start {what} {from} is greater than the end {what} {to} for \
                     topic {} partition {}.",
                    tp.topic, tp.partition
                ),
            ));
        }
    }
    Ok(())
}
