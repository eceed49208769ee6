//! `data_frame.write_stream()`: Spark's `DataStreamWriter`.

use crate::dataframe::DataFrame;
use crate::pipeline::overlap;
use crate::plan::DeadLetterRequest;
use crate::query::assemble::{FlowSpec, SinkSpec, assemble};
use crate::query::{ProgressListener, StreamingQuery};
use crate::reader::{DEAD_LETTER_CASTS_OPTION, DEAD_LETTER_OPTION};
use crate::sinks::CONSOLE_OPTIONS;
use millstream_core::options::{OptionMap, OptionSpec, did_you_mean, refuse_unknown};
use millstream_core::progress::QueryProgress;
use millstream_core::trigger::Trigger;
use millstream_core::{Error, Result};
use millstream_delta::{DeltaSinkOptions, table_path};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a batch's output holds of the result (Spark's `OutputMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputMode {
    /// New rows.
    #[default]
    Append,
    /// New and changed rows.
    Update,
    /// The whole result.
    Complete,
}

impl OutputMode {
    /// Parses Spark's words, in any case.
    ///
    /// # Errors
    /// `OUTPUT_MODE_UNKNOWN`.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "append" => Ok(OutputMode::Append),
            "update" => Ok(OutputMode::Update),
            "complete" => Ok(OutputMode::Complete),
            _ => Err(Error::invalid(
                "OUTPUT_MODE_UNKNOWN",
                format!(
                    "Unknown output mode {text}. Accepted output modes are 'append', 'complete', \
                     'update'"
                ),
            )),
        }
    }
}

impl TryFrom<&str> for OutputMode {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        OutputMode::parse(text)
    }
}

/// Options of every sink.
pub const WRITER_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "checkpointLocation",
        scope: "write",
        default: "",
        meaning: "Directory of the query's checkpoint. Required for Delta; console, memory and \
                  noop use a temporary one without it.",
        secret: false,
    },
    OptionSpec {
        name: "path",
        scope: "write",
        default: "",
        meaning: "Where the table lies; the same as the argument of `start`.",
        secret: false,
    },
];

/// Options of the Delta sink.
pub const DELTA_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "mergeSchema",
        scope: "write",
        default: "false",
        meaning: "Adds columns that the table lacks.",
        secret: false,
    },
    OptionSpec {
        name: "maxRecordsPerFile",
        scope: "write",
        default: "",
        meaning: "Most rows of one data file.",
        secret: false,
    },
    OptionSpec {
        name: "userMetadata",
        scope: "write",
        default: "",
        meaning: "Text kept in the commitInfo of every batch.",
        secret: false,
    },
    OptionSpec {
        name: DEAD_LETTER_OPTION,
        scope: "write",
        default: "",
        meaning: "Table path for records whose `from_json` does not fit; empty for \
                  `<path>_dead_letters`.",
        secret: false,
    },
    OptionSpec {
        name: DEAD_LETTER_CASTS_OPTION,
        scope: "write",
        default: "",
        meaning: "Columns of the query's result, separated by commas: records that fail a cast of \
                  theirs are dead letters as well.",
        secret: false,
    },
];

/// Formats that `write_stream().format(..)` knows.
pub const SINK_FORMATS: &[&str] = &["delta", "console", "memory", "noop"];

/// Describes a query to start.
///
/// A stream of numbers into each of the sinks that keep nothing for others; [`crate`] has an
/// example of a Delta table, [`MemoryStream`](crate::sources::MemoryStream) one of a memory table.
///
/// ```
/// use arrow::array::{ArrayRef, Int32Array, RecordBatch};
/// use millstream::sources::MemoryStream;
/// use millstream::{Session, Trigger};
/// use std::sync::Arc;
///
/// # #[tokio::main]
/// # async fn main() -> millstream::Result<()> {
/// let ids = Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef;
/// let numbers = RecordBatch::try_from_iter([("id", ids)]).expect("a batch");
/// let stream = MemoryStream::new(numbers.schema());
/// stream.add_data(numbers)?;
/// let session = Session::builder().build()?;
/// for format in ["console", "noop"] {
///     let query = session
///         .read_memory(&stream)?
///         .write_stream()
///         .format(format)
///         .output_mode("append")
///         .trigger(Trigger::Once)
///         .start_query()
///         .await?;
///     query.await_termination().await?;
///     assert_eq!(query.last_progress().map(|p| p.num_input_rows), Some(2));
/// }
/// # Ok(())
/// # }
/// ```
pub struct DataStreamWriter {
    data: DataFrame,
    format: String,
    options: OptionMap,
    mode: Result<OutputMode>,
    trigger: Trigger,
    partition_by: Option<Vec<String>>,
    name: Option<String>,
    listeners: Vec<ProgressListener>,
}

impl DataStreamWriter {
    pub(crate) fn new(data: DataFrame) -> Self {
        DataStreamWriter {
            data,
            format: "delta".to_owned(),
            options: OptionMap::new(),
            mode: Ok(OutputMode::Append),
            trigger: Trigger::default(),
            partition_by: None,
            name: None,
            listeners: Vec::new(),
        }
    }

    /// The sink's format: `delta` (the default), `console`, `memory` or `noop`.
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = format.into();
        self
    }

    /// Sets an option; names are compared without regard to case.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.options.insert(name, value.to_string());
        self
    }

    /// The output mode, as [`OutputMode`] or as Spark's word. A wrong word is told by `start`.
    #[must_use]
    pub fn output_mode<M: TryInto<OutputMode>>(mut self, mode: M) -> Self
    where
        Error: From<M::Error>,
    {
        self.mode = mode.try_into().map_err(Error::from);
        self
    }

    /// When batches run; as fast as possible without it.
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = trigger;
        self
    }

    /// Partition columns of the table.
    #[must_use]
    pub fn partition_by<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.partition_by = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// The query's name; the memory sink needs one.
    #[must_use]
    pub fn query_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Calls `listener` with every progress record.
    #[must_use]
    pub fn on_progress(
        mut self,
        listener: impl Fn(&QueryProgress) + Send + Sync + 'static,
    ) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Starts the query into the table at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with options, schemas, the table or the checkpoint.
    pub async fn start(self, path: impl AsRef<Path>) -> Result<StreamingQuery> {
        let path = path.as_ref().to_string_lossy().into_owned();
        self.option("path", path).start_query().await
    }

    /// Starts the query into a sink without a path, or into the one of the option `path`.
    ///
    /// # Errors
    /// Everything that is wrong with options, schemas, the table or the checkpoint.
    pub async fn start_query(self) -> Result<StreamingQuery> {
        let session = self.data.session().clone();
        let mode = self.mode.clone()?;
        let (sink, path) = self.sink(mode)?;
        let checkpoint = self.checkpoint(path.as_deref())?;
        if matches!(sink, SinkSpec::Memory) {
            refuse_recovery(&checkpoint)?;
        }
        let letters = DeadLetterRequest::from_options(
            self.options.get(DEAD_LETTER_OPTION),
            self.options.get(DEAD_LETTER_CASTS_OPTION),
        )?;
        let plan = self.data.flow_plan(letters.as_ref())?;
        let dead_letters = match (&plan.dead_letters, &path) {
            (Some(letters), Some(path)) => {
                let letters = dead_letter_path(&letters.target, path)?;
                if overlap(path, &letters) {
                    return Err(Error::invalid(
                        "PLACES_OVERLAP",
                        format!(
                            "The table {} and its dead letters ({}) lie in one another.",
                            path.display(),
                            letters.display()
                        ),
                    )
                    .cure("Give the dead letters a directory of their own."));
                }
                Some(letters)
            }
            _ => None,
        };
        let flow = assemble(
            &session,
            FlowSpec {
                name: self.name,
                plan,
                sink,
                dead_letters,
                checkpoint,
                trigger: self.trigger,
                listeners: self.listeners,
            },
        )
        .await?;
        session.start_flow(flow).await
    }

    fn sink(&self, mode: OutputMode) -> Result<(SinkSpec, Option<PathBuf>)> {
        if mode == OutputMode::Complete {
            return Err(Error::invalid(
                "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
                "Invalid streaming output mode: complete. This output mode is not supported for \
                 no streaming aggregations on streaming DataFrames/DataSets.",
            ));
        }
        match self.format.to_ascii_lowercase().as_str() {
            "delta" => {
                refuse_unknown(&self.options, &[WRITER_OPTIONS, DELTA_OPTIONS], "The Delta sink")?;
                if mode == OutputMode::Update {
                    return Err(Error::invalid(
                        "STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE",
                        "Data source delta does not support Update output mode.",
                    )
                    .cure("Use append."));
                }
                let path = self.path()?;
                Ok((SinkSpec::Delta(Box::new(self.delta_options(path.clone())?)), Some(path)))
            }
            "console" => {
                refuse_unknown(
                    &self.options,
                    &[WRITER_OPTIONS, CONSOLE_OPTIONS],
                    "The console sink",
                )?;
                Ok((SinkSpec::Console(self.options.clone()), None))
            }
            "memory" => {
                refuse_unknown(&self.options, &[WRITER_OPTIONS], "The memory sink")?;
                Ok((SinkSpec::Memory, None))
            }
            "noop" => {
                refuse_unknown(&self.options, &[WRITER_OPTIONS], "The noop sink")?;
                Ok((SinkSpec::Noop, None))
            }
            other => {
                let mut error = Error::invalid(
                    "SINK_FORMAT_UNKNOWN",
                    format!("There is no streaming sink of format `{other}`."),
                );
                if let Some(near) = did_you_mean(other, SINK_FORMATS.iter().copied()) {
                    error = error.cure(format!("Did you mean `{near}`?"));
                }
                Err(error)
            }
        }
    }

    fn path(&self) -> Result<PathBuf> {
        let path = self.options.get("path").ok_or_else(|| {
            Error::invalid("SINK_PATH_MISSING", "'path' is not specified")
                .cure("Give the table's directory to `start`.")
        })?;
        table_path(path)
    }

    fn delta_options(&self, path: PathBuf) -> Result<DeltaSinkOptions> {
        let mut options = DeltaSinkOptions::new(path);
        options.partition_by.clone_from(&self.partition_by);
        options.merge_schema = match self.options.get("mergeSchema") {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => {
                return Err(Error::invalid(
                    "OPTION_INVALID",
                    format!("`mergeSchema` is `{text}`."),
                )
                .cure("Write `true` or `false`."));
            }
        };
        options.max_records_per_file = match self.options.get("maxRecordsPerFile") {
            None => None,
            Some(text) => Some(text.trim().parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                Error::invalid("OPTION_INVALID", format!("`maxRecordsPerFile` is `{text}`."))
                    .cure("Give a positive whole number.")
            })?),
        };
        options.user_metadata = self.options.get("userMetadata").map(str::to_owned);
        Ok(options)
    }

    fn checkpoint(&self, table: Option<&Path>) -> Result<PathBuf> {
        if let Some(location) = self.options.get("checkpointLocation") {
            return table_path(location);
        }
        if let Some(root) = self.data.session().checkpoint_root() {
            let name =
                self.name.clone().unwrap_or_else(|| self.data.session().env().uuid().to_string());
            return Ok(root.join(name));
        }
        if table.is_some() {
            return Err(Error::invalid(
                "CHECKPOINT_LOCATION_MISSING",
                "checkpointLocation must be specified either through option(\"checkpointLocation\", \
                 ...) or SparkSession.conf.set(\"spark.sql.streaming.checkpointLocation\", ...).",
            ));
        }
        let unique = format!("millstream-{}", self.data.session().env().uuid());
        Ok(std::env::temp_dir().join(unique))
    }
}

/// A memory table begins anew with its query: with a checkpoint that is further, the rows of the
/// batches before would be missing without a word. Spark refuses as well.
fn refuse_recovery(checkpoint: &Path) -> Result<()> {
    let offsets = checkpoint.join("offsets");
    let begun = std::fs::read_dir(&offsets).is_ok_and(|mut entries| entries.next().is_some());
    if !begun {
        return Ok(());
    }
    Err(Error::invalid(
        "MEMORY_SINK_NOT_RECOVERABLE",
        format!(
            "This query does not support recovering from checkpoint location. Delete {} to start \
             over.",
            offsets.display()
        ),
    )
    .cure("Leave `checkpointLocation` out for a memory sink, or write to a table."))
}

/// Where the dead letters of the table at `table` go.
pub(crate) fn dead_letter_path(target: &str, table: &Path) -> Result<PathBuf> {
    if target.is_empty() {
        let mut name = table.file_name().map(std::ffi::OsString::from).unwrap_or_default();
        name.push("_dead_letters");
        return Ok(table.with_file_name(name));
    }
    if target.contains('/') {
        return table_path(target);
    }
    Ok(table.with_file_name(target))
}
