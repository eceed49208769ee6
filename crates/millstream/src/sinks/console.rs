//! Prints each batch as a table (Spark's `console`): `numRows` rows, values cut at 20 characters
//! unless `truncate` is false.

use super::collect::Attempts;
use super::{DataSink, StageInfo, TaskOutput, TaskWriter};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::options::{OptionMap, OptionSpec};
use millstream_core::{Error, Result};
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::Arc;

/// Options of the console sink.
pub const CONSOLE_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "numRows",
        scope: "write",
        default: "20",
        meaning: "Rows printed of each batch.",
        secret: false,
    },
    OptionSpec {
        name: "truncate",
        scope: "write",
        default: "true",
        meaning: "Whether values longer than 20 characters are cut.",
        secret: false,
    },
];

/// Width at which Spark's `show` cuts values.
const VALUE_WIDTH: usize = 20;

/// Prints batches on standard output.
pub struct ConsoleSink {
    schema: SchemaRef,
    num_rows: usize,
    truncate: bool,
    attempts: Arc<Attempts>,
}

impl ConsoleSink {
    /// For rows of `schema`.
    ///
    /// # Errors
    /// `OPTION_INVALID`.
    pub fn new(schema: SchemaRef, options: &OptionMap) -> Result<Self> {
        let num_rows = match options.get("numRows") {
            None => 20,
            Some(text) => text.trim().parse().map_err(|_| {
                Error::invalid("OPTION_INVALID", format!("`numRows` is `{text}`."))
                    .cure("Give a whole number.")
            })?,
        };
        let truncate = match options.get("truncate").map(str::to_ascii_lowercase).as_deref() {
            None | Some("true") => true,
            Some("false") => false,
            Some(other) => {
                return Err(Error::invalid("OPTION_INVALID", format!("`truncate` is `{other}`."))
                    .cure("Write `true` or `false`."));
            }
        };
        Ok(ConsoleSink { schema, num_rows, truncate, attempts: Arc::default() })
    }

    fn cells(&self, batches: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
        let format = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        for batch in batches {
            let columns = batch
                .columns()
                .iter()
                .map(|c| ArrayFormatter::try_new(c.as_ref(), &format))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| Error::internal(e.to_string()))?;
            for row in 0..batch.num_rows() {
                if rows.len() == self.num_rows {
                    return Ok(rows);
                }
                rows.push(columns.iter().map(|c| self.cut(c.value(row).to_string())).collect());
            }
        }
        Ok(rows)
    }

    fn cut(&self, text: String) -> String {
        if !self.truncate || text.chars().count() <= VALUE_WIDTH {
            return text;
        }
        text.chars().take(VALUE_WIDTH - 3).collect::<String>() + "..."
    }

    fn render(&self, batch: BatchId, batches: &[RecordBatch]) -> Result<String> {
        let header: Vec<String> =
            self.schema.fields().iter().map(|f| self.cut(f.name().clone())).collect();
        let rows = self.cells(batches)?;
        let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count().max(3)).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let rule: String =
            widths.iter().map(|w| format!("+{}", "-".repeat(*w))).collect::<String>() + "+\n";
        let line = |cells: &[String]| -> String {
            let body: String = widths
                .iter()
                .zip(cells)
                .map(|(w, c)| format!("|{c:>width$}", width = *w))
                .collect();
            body + "|\n"
        };
        let dashes = "-".repeat(43);
        let mut out = format!("{dashes}\nBatch: {batch}\n{dashes}\n{rule}{}{rule}", line(&header));
        for row in &rows {
            out.push_str(&line(row));
        }
        out.push_str(&rule);
        if total > rows.len() {
            out.push_str(&format!("only showing top {} rows\n", rows.len()));
        }
        Ok(out)
    }
}

#[async_trait]
impl Sink for ConsoleSink {
    fn describe(&self) -> String {
        "org.apache.spark.sql.execution.streaming.ConsoleTable$".to_owned()
    }

    fn identity(&self) -> Value {
        json!({ "format": "console" })
    }

    fn is_exactly_once(&self) -> bool {
        false
    }

    async fn probe(&self, _query: QueryId, _batch: BatchId) -> Result<Probe> {
        Ok(Probe::Absent)
    }

    async fn commit(&self, tag: &CommitTag, _staged: &Staged) -> Result<CommitOutcome> {
        let text = self.render(tag.batch, &self.attempts.take(tag.attempt))?;
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|e| Error::unavailable("CONSOLE_UNWRITABLE", e.to_string()))?;
        Ok(CommitOutcome::Committed { version: tag.batch.0 })
    }
}

impl DataSink for ConsoleSink {
    fn input_schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn writer(
        &self,
        _batch: BatchId,
        attempt: AttemptId,
        task: usize,
    ) -> Result<Box<dyn TaskWriter>> {
        Ok(self.attempts.writer(attempt, task))
    }

    fn stage(&self, _outputs: Vec<TaskOutput>, _info: &StageInfo) -> Result<Staged> {
        Ok(Staged(Value::Null))
    }
}
