//! One checkpoint and one table, handed back and forth between real Spark and the real binary, also
//! in the middle of a batch: every record is in the table once, whoever ran last (mission row C8).
//!
//! A plain run takes the states that can be told apart on disk and one SIGKILL of Spark. With
//! `MILLSTREAM_INTEROP=full` every fault point that a run passes by itself (`cells::points`), every state in the first and in a later batch, and
//! `MILLSTREAM_INTEROP_KILLS` (20) SIGKILLs are taken; `tests/interop/matrix.sh` does that and
//! keeps the results.
//!
//! Needs Apache Kafka's jars, the Spark environment and its connectors (`scripts/setup-tests.sh`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "handover/cells.rs"]
mod cells;
#[path = "handover/lake.rs"]
mod lake;
#[path = "handover/spark.rs"]
mod spark;

use cells::{Before, DECISIVE, Left, is_full, name, points, points_of_anothers, record};
use lake::Lake;
use millstream_core::fault::PLACES;
use millstream_testkit::{RealKafka, reader, skip_or_fail};
use spark::{Spark, SparkParts};
use std::time::{Duration, Instant};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

/// Records that a turn finds in each partition: two batches and a bit.
const RECORDS: usize = 30;

/// Spark's parts and the brokers of Apache Kafka.
fn parts() -> Option<(SparkParts, String)> {
    let spark = skip_or_fail("real Spark", SparkParts::find())?;
    skip_or_fail("the deltalake reader", reader::python())?;
    Some((spark, RealKafka::shared()?.bootstrap_servers()))
}

/// The one Spark that all tests share, one after another: it starts slowly.
async fn shared(parts: &SparkParts) -> MappedMutexGuard<'static, Spark> {
    static SPARK: Mutex<Option<Spark>> = Mutex::const_new(None);
    let spark = SPARK.lock().await;
    MutexGuard::map(spark, |spark| spark.get_or_insert_with(|| parts.start()))
}

/// `verify` finds nothing wrong, whoever wrote which batch.
fn assert_clean(lake: &Lake, when: &str) {
    let (status, text) = lake.verify();
    assert_eq!(status, Some(0), "{when}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_goes_back_and_forth_between_spark_and_millstream() {
    let Some((parts, brokers)) = parts() else { return };
    let mut spark = shared(&parts).await;
    let mut lake = Lake::new(&brokers, "handover").await;
    // Six hand-overs.
    for turn in 0..7 {
        lake.produce(RECORDS).await;
        if turn % 2 == 0 {
            lake.spark(&mut spark);
        } else {
            lake.millstream();
        }
        lake.audit(&format!("turn {turn}"));
    }
    assert_clean(&lake, "after all turns");
}

/// Spark takes over what Millstream left, Millstream goes on, and nothing is wrong.
async fn spark_finishes(lake: &mut Lake, spark: &mut Spark, cell: &str) -> Left {
    // What came after the death must not get into a batch that was planned before it.
    lake.produce(RECORDS).await;
    let before = Before::of(lake);
    lake.spark(spark);
    lake.audit(&format!("{cell}, Spark took over"));
    record(cell, &before.after(lake, cell));
    lake.produce(RECORDS).await;
    lake.millstream();
    lake.audit(&format!("{cell}, Millstream went on"));
    assert_clean(lake, cell);
    before.left
}

/// The same the other way round.
async fn millstream_finishes(lake: &mut Lake, spark: &mut Spark, cell: &str) -> Left {
    lake.produce(RECORDS).await;
    let before = Before::of(lake);
    lake.millstream();
    lake.audit(&format!("{cell}, Millstream took over"));
    record(cell, &before.after(lake, cell));
    lake.produce(RECORDS).await;
    lake.spark(spark);
    lake.audit(&format!("{cell}, Spark went on"));
    assert_clean(lake, cell);
    before.left
}

/// What a death at `point` leaves.
fn expected(point: &str) -> Left {
    let index = |point: &str| PLACES.iter().position(|place| name(place) == point).unwrap();
    let at = index(point);
    if at < index("P4:after") || at >= index("P13:after") {
        Left::Settled
    } else if at < index("P11:inside") {
        Left::Planned
    } else {
        Left::Committed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spark_finishes_what_millstream_left_at_every_step() {
    let Some((parts, brokers)) = parts() else { return };
    let mut spark = shared(&parts).await;
    let points = if is_full() { points() } else { DECISIVE.map(str::to_owned).to_vec() };
    // In later batches, of one query: what one death leaves behind is there at the next.
    let mut lake = Lake::new(&brokers, "later").await;
    lake.produce(RECORDS).await;
    lake.spark(&mut spark);
    for point in &points {
        lake.produce(RECORDS).await;
        lake.millstream_dies(point);
        let cell = format!("Millstream dies at {point} of a later batch");
        let left = spark_finishes(&mut lake, &mut spark, &cell).await;
        assert_eq!(left, expected(point), "{cell}");
    }
    // In the first batch, where there is no table yet.
    let points = if is_full() { points } else { vec!["P4:after".to_owned()] };
    for (at, point) in points.iter().enumerate() {
        let mut lake = Lake::new(&brokers, &format!("first-{at}")).await;
        lake.produce(RECORDS).await;
        lake.millstream_dies(point);
        let cell = format!("Millstream dies at {point} of the first batch");
        let left = spark_finishes(&mut lake, &mut spark, &cell).await;
        assert_eq!(left, expected(point), "{cell}");
    }
    // A batch with a partition that the batch before did not have.
    lake.add_partition().await;
    lake.produce(RECORDS).await;
    lake.millstream_dies("P9:after");
    let cell = "Millstream dies at P9:after of a batch with a new partition";
    spark_finishes(&mut lake, &mut spark, cell).await;
}

/// Ways in which Spark may leave the newest batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// After `offsets/N`, before the table's commit.
    Planned,
    /// After the table's commit, before `commits/N`.
    Committed,
    /// As `Committed`, and what is left of `commits/N` is a temporary file and a checksum.
    Torn,
}

impl Death {
    const ALL: [Death; 3] = [Death::Planned, Death::Committed, Death::Torn];

    /// Makes what is there after a death of this kind, of a lake whose newest batch is Spark's.
    fn leave(self, lake: &Lake) {
        let (Some(batch), _) = lake.newest() else { panic!("Spark made no batch") };
        lake.lose_completion(batch);
        match self {
            Death::Planned => lake.lose_newest_entry(batch),
            Death::Committed => {}
            Death::Torn => {
                let commits = lake.checkpoint().join("commits");
                let half = format!(".{batch}.6d1c4f7e-8a54-4c0e-9f0a-0c3a4b8f6f10.tmp");
                std::fs::write(commits.join(half), "v1\n{\"nextBatch").unwrap();
                std::fs::write(
                    commits.join(format!(".{batch}.crc")),
                    b"crc\0\0\0\x02\0\x01\x02\x03\x04",
                )
                .unwrap();
            }
        }
    }

    fn left(self) -> Left {
        if self == Death::Planned { Left::Planned } else { Left::Committed }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millstream_finishes_what_spark_left_at_every_step() {
    let Some((parts, brokers)) = parts() else { return };
    let mut spark = shared(&parts).await;
    let mut lake = Lake::new(&brokers, "spark-later").await;
    for death in Death::ALL {
        spark_leaves(&mut lake, &mut spark, death).await;
        let cell = format!("Spark dies in a later batch ({death:?})");
        let left = millstream_finishes(&mut lake, &mut spark, &cell).await;
        assert_eq!(left, death.left(), "{cell}");
    }
    for (at, death) in Death::ALL.iter().enumerate().filter(|(at, _)| *at == 0 || is_full()) {
        let mut lake = Lake::new(&brokers, &format!("spark-first-{at}")).await;
        // Less than one batch.
        lake.produce(5).await;
        lake.spark(&mut spark);
        death.leave(&lake);
        let cell = format!("Spark dies in the first batch ({death:?})");
        let left = millstream_finishes(&mut lake, &mut spark, &cell).await;
        assert_eq!(left, death.left(), "{cell}");
    }
    // Two deaths in one batch, which Spark has planned: Millstream's is the second.
    let decisive = ["P9:after", "P11:inside"].map(str::to_owned).to_vec();
    for point in &if is_full() { points_of_anothers() } else { decisive } {
        spark_leaves(&mut lake, &mut spark, Death::Planned).await;
        lake.millstream_dies(point);
        let cell = format!("Spark dies with a batch planned, Millstream at {point} of it");
        let left = spark_finishes(&mut lake, &mut spark, &cell).await;
        assert_eq!(left, expected(point), "{cell}");
    }
    // And one that Millstream has planned, where Spark's is the second.
    for death in Death::ALL.into_iter().filter(|d| *d != Death::Torn) {
        while lake.is_at_table_checkpoint() {
            lake.produce(5).await;
            lake.millstream();
        }
        lake.produce(5).await;
        lake.millstream_dies("P9:after");
        lake.spark(&mut spark);
        death.leave(&lake);
        let cell = format!("Millstream dies with a batch sealed, Spark in it ({death:?})");
        let left = millstream_finishes(&mut lake, &mut spark, &cell).await;
        assert_eq!(left, death.left(), "{cell}");
    }
}

/// Spark knows no dead letters: a batch that it finished in between is not in them, which is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_with_dead_letters_is_refused_after_spark_has_gone_on() {
    let Some((parts, brokers)) = parts() else { return };
    let mut spark = shared(&parts).await;
    let mut lake = Lake::new(&brokers, "letters").await;
    lake.write_pipeline_with_dead_letters();
    lake.produce(5).await;
    lake.millstream();
    lake.produce(5).await;
    lake.millstream_dies("P9:after");
    lake.spark(&mut spark);
    let output = lake.run(None);
    let said = lake::said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("SINK_LEFT_OUT") && said.contains("letters] does not hold it"), "{said}");
    assert!(said.contains("another engine"), "{said}");
    record("Millstream dies at P9:after of a flow with dead letters", "refused: SINK_LEFT_OUT");
    // A batch that is in the dead letters already may be finished by Spark; one more may not.
    let mut lake = Lake::new(&brokers, "letters-there").await;
    lake.write_pipeline_with_dead_letters();
    lake.produce(5).await;
    lake.millstream();
    lake.produce(5).await;
    lake.millstream_dies("P11:inside");
    let cell = "Millstream dies between dead letters and table";
    let before = Before::of(&lake);
    assert_eq!(before.left, Left::Planned, "{cell}");
    lake.spark(&mut spark);
    lake.audit(&format!("{cell}, Spark took over"));
    record(cell, &before.after(&lake, cell));
    lake.produce(5).await;
    lake.millstream();
    lake.audit(&format!("{cell}, Millstream went on"));
    assert_clean(&lake, cell);
}

/// Lets Spark go on, and die in its last batch.
async fn spark_leaves(lake: &mut Lake, spark: &mut Spark, death: Death) {
    lake.produce(RECORDS).await;
    lake.spark(spark);
    // An entry with a checkpoint of the table on it cannot be taken back.
    while death == Death::Planned && lake.is_at_table_checkpoint() {
        lake.produce(5).await;
        lake.spark(spark);
    }
    death.leave(lake);
}

/// What a SIGKILL waits for.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The next `offsets/N`.
    Offsets,
    /// The next entry of the table's log.
    Entry,
    /// So much time after the first `offsets/N` of the turn.
    After(Duration),
}

impl Moment {
    fn of(kill: u64) -> Moment {
        match kill % 4 {
            0 => Moment::Entry,
            1 => Moment::Offsets,
            _ => Moment::After(Duration::from_millis(kill * 7_919 % 3_000)),
        }
    }

    /// Waits for it, while Spark works.
    fn wait(self, lake: &Lake) {
        let entries = |lake: &Lake| {
            let log = std::fs::read_dir(lake.table().join("_delta_log"));
            let names = log.into_iter().flatten().flatten().map(|e| e.file_name());
            names.filter_map(|n| n.into_string().ok()).filter(|n| n.len() == 25).count()
        };
        let (offsets, had) = (lake.newest().0, entries(lake));
        let until = |is_over: &dyn Fn() -> bool| {
            let started = Instant::now();
            while !is_over() {
                assert!(started.elapsed() < Duration::from_secs(60), "{self:?} does not come");
                std::thread::sleep(Duration::from_micros(200));
            }
        };
        match self {
            Moment::Entry => until(&|| entries(lake) != had),
            Moment::Offsets => until(&|| lake.newest().0 != offsets),
            Moment::After(time) => {
                until(&|| lake.newest().0 != offsets);
                let planned = Instant::now();
                until(&|| planned.elapsed() >= time);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millstream_takes_over_from_a_spark_that_was_killed() {
    let Some((parts, brokers)) = parts() else { return };
    let kills = std::env::var("MILLSTREAM_INTEROP_KILLS").ok().and_then(|n| n.parse().ok());
    let kills: u64 = kills.unwrap_or(if is_full() { 20 } else { 1 });
    let mut lake = Lake::new(&brokers, "killed").await;
    lake.produce(5).await;
    lake.millstream();
    for kill in 0..kills {
        // Several batches.
        lake.produce(100).await;
        let moment = Moment::of(kill);
        let mut spark = parts.start();
        spark.send(&lake.command());
        moment.wait(&lake);
        spark.kill();
        lake.audit_batches(&format!("kill {kill}"));
        lake.produce(RECORDS).await;
        let before = Before::of(&lake);
        lake.millstream();
        let cell = format!("Spark killed, {kill}: {moment:?}");
        lake.audit(&cell);
        let outcome = before.after(&lake, &cell);
        record(&cell, &format!("{:?}; {outcome}", before.left));
        assert_clean(&lake, &cell);
    }
    let mut spark = parts.start();
    lake.produce(RECORDS).await;
    lake.spark(&mut spark);
    lake.audit("Spark went on at last");
}
