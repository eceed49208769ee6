//! Transactions that are open, aborted, committed, interleaved, and cut by the end of a batch.

use crate::stage::*;
use crate::support::position;
use millstream_testkit::{Admin, TestRecord, Transactional};

const COMMITTED: [(&str, &str); 1] = [("kafka.isolation.level", "read_committed")];

fn records(count: usize) -> Vec<TestRecord> {
    (0..count).map(|n| TestRecord::value(format!("{n}")).at(n as i64)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_is_waited_for_and_shown_as_lag() {
    let Some(brokers) = one() else { return };
    Admin::connect(&brokers).await.create_topic("open", 1).await;
    fill(&brokers, "open", 0, 10, 10).await;
    let mut writer = Transactional::connect(&brokers, "open").await;
    writer.produce("open", 0, &records(5)).await;
    fill(&brokers, "open", 0, 20, 10).await;
    let committed = source(&brokers, "open", &COMMITTED);
    let mut follower = Follower::start(committed.clone()).await;
    follower.drain().await.unwrap();
    same(follower.places.clone(), span(0, 0..10));
    // Nothing to read and no error, but 25 offsets behind.
    assert!(!follower.batch().await.unwrap());
    let lag = committed.lag(&position(r#"{"open":{"0":10}}"#)).unwrap().unwrap();
    assert_eq!((lag.max, lag.total), (25, 25), "what waits behind the transaction is lag");
    // Who reads uncommitted records waits for nobody.
    let mut hasty = Follower::start(source(&brokers, "open", &[])).await;
    hasty.drain().await.unwrap();
    same(hasty.places, span(0, 0..35));

    writer.commit().await;
    follower.drain().await.unwrap();
    same(follower.places, span(0, 0..35));
    let lag = committed.lag(&position(r#"{"open":{"0":36}}"#)).unwrap().unwrap();
    assert_eq!(lag.total, 0);
}

/// Offsets of the records of two transactional writers and a plain one, batch after batch:
/// committed ones and aborted ones. Markers take offsets in between.
async fn interleaved(brokers: &str, topic: &str) -> (Vec<Place>, Vec<Place>) {
    Admin::connect(brokers).await.create_topic(topic, 1).await;
    let mut writers = [
        Transactional::connect(brokers, &format!("{topic}-a")).await,
        Transactional::connect(brokers, &format!("{topic}-b")).await,
    ];
    let mut plain = millstream_testkit::Producer::connect(brokers).await;
    let (mut committed, mut aborted) = (Vec::new(), Vec::new());
    for (round, commits) in
        [[true, false], [false, false], [false, true], [true, true]].into_iter().enumerate()
    {
        let mut written = [Vec::new(), Vec::new()];
        for size in [3, 7] {
            for (writer, written) in writers.iter_mut().zip(&mut written) {
                let first = writer.produce(topic, 0, &records(size + round)).await;
                written.extend(span(0, first..first + (size + round) as i64));
            }
            let first = plain.produce(topic, 0, &records(2), millstream_wire::Codec::Snappy).await;
            committed.extend(span(0, first..first + 2));
        }
        for ((writer, written), commit) in writers.iter_mut().zip(written).zip(commits) {
            if commit {
                writer.commit().await;
                committed.extend(written);
            } else {
                writer.abort().await;
                aborted.extend(written);
            }
        }
    }
    (committed, aborted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_cut_transactions_anywhere_give_what_was_committed() {
    let Some(brokers) = one() else { return };
    let (committed, aborted) = interleaved(&brokers, "interleaved").await;
    assert!(committed.len() > 40 && aborted.len() > 40);
    let everything: Vec<Place> = committed.iter().chain(&aborted).copied().collect();
    // Every batch ends somewhere else in a transaction; one batch per fetch, and all in one.
    for batch in ["1", "3", "7", "64", "100000"] {
        for fetch in ["1", "1000000"] {
            let limits =
                [("maxOffsetsPerTrigger", batch), ("kafka.max.partition.fetch.bytes", fetch)];
            for (isolation, expected) in
                [("read_committed", &committed), ("read_uncommitted", &everything)]
            {
                let isolation = ("kafka.isolation.level", isolation);
                let source = source(&brokers, "interleaved", &[&limits[..], &[isolation]].concat());
                let mut follower = Follower::start(source).await;
                follower.drain().await.unwrap();
                same(follower.places, expected.iter().copied());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_planned_within_an_open_transaction_is_the_same_after_its_abort() {
    let Some(brokers) = one() else { return };
    Admin::connect(&brokers).await.create_topic("half", 1).await;
    fill(&brokers, "half", 0, 4, 10).await;
    let mut writer = Transactional::connect(&brokers, "half").await;
    writer.produce("half", 0, &records(10)).await;
    let hasty = source(&brokers, "half", &[("maxOffsetsPerTrigger", "9")]);
    let mut follower = Follower::start(hasty.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    same(read(&hasty, &range).await.unwrap(), span(0, 0..9));
    writer.abort().await;
    // A batch that is done again gives the same rows: uncommitted is uncommitted.
    same(read(&hasty, &range).await.unwrap(), span(0, 0..9));
    follower.drain().await.unwrap();
    same(follower.places, span(0, 9..14));
    // The same offsets by who reads committed records only.
    let committed = source(&brokers, "half", &COMMITTED);
    same(read(&committed, &range).await.unwrap(), span(0, 0..4));
}
