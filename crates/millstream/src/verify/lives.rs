//! Lives of a topic. One that was deleted and created again counts its offsets anew, so that a
//! place is told by the topic's id as well: the batches say which life they read.

use super::facts::CheckpointFacts;
use millstream_core::offsets::TopicPartition;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Which life of each topic each batch has read.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    /// Of topics that had several: the first batch of each life after the first, in order.
    begins: BTreeMap<String, Vec<u64>>,
}

impl Lives {
    /// The lives that the batches of `checkpoint` name by the ids of their topics. A batch that
    /// another engine made names none, and belongs to the life before it.
    pub fn of(checkpoint: &CheckpointFacts) -> Lives {
        let mut newest: BTreeMap<String, String> = BTreeMap::new();
        let mut lives = Lives::default();
        for (batch, entry) in &checkpoint.ledger {
            let details = entry.sources.iter().flatten().map(|range| &range.detail["topics"]);
            for (topic, id) in details.filter_map(|topics| topics.as_object()).flatten() {
                let Some(id) = id.as_str() else { continue };
                let before = newest.insert(topic.clone(), id.to_owned());
                if before.is_some_and(|before| before != id) {
                    lives.begins.entry(topic.clone()).or_default().push(*batch);
                }
            }
        }
        lives
    }

    /// Whether the topic was created again.
    pub fn has_several(&self, topic: &str) -> bool {
        self.begins.contains_key(topic)
    }

    /// The partition as `batch` read it: of a topic's later lives, under another name.
    pub fn of_batch<'p>(
        &self,
        batch: u64,
        partition: &'p TopicPartition,
    ) -> Cow<'p, TopicPartition> {
        let begins = self.begins.get(&partition.topic);
        let life = begins.map_or(0, |begins| begins.partition_point(|begin| *begin <= batch));
        in_life(partition, life)
    }

    /// The partition in each life of its topic, from the first.
    pub fn all<'p>(
        &self,
        partition: &'p TopicPartition,
    ) -> impl Iterator<Item = Cow<'p, TopicPartition>> {
        let later = self.begins.get(&partition.topic).map_or(0, Vec::len);
        (0..=later).map(|life| in_life(partition, life))
    }
}

/// No topic's name has a blank in it, so that names stay apart.
fn in_life(partition: &TopicPartition, life: usize) -> Cow<'_, TopicPartition> {
    if life == 0 {
        return Cow::Borrowed(partition);
    }
    let topic = format!("{} (created again, life {})", partition.topic, life + 1);
    Cow::Owned(TopicPartition::new(topic, partition.partition))
}
