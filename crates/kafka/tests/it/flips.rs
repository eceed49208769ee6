//! One flipped bit in an answer that no checksum covers: metadata, offsets, ends of epochs.
//!
//! TCP's own sum is weak, and what rewrites packets on the way makes a new one. Whatever the bit, a
//! stream that goes on with sound answers has read every record once. In between, an answer may
//! cost an error by name, or a smaller batch.

use crate::support::*;
use millstream_broker::{ApiKey, Broker, BrokerConfig};
use millstream_core::Result;
use millstream_core::contract::{Limit, Position, Source as _, SourceRange};
use millstream_kafka::KafkaSource;
use millstream_testkit::{Fault, Proxy, Rule};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    /// Where a new query starts, and all that follows.
    Start,
    /// A batch behind another one.
    Plan,
    /// A range that was planned before the leader changed.
    Read,
    /// A batch behind another one, when the records at its start are gone.
    PlanGone,
    /// A range of which the front is gone.
    ReadGone,
    /// All that is there when an `AvailableNow` run starts.
    Pinned,
}

/// Records of each of the two partitions; the last of them are written by another leader.
const RECORDS: i64 = 60;
/// Where the first leader ended, and the range planned under it.
const FIRST: i64 = 40;
/// Where the batch of [`Scene::Plan`] starts.
const MIDDLE: i64 = 30;
/// Before this the log of the second topic is empty.
const FRONT: i64 = 25;
/// A disturbed step ends before this, whatever it was told.
const BOUND: Duration = Duration::from_secs(8);

/// The brokers, what is planned, and the proxies of the trials.
struct Stage {
    _broker: Broker,
    at: String,
    /// The first `FIRST` records of topic `t`, planned under the first leaders.
    whole: SourceRange,
    /// All records of topic `g`, planned when they were there.
    gone: SourceRange,
}

async fn write(at: &str, topic: &str, from: i64, to: i64) {
    for partition in 0..2 {
        for first in (from..to).step_by(10) {
            produce(at, topic, partition, first as usize, 10).await;
        }
    }
}

fn options_of(topic: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("subscribe", topic),
        ("startingOffsets", "earliest"),
        ("fetchOffset.retryIntervalMs", "2"),
        ("kafka.request.timeout.ms", "250"),
        ("kafka.socket.connection.setup.timeout.ms", "250"),
        ("kafka.default.api.timeout.ms", "1200"),
        ("kafkaConsumer.pollTimeoutMs", "1200"),
        ("kafka.fetch.max.wait.ms", "10"),
    ]
}

async fn stage() -> Stage {
    let broker = Broker::start(BrokerConfig { nodes: 2, ..BrokerConfig::default() }).unwrap();
    let at = broker.bootstrap_servers();
    for topic in ["t", "g"] {
        broker.create_topic(topic, 2).unwrap();
        write(&at, topic, 0, FIRST).await;
    }
    let beginning = |topic: &str| position(&format!(r#"{{"{topic}":{{"0":0,"1":0}}}}"#));
    let plan = async |topic: &'static str| {
        let source = source(&at, &options_of(topic));
        let admitted = source.admit(&beginning(topic), None, Limit::Options).await.unwrap();
        admitted.range.unwrap()
    };
    let whole = plan("t").await;
    for partition in 0..2 {
        let (leader, _) = broker.leader("t", partition).unwrap();
        let other = *[1, 2, 0].iter().find(|n| **n != leader && broker_has(&broker, **n)).unwrap();
        broker.change_leader("t", partition, other).unwrap();
    }
    write(&at, "t", FIRST, RECORDS).await;
    write(&at, "g", FIRST, RECORDS).await;
    let gone = plan("g").await;
    for partition in 0..2 {
        broker.delete_records("g", partition, FRONT).unwrap();
    }
    Stage { _broker: broker, at, whole, gone }
}

fn broker_has(broker: &Broker, node: i32) -> bool {
    let first = broker.leader("g", 0).unwrap().0;
    let second = broker.leader("g", 1).unwrap().0;
    node == first || node == second
}

/// One trial: a source, and how far it is.
struct Trial {
    source: Arc<KafkaSource>,
    at: Option<Position>,
    detail: Option<serde_json::Value>,
    /// A range that is planned and not read.
    planned: Option<SourceRange>,
    /// Whether nothing is planned behind it.
    is_last: bool,
    is_pinned: bool,
    places: Vec<(i32, i64)>,
    gaps: usize,
}

fn at_offset(topic: &str, offset: i64) -> Position {
    position(&format!(r#"{{"{topic}":{{"0":{offset},"1":{offset}}}}}"#))
}

impl Trial {
    fn new(
        stage: &Stage,
        proxy: &Proxy,
        scene: Scene,
        more: &[(&'static str, &'static str)],
    ) -> Trial {
        let is_gone = matches!(scene, Scene::PlanGone | Scene::ReadGone);
        let topic = if is_gone { "g" } else { "t" };
        let options = [&options_of(topic)[..], more].concat();
        let range = if is_gone { &stage.gone } else { &stage.whole };
        let (at, planned) = match scene {
            Scene::Start => (None, None),
            Scene::Plan | Scene::Pinned => (Some(at_offset(topic, MIDDLE)), None),
            Scene::PlanGone => (Some(at_offset(topic, 20)), None),
            Scene::Read | Scene::ReadGone => (Some(range.end.clone()), Some(range.clone())),
        };
        Trial {
            source: source(&proxy.bootstrap_servers(), &options),
            is_last: planned.is_some(),
            detail: at.is_some().then(|| range.detail.clone()),
            at,
            planned,
            is_pinned: scene == Scene::Pinned,
            places: Vec::new(),
            gaps: 0,
        }
    }

    /// Plans and reads one batch as the engine does, which reads a planned range again until it
    /// comes; `false` where nothing is new.
    async fn step(&mut self) -> Result<bool> {
        if self.at.is_none() {
            self.at = Some(self.source.initial_position().await?);
        }
        if std::mem::take(&mut self.is_pinned) {
            let pinned = self.source.pin_available_now().await;
            self.is_pinned = pinned.is_err();
            pinned?;
        }
        let range = match self.planned.clone() {
            Some(range) => range,
            None if self.is_last => return Ok(false),
            None => {
                let at = self.at.clone().unwrap();
                let admitted = self.source.admit(&at, self.detail.as_ref(), Limit::Options).await?;
                let Some(range) = admitted.range else { return Ok(false) };
                self.gaps += range.detail["gaps"].as_array().map_or(0, Vec::len);
                (self.at, self.detail) = (Some(range.end.clone()), Some(range.detail.clone()));
                self.planned = Some(range.clone());
                range
            }
        };
        let rows = rows(&self.source, &range).await?;
        self.planned = None;
        self.places.extend(rows.iter().map(|r| (r.partition, r.offset)));
        Ok(true)
    }

    /// With sound answers: everything there is.
    async fn drain(&mut self) -> Result<()> {
        while self.step().await? {}
        Ok(())
    }
}

fn expected(scene: Scene) -> Vec<(i32, i64)> {
    let offsets = match scene {
        Scene::Start => 0..RECORDS,
        Scene::Plan | Scene::Pinned => MIDDLE..RECORDS,
        Scene::Read => 0..FIRST,
        Scene::PlanGone | Scene::ReadGone => FRONT..RECORDS,
    };
    (0..2).flat_map(|p| offsets.clone().map(move |o| (p, o))).collect()
}

/// One flip to be made: of the answers of `api`, in the one behind `after` others.
#[derive(Debug, Clone, Copy)]
struct Flip {
    scene: Scene,
    lenient: bool,
    api: ApiKey,
    after: u64,
    bit: u64,
}

/// What a flip came to, or what it must not come to.
async fn attempt(
    stage: &Stage,
    proxy: &Proxy,
    flip: Flip,
    more: &[(&'static str, &'static str)],
) -> std::result::Result<String, String> {
    let more = [more, &[("failOnDataLoss", if flip.lenient { "false" } else { "true" })]].concat();
    let mut trial = Trial::new(stage, proxy, flip.scene, &more);
    let hits = proxy.hits();
    let fault = Fault::FlipInAnswer(flip.bit);
    proxy.add(Rule::on(flip.api, fault).after(flip.after).times(1));
    let began = Instant::now();
    let disturbed = tokio::time::timeout(BOUND, trial.step()).await;
    let took = began.elapsed();
    proxy.pass();
    let Ok(disturbed) = disturbed else { return Err(format!("a hang of {took:?}")) };
    if proxy.hits() == hits {
        return Ok("not met".into());
    }
    let class = match &disturbed {
        Ok(_) if trial.places.len() == expected(flip.scene).len() => "the same".to_owned(),
        Ok(_) if trial.places.len() < expected(flip.scene).len() => "smaller".to_owned(),
        Ok(_) => return Err(format!("{} records", trial.places.len())),
        // Spark's words for a run with fixed ends have no prefix.
        Err(e) if e.code().starts_with("KAFKA_") || flip.scene == Scene::Pinned => {
            e.code().to_owned()
        }
        Err(e) => return Err(format!("an error without a name: {e}")),
    };
    // An error ends a run, and the next one reads on from what was planned; a run with fixed ends
    // may have ended early, which the next one makes good.
    if disturbed.is_err() || flip.scene == Scene::Pinned {
        trial.drain().await.or_else(|e| match flip.scene {
            Scene::Pinned => Ok(()),
            _ => Err(format!("after {class}, stuck: {e}")),
        })?;
        trial.source = Trial::new(stage, proxy, flip.scene, &more).source;
    }
    let mut drained = tokio::time::timeout(BOUND, trial.drain()).await;
    if matches!(&drained, Ok(Err(e)) if e.code() == "KAFKA_VERSION_UNSUPPORTED") {
        // Versions are a connection's, and the one that heard wrong ones may be used only now.
        drained = tokio::time::timeout(BOUND, trial.drain()).await;
    }
    match drained {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return Err(format!("after {class}, stuck: {e}")),
        Err(_) => return Err(format!("after {class}, a hang")),
    }
    trial.places.sort_unstable();
    let expected = expected(flip.scene);
    if trial.places != expected {
        let lost = expected.iter().filter(|p| !trial.places.contains(p)).count();
        let warned = trial.source.metrics().data_loss;
        let (read, of) = (trial.places.len(), expected.len());
        return Err(format!("after {class}: {read} read of {of}, {lost} lost, {warned} warnings"));
    }
    if trial.gaps > 0 && flip.scene != Scene::PlanGone {
        return Err(format!("after {class}: a gap is recorded, and nothing is gone"));
    }
    Ok(class)
}

/// Every n-th bit: `MILLSTREAM_FLIP_STRIDE`; without it a few, which reach every place in a byte.
fn stride(default: u64) -> u64 {
    #[allow(clippy::disallowed_methods)]
    let stride = std::env::var("MILLSTREAM_FLIP_STRIDE").ok().and_then(|n| n.parse().ok());
    stride.unwrap_or(default)
}

type Classes = BTreeMap<String, u64>;

/// Flips every n-th bit of the given answers, several at a time.
async fn flip_all(
    stage: Arc<Stage>,
    trials: Vec<(Scene, ApiKey, u64)>,
    more: &'static [(&'static str, &'static str)],
    every: u64,
) -> Classes {
    let mut flips = Vec::new();
    for (scene, api, answers) in trials {
        for lenient in [false, true] {
            if !lenient && matches!(scene, Scene::PlanGone | Scene::ReadGone) {
                continue;
            }
            // How long the answers are.
            let proxy = Proxy::start(&stage.at).await;
            let whole = Flip { scene, lenient, api: ApiKey::Heartbeat, after: 0, bit: 0 };
            attempt(&stage, &proxy, whole, more).await.unwrap();
            let bits = proxy.answer_bits(api);
            assert!(bits > 0, "{scene:?} does without {api:?}");
            for after in 0..answers {
                // A throttling time that broke is obeyed, for half a minute at most.
                let front = if api == ApiKey::Fetch { 5 * 8 } else { 0 };
                let first = front + after % every;
                let bits = (first..bits).step_by(every as usize);
                flips.extend(bits.map(|bit| Flip { scene, lenient, api, after, bit }));
            }
        }
    }
    let flips = Arc::new(std::sync::Mutex::new(flips));
    let workers = (0..6).map(|_| {
        let (stage, flips) = (stage.clone(), flips.clone());
        tokio::spawn(async move {
            let proxy = Proxy::start(&stage.at).await;
            let (mut classes, mut wrong) = (Classes::new(), Vec::new());
            loop {
                let Some(flip) = flips.lock().unwrap().pop() else { break (classes, wrong) };
                match attempt(&stage, &proxy, flip, more).await {
                    Ok(class) => {
                        let what = format!("{:?} {:?} {class}", flip.scene, flip.api);
                        *classes.entry(what).or_default() += 1;
                    }
                    Err(why) => wrong.push(format!("{flip:?}: {why}")),
                }
            }
        })
    });
    let (mut classes, mut wrong) = (Classes::new(), Vec::new());
    for worker in workers.collect::<Vec<_>>() {
        let (found, failed) = worker.await.unwrap();
        for (class, count) in found {
            *classes.entry(class).or_default() += count;
        }
        wrong.extend(failed);
    }
    println!("{classes:#?}");
    wrong.sort();
    assert!(wrong.is_empty(), "{} of these:\n{}", wrong.len(), wrong.join("\n"));
    classes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_a_plan_neither_loses_nor_repeats_a_record() {
    let trials = vec![
        (Scene::Start, ApiKey::Metadata, 5),
        (Scene::Start, ApiKey::ListOffsets, 6),
        (Scene::Plan, ApiKey::ApiVersions, 2),
        (Scene::Plan, ApiKey::Metadata, 3),
        (Scene::Plan, ApiKey::ListOffsets, 4),
        (Scene::Plan, ApiKey::OffsetForLeaderEpoch, 3),
        (Scene::Pinned, ApiKey::ListOffsets, 8),
        (Scene::PlanGone, ApiKey::ListOffsets, 6),
        (Scene::PlanGone, ApiKey::Metadata, 3),
    ];
    flip_all(Arc::new(stage().await), trials, &[], stride(7)).await;
    // Ends are then last stable offsets, and ends of logs are asked for besides.
    let committed = &[("kafka.isolation.level", "read_committed")];
    let trials = vec![(Scene::Plan, ApiKey::ListOffsets, 6)];
    flip_all(Arc::new(stage().await), trials, committed, stride(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_while_a_range_is_read_neither_loses_nor_repeats_a_record() {
    let trials = vec![
        (Scene::Read, ApiKey::Metadata, 2),
        (Scene::Read, ApiKey::OffsetForLeaderEpoch, 3),
        (Scene::ReadGone, ApiKey::Metadata, 3),
        (Scene::ReadGone, ApiKey::ListOffsets, 4),
        (Scene::Read, ApiKey::Fetch, 1),
    ];
    flip_all(Arc::new(stage().await), trials, &[], stride(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_changes_no_range_of_a_batch_read() {
    let stage = stage().await;
    let proxy = Proxy::start(&stage.at).await;
    let options: Vec<_> =
        options_of("t").into_iter().filter(|(name, _)| *name != "startingOffsets").collect();
    let by_time = [&options[..], &[("startingTimestamp", "17")]].concat();
    for options in [options, by_time] {
        let sound = batch_source(&proxy.bootstrap_servers(), &options).batch_range().await.unwrap();
        for (api, answers) in [(ApiKey::Metadata, 2), (ApiKey::ListOffsets, 6)] {
            for after in 0..answers {
                let bits = (after..proxy.answer_bits(api)).step_by(stride(19) as usize);
                for bit in bits {
                    proxy.add(Rule::on(api, Fault::FlipInAnswer(bit)).after(after).times(1));
                    let source = batch_source(&proxy.bootstrap_servers(), &options);
                    match source.batch_range().await {
                        // Another epoch than the leader's own only makes a reader ask.
                        Ok(range) => assert_eq!(
                            (json(&range.start), json(&range.end), &range.detail["topics"]),
                            (json(&sound.start), json(&sound.end), &sound.detail["topics"]),
                            "bit {bit} of {api:?} {after}"
                        ),
                        Err(error) => assert!(error.code().starts_with("KAFKA_"), "{error}"),
                    }
                    proxy.pass();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_a_coordinator_costs_a_commit_at_most() {
    let stage = stage().await;
    let proxy = Proxy::start(&stage.at).await;
    let more = [("kafka.group.id", "g"), ("commitGroupOffsets", "true")];
    let options = [&options_of("t")[..], &more].concat();
    let end = at_offset("t", FIRST);
    source(&proxy.bootstrap_servers(), &options).completed(&end).await.unwrap();
    for api in [ApiKey::FindCoordinator, ApiKey::OffsetCommit] {
        for bit in (0..proxy.answer_bits(api)).step_by(stride(5) as usize) {
            proxy.add(Rule::on(api, Fault::FlipInAnswer(bit)).times(1));
            let source = source(&proxy.bootstrap_servers(), &options);
            let began = Instant::now();
            if let Err(error) = source.completed(&end).await {
                assert!(error.code().starts_with("KAFKA_"), "bit {bit} of {api:?}: {error}");
            }
            assert!(began.elapsed() < BOUND, "bit {bit} of {api:?}: {:?}", began.elapsed());
            proxy.pass();
            source.completed(&end).await.unwrap();
        }
    }
}
