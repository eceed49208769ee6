//! Bytes per offset of partitions, from one small fetch each: what `maxBytesPerTrigger` is
//! reckoned with until more is known.

use super::request::{Index, PARTITIONS_MAX, fetch};
use super::state::PartitionState;
use crate::client::{Cluster, Metadata};
use crate::split::Split;
use kafka_protocol::messages::fetch_response::FetchResponse;
use millstream_core::Result;
use millstream_core::offsets::TopicPartition;
use millstream_wire::{BatchHeader, Batches};
use std::collections::BTreeMap;

/// Bytes of one partition looked at, about.
const SAMPLE_BYTES: usize = 64 << 10;
/// Bytes of one sampling answer, about; partitions that do not fit share the others' mean.
const ANSWER_BYTES: usize = 4 << 20;

/// Stored bytes per offset of the partitions in `from`, measured at those offsets. Partitions
/// that do not answer are left out: an estimate is not worth a failed batch.
pub(crate) async fn sample_bytes_per_offset(
    cluster: &Cluster,
    metadata: &Metadata,
    from: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, f64>> {
    let mut by_leader: BTreeMap<i32, Vec<Split>> = BTreeMap::new();
    for (tp, offset) in from {
        let Some(leader) = metadata.partition(tp).and_then(|p| p.leader) else { continue };
        by_leader.entry(leader).or_default().push(Split {
            topic: tp.topic.clone(),
            topic_id: metadata.topic_id(&tp.topic),
            partition: tp.partition,
            start: *offset,
            end: i64::MAX,
            leader_epoch: None,
        });
    }
    let mut rates = BTreeMap::new();
    for (leader, splits) in by_leader {
        let states = PartitionState::of_splits(splits);
        for asked in states.chunks(PARTITIONS_MAX) {
            let answer = async {
                let mut connection = cluster.connection(leader).await?;
                let budget = (SAMPLE_BYTES * asked.len()).min(ANSWER_BYTES);
                let mut settings = cluster.settings.clone();
                settings.partition_max_bytes = i32::try_from(SAMPLE_BYTES).ok();
                let answer = fetch(&mut connection, &settings, asked, budget).await?;
                cluster.give_back(leader, connection);
                Ok::<_, millstream_core::Error>(answer)
            };
            match answer.await {
                Ok(answer) => measure(&answer, asked, &mut rates),
                Err(error) => tracing::debug!(%error, "no sample for maxBytesPerTrigger"),
            }
        }
    }
    Ok(rates)
}

fn measure(
    answer: &FetchResponse,
    asked: &[PartitionState],
    rates: &mut BTreeMap<TopicPartition, f64>,
) {
    let index = Index::of(asked);
    for topic in &answer.responses {
        for partition in topic.partitions.iter().filter(|p| p.error_code == 0) {
            let found = index.find(topic, partition.partition_index);
            let Some(state) = found.and_then(|at| asked.get(at)) else { continue };
            let records = partition.records.as_deref().unwrap_or_default();
            if let Some(rate) = rate(records) {
                rates.insert(state.tp(), rate);
            }
        }
    }
}

/// Bytes per offset of the batches at the front of an answer, a cut one among them.
fn rate(records: &[u8]) -> Option<f64> {
    let mut batches = Batches::new(records);
    let (mut bytes, mut offsets) = (0_usize, 0_i64);
    let mut count = |header: &BatchHeader| {
        bytes += header.length;
        offsets += i64::from(header.last_offset_delta) + 1;
    };
    for batch in batches.by_ref() {
        count(&batch.ok()?.header);
    }
    if let Ok(Some(cut)) = BatchHeader::parse(batches.rest()) {
        count(&cut);
    }
    (offsets > 0).then(|| bytes as f64 / offsets as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_wire::BatchBuilder;

    #[test]
    fn the_rate_counts_whole_and_cut_batches() {
        let mut builder = BatchBuilder::new(0);
        for _ in 0..10 {
            builder.push(0, None, Some(&[7; 100]), &[]);
        }
        let batch = builder.build().unwrap();
        let expected = batch.len() as f64 / 10.0;
        assert_eq!(rate(&batch), Some(expected));
        assert_eq!(rate(&batch[..80]), Some(expected), "its header is enough");
        let two = [&batch[..], &batch[..70]].concat();
        assert_eq!(rate(&two), Some(expected));
        assert_eq!(rate(&[]), None);
    }
}
