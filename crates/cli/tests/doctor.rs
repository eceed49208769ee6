//! Every state in which `run` refuses is a finding of `checkpoint doctor` with the same code; what
//! the doctor and `rebuild` say to do ends with every record in its table once.
//!
//! The real binary against the embedded broker, looked at by an independent reader. Each state is
//! made of one lake of four batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{KafkaHarness, Ledger, TestRecord, reader, skip_or_fail};
use millstream_wire::Codec;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const BATCHES: usize = 4;
const RECORDS: usize = BATCHES * 10;

struct Lake {
    directory: tempfile::TempDir,
    brokers: String,
}

fn millstream(arguments: &[&str], fault: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).args(["--log-level", "error"]).stdin(Stdio::null());
    if let Some(fault) = fault {
        command.env("MILLSTREAM_FAULT", fault);
    }
    command.output().expect("the binary runs")
}

/// Everything that a command said.
fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The first word in capitals with an underscore: the code of an error or of a finding.
fn code(text: &str) -> String {
    let is_code = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let word = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(is_code);
    word.unwrap_or_else(|| panic!("no code in: {text}")).to_owned()
}

impl Lake {
    /// Four batches of ten records, of which one is a dead letter.
    async fn new(kafka: &KafkaHarness) -> Lake {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake { directory, brokers: kafka.bootstrap_servers() };
        fs::write(lake.directory.path().join("pipeline.sql"), lake.pipeline("j.a")).unwrap();
        fs::write(lake.directory.path().join("other.sql"), lake.pipeline("j.a + 1 AS a")).unwrap();
        lake.succeed(&lake.run_arguments("pipeline.sql"));
        lake
    }

    fn pipeline(&self, column: &str) -> String {
        format!(
            "CREATE OR REFRESH STREAMING TABLE t AS SELECT {column}, topic, partition, offset FROM (
               SELECT from_json(CAST(value AS STRING), 'a INT') AS j, topic, partition, offset
               FROM STREAM read_kafka(bootstrapServers => '{}', subscribe => 'topic',
                 startingOffsets => 'earliest', maxOffsetsPerTrigger => 10,
                 deadLetter => 't_dead_letters'));",
            self.brokers
        )
    }

    /// Keeps tables and checkpoint as they are under `name`.
    fn save(&self, name: &str) {
        copy(&self.path("lake"), &self.path(name));
    }

    /// Puts back what [`Lake::save`] kept.
    fn load(&self, name: &str) {
        copy(&self.path(name), &self.path("lake"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn checkpoint(&self) -> PathBuf {
        self.path("lake/_checkpoints/t/t")
    }

    fn run_arguments(&self, file: &str) -> Vec<String> {
        let (file, lake) = (self.path(file), self.path("lake"));
        let (file, lake) = (file.to_str().unwrap(), lake.to_str().unwrap());
        ["run", file, "--storage", lake, "--trigger", "available-now"].map(str::to_owned).to_vec()
    }

    fn call(&self, arguments: &[String], fault: Option<&str>) -> Output {
        millstream(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), fault)
    }

    fn succeed(&self, arguments: &[String]) -> String {
        let output = self.call(arguments, None);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    fn fail(&self, arguments: &[String]) -> String {
        let output = self.call(arguments, None);
        assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    fn doctor(&self, more: &[&str]) -> Vec<String> {
        let dir = self.checkpoint().to_str().unwrap().to_owned();
        let mut arguments = vec!["checkpoint".to_owned(), "doctor".to_owned(), dir];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments
    }

    fn rebuild(&self, tables: &[&str]) -> Vec<String> {
        let mut arguments = vec!["checkpoint".to_owned(), "rebuild".to_owned()];
        for table in tables {
            arguments.extend(["--table".to_owned(), self.path(table).to_str().unwrap().to_owned()]);
        }
        arguments.push(self.checkpoint().to_str().unwrap().to_owned());
        arguments
    }

    /// Every record is in the table or in the dead letters, once.
    fn assert_whole(&self) {
        self.assert_once(RECORDS, BATCHES);
    }

    /// Of so many records so many are dead letters, the others are in the table, and each is once in
    /// one of them. An independent reader looks, and multisets are compared.
    fn assert_once(&self, records: usize, letters: usize) {
        let read = |table: &str| {
            reader::pairs(&self.path(&format!("lake/{table}")), "partition", "offset").unwrap()
        };
        let (rows, dead) = (read("t"), read("t_dead_letters"));
        assert_eq!(dead.len(), letters, "{dead:?}");
        let end = i64::try_from(records).unwrap();
        Ledger::of_ends([(0, end)]).audit(rows.into_iter().chain(dead)).assert_clean();
    }

    fn table_entry(&self, table: &str, version: usize) -> PathBuf {
        self.path(&format!("lake/{table}/_delta_log/{version:020}.json"))
    }
}

/// `None` where the independent reader is missing.
async fn four_batches() -> Option<(KafkaHarness, Lake)> {
    skip_or_fail("the doctor with the deltalake reader", reader::python())?;
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let record = |n: usize| match n % 10 {
        3 => TestRecord::value("{\"a\":"),
        _ => TestRecord::value(format!("{{\"a\":{n}}}")),
    };
    let records: Vec<TestRecord> = (0..RECORDS).map(record).collect();
    kafka.producer().await.produce("topic", 0, &records, Codec::None).await;
    let lake = Lake::new(&kafka).await;
    Some((kafka, lake))
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("cp runs").success());
}

fn empty(path: &Path) {
    fs::write(path, b"").unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn remove_batches(lake: &Lake, from: usize) {
    for batch in from..BATCHES {
        fs::remove_file(lake.checkpoint().join(format!("offsets/{batch}"))).unwrap();
        fs::remove_file(lake.checkpoint().join(format!("commits/{batch}"))).unwrap();
    }
}

type Damage = fn(&Lake);

/// States of which the second field says what cures them.
const STATES: &[(&str, Cure, Damage)] = &[
    ("the table's newest entry is lost", Cure::TakeOut, |lake| {
        fs::remove_file(lake.table_entry("t", BATCHES - 1)).unwrap();
    }),
    ("the dead letters' newest entry is lost", Cure::TakeOut, |lake| {
        fs::remove_file(lake.table_entry("t_dead_letters", BATCHES - 1)).unwrap();
    }),
    ("both newest entries are lost", Cure::Rebuild, |lake| {
        fs::remove_file(lake.table_entry("t", BATCHES - 1)).unwrap();
        fs::remove_file(lake.table_entry("t_dead_letters", BATCHES - 1)).unwrap();
    }),
    ("the table is deleted", Cure::None, |lake| {
        fs::remove_dir_all(lake.path("lake/t")).unwrap();
    }),
    ("the dead letters are deleted", Cure::None, |lake| {
        fs::remove_dir_all(lake.path("lake/t_dead_letters")).unwrap();
    }),
    ("rewound by one batch", Cure::Rebuild, |lake| remove_batches(lake, BATCHES - 1)),
    ("rewound by three batches", Cure::Rebuild, |lake| remove_batches(lake, 1)),
    ("only `metadata` is left", Cure::Rebuild, |lake| {
        for name in ["offsets", "commits", "sources", "millstream"] {
            fs::remove_dir_all(lake.checkpoint().join(name)).unwrap();
        }
    }),
    ("`metadata` has another id", Cure::Doctor, |lake| {
        let id = "{\"id\":\"11111111-2222-4333-8444-555555555555\"}";
        fs::write(lake.checkpoint().join("metadata"), id).unwrap();
    }),
    ("`metadata` is empty", Cure::Doctor, |lake| empty(&lake.checkpoint().join("metadata"))),
    ("the identity is empty", Cure::Doctor, |lake| {
        empty(&lake.checkpoint().join("millstream/identity"));
    }),
    ("a bit of the identity is flipped", Cure::Doctor, |lake| {
        let newest = lake.checkpoint().join("millstream/identity.1");
        flip(
            if newest.exists() { newest } else { lake.checkpoint().join("millstream/identity") }
                .as_path(),
        );
    }),
    ("the newest offsets are torn", Cure::Rebuild, |lake| {
        empty(&lake.checkpoint().join(format!("offsets/{}", BATCHES - 1)));
    }),
    ("a newest completion is torn", Cure::Doctor, |lake| {
        empty(&lake.checkpoint().join(format!("commits/{}", BATCHES - 1)));
    }),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cure {
    /// `doctor --apply`.
    Doctor,
    /// Moving the checkpoint away, and `rebuild`.
    Rebuild,
    /// What `rebuild` says: a log entry has to go.
    TakeOut,
    /// Only a backup, or starting over.
    None,
}

/// The code of the doctor's first finding is that of the run. The run leaves no trace.
fn foretold(lake: &Lake, name: &str) -> String {
    lake.save("damaged");
    let found = lake.fail(&lake.doctor(&[]));
    lake.load("damaged");
    let why = lake.fail(&lake.run_arguments("pipeline.sql"));
    lake.load("damaged");
    assert_eq!(code(&found), code(&why), "{name}\n{found}\n{why}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_run_refuses_the_doctor_foretells_and_his_cures_work() {
    let Some((_kafka, lake)) = four_batches().await else { return };
    lake.assert_whole();
    lake.save("whole");
    let sound = lake.succeed(&lake.doctor(&[]));
    assert!(sound.contains("asked       DeltaSink[file:") && sound.contains("up to 3"), "{sound}");
    for (name, cure, damage) in STATES {
        lake.load("whole");
        damage(&lake);
        let found = foretold(&lake, name);
        match cure {
            Cure::Doctor => {
                assert!(found.contains("  repair    "), "{name}: {found}");
                lake.succeed(&lake.doctor(&["--apply"]));
            }
            Cure::Rebuild => {
                assert!(found.contains("  cure      move '"), "{name}: {found}");
                fs::remove_dir_all(lake.checkpoint()).unwrap();
                lake.succeed(&lake.rebuild(&["lake/t"]));
            }
            Cure::TakeOut => {
                assert!(found.contains("checkpoint rebuild"), "{name}: {found}");
                fs::remove_dir_all(lake.checkpoint()).unwrap();
                let why = lake.fail(&lake.rebuild(&["lake/t"]));
                for file in named_files(&why) {
                    fs::rename(&file, lake.path("taken out")).unwrap();
                }
                lake.succeed(&lake.rebuild(&["lake/t"]));
            }
            Cure::None => {
                assert!(!found.contains("  cure      "), "{name}: {found}");
                continue;
            }
        }
        lake.succeed(&lake.run_arguments("pipeline.sql"));
        lake.assert_whole();
        lake.succeed(&lake.doctor(&[]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_audit_stumbles_over_is_found_and_mended() {
    let Some((_kafka, lake)) = four_batches().await else { return };
    lake.save("whole");
    let file = lake.path("pipeline.sql");
    let (file, storage) = (file.to_str().unwrap(), lake.path("lake"));
    let verify = ["verify", file, "--storage", storage.to_str().unwrap()].map(str::to_owned);
    for (batch, damage) in [(0, empty as fn(&Path)), (1, flip), (BATCHES - 1, flip)] {
        lake.load("whole");
        damage(&lake.checkpoint().join(format!("millstream/ledger/{batch}")));
        let (found, why) = (lake.fail(&lake.doctor(&[])), lake.fail(&verify));
        assert_eq!(code(&found), code(&why), "{found}\n{why}");
        lake.succeed(&lake.doctor(&["--apply"]));
        let report = lake.succeed(&verify);
        assert!(report.contains("verdict     clean"), "{report}");
    }
    // Another query is still refused where the identity was set aside.
    lake.load("whole");
    empty(&lake.checkpoint().join("millstream/identity"));
    let _ = fs::remove_file(lake.checkpoint().join("millstream/identity.1"));
    lake.succeed(&lake.doctor(&["--apply"]));
    let why = lake.fail(&lake.run_arguments("other.sql"));
    assert_eq!(code(&why), "QUERY_CHANGED");
    lake.succeed(&lake.run_arguments("pipeline.sql"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_were_moved_with_their_checkpoint_are_the_witnesses() {
    let Some((_kafka, lake)) = four_batches().await else { return };
    fs::create_dir(lake.path("elsewhere")).unwrap();
    fs::rename(lake.path("lake"), lake.path("elsewhere/lake")).unwrap();
    let dir = lake.path("elsewhere/lake/_checkpoints/t/t");
    let mut doctor = ["checkpoint", "doctor", dir.to_str().unwrap()].map(str::to_owned).to_vec();
    lake.succeed(&doctor);
    // Apart from its tables, the checkpoint needs to be told where they are.
    fs::rename(&dir, lake.path("checkpoint")).unwrap();
    doctor[2] = lake.path("checkpoint").to_str().unwrap().to_owned();
    let lost = lake.fail(&doctor);
    assert!(lost.contains("SINK_LOST_BATCH") && lost.contains("no table is there"), "{lost}");
    for table in ["t", "t_dead_letters"] {
        let path = lake.path(&format!("elsewhere/lake/{table}")).to_str().unwrap().to_owned();
        doctor.extend(["--table".to_owned(), path]);
    }
    lake.succeed(&doctor);
    doctor.extend(["--table".to_owned(), lake.path("elsewhere").to_str().unwrap().to_owned()]);
    assert_eq!(code(&lake.fail(&doctor)), "DOCTOR_TABLE_UNKNOWN");
}

/// The files that the cure of `REBUILD_SINKS_DISAGREE` names.
fn named_files(text: &str) -> Vec<PathBuf> {
    let (_, cure) = text.split_once("move `").expect("files to move");
    let (files, _) = cure.split_once(" out of the log").expect("files to move");
    files.split('`').filter(|part| part.starts_with('/')).map(PathBuf::from).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_lost_between_two_commits_is_made_anew() {
    let Some((kafka, lake)) = four_batches().await else { return };
    let more: Vec<TestRecord> =
        (0..10).map(|n| TestRecord::value(format!("{{\"a\":{n}}}"))).collect();
    kafka.producer().await.produce("topic", 0, &more, Codec::None).await;
    let killed = lake.call(&lake.run_arguments("pipeline.sql"), Some("P11:inside"));
    assert!(!killed.status.success());
    lake.save("torn apart");
    // With the checkpoint the batch is finished, and nothing is wrong.
    lake.succeed(&lake.doctor(&[]));
    lake.succeed(&lake.run_arguments("pipeline.sql"));
    // Without what was staged it is not; taken out of the first table, it is executed anew.
    lake.load("torn apart");
    fs::remove_dir_all(lake.checkpoint().join("millstream/prepared")).unwrap();
    let found = foretold(&lake, "the sealed attempt is gone");
    assert_eq!(code(&found), "PREPARED_GONE");
    for file in named_files(&lake.fail(&lake.rebuild(&["lake/t"]))) {
        fs::rename(&file, lake.path("taken out")).unwrap();
    }
    lake.succeed(&lake.doctor(&[]));
    lake.succeed(&lake.run_arguments("pipeline.sql"));
    lake.assert_once(RECORDS + 10, BATCHES);

    lake.load("torn apart");
    fs::remove_dir_all(lake.checkpoint()).unwrap();
    let mut files = Vec::new();
    for tables in [&["lake/t"][..], &["lake/t_dead_letters"], &["lake/t", "lake/t_dead_letters"]] {
        let why = lake.fail(&lake.rebuild(tables));
        assert_eq!(code(&why), "REBUILD_SINKS_DISAGREE", "{why}");
        assert!(!lake.checkpoint().exists(), "nothing is written");
        files = named_files(&why);
        assert_eq!(files, [lake.table_entry("t_dead_letters", BATCHES)], "{why}");
    }
    for file in files {
        fs::rename(&file, lake.path("taken out")).unwrap();
    }
    let made = lake.succeed(&lake.rebuild(&["lake/t_dead_letters"]));
    assert!(made.contains("next batch  4"), "{made}");
    lake.succeed(&lake.run_arguments("pipeline.sql"));
    lake.assert_once(RECORDS + 10, BATCHES);
    lake.succeed(&lake.doctor(&[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_lost_in_the_first_batch_leaves_a_way_to_begin_again() {
    let Some((_kafka, lake)) = four_batches().await else { return };
    fs::remove_dir_all(lake.path("lake")).unwrap();
    let killed = lake.call(&lake.run_arguments("pipeline.sql"), Some("P11:inside:0"));
    assert!(!killed.status.success());
    lake.succeed(&lake.doctor(&[]));
    fs::remove_dir_all(lake.checkpoint()).unwrap();
    assert_eq!(code(&lake.fail(&lake.rebuild(&["lake/t"]))), "REBUILD_NO_TABLE");
    let why = lake.fail(&lake.rebuild(&["lake/t_dead_letters"]));
    assert_eq!(code(&why), "REBUILD_SINKS_DISAGREE");
    assert!(why.contains("run with an empty checkpoint"), "{why}");
    for file in named_files(&why) {
        fs::rename(&file, lake.path("taken out")).unwrap();
    }
    lake.succeed(&lake.run_arguments("pipeline.sql"));
    lake.assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staged_files_that_are_gone_with_their_table_are_foretold() {
    let Some((_kafka, lake)) = four_batches().await else { return };
    // Anew: the dead letters have the first batch, the table, which is not there yet, has it staged.
    fs::remove_dir_all(lake.path("lake")).unwrap();
    let killed = lake.call(&lake.run_arguments("pipeline.sql"), Some("P11:inside"));
    assert!(!killed.status.success());
    lake.save("torn apart");
    lake.succeed(&lake.doctor(&[]));
    fs::remove_dir_all(lake.path("lake/t")).unwrap();
    let found = foretold(&lake, "what was staged for the first batch is gone");
    assert_eq!(code(&found), "PREPARED_GONE");
    lake.load("torn apart");
    lake.succeed(&lake.run_arguments("pipeline.sql"));
    lake.assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_not_there_proves_nothing() {
    let Some((kafka, lake)) = four_batches().await else { return };
    let more: Vec<TestRecord> =
        (0..10).map(|n| TestRecord::value(format!("{{\"a\":{n}}}"))).collect();
    kafka.producer().await.produce("topic", 0, &more, Codec::None).await;
    let killed = lake.call(&lake.run_arguments("pipeline.sql"), Some("P11:after"));
    assert!(!killed.status.success());
    // The tables hold the batch, and their disk is not mounted.
    let torn = lake.checkpoint().join(format!("offsets/{BATCHES}"));
    empty(&torn);
    for tables in [&["t"][..], &["t_dead_letters"], &["t", "t_dead_letters"]] {
        for table in tables {
            fs::rename(lake.path("lake").join(table), lake.path(table)).unwrap();
        }
        let said = lake.fail(&lake.doctor(&["--apply"]));
        assert_eq!(code(&said), "CHECKPOINT_FILE_TORN", "{said}");
        assert!(said.contains("CHECKPOINT_TABLE_NOT_FOUND") && !said.contains("done  "), "{said}");
        assert!(said.contains("(no table is there) holds is not known"), "{said}");
        assert!(torn.exists(), "nothing is deleted");
        for table in tables {
            fs::rename(lake.path(table), lake.path("lake").join(table)).unwrap();
        }
    }
    let found = lake.fail(&lake.doctor(&["--apply"]));
    assert!(found.contains("  cure      move '") && torn.exists(), "{found}");
    fs::remove_dir_all(lake.checkpoint()).unwrap();
    lake.succeed(&lake.rebuild(&["lake/t"]));
    lake.succeed(&lake.run_arguments("pipeline.sql"));
    lake.assert_once(RECORDS + 10, BATCHES);

    // Before the first batch is sealed there is no table, and nothing that it could hold.
    fs::remove_dir_all(lake.path("lake")).unwrap();
    let killed = lake.call(&lake.run_arguments("pipeline.sql"), Some("P4:after:0"));
    assert!(!killed.status.success());
    empty(&lake.checkpoint().join("offsets/0"));
    lake.succeed(&lake.doctor(&["--apply"]));
    lake.succeed(&lake.run_arguments("pipeline.sql"));
    lake.assert_once(RECORDS + 10, BATCHES);
}
