//! Logs on the disk: what a broker that was stopped, killed or cut finds again.

use crate::{read_all, values};
use millstream_broker::{Broker, BrokerConfig};
use millstream_testkit::{Admin, Producer};
use millstream_wire::Codec;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const CHILD_DIR: &str = "MILLSTREAM_TEST_BROKER_DIR";

fn config(dir: &Path) -> BrokerConfig {
    BrokerConfig { dir: Some(dir.to_path_buf()), segment_bytes: 2048, ..BrokerConfig::default() }
}

fn start(dir: &Path) -> Broker {
    Broker::start(config(dir)).expect("the broker starts")
}

async fn fill(bootstrap: &str, topic: &str, batches: i64) {
    let mut producer = Producer::connect(bootstrap).await;
    for n in 0..batches {
        let codec = Codec::ALL[usize::try_from(n).unwrap() % Codec::ALL.len()];
        let offset = producer.produce(topic, 0, &values(n * 10..n * 10 + 10), codec).await;
        assert_eq!(offset, n * 10);
    }
}

fn expected(end: i64) -> Vec<(i64, String)> {
    (0..end).map(|n| (n, format!("value {n}"))).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "log") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_stopped_broker_finds_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let id = broker.create_topic("t", 1).unwrap();
    broker.create_topic_with("settings", 2, &[("max.message.bytes", "123456")]).unwrap();
    broker.create_topic("gone", 1).unwrap();
    broker.delete_topic("gone").unwrap();
    fill(&broker.bootstrap_servers(), "t", 40).await;
    assert!(segments(dir.path()).len() > 1, "several segments: {:?}", segments(dir.path()));
    broker.delete_records("t", 0, 15).unwrap();
    broker.plant_gap("t", 0, 1_000_000).unwrap();
    let (cluster, epoch) = (broker.cluster_id().to_owned(), broker.leader("t", 0).unwrap().1);
    broker.stop();

    let broker = start(dir.path());
    assert_eq!(broker.topic_id("t"), Some(id));
    assert_eq!(broker.topic_id("gone"), None);
    assert!(broker.topic_id("settings").is_some());
    assert_eq!(broker.cluster_id(), cluster);
    assert_eq!(broker.start_offset("t", 0).unwrap(), 15);
    assert_eq!(broker.end_offset("t", 0).unwrap(), 1_000_400);
    assert_eq!(broker.leader("t", 0).unwrap().1, epoch + 1, "a new leader epoch");
    let read = read_all(&broker.bootstrap_servers(), "t").await;
    assert_eq!(read, expected(400)[15..]);
    let mut admin = Admin::connect(&broker.bootstrap_servers()).await;
    assert_eq!(admin.list_offset("t", 0, 1100).await, Ok((100, 1100)));
}

#[test]
fn a_directory_has_one_broker() {
    let dir = tempfile::tempdir().unwrap();
    let _broker = start(dir.path());
    let second = Broker::start(config(dir.path())).unwrap_err();
    assert_eq!(second.code(), "BROKER_DIR_IN_USE");
}

#[tokio::test]
async fn a_torn_end_is_cut_wherever_it_tears() {
    let dir = tempfile::tempdir().unwrap();
    let config = |dir: &Path| BrokerConfig { segment_bytes: 1 << 30, ..config(dir) };
    let broker = Broker::start(config(dir.path())).unwrap();
    broker.create_topic("t", 1).unwrap();
    fill(&broker.bootstrap_servers(), "t", 5).await;
    broker.stop();
    let log = segments(dir.path()).pop().unwrap();
    let whole = std::fs::read(&log).unwrap();
    let mut ends = Vec::new();
    for len in (0..whole.len()).step_by(37).chain([whole.len()]) {
        std::fs::write(&log, &whole[..len]).unwrap();
        // The end was stored at the clean stop; a killed broker has stored none.
        remove_state(dir.path());
        let broker = Broker::start(config(dir.path())).unwrap();
        let end = broker.end_offset("t", 0).unwrap();
        assert_eq!(read_all(&broker.bootstrap_servers(), "t").await, expected(end), "cut at {len}");
        ends.push(end);
        let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
        assert_eq!(producer.produce("t", 0, &values(end..end + 1), Codec::None).await, end);
        assert_eq!(
            read_all(&broker.bootstrap_servers(), "t").await,
            expected(end + 1),
            "appending goes on behind the cut at {len}"
        );
    }
    assert!(ends.is_sorted() && ends.first() == Some(&0) && ends.last() == Some(&50), "{ends:?}");
}

fn remove_state(dir: &Path) {
    let state = segments(dir).pop().unwrap().with_file_name("state.json");
    let _ = std::fs::remove_file(state);
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    broker.create_topic("t", 1).unwrap();
    fill(&broker.bootstrap_servers(), "t", 40).await;
    broker.stop();
    let first = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[100] ^= 0x40;
    std::fs::write(&first, bytes).unwrap();
    let error = Broker::start(config(dir.path())).unwrap_err();
    assert_eq!(error.code(), "BROKER_LOG_CORRUPT");
    assert!(error.message().contains(&first.display().to_string()), "{error}");
}

/// Not a test of its own: the process that [`a_killed_broker_keeps_what_it_acknowledged`] kills.
#[test]
#[allow(clippy::disallowed_methods)]
fn child_broker() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let broker = start(Path::new(&dir));
    println!("\nlistens {}", broker.bootstrap_servers());
    // Lives until it is killed, or until the test that started it is gone.
    let _ = std::io::stdin().lines().count();
}

struct ChildBroker {
    process: Child,
    bootstrap: String,
}

impl ChildBroker {
    fn start(dir: &Path) -> ChildBroker {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk::child_broker", "--nocapture"])
            .env(CHILD_DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let bootstrap = lines
            .map_while(Result::ok)
            .find_map(|l| l.strip_prefix("listens ").map(str::to_owned))
            .expect("the child listens");
        ChildBroker { process, bootstrap }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    let mut child = ChildBroker::start(dir.path());
    Admin::connect(&child.bootstrap).await.create_topic("t", 1).await;
    for round in 0..5 {
        let mut producer = Producer::connect(&child.bootstrap).await;
        for n in 0..20_i64 {
            let codec = Codec::ALL[usize::try_from(n).unwrap() % Codec::ALL.len()];
            let records = values(acknowledged..acknowledged + 25);
            assert_eq!(producer.produce("t", 0, &records, codec).await, acknowledged);
            acknowledged += 25;
        }
        child.kill();
        child = ChildBroker::start(dir.path());
        let read = read_all(&child.bootstrap, "t").await;
        assert_eq!(read, expected(acknowledged), "after kill {round}");
    }
    child.kill();
}
