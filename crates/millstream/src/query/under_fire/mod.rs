//! The whole engine over stores that fail: every call of a run, with every outcome that it can
//! have. A flow from a broker into a table and its dead letters is started, meets one fault, is
//! started again until it has nothing left to do, and is then compared with its records.
//!
//! The checkpoint lies in memory, as in an object store: no locks, no leftovers. The tables' logs lie
//! on a disk. `MILLSTREAM_FIRE=all` runs every cell; without it, a fixed part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod audit;
mod fire;
mod stores;

use super::assemble::{FlowSpec, SinkSpec, assemble};
use super::flow::Flow;
use crate::execute::dead_letters;
use crate::plan::DeadLetterRequest;
use crate::session::Session;
use crate::sinks::DeltaDataSink;
use fire::{Aim, Class, Fire, Outcome, Site};
use millstream_core::ErrorKind;
use millstream_core::Result;
use millstream_core::trigger::Trigger;
use millstream_delta::{DeltaSink, DeltaSinkOptions, LocalLog};
use millstream_store::{Created, MemoryStore, Store as _};
use millstream_testkit::{Figures, KafkaHarness, TestRecord};
use millstream_types::StructType;
use millstream_wire::Codec;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stores::{FiredLog, FiredStore, Rival};

/// Offsets whose records do not decode.
const BAD: [i64; 2] = [1, 4];
const RECORDS: i64 = 6;
/// Starts after which a query has to have nothing left to do; a storm may cost one for each call.
const STARTS_MAX: u32 = 5;

/// Creations of a run in the checkpoint that matter here: `offsets/1` and `commits/1`.
const OFFSETS_1: u32 = 11;
const COMMITS_1: u32 = 14;

/// The topic that every cell reads.
struct Lab {
    kafka: KafkaHarness,
}

impl Lab {
    async fn new(records: i64) -> Lab {
        let kafka = KafkaHarness::embedded();
        kafka.admin().await.create_topic("orders", 1).await;
        let value = |n| match BAD.contains(&n) {
            true => "{broken".to_owned(),
            false => format!("{{\"id\":{n}}}"),
        };
        let records: Vec<TestRecord> = (0..records).map(|n| TestRecord::value(value(n))).collect();
        kafka.producer().await.produce("orders", 0, &records, Codec::None).await;
        Lab { kafka }
    }

    fn place(&self, directory: &Path, records_a_batch: u32) -> Place {
        Place {
            brokers: self.kafka.bootstrap_servers(),
            checkpoint: MemoryStore::new(),
            directory: directory.to_owned(),
            records_a_batch,
        }
    }
}

/// What the run under fire finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prior {
    /// Nothing at all.
    New,
    /// Batch 1 is planned and in no table.
    Planned,
    /// Batch 1 is in the dead letters and not in the table.
    HalfCommitted,
    /// Batch 1 is in both tables and not completed.
    Committed,
}

impl Prior {
    /// The fault that ended the run before.
    fn aim(self) -> Option<Aim> {
        let (site, call, outcome) = match self {
            Prior::New => return None,
            Prior::Planned => (Site::Checkpoint, OFFSETS_1, Outcome::Landed),
            Prior::HalfCommitted => (Site::Table, 1, Outcome::Failed),
            Prior::Committed => (Site::Checkpoint, COMMITS_1, Outcome::Lost),
        };
        Some(Aim { site, class: Some(Class::Create), call, outcome })
    }

    /// Makes it so, and checks that it is so.
    async fn prepare(self, place: &Place) {
        let Some(aim) = self.aim() else { return };
        assert!(place.run(&Arc::new(Fire::new(Some(aim)))).await.is_err(), "{self:?}");
        assert!(place.checkpoint.exists("offsets/1").await.unwrap(), "{self:?}");
        assert!(!place.checkpoint.exists("commits/1").await.unwrap(), "{self:?}");
        let committed = |table: &Path| table.join("_delta_log/00000000000000000001.json").exists();
        let expected = match self {
            Prior::New | Prior::Planned => (false, false),
            Prior::HalfCommitted => (true, false),
            Prior::Committed => (true, true),
        };
        assert_eq!((committed(&place.letters()), committed(&place.table())), expected);
    }
}

/// Where one query's files lie.
#[derive(Clone)]
struct Place {
    brokers: String,
    checkpoint: MemoryStore,
    directory: PathBuf,
    records_a_batch: u32,
}

impl Place {
    fn table(&self) -> PathBuf {
        self.directory.join("t")
    }

    fn letters(&self) -> PathBuf {
        self.directory.join("letters")
    }

    fn sink(
        &self,
        path: &Path,
        schema: &StructType,
        site: Site,
        fire: &Arc<Fire>,
    ) -> Result<DeltaDataSink> {
        let mut options = DeltaSinkOptions::new(path);
        options.properties = vec![("delta.checkpointInterval".to_owned(), "2".to_owned())];
        let log =
            FiredLog { inner: LocalLog::new(path), site, fire: fire.clone(), rival: self.rival() };
        let env = Arc::new(millstream_core::env::SystemEnv);
        let sink = DeltaSink::prepare_with(options, schema, env, Arc::new(log))?;
        Ok(DeltaDataSink::new(sink))
    }

    async fn flow(&self, session: &Session, fire: &Arc<Fire>) -> Result<Flow> {
        let frame = session
            .read_stream()
            .format("kafka")
            .option("kafka.bootstrap.servers", &self.brokers)
            .option("subscribe", "orders")
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", self.records_a_batch)
            .load()?
            .select_expr(["from_json(CAST(value AS STRING), 'id BIGINT') AS data", "offset"])?
            .select_expr(["data.id AS id", "offset"])?;
        let request = DeadLetterRequest { target: String::new(), casts: Vec::new() };
        let spec = FlowSpec {
            name: None,
            plan: frame.flow_plan(Some(&request))?,
            sink: SinkSpec::Delta(Box::new(DeltaSinkOptions::new(self.table()))),
            dead_letters: Some(self.letters()),
            checkpoint: self.directory.join("checkpoint"),
            trigger: Trigger::AvailableNow,
            listeners: Vec::new(),
        };
        let schema = spec.plan.schema.clone();
        let mut flow = assemble(session, spec).await?;
        flow.sink = Arc::new(self.sink(&self.table(), &schema, Site::Table, fire)?);
        let schema = StructType::from_arrow(&dead_letters::schema())?;
        flow.dead_letters.as_mut().unwrap().sink =
            Arc::new(self.sink(&self.letters(), &schema, Site::Letters, fire)?);
        flow.store = Arc::new(FiredStore {
            inner: self.checkpoint.clone(),
            fire: fire.clone(),
            rival: self.rival(),
        });
        Ok(flow)
    }

    /// One life of a process: until nothing is left to do, or an error ends it.
    async fn run(&self, fire: &Arc<Fire>) -> Result<()> {
        fire.new_run();
        let session = Session::builder().build()?;
        let flow = self.flow(&session, fire).await?;
        let query = super::start(flow, session.env()).await?;
        query.await_termination().await
    }

    fn rival(&self) -> Rival {
        let place = self.clone();
        Arc::new(move || {
            let place = place.clone();
            Box::pin(async move {
                place.run(&Arc::new(Fire::new(None))).await.expect("the other run");
            })
        })
    }

    /// Every record is in the table or in the dead letters, once.
    fn audit(&self) {
        let good: Vec<i64> = (0..RECORDS).filter(|n| !BAD.contains(n)).collect();
        assert_eq!(audit::offsets(&self.table()), good);
        assert_eq!(audit::offsets(&self.letters()), BAD);
    }

    fn data_files(&self) -> BTreeSet<String> {
        [self.table(), self.letters()].iter().flat_map(|t| audit::data_files(t)).collect()
    }

    async fn deliver(&self, fire: &Fire) {
        let Some((site, path, bytes)) = fire.arrive() else { return };
        use millstream_delta::LogFiles as _;
        let _: Created = match site {
            Site::Checkpoint => self.checkpoint.create(&path, &bytes).await.unwrap(),
            Site::Table => LocalLog::new(&self.table()).create(&path, &bytes).unwrap(),
            Site::Letters => LocalLog::new(&self.letters()).create(&path, &bytes).unwrap(),
        };
    }
}

/// What came of one cell: the codes of the errors on the way.
struct Told {
    fired: bool,
    codes: Vec<&'static str>,
}

/// Runs one cell. Panics where something is lost, doubled, deleted too early or not healed.
async fn cell(lab: &Lab, prior: Prior, aim: Aim) -> Told {
    let directory = tempfile::tempdir().unwrap();
    let place = lab.place(directory.path(), 2);
    prior.prepare(&place).await;
    let fire = Arc::new(Fire::new(Some(aim)));
    let mut codes = Vec::new();
    let mut files = place.data_files();
    let starts = match aim.outcome {
        Outcome::Storm(calls) => STARTS_MAX + calls,
        _ => STARTS_MAX,
    };
    for _ in 0..starts {
        let ended = place.run(&fire).await;
        let now = place.data_files();
        assert!(files.is_subset(&now), "{prior:?}, {aim:?}: data files vanished");
        files = now;
        match ended {
            Ok(()) => break,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::Internal, "{prior:?}, {aim:?}: {error}");
                codes.push(error.code());
            }
        }
    }
    assert!(codes.len() < starts as usize, "{prior:?}, {aim:?} does not heal: {codes:?}");
    // What is still under way arrives when everything is done, and harms nobody.
    place.deliver(&fire).await;
    for _ in 0..2 {
        let again = place.run(&Arc::new(Fire::new(None))).await;
        assert!(again.is_ok(), "{prior:?}, {aim:?}, after {codes:?}: {again:?}");
    }
    place.audit();
    assert!(fire.violations().is_empty(), "{prior:?}, {aim:?}: {:?}", fire.violations());
    Told { fired: fire.fired(), codes }
}

/// Errors on the way have to name what happened. Nobody is told of another run where there is
/// none: a supervisor would not start the query again.
fn judge(outcome: Outcome, codes: &[&'static str]) {
    let allowed: &[&str] = match outcome {
        Outcome::OwnWrite | Outcome::NothingThere => &[],
        Outcome::Failed => &["STORE_FULL"],
        Outcome::Landed | Outcome::Lost | Outcome::Storm(_) => {
            &["STORE_IO", "SINK_COMMIT_IN_DOUBT"]
        }
        _ => return,
    };
    assert!(codes.iter().all(|code| allowed.contains(code)), "{outcome:?}: {codes:?}");
}

/// Runs a cell for call 0, 1, 2.. until the call is not reached any more; with `step`, for every
/// `step`-th.
async fn sweep(
    lab: &Lab,
    prior: Prior,
    (site, class, outcome): (Site, Option<Class>, Outcome),
    step: u32,
    figures: &mut Figures,
) {
    let kind = class.map_or("call".to_owned(), |class| format!("{class:?}").to_lowercase());
    for call in (0..).step_by(step as usize) {
        let told = cell(lab, prior, Aim { site, class, call, outcome }).await;
        if !told.fired {
            assert!(call > 0, "{site:?}: there is no {kind}");
            return;
        }
        judge(outcome, &told.codes);
        let heals =
            if told.codes.is_empty() { "went on".to_owned() } else { told.codes.join(", ") };
        figures.count("cells");
        figures.count(if told.codes.is_empty() {
            "runs_that_went_on"
        } else {
            "runs_started_again"
        });
        figures.cell(format!("{prior:?}, {site:?}, {kind} {call}: {outcome:?}"), heals);
    }
}

fn everything() -> bool {
    std::env::var("MILLSTREAM_FIRE").is_ok_and(|part| part == "all")
}

fn figures(name: &'static str) -> Figures {
    let (title, command) = match everything() {
        true => (
            "The store under fire: every call of a run with every outcome",
            "MILLSTREAM_FIRE=all MILLSTREAM_REPORT=proof/results/store.json \
             cargo test --release -p millstream --lib every_call_of_a_run",
        ),
        false => (
            "The store under fire: the part of it that runs with every test",
            "MILLSTREAM_REPORT=proof/results/store.json \
             cargo test --release -p millstream --lib every_call_of_a_run",
        ),
    };
    Figures::begin(name, title, command)
}

const SITES: [Site; 3] = [Site::Checkpoint, Site::Letters, Site::Table];

/// What can become of an exclusive creation, but for arriving late.
const CREATIONS: [Outcome; 6] = [
    Outcome::Refused,
    Outcome::Failed,
    Outcome::Landed,
    Outcome::Lost,
    Outcome::OwnWrite,
    Outcome::NothingThere,
];

async fn creations(lab: &Lab, prior: Prior, site: Site, figures: &mut Figures) {
    for outcome in CREATIONS {
        sweep(lab, prior, (site, Some(Class::Create), outcome), 1, figures).await;
    }
    // Late by up to more calls than a run has: after the probe, after the retry, after the restart,
    // and when everything is done.
    let delays: Vec<u32> = match everything() {
        true => (1..=40).chain([60, 80, 100, 150, 200, u32::MAX]).collect(),
        false => vec![3, 40, u32::MAX],
    };
    for calls in delays {
        let late = (site, Some(Class::Create), Outcome::Late(calls));
        sweep(lab, prior, late, if everything() { 1 } else { 2 }, figures).await;
    }
}

async fn other_calls(lab: &Lab, prior: Prior, site: Site, figures: &mut Figures) {
    let step = if everything() || site != Site::Checkpoint { 1 } else { 3 };
    for outcome in [Outcome::Lost, Outcome::Torn, Outcome::TornLine, Outcome::TornHead] {
        sweep(lab, prior, (site, Some(Class::Read), outcome), step, figures).await;
    }
    for outcome in [Outcome::Lost, Outcome::LagOnce, Outcome::LagLong] {
        sweep(lab, prior, (site, Some(Class::List), outcome), step, figures).await;
    }
    sweep(lab, prior, (site, Some(Class::Settle), Outcome::Lost), step, figures).await;
    if site == Site::Checkpoint {
        for outcome in [Outcome::Lost, Outcome::Landed] {
            sweep(lab, prior, (site, Some(Class::Remove), outcome), step, figures).await;
        }
    }
    for calls in if everything() { vec![1, 5, 25, 100] } else { vec![5] } {
        let storm = (site, None, Outcome::Storm(calls));
        sweep(lab, prior, storm, if everything() { 1 } else { 20 }, figures).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_a_run_may_have_every_outcome() {
    let lab = Lab::new(RECORDS).await;
    let mut figures = figures("store");
    for prior in [Prior::New, Prior::Planned, Prior::HalfCommitted, Prior::Committed] {
        for site in SITES {
            if prior == Prior::New || everything() {
                creations(&lab, prior, site, &mut figures).await;
            }
            if prior != Prior::New || everything() {
                other_calls(&lab, prior, site, &mut figures).await;
            }
        }
    }
    figures.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_others_always_forestall_gives_up_in_bounded_time_and_is_done_later() {
    let lab = Lab::new(RECORDS).await;
    // The dead letters of batch 1 are committed by then: it is rolled forward, not executed again.
    let beaten = Outcome::Beaten;
    let aim = Aim { site: Site::Table, class: Some(Class::Create), call: 1, outcome: beaten };
    let begun = std::time::Instant::now();
    let told = cell(&lab, Prior::New, aim).await;
    assert_eq!(told.codes, ["DELTA_COMMIT_RETRIES_EXHAUSTED"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lies_about_exclusive_creation_is_refused_at_start() {
    let lab = Lab::new(RECORDS).await;
    let directory = tempfile::tempdir().unwrap();
    let place = lab.place(directory.path(), 2);
    let (class, outcome) = (Some(Class::Create), Outcome::Lies);
    let fire = Fire::new(Some(Aim { site: Site::Checkpoint, class, call: 0, outcome }));
    let error = place.run(&Arc::new(fire)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("STORE_UNSUITABLE", ErrorKind::Invalid));
    assert!(place.checkpoint.list("offsets").await.unwrap().is_empty());
    assert!(!place.table().exists());
}

/// Reads and listings of a start that finds nothing to do, after so many batches of which all are
/// kept.
async fn reads_of_a_start(batches: i64) -> u32 {
    let lab = Lab::new(batches).await;
    let directory = tempfile::tempdir().unwrap();
    let place = lab.place(directory.path(), 1);
    place.run(&Arc::new(Fire::new(None))).await.unwrap();
    let kept = place.checkpoint.list("commits").await.unwrap().len();
    assert_eq!(kept, usize::try_from(batches).unwrap());
    let fire = Arc::new(Fire::new(None));
    place.run(&fire).await.unwrap();
    fire.reads()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_reads_does_not_grow_with_the_history() {
    let (short, long) = (reads_of_a_start(10).await, reads_of_a_start(90).await);
    // How far the newest table checkpoint lies behind differs by a few entries.
    assert!(short > 10 && long < short + 10, "{short} reads and listings, then {long}");
}
