//! The whole job, by all contenders in turn.

use crate::Result;
use crate::bound::Stage;
use crate::contenders::{Contender, Job, python};
use crate::orders::{self, Topic};
use crate::place::Place;
use crate::process::{self, Usage};
use crate::record::{Entry, Record, write};
use crate::table::{self, Commit};
use millstream_testkit::{RealKafka, RealKafkaConfig, repository_root};
use millstream_wire::Codec;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    place: Place,
    /// Records in the topic.
    #[arg(long, default_value_t = 5_000_000)]
    records: u64,
    /// Records of a batch.
    #[arg(long, default_value_t = 500_000)]
    batch_rows: u64,
    /// Turns of every contender.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Turns of Spark; 0 leaves it out.
    #[arg(long, default_value_t = 1)]
    spark_turns: usize,
    /// Leaves out the Python loop.
    #[arg(long)]
    no_python: bool,
    /// Also lz4 and zstd, malformed records and dead letters, for Millstream.
    #[arg(long)]
    variants: bool,
}

/// What is run on which topic.
struct Case<'a> {
    name: String,
    contender: Contender,
    topic: &'a Topic,
    has_dead_letters: bool,
    turns: usize,
}

/// Runs all contenders in turn, checks their answers, and writes the record.
///
/// # Errors
/// A contender that fails, or whose answer is another than the others'.
pub fn run(settings: &Settings) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let config = RealKafkaConfig { heap_mib: 1024, ..RealKafkaConfig::default() };
    let kafka = RealKafka::start_with(&config)?;
    let bootstrap = kafka.bootstrap_servers();
    let topic = |name: &str, codec, malformed_one_in| Topic {
        name: name.to_owned(),
        records: settings.records,
        codec,
        malformed_one_in,
    };
    let mut topics = vec![topic("orders", Codec::None, 0)];
    if settings.variants {
        topics.push(topic("orders-lz4", Codec::Lz4, 0));
        topics.push(topic("orders-zstd", Codec::Zstd, 0));
        topics.push(topic("orders-malformed", Codec::None, 100));
    }
    for topic in &topics {
        eprintln!("filling {} with {} records", topic.name, topic.records);
        runtime.block_on(orders::fill(&bootstrap, topic));
    }
    let cases = cases(settings, &topics);
    let lakes = settings.place.lakes()?;
    let mut record = Record::begin("job", settings.records, settings.batch_rows);
    let turns = cases.iter().map(|case| case.turns).max().unwrap_or(0);
    for turn in 0..turns {
        for case in cases.iter().filter(|case| turn < case.turns) {
            let lake = lakes.path().join("lake");
            std::fs::create_dir(&lake)?;
            let job = Job {
                bootstrap: &bootstrap,
                topic: &case.topic.name,
                lake: &lake,
                batch_rows: settings.batch_rows,
                has_dead_letters: case.has_dead_letters,
                millstream: &settings.place.millstream,
            };
            let entry = one(case, &job)?;
            eprintln!("{}", entry.line());
            record.add(entry);
            std::fs::remove_dir_all(&lake)?;
        }
    }
    record.check_answers()?;
    write(&record, &settings.place.result)?;
    print!("{}", record.page());
    Ok(())
}

fn cases<'a>(settings: &Settings, topics: &'a [Topic]) -> Vec<Case<'a>> {
    let turns = settings.turns;
    let case = |contender: Contender, turns| Case {
        name: contender.name().to_owned(),
        contender,
        topic: &topics[0],
        has_dead_letters: false,
        turns,
    };
    let mut cases: Vec<Case<'a>> = [Stage::Consume, Stage::Decode, Stage::Table]
        .map(|stage| case(Contender::Bound(stage), turns))
        .into();
    cases.push(case(Contender::Millstream, turns));
    for topic in topics.iter().skip(1) {
        let name = format!("Millstream, {}", topic.name);
        cases.push(Case { name, topic, ..case(Contender::Millstream, turns) });
    }
    if let Some(topic) = topics.iter().find(|topic| topic.malformed_one_in > 0) {
        let name = format!("Millstream, {}, dead letters", topic.name);
        let millstream = case(Contender::Millstream, turns);
        cases.push(Case { name, topic, has_dead_letters: true, ..millstream });
    }
    if !settings.no_python {
        cases.push(case(Contender::PythonLoop, turns));
    }
    cases.push(case(Contender::Spark, settings.spark_turns));
    cases
}

fn one(case: &Case<'_>, job: &Job<'_>) -> Result<Entry> {
    let usage = process::run(&mut job.command(case.contender)?).map_err(|error| {
        let said = std::fs::read_to_string(job.lake.join("stderr")).unwrap_or_default();
        let from = said.len().saturating_sub(2_000);
        format!("{}: {error}\n{}", case.name, said.get(from..).unwrap_or_default())
    })?;
    let has_table = !matches!(case.contender, Contender::Bound(Stage::Consume | Stage::Decode));
    let commits = if has_table { table::commits(&job.table())? } else { Vec::new() };
    let answer = if has_table { Some(answer(&job.table())?) } else { None };
    Ok(entry(case, &usage, &commits, answer))
}

fn entry(
    case: &Case<'_>,
    usage: &Usage,
    commits: &[Commit],
    answer: Option<(u64, String)>,
) -> Entry {
    let since = |commit: &Commit| commit.at.duration_since(usage.begun).unwrap_or(Duration::ZERO);
    Entry {
        name: case.name.clone(),
        topic: case.topic.name.clone(),
        wall_seconds: usage.wall.as_secs_f64(),
        cpu_seconds_per_million: usage.cpu_seconds * 1e6 / case.topic.records as f64,
        peak_rss_mb: usage.peak_rss_bytes as f64 / 1e6,
        first_commit_seconds: commits.first().map(|commit| since(commit).as_secs_f64()),
        steady_rows_per_second: steady(commits, case.topic.records),
        answer,
    }
}

/// Records a second from the third commit on, where there are enough of them. Commits count what
/// passed the filter; the share that did is that of the whole job.
fn steady(commits: &[Commit], records: u64) -> Option<f64> {
    let (first, last) = (commits.get(1)?, commits.last()?);
    let seconds = last.at.duration_since(first.at).ok()?.as_secs_f64();
    let rows: u64 = commits.iter().skip(2).map(|commit| commit.rows).sum();
    let all: u64 = commits.iter().map(|commit| commit.rows).sum();
    let share = rows as f64 / all.max(1) as f64;
    (commits.len() > 3).then(|| share * records as f64 / seconds)
}

fn answer(table: &Path) -> Result<(u64, String)> {
    let script = repository_root().join("benches/contenders/answer.py");
    let done = Command::new(python("bench-venv")).arg(script).arg(table).output()?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned().into());
    }
    let answer: serde_json::Value = serde_json::from_slice(&done.stdout)?;
    let rows = answer["rows"].as_u64().ok_or("no count")?;
    Ok((rows, answer["digest"].as_str().ok_or("no digest")?.to_owned()))
}
