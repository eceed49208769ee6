//! Where tables, dead letters and checkpoints lie, and what happens when one of them was renamed,
//! moved or lost between two runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_campaign::disk::{self, Deed, Disk};
use millstream_testkit::{KafkaHarness, TestRecord, skip_or_fail};
use millstream_wire::Codec;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Lab {
    directory: tempfile::TempDir,
    brokers: String,
}

/// Exit status, standard output, standard error.
type Answer = (Option<i32>, String, String);

impl Lab {
    async fn new(kafka: &KafkaHarness) -> Lab {
        kafka.admin().await.create_topic("topic", 1).await;
        let records: Vec<TestRecord> =
            (0..5).map(|n| TestRecord::value(format!("{{\"a\":{n}}}"))).collect();
        kafka.producer().await.produce("topic", 0, &records, Codec::None).await;
        Lab { directory: tempfile::tempdir().unwrap(), brokers: kafka.bootstrap_servers() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn millstream(&self, arguments: &[&str]) -> Answer {
        self.millstream_with(arguments, |_| {})
    }

    fn millstream_with(&self, arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(arguments).args(["--log-level", "warn"]).current_dir(self.directory.path());
        prepare(&mut command);
        let output = command.stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Writes a pipeline in which `{k}` stands for the arguments that every read has.
    fn pipeline(&self, text: &str) {
        let common = format!(
            "bootstrapServers => '{}', subscribe => 'topic', startingOffsets => 'earliest'",
            self.brokers
        );
        std::fs::write(self.path("p.sql"), text.replace("{k}", &common)).unwrap();
    }

    fn run(&self, more: &[&str]) -> Answer {
        let arguments = ["run", "p.sql", "--trigger", "available-now", "--progress", "none"];
        self.millstream(&[&arguments, more].concat())
    }

    fn count(&self, table: &str, storage: &str) -> String {
        let query = format!("SELECT count(*) AS n FROM {table}");
        let arguments = ["sql", "-e", &query, "--format", "csv", "--storage", storage];
        let (status, out, error) = self.millstream(&arguments);
        assert_eq!(status, Some(0), "{error}");
        out.lines().nth(1).unwrap().to_owned()
    }
}

#[track_caller]
fn refused(answer: &Answer, code: &str) {
    let (status, _, error) = answer;
    assert!(*status != Some(0) && error.contains(code), "{code} expected: {status:?} {error}");
}

#[track_caller]
fn fine(answer: &Answer) {
    assert_eq!(answer.0, Some(0), "{}", answer.2);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

const FLOW: &str = "CREATE STREAMING TABLE t; CREATE FLOW {f} AS INSERT INTO t BY NAME \
                    SELECT offset FROM STREAM read_kafka({k});";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_without_its_checkpoint_does_not_begin_again_in_silence() {
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    lab.pipeline(&FLOW.replace("{f}", "web"));
    fine(&lab.run(&[]));
    assert_eq!(lab.count("t", "millstream-data"), "5");

    // The flow was renamed: everything would be written once more.
    lab.pipeline(&FLOW.replace("{f}", "www"));
    let answer = lab.run(&[]);
    refused(&answer, "TABLE_HAS_OTHER_QUERIES");
    assert!(answer.2.contains("flow `web`") && answer.2.contains("--new-flow www"), "{}", answer.2);
    // What the message says: the directory is renamed, and nothing is read twice.
    let checkpoints = lab.path("millstream-data/_checkpoints/t");
    std::fs::rename(checkpoints.join("web"), checkpoints.join("www")).unwrap();
    fine(&lab.run(&[]));
    assert_eq!(lab.count("t", "millstream-data"), "5");

    // The checkpoint is lost.
    std::fs::rename(checkpoints.join("www"), lab.path("lost")).unwrap();
    let answer = lab.run(&[]);
    refused(&answer, "TABLE_HAS_OTHER_QUERIES");
    assert!(answer.2.contains("checkpoint rebuild"), "{}", answer.2);
    assert_eq!(lab.count("t", "millstream-data"), "5");
    fine(&lab.millstream(&[
        "checkpoint",
        "rebuild",
        "--table",
        "millstream-data/t",
        "millstream-data/_checkpoints/t/www",
    ]));
    fine(&lab.run(&[]));
    assert_eq!(lab.count("t", "millstream-data"), "5");

    // A second flow beside the first needs no word; a new one in place of another does.
    lab.pipeline(&format!(
        "{} CREATE FLOW more AS INSERT INTO t BY NAME SELECT offset FROM STREAM read_kafka({{k}});",
        FLOW.replace("{f}", "www")
    ));
    fine(&lab.run(&[]));
    assert_eq!(lab.count("t", "millstream-data"), "10");
    lab.pipeline(&FLOW.replace("{f}", "third"));
    refused(&lab.run(&[]), "TABLE_HAS_OTHER_QUERIES");
    fine(&lab.run(&["--new-flow", "third"]));
    assert_eq!(lab.count("t", "millstream-data"), "15");

    // Names of tables are not case-sensitive.
    lab.pipeline(&FLOW.replace("{f}", "third").replace(" t;", " T;").replace(" t BY", " T BY"));
    refused(&lab.run(&[]), "TABLE_NAME_CASE");
    assert_eq!(lab.count("T", "millstream-data"), "15");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_can_be_moved_and_copied() {
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    lab.pipeline(&FLOW.replace("{f}", "web"));
    fine(&lab.run(&["--storage", "one"]));
    // Moved after its first run, when the identity does not yet have the table's id.
    std::fs::rename(lab.path("one"), lab.path("two")).unwrap();
    fine(&lab.run(&["--storage", "two"]));
    // Copied after a later run, as a backup is; named by a URL.
    copy(&lab.path("two"), &lab.path("three"));
    let url = format!("file://{}", lab.path("three").display());
    fine(&lab.run(&["--storage", &url]));
    for storage in ["two", "three"] {
        assert_eq!(lab.count("t", storage), "5");
    }
    refused(&lab.run(&["--storage", "s3://bucket/x"]), "DELTA_UNSUPPORTED_LOCATION");

    // Another table in the place of the one that the checkpoint knows is not the same table.
    std::fs::remove_dir_all(lab.path("two/t")).unwrap();
    let answer = lab.run(&["--storage", "two"]);
    assert_ne!(answer.0, Some(0), "{}", answer.2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_before_the_first_batch_can_be_corrected() {
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    lab.pipeline(&FLOW.replace("{f}", "web").replace("{k}", "{k}, subscribe => 'topik'"));
    let text = std::fs::read_to_string(lab.path("p.sql")).unwrap();
    std::fs::write(lab.path("p.sql"), text.replace("subscribe => 'topic', ", "")).unwrap();
    refused(&lab.run(&[]), "topik");
    lab.pipeline(&FLOW.replace("{f}", "web"));
    fine(&lab.run(&[]));
    assert_eq!(lab.count("t", "millstream-data"), "5");

    // Without its identity the checkpoint still tells its own query from another one.
    let ours = lab.path("millstream-data/_checkpoints/t/web/millstream");
    for entry in std::fs::read_dir(&ours).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("identity") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let filtered = FLOW.replace("{f}", "web").replace("({k})", "({k}) WHERE offset > 2");
    lab.pipeline(&filtered);
    refused(&lab.run(&[]), "QUERY_CHANGED");
    lab.pipeline(&FLOW.replace("{f}", "web"));
    fine(&lab.run(&[]));
    assert_eq!(lab.count("t", "millstream-data"), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_that_lie_in_one_another_are_refused() {
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    let two = "CREATE STREAMING TABLE a {a} AS SELECT offset FROM STREAM read_kafka({k}); \
               CREATE STREAMING TABLE b {b} AS SELECT offset FROM STREAM read_kafka({k});";
    let here = lab.directory.path().display().to_string();
    for (a, b) in [
        ("LOCATION '{here}/x'", "LOCATION '{here}/x'"),
        ("LOCATION '{here}/x'", "LOCATION '{here}/y/../x/'"),
        ("LOCATION '{here}/x'", "LOCATION '{here}/x/inner'"),
        ("LOCATION '{here}/millstream-data/b'", ""),
        ("LOCATION '{here}/millstream-data'", ""),
        ("LOCATION '{here}/millstream-data/_checkpoints/b/b'", ""),
    ] {
        let text = two.replace("{a}", a).replace("{b}", b).replace("{here}", &here);
        lab.pipeline(&text);
        for command in ["check", "run"] {
            let answer = lab.millstream(&[command, "p.sql"]);
            assert!(answer.2.contains("PLACES_OVERLAP"), "{a} {b}: {answer:?}");
        }
    }
    let letters = "CREATE STREAMING TABLE a AS SELECT from_json(CAST(value AS STRING), 'a INT') AS j \
                   FROM STREAM read_kafka({k}, deadLetter => '{d}'); \
                   CREATE STREAMING TABLE b AS SELECT from_json(CAST(value AS STRING), 'a INT') AS j \
                   FROM STREAM read_kafka({k}, deadLetter => '{e}');";
    let link = lab.path("link");
    std::os::unix::fs::symlink(lab.path("millstream-data"), &link).unwrap();
    let through_link = format!("{}/a", link.display());
    for (d, e) in
        [("a", "f"), ("A/../a", "f"), (through_link.as_str(), "f"), ("b", "f"), ("d", "d")]
    {
        std::fs::create_dir_all(lab.path("millstream-data/a")).unwrap();
        let d = if d.contains("..") { format!("{here}/millstream-data/{d}") } else { d.to_owned() };
        lab.pipeline(&letters.replace("{d}", &d).replace("{e}", e));
        std::fs::create_dir_all(lab.path("millstream-data/A")).unwrap();
        let answer = lab.millstream(&["check", "p.sql"]);
        assert!(answer.2.contains("PLACES_OVERLAP"), "{d} {e}: {answer:?}");
    }
    for name in ["`../../x`", "`a/b`", "`_x`"] {
        lab.pipeline(&FLOW.replace("{f}", name));
        refused(&lab.millstream(&["check", "p.sql"]), "INVALID_FLOW_NAME");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_a_table_over_never_deletes_another() {
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    lab.pipeline(&FLOW.replace("{f}", "web"));
    fine(&lab.run(&[]));
    copy(&lab.path("millstream-data/t"), &lab.path("copy"));
    std::fs::rename(lab.path("copy"), lab.path("millstream-data/t/backup")).unwrap();
    let answer = lab.run(&["--full-refresh", "t", "--yes"]);
    refused(&answer, "REFRESH_NOT_A_TABLE");
    assert!(lab.path("millstream-data/t/_delta_log").is_dir(), "nothing was deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_another_pipeline_shares_are_not_deleted() {
    let (_kafka, lab) = with_letters().await;
    fine(&lab.run(&[]));
    lab.pipeline(&LETTERS.replace("TABLE t ", "TABLE other "));
    fine(&lab.run(&[]));
    let answer = lab.run(&["--full-refresh", "other", "--yes"]);
    refused(&answer, "REFRESH_TABLE_SHARED");
    assert!(answer.2.contains("`t` of `t`"), "{}", answer.2);
    fine(&lab.run(&[]));
    lab.pipeline(LETTERS);
    fine(&lab.run(&[]));
}

/// Five rows in three batches, and a dead letter, in a table of any name, in the last.
const LETTERS: &str = "CREATE STREAMING TABLE t AS SELECT j.a, offset FROM ( \
                         SELECT from_json(CAST(value AS STRING), 'a INT') AS j, offset \
                         FROM STREAM read_kafka({k}, maxOffsetsPerTrigger => 2, deadLetter => 'd'));";

async fn with_letters() -> (KafkaHarness, Lab) {
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    let torn = [TestRecord::value("{\"a\":")];
    kafka.producer().await.produce("topic", 0, &torn, Codec::None).await;
    lab.pipeline(LETTERS);
    (kafka, lab)
}

impl Lab {
    fn run_in(&self, storage: &str, more: &[&str]) -> Answer {
        self.run(&[&["--storage", storage], more].concat())
    }

    /// Every record is there once, and `verify` has nothing to say.
    #[track_caller]
    fn whole(&self, storage: &str) {
        for (table, rows) in [("t", "5"), ("d", "1")] {
            assert_eq!(self.count(table, storage), rows, "{table}");
            let query = format!("SELECT count(DISTINCT offset) AS n FROM {table}");
            let arguments = ["sql", "-e", &query, "--format", "csv", "--storage", storage];
            assert_eq!(self.millstream(&arguments).1.lines().nth(1), Some(rows), "{table}");
        }
        fine(&self.millstream(&["verify", "p.sql", "--storage", storage]));
    }

    fn remove(&self, name: &str) {
        std::fs::remove_dir_all(self.path(name)).unwrap();
    }

    /// What a refresh has taken out of its place and not deleted.
    fn leftovers(&self, storage: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.path(storage)];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                if entry.file_name().to_string_lossy().contains(".refresh-") {
                    found.push(entry.path());
                } else if entry.path().is_dir() {
                    open.push(entry.path());
                }
            }
        }
        found
    }
}

/// One in so many of the calls that delete files is the last; before the first of them, all are.
const REFRESH_STRIDE: usize = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_refresh_is_killed_no_run_goes_on_with_half_a_table() {
    let Some(disk) = skip_or_fail("faults of the disk", Disk::compile()) else { return };
    let (_kafka, lab) = with_letters().await;
    fine(&lab.run_in("base", &[]));
    lab.whole("base");
    let refresh = ["--full-refresh", "t", "--yes"];
    let refresh_killed_at = |call: Option<usize>| {
        let _ = std::fs::remove_dir_all(lab.path("lake"));
        copy(&lab.path("base"), &lab.path("lake"));
        let log = lab.path("log");
        let _ = std::fs::remove_file(&log);
        let arguments = ["run", "p.sql", "--trigger", "available-now", "--progress", "none"];
        let arguments = [&arguments[..], &["--storage", "lake"], &refresh].concat();
        let answer = lab.millstream_with(&arguments, |command| {
            disk.under(command, &lab.path("lake").canonicalize().unwrap(), &log);
            if let Some(call) = call {
                disk::arm(command, &call.to_string(), Deed::KillBefore);
            }
        });
        (answer, disk::calls(&log))
    };
    let (answer, calls) = refresh_killed_at(None);
    fine(&answer);
    lab.whole("lake");
    assert_eq!(lab.leftovers("lake"), [] as [PathBuf; 0]);
    let is_deletion = |call: &disk::Call| {
        call.class == "unlink" && call.path.to_string_lossy().contains(".refresh-")
    };
    let first = calls.iter().position(is_deletion).unwrap() + 1;
    let last = calls.iter().rposition(is_deletion).unwrap() + 1;
    let (mut went_on, mut refused) = (0, 0);
    for call in (1..=first).chain((first..=last).step_by(REFRESH_STRIDE)) {
        let (killed, _) = refresh_killed_at(Some(call));
        assert_eq!(killed.0, None, "call {call}: {}", killed.2);
        let next = lab.run_in("lake", &[]);
        if next.0 == Some(0) {
            went_on += 1;
            lab.whole("lake");
        } else {
            refused += 1;
            assert!(next.2.contains("--full-refresh"), "call {call}: {}", next.2);
        }
        fine(&lab.run_in("lake", &refresh));
        lab.whole("lake");
        assert_eq!(lab.leftovers("lake"), [] as [PathBuf; 0], "call {call}");
    }
    assert!(went_on > 0 && refused > 0, "{went_on} went on, {refused} were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_behind_a_link_is_started_over_where_it_lies() {
    let (_kafka, lab) = with_letters().await;
    fine(&lab.run_in("lake", &[]));
    std::fs::rename(lab.path("lake/t"), lab.path("disk")).unwrap();
    std::os::unix::fs::symlink(lab.path("disk"), lab.path("lake/t")).unwrap();
    fine(&lab.run_in("lake", &["--full-refresh", "t", "--yes"]));
    lab.whole("lake");
    assert!(lab.path("lake/t").is_symlink() && lab.path("disk/_delta_log").is_dir());
    assert_eq!(lab.leftovers("disk"), [] as [PathBuf; 0]);
    assert_eq!(std::fs::read_dir(lab.path("disk/_delta_log")).unwrap().count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_storage_is_never_asked_about_a_moved_or_copied_checkpoint() {
    let (_kafka, lab) = with_letters().await;
    fine(&lab.run_in("one", &[]));
    let doctor = |dir: &str| lab.millstream(&["checkpoint", "doctor", dir]);
    // A copy: the dead letters of the original are not its own, whether or not it has some.
    copy(&lab.path("one"), &lab.path("two"));
    std::fs::rename(lab.path("one/d"), lab.path("kept")).unwrap();
    let verify = ["verify", "--table", "two/t", "--checkpoint", "two/_checkpoints/t/t"];
    let found = lab.millstream(&verify);
    fine(&found);
    assert!(found.1.contains("chain       d: batches 0 to 2"), "{}", found.1);
    fine(&doctor("two/_checkpoints/t/t"));
    std::fs::rename(lab.path("kept"), lab.path("one/d")).unwrap();
    lab.remove("two/d");
    let (status, said, _) = doctor("two/_checkpoints/t/t");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("/two/d] (no table is there)") && !said.contains("/one/"), "{said}");
    assert!(said.contains("CHECKPOINT_TABLE_NOT_FOUND"), "{said}");

    // A copy of the checkpoint alone: the tables are the other's.
    copy(&lab.path("one/_checkpoints/t/t"), &lab.path("aside"));
    let (status, said, _) = doctor("aside");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("of which this checkpoint is a copy"), "{said}");

    std::fs::rename(lab.path("one"), lab.path("three")).unwrap();
    let found = doctor("three/_checkpoints/t/t");
    fine(&found);
    assert!(!found.1.contains("/one/") && found.1.contains("/three/d"), "{}", found.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_any_name_are_seen_when_a_checkpoint_is_made_anew() {
    let (_kafka, lab) = with_letters().await;
    let kill = |at: &str| {
        let arguments = ["run", "p.sql", "--trigger", "available-now", "--storage", "lake"];
        let killed = lab.millstream_with(&arguments, |command| {
            command.env("MILLSTREAM_FAULT", at);
        });
        assert_eq!(killed.0, None, "{}", killed.2);
        lab.remove("lake/_checkpoints/t/t");
    };
    let rebuild = |table: &str| {
        lab.millstream(&["checkpoint", "rebuild", "--table", table, "lake/_checkpoints/t/t"])
    };
    let take_out = |table: &str, version: usize| {
        let entry = lab.path(&format!("lake/{table}/_delta_log/{version:020}.json"));
        std::fs::rename(entry, lab.path("taken out")).unwrap();
    };
    // The first batch is in the dead letters, and the table was never made.
    for gone in [false, true] {
        kill("P11:inside:0");
        if gone {
            lab.remove("lake/t");
        }
        let answer = rebuild("lake/t");
        refused(&answer, "REBUILD_NO_TABLE");
        assert!(answer.2.contains("/lake/d`"), "{}", answer.2);
        let answer = rebuild("lake/d");
        refused(&answer, "REBUILD_SINKS_DISAGREE");
        assert!(answer.2.contains("/lake/d/_delta_log/00000000000000000000.json"), "{}", answer.2);
        let answer = lab.run_in("lake", &[]);
        refused(&answer, "TABLE_HAS_OTHER_QUERIES");
        assert!(answer.2.contains("the dead letters of `t`"), "{}", answer.2);
        take_out("d", 0);
        fine(&lab.run_in("lake", &[]));
        assert_eq!((lab.count("t", "lake"), lab.count("d", "lake")), ("5".into(), "1".into()));
        lab.remove("lake");
    }
    // A later batch is.
    kill("P11:inside:2");
    for table in ["lake/t", "lake/d"] {
        let answer = rebuild(table);
        refused(&answer, "REBUILD_SINKS_DISAGREE");
        assert!(answer.2.contains("/lake/d/_delta_log/00000000000000000002.json"), "{}", answer.2);
    }
    take_out("d", 2);
    let made = rebuild("lake/t");
    fine(&made);
    assert!(made.1.contains("/lake/d"), "{}", made.1);
    fine(&lab.run_in("lake", &[]));
    assert_eq!((lab.count("t", "lake"), lab.count("d", "lake")), ("5".into(), "1".into()));
    // Dead letters without their table say how far it was, and nothing about its rows.
    lab.remove("lake/t");
    lab.remove("lake/_checkpoints/t/t");
    refused(&rebuild("lake/d"), "REBUILD_NO_TABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_on_the_command_line_that_mean_nothing_are_not_taken_in_silence() {
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    lab.pipeline(
        &FLOW.replace("{f}", "web").replace("SELECT offset", "SELECT offset + ${by} AS n"),
    );
    let run = |more: &[&str]| lab.millstream(&[&["run", "p.sql", "--set", "by=1"], more].concat());
    refused(&run(&["--trigger", "10"]), "TRIGGER_WITHOUT_UNIT");
    let answer = run(&["--new-flow", "wed"]);
    refused(&answer, "FLOW_NOT_IN_PIPELINE");
    assert!(answer.2.contains("`web`"), "{}", answer.2);
    assert!(!lab.path("millstream-data").exists(), "nothing was started");
    let answer = run(&["--trigger", "available-now", "--set", "bye=2"]);
    fine(&answer);
    assert!(answer.2.contains("`--set bye`") && !answer.2.contains("`--set by`"), "{}", answer.2);
    assert_eq!(lab.count("t", "millstream-data"), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_that_may_not_be_read_are_not_missing() {
    use std::os::unix::fs::PermissionsExt as _;
    let kafka = KafkaHarness::embedded();
    let lab = Lab::new(&kafka).await;
    lab.pipeline(&FLOW.replace("{f}", "web"));
    fine(&lab.run(&[]));
    let checkpoints = lab.path("millstream-data/_checkpoints");
    let mode = |mode| {
        std::fs::set_permissions(&checkpoints, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o000);
    // Modes mean nothing to the superuser, but for a process without his right to pass them over.
    let is_superuser = std::fs::read_dir(&checkpoints).is_ok();
    let run = |more: &[&str]| {
        let binary = env!("CARGO_BIN_EXE_millstream");
        let mut command = Command::new(if is_superuser { "setpriv" } else { binary });
        if is_superuser {
            command.args(["--bounding-set=-dac_override,-dac_read_search", binary]);
        }
        command.args(["run", "p.sql", "--trigger", "available-now"]).args(more);
        let output = command.current_dir(lab.directory.path()).stdin(Stdio::null()).output();
        let output = output.expect("`setpriv` of util-linux, and the binary");
        (output.status.code(), String::new(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    refused(&run(&[]), "STORE_UNREADABLE");
    // Half of a refresh would be done.
    refused(&run(&["--full-refresh", "t", "--yes"]), "REFRESH_FAILED");
    mode(0o755);
    fine(&lab.run(&[]));
    assert_eq!(lab.count("t", "millstream-data"), "5");
}
