//! The fetching task: routes partitions to their leaders, fetches from each leader on one
//! connection, follows leaders that move, and applies the data-loss rules of reading.
//!
//! A partition is with exactly one step at a time, so its chunks leave in offset order. A range
//! is done when a batch at or behind its end was seen in the headers, or, for a compacted tail,
//! when the broker repeatedly had nothing although the partition stood
//! first, or nobody had anything, and its end is there.

mod outcome;

use super::decode::Chunk;
use super::request::{Index, PARTITIONS_MAX, fetch};
use super::state::PartitionState;
use crate::metrics::add;
use crate::source::KafkaSource;
use crate::split::Split;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use millstream_core::{Error, ErrorKind, Result};
use outcome::Verdict;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes one request asks for at least, whatever the prefetch budget.
const REQUEST_BYTES_MIN: usize = 1 << 20;
/// Longest time a broker's throttling is followed before the next request.
const THROTTLE_MAX: Duration = Duration::from_secs(30);

/// Fetches some partitions and sends what comes to a reader.
pub(crate) struct Fetcher {
    source: Arc<KafkaSource>,
    chunks: UnboundedSender<Result<Chunk>>,
    budget: Arc<Semaphore>,
    budget_bytes: usize,
}

/// What a step of the task came to.
enum Step {
    /// Partitions by their leaders, and those to ask about again after a pause.
    Routed(BTreeMap<i32, VecDeque<PartitionState>>, Vec<PartitionState>),
    /// Partitions that need another leader, or the same one later, and those that stay.
    Back { leader: i32, stay: VecDeque<PartitionState>, back: Vec<PartitionState> },
}

/// What one answer means for the partitions of a leader.
#[derive(Default)]
struct Sorted {
    /// Stay with this leader, in this order.
    stay: VecDeque<PartitionState>,
    back: Vec<PartitionState>,
    chunks: Vec<Chunk>,
}

impl Fetcher {
    pub(crate) fn new(
        source: Arc<KafkaSource>,
        chunks: UnboundedSender<Result<Chunk>>,
        prefetch_bytes: usize,
    ) -> Self {
        let budget_bytes = prefetch_bytes.clamp(2 * REQUEST_BYTES_MIN, i32::MAX as usize);
        Fetcher { source, chunks, budget: Arc::new(Semaphore::new(budget_bytes)), budget_bytes }
    }

    /// Runs until every split is read or something fails; the last message says what.
    pub(crate) async fn run(self, splits: Vec<Split>) {
        if let Err(error) = self.fetch_all(PartitionState::of_splits(splits)).await {
            // A reader that is gone does not want to know.
            let _ = self.chunks.send(Err(error));
        }
    }

    async fn fetch_all(&self, states: Vec<PartitionState>) -> Result<()> {
        let mut steps: FuturesUnordered<BoxFuture<'_, Result<Step>>> = FuturesUnordered::new();
        if !states.is_empty() {
            steps.push(Box::pin(self.route(states, Duration::ZERO)));
        }
        while let Some(step) = steps.next().await {
            match step? {
                Step::Routed(groups, later) => {
                    if !later.is_empty() {
                        let pause = self.source.config.offset_retry_interval;
                        let pause = pause.max(self.source.config.client.retry_backoff.0);
                        steps.push(Box::pin(self.route(later, pause)));
                    }
                    let request_bytes = self.request_bytes(groups.len());
                    for (leader, states) in groups {
                        steps.push(Box::pin(self.fetch_from(leader, states, request_bytes)));
                    }
                }
                Step::Back { leader, stay, back } => {
                    if !stay.is_empty() {
                        let request_bytes = self.request_bytes(steps.len() + 1);
                        steps.push(Box::pin(self.fetch_from(leader, stay, request_bytes)));
                    }
                    if !back.is_empty() {
                        let pause = self.pause(&back);
                        steps.push(Box::pin(self.route(back, pause)));
                    }
                }
            }
        }
        Ok(())
    }

    /// How long partitions wait before their leaders are asked for again.
    fn pause(&self, states: &[PartitionState]) -> Duration {
        add(&self.source.counters.retries, 1);
        let (first, most) = self.source.config.client.retry_backoff;
        let doubts = states.iter().map(|s| s.doubts.moved).max().unwrap_or(0);
        first.saturating_mul(1 << doubts.min(10)).min(most)
    }

    /// Two answers per leader fit into the budget: one being decoded, one on the way.
    fn request_bytes(&self, leaders: usize) -> usize {
        let most = usize::try_from(self.source.config.client.fetch_max_bytes);
        let share = self.budget_bytes / (2 * leaders.max(1));
        share.min(most.unwrap_or(usize::MAX)).max(REQUEST_BYTES_MIN)
    }

    /// Finds the leaders of `states` after a pause, checking that the topics are still those that
    /// the batch was planned with.
    async fn route(&self, states: Vec<PartitionState>, pause: Duration) -> Result<Step> {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let mut topics: Vec<String> = states.iter().map(|s| s.origin.topic.to_string()).collect();
        topics.sort();
        topics.dedup();
        let metadata = self.source.cluster.metadata(Some(&topics)).await?;
        let (mut led, mut later) = (Vec::new(), Vec::new());
        for mut state in states {
            self.check_progress(&state)?;
            let tp = state.tp();
            let Some(partition) = metadata.partition(&tp) else {
                if self.vanished(&mut state)? {
                    later.push(state);
                }
                continue;
            };
            if let (Some(known), Some(now)) = (state.id, metadata.topic_id(&tp.topic))
                && known != now
            {
                if self.recreated(&mut state, now)? {
                    later.push(state);
                }
                continue;
            }
            state.epoch = partition.epoch;
            if partition.leader.is_some() { led.push(state) } else { later.push(state) }
        }
        self.check_epochs(&metadata, &mut led).await?;
        let mut groups: BTreeMap<i32, VecDeque<PartitionState>> = BTreeMap::new();
        for mut state in led {
            let is_left = state.next < state.end || state.next_range();
            match metadata.partition(&state.tp()).and_then(|p| p.leader) {
                Some(leader) if is_left => groups.entry(leader).or_default().push_back(state),
                _ => {}
            }
        }
        Ok(Step::Routed(groups, later))
    }

    /// Fetches from one leader until nothing of `queue` is left with it, or something moved.
    async fn fetch_from(
        &self,
        leader: i32,
        mut queue: VecDeque<PartitionState>,
        request_bytes: usize,
    ) -> Result<Step> {
        let cluster = &self.source.cluster;
        let mut back = Vec::new();
        let mut connection = match cluster.connection(leader).await {
            Ok(connection) => connection,
            Err(error) => return self.lost(leader, error, queue.into()),
        };
        while !queue.is_empty() && back.is_empty() {
            let permit = self.room(&mut queue, request_bytes).await?;
            let mut asked: Vec<PartitionState> =
                queue.drain(..queue.len().min(PARTITIONS_MAX)).collect();
            // Topics side by side make a shorter request; who stands first must not change.
            if let Some(rest) = asked.get_mut(1..) {
                rest.sort_by(|a, b| a.origin.topic.cmp(&b.origin.topic));
            }
            let settings = &self.source.config.client;
            let answer = fetch(&mut connection, settings, &asked, request_bytes).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    asked.extend(queue);
                    return self.lost(leader, error, asked);
                }
            };
            let throttle = self.note(&answer);
            let mut sorted = self.sort(&answer, asked, throttle.is_some()).await?;
            self.send(sorted.chunks, permit)?;
            back = sorted.back;
            queue.append(&mut sorted.stay);
            for state in &queue {
                self.check_progress(state)?;
            }
            if let Some(pause) = throttle {
                tokio::time::sleep(pause).await;
            }
        }
        cluster.give_back(leader, connection);
        Ok(Step::Back { leader, stay: queue, back })
    }

    /// A connection that failed: its partitions are routed anew. Errors that repeating cannot
    /// cure end the read.
    fn lost(&self, leader: i32, error: Error, mut states: Vec<PartitionState>) -> Result<Step> {
        if error.kind() != ErrorKind::Unavailable {
            return Err(error);
        }
        tracing::warn!(broker = leader, %error, "fetching from another connection");
        self.source.cluster.distrust(leader);
        for state in &mut states {
            state.doubts.moved = state.doubts.moved.saturating_add(1);
        }
        Ok(Step::Back { leader, stay: VecDeque::new(), back: states })
    }

    /// Room for one answer in the prefetch budget. Waiting for a slow reader is not a stall.
    async fn room(
        &self,
        queue: &mut VecDeque<PartitionState>,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit> {
        let began = Instant::now();
        let permits = u32::try_from(bytes.min(self.budget_bytes)).unwrap_or(u32::MAX);
        let permit = self
            .budget
            .clone()
            .acquire_many_owned(permits)
            .await
            .map_err(|_| Error::internal("the prefetch budget was closed"))?;
        let waited = began.elapsed();
        queue.iter_mut().for_each(|s| s.since += waited);
        Ok(permit)
    }

    fn check_progress(&self, state: &PartitionState) -> Result<()> {
        let limit = self.source.config.poll_timeout;
        if state.since.elapsed() < limit {
            return Ok(());
        }
        Err(Error::unavailable(
            "KAFKA_FETCH_TIMEOUT",
            format!(
                "Cannot fetch record for offset {} in {} milliseconds (topic partition {}).",
                state.next,
                limit.as_millis(),
                state.tp()
            ),
        )
        .cure("Check the leader of the partition, or raise 'kafkaConsumer.pollTimeoutMs'."))
    }

    /// Counts an answer; the pause that the broker asks for.
    fn note(&self, answer: &FetchResponse) -> Option<Duration> {
        let counters = &self.source.counters;
        add(&counters.fetches, 1);
        let throttle = u64::try_from(answer.throttle_time_ms).ok().filter(|ms| *ms > 0)?;
        add(&counters.throttled_ms, throttle);
        Some(Duration::from_millis(throttle).min(THROTTLE_MAX))
    }

    /// Sorts the partitions asked for by what the answer says about each.
    async fn sort(
        &self,
        answer: &FetchResponse,
        asked: Vec<PartitionState>,
        is_throttled: bool,
    ) -> Result<Sorted> {
        let mut sorted = Sorted::default();
        let index = Index::of(&asked);
        let (mut answers, mut is_twice) = (vec![None; asked.len()], false);
        for topic in &answer.responses {
            for partition in &topic.partitions {
                let at = index.find(topic, partition.partition_index);
                if let Some(slot) = at.and_then(|at| answers.get_mut(at)) {
                    is_twice |= slot.replace(partition).is_some();
                }
            }
        }
        if is_twice {
            // One of the two is another partition's, and which one no checksum tells.
            tracing::warn!("an answer names a partition twice; fetching again");
            answers.fill(None);
        }
        // Nobody used the byte limit up, or it was this partition's to use first.
        let has_nothing = answers.iter().all(|p: &Option<&PartitionData>| {
            p.is_some_and(|p| p.records.as_ref().is_none_or(|r| r.is_empty()))
        });
        let (mut hungry, mut fed) = (VecDeque::new(), VecDeque::new());
        let mut first_without = None;
        for (at, (mut state, partition)) in asked.into_iter().zip(answers).enumerate() {
            let is_first = at == 0;
            let verdict = match partition {
                Some(partition) => {
                    let is_conclusive = (is_first || has_nothing) && !is_throttled;
                    self.judge(&mut state, partition, is_conclusive, &mut sorted.chunks).await?
                }
                // The broker refused the request as a whole, or left the partition out.
                None if answer.error_code != 0 => self.doubt(&mut state, answer.error_code)?,
                None => Verdict::Hungry,
            };
            match verdict {
                Verdict::Done => self.finish(state, &mut fed),
                Verdict::Fed => fed.push_back(state),
                Verdict::Hungry if is_first => first_without = Some(state),
                Verdict::Hungry => hungry.push_back(state),
                Verdict::Moved => sorted.back.push(state),
            }
        }
        // Whoever got nothing stands in front next time; who stood there in vain goes last.
        sorted.stay.append(&mut hungry);
        sorted.stay.append(&mut fed);
        sorted.stay.extend(first_without);
        Ok(sorted)
    }

    fn finish(&self, mut state: PartitionState, fed: &mut VecDeque<PartitionState>) {
        if state.next_range() {
            fed.push_back(state);
        }
    }

    /// Hands chunks on; together they hold as much of the budget as the answer really takes.
    fn send(&self, chunks: Vec<Chunk>, mut permit: OwnedSemaphorePermit) -> Result<()> {
        let bytes: usize = chunks.iter().map(|c| c.records.len()).sum();
        add(&self.source.counters.fetched_bytes, bytes as u64);
        if let Some(excess) = permit.num_permits().checked_sub(bytes) {
            drop(permit.split(excess));
        }
        let permit = Arc::new(permit);
        for mut chunk in chunks {
            chunk.permit = Some(permit.clone());
            self.chunks
                .send(Ok(chunk))
                .map_err(|_| Error::internal("the reader of fetched records is gone"))?;
        }
        Ok(())
    }
}
