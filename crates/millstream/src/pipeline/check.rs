//! What `millstream check` says about a pipeline.

use super::flow::PipelineFlow;
use crate::sources;
use millstream_core::trigger::Trigger;
use millstream_core::{Error, Result};
use millstream_sql::Diagnostic;
use std::fmt;
use std::path::{Path, PathBuf};

/// A mistake with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line from 1; 0 where it has no place in the file (a `--set` of the command line).
    pub line: usize,
    /// Column from 1, in characters; 0 as `line`.
    pub column: usize,
    /// Stable code.
    pub code: &'static str,
    /// Sentence of cause.
    pub message: String,
    /// Sentence of cure.
    pub cure: Option<String>,
}

impl Mistake {
    pub(super) fn of(diagnostic: &Diagnostic, text: &str) -> Self {
        let (line, column) = diagnostic.span.line_and_column(text).unwrap_or((0, 0));
        Mistake {
            line,
            column,
            code: diagnostic.code,
            message: diagnostic.message.clone(),
            cure: diagnostic.cure.clone(),
        }
    }

    /// As an error of the library.
    pub fn to_error(&self) -> Error {
        let place = match self.line {
            0 => String::new(),
            line => format!("line {line}, column {}: ", self.column),
        };
        let error = Error::invalid(self.code, format!("{place}{}", self.message));
        match &self.cure {
            Some(cure) => error.cure(cure.clone()),
            None => error,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        write!(f, "[{}] {}", self.code, self.message)?;
        match &self.cure {
            Some(cure) => write!(f, " {cure}"),
            None => Ok(()),
        }
    }
}

/// What a flow promises about its table, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarantee {
    /// Whether every record is in the table exactly once; at least once otherwise.
    pub exactly_once: bool,
    /// The reason, or the link that limits it.
    pub reason: String,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.exactly_once { "exactly-once" } else { "at-least-once" };
        write!(f, "{level}: {}", self.reason)
    }
}

/// One source of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// As progress names it: `KafkaV2[Subscribe[orders]]`.
    pub description: String,
    /// Its options, credentials left out.
    pub options: Vec<(String, String)>,
}

/// What a flow is.
#[derive(Debug, Clone)]
pub struct FlowReport {
    /// Name of the flow.
    pub flow: String,
    /// Name of the table.
    pub table: String,
    /// Where the table lies.
    pub path: PathBuf,
    /// Partition columns.
    pub partition_by: Vec<String>,
    /// The rows' schema, as a tree.
    pub schema: String,
    /// What it reads.
    pub sources: Vec<SourceReport>,
    /// Where its dead letters go.
    pub dead_letters: Option<PathBuf>,
    /// Columns whose casts make dead letters too.
    pub dead_letter_casts: Vec<String>,
    /// Where its checkpoint lies.
    pub checkpoint: PathBuf,
    /// When batches run.
    pub trigger: String,
    /// What it promises.
    pub guarantee: Guarantee,
}

impl PipelineFlow {
    /// What the flow is and what it promises. Opens nothing.
    ///
    /// # Errors
    /// Where a place on disk cannot be one.
    pub fn report(&self, storage: &Path, trigger: Trigger) -> Result<FlowReport> {
        let env = self.data.session().env();
        let mut reports = Vec::with_capacity(self.plan.streams.len());
        let mut limits = Vec::new();
        let mut notes = Vec::new();
        for stream in &self.plan.streams {
            let description = match sources::open(&stream.format, &stream.options, &env) {
                Ok(source) => {
                    if !source.is_replayable() {
                        limits
                            .push(format!("the source {} cannot be read again", source.describe()));
                    }
                    source.describe()
                }
                Err(_) => stream.format.clone(),
            };
            if stream.format == "kafka" {
                let level =
                    stream.options.get("kafka.isolation.level").unwrap_or("read_uncommitted");
                if level.eq_ignore_ascii_case("read_uncommitted") {
                    notes.push("records of aborted transactions count (kafka.isolation.level = read_uncommitted)");
                }
            }
            let options = stream.options.iter().map(|(n, v)| (n.to_owned(), shown(n, v))).collect();
            reports.push(SourceReport { description, options });
        }
        notes.dedup();
        Ok(FlowReport {
            flow: self.name.clone(),
            table: self.table.name.clone(),
            path: self.table_path(storage)?,
            partition_by: self.table.partition_by.clone().unwrap_or_default(),
            schema: self.plan.schema.tree_string(),
            sources: reports,
            dead_letters: self.dead_letter_path(storage)?,
            dead_letter_casts: self.plan.dead_letter_casts(),
            checkpoint: self.checkpoint_path(storage),
            trigger: trigger_text(trigger),
            guarantee: guarantee(&limits, &notes),
        })
    }
}

fn guarantee(limits: &[String], notes: &[&str]) -> Guarantee {
    if let Some(limit) = limits.first() {
        return Guarantee { exactly_once: false, reason: limit.clone() };
    }
    let mut reason = "a batch is an offset range that is logged before it runs and read again \
                      after a crash; the Delta commit carries the query's id and the batch's \
                      number, and a batch that is already there is not written again"
        .to_owned();
    for note in notes {
        reason.push_str("; ");
        reason.push_str(note);
    }
    Guarantee { exactly_once: true, reason }
}

/// An option's value for the eyes: nothing that may hold a credential.
fn shown(name: &str, value: &str) -> String {
    let lower = name.to_lowercase();
    let secret = ["password", "secret", "jaas", "token", "key", "credential"];
    if secret.iter().any(|s| lower.contains(s)) { "***".to_owned() } else { value.to_owned() }
}

fn trigger_text(trigger: Trigger) -> String {
    match trigger {
        Trigger::AsFastAsPossible => "as fast as possible".to_owned(),
        Trigger::ProcessingTime(interval) => format!("every {interval:?}"),
        Trigger::AvailableNow => "available now: everything there is, then end".to_owned(),
        Trigger::Once => "once: one batch, then end".to_owned(),
    }
}
