//! Records that are deleted or expire: below where we are, above it, before a batch is planned and
//! before it is read. With failOnDataLoss they are missed with numbers; without it the gap is
//! written down, and nothing comes twice.

use crate::stage::*;
use crate::support::to_rows;
use futures::TryStreamExt as _;
use millstream_kafka::ReadOptions;
use millstream_testkit::Admin;

const LENIENT: [(&str, &str); 1] = [("failOnDataLoss", "false")];
const LOST: &str = "KAFKA_DATA_LOSS_COULD_NOT_READ_OFFSET_RANGE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_below_the_position_are_none_of_our_business() {
    let Some(brokers) = one() else { return };
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic("below", 1).await;
    fill(&brokers, "below", 0, 50, 20).await;
    let mut follower =
        Follower::start(source(&brokers, "below", &[("maxOffsetsPerTrigger", "20")])).await;
    assert!(follower.batch().await.unwrap());
    for front in [5, 20] {
        assert_eq!(admin.delete_records("below", 0, front).await, front);
        let planned = follower.plan().await.unwrap().unwrap();
        // Deleted up to the start of the range that is planned.
        let places = read(&follower.source, &planned).await.unwrap();
        follower.places.extend(places);
    }
    follower.drain().await.unwrap();
    same(follower.places, span(0, 0..50));
    assert_eq!(follower.source.metrics().data_loss, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_before_planning_are_refused_or_recorded() {
    let Some(brokers) = one() else { return };
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic("above", 1).await;
    fill(&brokers, "above", 0, 50, 20).await;
    let limited = [("maxOffsetsPerTrigger", "20"), LENIENT[0]];
    let (strict, lenient) =
        (source(&brokers, "above", &limited[..1]), source(&brokers, "above", &limited));
    let mut follower = Follower::start(strict.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    same(read(&strict, &range).await.unwrap(), span(0, 0..20));
    admin.delete_records("above", 0, 33).await;
    let error = follower.plan().await.unwrap_err();
    assert_eq!(error.code(), LOST);
    assert!(error.message().contains("offset [20, 33)"), "{error}");
    let mut follower = Follower::after(lenient, &range);
    let next = follower.plan().await.unwrap().unwrap();
    let gap = &next.detail["gaps"][0];
    assert_eq!((&gap["from"], &gap["to"]), (&20.into(), &33.into()), "{gap}");
    assert_eq!(gap["reason"], "expired");
    follower.places = read(&follower.source, &next).await.unwrap();
    follower.drain().await.unwrap();
    same(follower.places, span(0, 33..50));
    assert_eq!(follower.source.metrics().data_loss, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_between_planning_and_reading_are_refused_or_skipped() {
    let Some(brokers) = one() else { return };
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic("between", 1).await;
    fill(&brokers, "between", 0, 50, 20).await;
    let strict = source(&brokers, "between", &[]);
    let lenient = source(&brokers, "between", &LENIENT);
    let mut follower = Follower::start(strict.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    for front in [13, 50] {
        admin.delete_records("between", 0, front).await;
        let error = read(&strict, &range).await.unwrap_err();
        assert_eq!(error.code(), LOST);
        assert!(error.message().contains("offset [0, 50)"), "{error}");
        assert!(error.message().contains(&format!("still there is {front}")), "{error}");
        same(read(&lenient, &range).await.unwrap(), span(0, front..50));
        // Again, as after a crash: the same.
        same(read(&lenient, &range).await.unwrap(), span(0, front..50));
    }
    fill(&brokers, "between", 0, 5, 20).await;
    let mut follower = Follower::after(lenient, &range);
    follower.drain().await.unwrap();
    same(follower.places, span(0, 50..55));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_while_they_are_read_are_refused_or_skipped() {
    let Some(brokers) = one() else { return };
    let mut admin = Admin::connect(&brokers).await;
    for (name, more) in [("within-strict", &[][..]), ("within-lenient", &LENIENT[..])] {
        admin.create_topic(name, 1).await;
        fill(&brokers, name, 0, 200, 50_000).await;
        let source = source(&brokers, name, more);
        let mut follower = Follower::start(source.clone()).await;
        let range = follower.plan().await.unwrap().unwrap();
        let options = ReadOptions { prefetch_bytes: 2 << 20, batch_rows: 1, ..<_>::default() };
        let mut stream = source.read(source.splits(&range, 1).unwrap(), None, options);
        let mut batches = vec![stream.try_next().await.unwrap().unwrap()];
        admin.delete_records(name, 0, 190).await;
        let end = loop {
            match stream.try_next().await {
                Ok(Some(batch)) => batches.push(batch),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let rows = to_rows(&batches);
        let front = rows.iter().filter(|r| r.offset < 190).count() as i64;
        assert!(front < 190, "all of it had been fetched before");
        let places = rows.iter().map(|r| (0, r.offset)).collect();
        if more.is_empty() {
            let error = end.expect("the rest of the range is gone, and nobody said so");
            assert_eq!(error.code(), LOST, "{error}");
            assert!(error.message().contains("still there is 190"), "{error}");
            same(places, span(0, 0..front));
        } else {
            assert!(end.is_none(), "{end:?}");
            same(places, span(0, 0..front).chain(span(0, 190..200)));
            assert_eq!(source.metrics().data_loss, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_that_passes_the_position_is_refused_or_recorded() {
    let Some(brokers) = one() else { return };
    let mut admin = Admin::connect(&brokers).await;
    // The smallest segment there is; all but the newest go at once.
    let settings = [("segment.bytes", "1048576"), ("retention.bytes", "1048576")];
    admin.create_topic_with("expires", 1, &settings).await;
    fill(&brokers, "expires", 0, 3, 20).await;
    let limited = [("maxOffsetsPerTrigger", "2"), LENIENT[0]];
    let strict = source(&brokers, "expires", &limited[..1]);
    let lenient = source(&brokers, "expires", &limited[1..]);
    let mut follower = Follower::start(strict.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    same(read(&strict, &range).await.unwrap(), span(0, 0..2));
    fill(&brokers, "expires", 0, 100, 50_000).await;
    wait_for("retention", async || admin.start_offset("expires", 0).await > 2).await;
    let error = follower.plan().await.unwrap_err();
    assert_eq!(error.code(), LOST, "{error}");
    assert!(error.message().contains("offset [2, "), "{error}");
    // Retention goes on while the next range is planned and read: the range stays exact.
    let mut follower = Follower::after(lenient.clone(), &range);
    let next = follower.plan().await.unwrap().unwrap();
    assert_eq!(next.detail["gaps"][0]["from"], 2);
    let first = next.detail["gaps"][0]["to"].as_i64().unwrap();
    let places = read(&lenient, &next).await.unwrap();
    let start = admin.start_offset("expires", 0).await;
    let from = places.iter().map(|(_, offset)| *offset).min().unwrap();
    assert!((first..=start).contains(&from), "{first} <= {from} <= {start}");
    same(places, span(0, from..103));
}
