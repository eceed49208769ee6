//! What an audit says.

use serde::Serialize;
use std::fmt;

/// Findings listed of one level; the rest is counted.
const FINDINGS_MAX: usize = 200;

/// How deep an audit looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Commits and ledger.
    Chain,
    /// Data files.
    Files,
    /// Topic, partition and offset of every row.
    Rows,
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The promise is broken.
    Violation,
    /// Something could not be looked at, so the promise could not be checked there.
    Unknown,
    /// Worth knowing; nothing is broken.
    Note,
}

/// One thing that an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// The batch that made it, where one can be named.
    pub batch: Option<u64>,
    /// What it is, in a sentence.
    pub what: String,
}

impl Finding {
    /// A broken promise.
    pub fn violation(batch: impl Into<Option<u64>>, what: impl Into<String>) -> Self {
        Finding { severity: Severity::Violation, batch: batch.into(), what: what.into() }
    }

    /// Something that could not be checked.
    pub fn unknown(batch: impl Into<Option<u64>>, what: impl Into<String>) -> Self {
        Finding { severity: Severity::Unknown, batch: batch.into(), what: what.into() }
    }

    /// Something worth knowing.
    pub fn note(batch: impl Into<Option<u64>>, what: impl Into<String>) -> Self {
        Finding { severity: Severity::Note, batch: batch.into(), what: what.into() }
    }
}

/// One level's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelReport {
    /// The level.
    pub level: Level,
    /// What it could cover, in a sentence.
    pub covered: String,
    /// Violations, including those not listed.
    pub violations: u64,
    /// Places that could not be checked, including those not listed.
    pub unknown: u64,
    /// What was found; at most 200 of a level.
    pub findings: Vec<Finding>,
}

impl LevelReport {
    /// A level's answer from all its findings.
    pub fn new(level: Level, covered: impl Into<String>, mut findings: Vec<Finding>) -> Self {
        let count = |s: Severity| findings.iter().filter(|f| f.severity == s).count() as u64;
        let (violations, unknown) = (count(Severity::Violation), count(Severity::Unknown));
        findings.sort_by_key(|f| match f.severity {
            Severity::Violation => 0,
            Severity::Unknown => 1,
            Severity::Note => 2,
        });
        findings.truncate(FINDINGS_MAX);
        LevelReport { level, covered: covered.into(), violations, unknown, findings }
    }
}

/// The answer to "is every record there once?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No violation, and nothing that had to be left out.
    Clean,
    /// At least one violation.
    Violation,
    /// No violation was seen, but something could not be looked at.
    Unknown,
}

impl Verdict {
    /// Exit status of the command.
    pub fn exit_status(self) -> u8 {
        match self {
            Verdict::Clean => 0,
            Verdict::Violation => 1,
            Verdict::Unknown => 2,
        }
    }
}

/// The audit of one flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The table's directory.
    pub table: String,
    /// The checkpoint's directory.
    pub checkpoint: String,
    /// The query's id, where the checkpoint says it.
    pub query: Option<String>,
    /// The answer.
    pub verdict: Verdict,
    /// Whether somebody else added or removed rows of the table; the notes say who.
    pub changed_by_others: bool,
    /// The levels, from shallow to deep.
    pub levels: Vec<LevelReport>,
}

impl Report {
    /// Puts the levels together.
    pub fn new(
        table: String,
        checkpoint: String,
        query: Option<String>,
        levels: Vec<LevelReport>,
    ) -> Self {
        let verdict = if levels.iter().any(|l| l.violations > 0) {
            Verdict::Violation
        } else if levels.iter().any(|l| l.unknown > 0) {
            Verdict::Unknown
        } else {
            Verdict::Clean
        };
        Report { table, checkpoint, query, verdict, changed_by_others: false, levels }
    }

    /// The report of a flow whose table or checkpoint cannot be read at all.
    pub fn unreadable(table: String, checkpoint: String, error: &millstream_core::Error) -> Self {
        let finding = Finding::unknown(None, error.to_string());
        let level = LevelReport::new(Level::Chain, "nothing", vec![finding]);
        Report::new(table, checkpoint, None, vec![level])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table       {}", self.table)?;
        writeln!(f, "checkpoint  {}", self.checkpoint)?;
        if let Some(query) = &self.query {
            writeln!(f, "query       {query}")?;
        }
        for level in &self.levels {
            let name = match level.level {
                Level::Chain => "chain",
                Level::Files => "files",
                Level::Rows => "rows",
            };
            writeln!(f, "{name:<11} {}", level.covered)?;
            for finding in &level.findings {
                let word = match finding.severity {
                    Severity::Violation => "VIOLATION",
                    Severity::Unknown => "unknown",
                    Severity::Note => "note",
                };
                match finding.batch {
                    Some(batch) => writeln!(f, "  {word}: batch {batch}: {}", finding.what)?,
                    None => writeln!(f, "  {word}: {}", finding.what)?,
                }
            }
        }
        let verdict = match self.verdict {
            Verdict::Clean if self.changed_by_others => {
                "clean: the stream lost nothing and wrote nothing twice, as far as stated above; \
                 others have added or removed rows"
            }
            Verdict::Clean => "clean: nothing lost, nothing twice, as far as stated above",
            Verdict::Violation => "VIOLATION",
            Verdict::Unknown => "could not tell",
        };
        write!(f, "verdict     {verdict}")
    }
}
