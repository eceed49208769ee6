//! Three brokers that die, come back, and hand their partitions to one another.

use crate::stage::*;
use crate::support::to_rows;
use futures::TryStreamExt as _;
use millstream_kafka::ReadOptions;
use millstream_testkit::{Admin, Ledger, RealKafka, StubbornProducer, TestRecord};
use millstream_wire::Codec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Records of each partition, and their size: far more than a reader holds that is not asked.
const RECORDS: i64 = 3_000;
const BYTES: usize = 4_000;

/// A reader that fetches no further than it is read.
fn held_back() -> ReadOptions {
    ReadOptions { prefetch_bytes: 2 << 20, batch_rows: 100, ..ReadOptions::default() }
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// An administrator that asks `node`.
async fn admin(kafka: &RealKafka, node: usize) -> Admin {
    Admin::connect(&kafka.address(node).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_while_it_is_read_is_waited_for() {
    let Some(mut kafka) = three().await else { return };
    let brokers = kafka.bootstrap_servers();
    admin(&kafka, 0).await.create_topic_on("killed", &[&[1], &[2]], &[]).await;
    for partition in 0..2 {
        fill(&brokers, "killed", partition, RECORDS as usize, BYTES).await;
    }
    let source = source(&brokers, "killed", &[]);
    let mut follower = Follower::start(source.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    let mut stream = source.read(source.splits(&range, 2).unwrap(), None, held_back());
    let mut read = vec![stream.try_next().await.unwrap().unwrap()];
    kafka.kill(1);
    // The rest is asked for while the leader of half of it is dead.
    let rest = tokio::spawn(async move { stream.try_collect::<Vec<_>>().await });
    wait_for("a failed fetch", async || source.metrics().retries > 0).await;
    assert!(!rest.is_finished(), "there was nothing left to read");
    blocking(|| kafka.restart(1)).unwrap();
    read.extend(rest.await.unwrap().unwrap());
    let places = to_rows(&read).iter().map(|r| (r.partition, r.offset)).collect();
    same(places, span(0, 0..RECORDS).chain(span(1, 0..RECORDS)));
    assert!(!follower.batch().await.unwrap(), "nothing is new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_change_while_they_are_read_are_followed() {
    let Some(mut kafka) = three().await else { return };
    let brokers = kafka.bootstrap_servers();
    let replicas: [&[i32]; 3] = [&[1, 2, 0], &[2, 0, 1], &[1, 0, 2]];
    admin(&kafka, 0).await.create_topic_on("led", &replicas, &[]).await;
    for partition in 0..3 {
        fill(&brokers, "led", partition, RECORDS as usize, BYTES).await;
    }
    let source = source(&brokers, "led", &[]);
    let mut follower = Follower::start(source.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    let mut stream = source.read(source.splits(&range, 2).unwrap(), None, held_back());
    let mut read = vec![stream.try_next().await.unwrap().unwrap()];
    let rows = |read: &[_]| to_rows(read).len();

    // Its leader dies; the two others take over, and the read goes on with them.
    let before_death = source.metrics().retries;
    kafka.kill(1);
    admin(&kafka, 0).await.wait_until("led", |p| p.leader_id.0 != 1 && p.leader_id.0 >= 0).await;
    while rows(&read) < 4_500 {
        read.push(stream.try_next().await.unwrap().expect("there is more"));
    }
    assert!(source.metrics().retries > before_death, "the dead leader was never asked");

    // It comes back and leads again.
    blocking(|| kafka.restart(1)).unwrap();
    let mut admin = admin(&kafka, 0).await;
    admin.wait_until("led", |p| p.isr_nodes.len() == 3).await;
    let before = source.metrics().retries;
    admin.elect_preferred("led", 3).await;
    admin.wait_until("led", |p| p.leader_id == p.replica_nodes[0]).await;
    read.extend(stream.try_collect::<Vec<_>>().await.unwrap());
    assert!(source.metrics().retries > before, "the read ended before the leaders changed");
    let places = to_rows(&read).iter().map(|r| (r.partition, r.offset)).collect();
    same(places, (0..3).flat_map(|p| span(p, 0..RECORDS)));

    // New epochs alone are no loss, and the next batch starts where this one ended.
    assert!(!follower.batch().await.unwrap());
    for partition in 0..3 {
        fill(&brokers, "led", partition, 10, 10).await;
    }
    follower.until(30).await;
    same(follower.places, (0..3).flat_map(|p| span(p, RECORDS..RECORDS + 10)));
}

/// Produces until told to stop; answers what was acknowledged.
async fn produce(brokers: String, topic: &'static str, stop: Arc<AtomicBool>) -> Ledger {
    let mut producer = StubbornProducer::connect(&brokers, topic).await;
    let mut ledger = Ledger::new();
    while !stop.load(Ordering::Relaxed) {
        for partition in 0..3 {
            // Kafka forgets the sequence numbers of a producer whose records are old.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let value = |number: u64| TestRecord::value(number.to_string()).at(now as i64);
            let records: Vec<TestRecord> = (0..20).map(|_| value(ledger.next(partition))).collect();
            producer.produce(partition, &records, Codec::Lz4).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_restart_one_by_one_and_all_at_once_leave_no_gap() {
    let Some(mut kafka) = three().await else { return };
    let brokers = kafka.bootstrap_servers();
    let replicas: [&[i32]; 3] = [&[0, 1, 2], &[1, 2, 0], &[2, 0, 1]];
    let settings = [("min.insync.replicas", "2")];
    admin(&kafka, 0).await.create_topic_on("rolled", &replicas, &settings).await;
    let stop = Arc::new(AtomicBool::new(false));
    let producing = tokio::spawn(produce(brokers.clone(), "rolled", stop.clone()));
    // All brokers are away for longer than a test is patient elsewhere.
    let patient = [("maxOffsetsPerTrigger", "300"), ("kafka.default.api.timeout.ms", "120000")];
    let source = source(&brokers, "rolled", &patient);
    let ends = stop.clone();
    let reading = tokio::spawn(async move {
        let mut follower = Follower::start(source).await;
        while !ends.load(Ordering::Relaxed) {
            follower.batch().await.unwrap();
        }
        follower
    });
    for node in 1..3 {
        blocking(|| kafka.stop(node));
        blocking(|| kafka.restart(node)).unwrap();
        admin(&kafka, 0).await.wait_until("rolled", |p| p.isr_nodes.len() == 3).await;
    }
    // All of them die, the controller too.
    (0..3).for_each(|node| kafka.kill(node));
    blocking(|| kafka.restart_all()).unwrap();
    admin(&kafka, 0).await.wait_until("rolled", |p| p.isr_nodes.len() == 3).await;
    stop.store(true, Ordering::Relaxed);
    let ledger = producing.await.unwrap();
    assert!(ledger.len() > 300, "hardly anything was written: {}", ledger.len());
    let mut follower = reading.await.unwrap();
    follower.drain().await.unwrap();
    // What counts is what the log holds: brokers that die may forget that they had a batch already.
    let mut logged = Vec::new();
    for partition in 0..3 {
        let places = in_log(&brokers, "rolled", partition).await;
        assert!(places.len() as u64 >= ledger.len_of(partition), "partition {partition}");
        logged.extend(places);
    }
    same(follower.places, logged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_an_unclean_election_cut_is_noticed_although_it_has_grown_again() {
    let Some(mut kafka) = three().await else { return };
    let brokers = kafka.bootstrap_servers();
    let settings = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
    admin(&kafka, 0).await.create_topic_on("cut", &[&[1, 2]], &settings).await;
    fill(&brokers, "cut", 0, 100, 10).await;
    admin(&kafka, 0).await.wait_until("cut", |p| p.isr_nodes.len() == 2).await;

    // What is written while broker 2 is dead is on broker 1 alone.
    kafka.kill(2);
    admin(&kafka, 0).await.wait_until("cut", |p| p.isr_nodes.len() == 1).await;
    fill(&brokers, "cut", 0, 50, 10).await;
    let strict = source(&brokers, "cut", &[]);
    let lenient = source(&brokers, "cut", &[("failOnDataLoss", "false")]);
    let mut follower = Follower::start(strict.clone()).await;
    follower.until(150).await;
    fill(&brokers, "cut", 0, 10, 10).await;
    let planned = follower.plan().await.unwrap().unwrap();

    // Then broker 1 dies, and broker 2 leads with what it has.
    kafka.kill(1);
    blocking(|| kafka.restart(2)).unwrap();
    admin(&kafka, 0).await.wait_until("cut", |p| p.leader_id.0 == 2).await;
    let mut follower = Follower::after(strict.clone(), &planned);
    let error = follower.plan().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED", "{error}");
    // It grows past where we are, and is told all the same: between batches, and in a batch.
    fill(&kafka.address(2).unwrap(), "cut", 0, 100, 10).await;
    let error = follower.plan().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED", "{error}");
    assert!(error.message().contains("from 160 to 100"), "{error}");
    let error = read(&strict, &planned).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED", "{error}");

    // Without it, the batch in flight is empty, and the next reads what came instead.
    same(read(&lenient, &planned).await.unwrap(), []);
    let mut follower = Follower::after(lenient, &planned);
    let next = follower.plan().await.unwrap().unwrap();
    let gap = &next.detail["gaps"][0];
    assert_eq!((&gap["from"], &gap["to"]), (&160.into(), &100.into()), "{gap}");
    assert_eq!(gap["reason"], "truncated");
    same(read(&follower.source, &next).await.unwrap(), span(0, 100..200));
    assert!(!follower.batch().await.unwrap());
    blocking(|| kafka.restart(1)).unwrap();
}
