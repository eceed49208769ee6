//! `session.read_stream()`: Spark's `DataStreamReader`.

use crate::dataframe::DataFrame;
use crate::plan::{DeadLetterRequest, StreamDefinition};
use crate::session::Session;
use crate::sources;
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use std::sync::Arc;

/// Option of a Kafka source and of the writer: where records go that do not decode.
pub const DEAD_LETTER_OPTION: &str = "deadLetter";

/// Option beside it: columns of the query's result whose casts count as well.
pub const DEAD_LETTER_CASTS_OPTION: &str = "deadLetterCasts";

/// Describes a stream to read.
///
/// ```
/// use millstream::Session;
///
/// # fn main() -> millstream::Result<()> {
/// let session = Session::builder().build()?;
/// let events = session
///     .read_stream()
///     .format("kafka")
///     .option("kafka.bootstrap.servers", "localhost:9092")
///     .option("subscribe", "events")
///     .options([("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", "100000")])
///     .load()?;
/// let columns = ["key", "value", "topic", "partition", "offset", "timestamp", "timestampType"];
/// assert_eq!(events.columns(), columns);
/// assert!(events.is_streaming());
///
/// let ticks = session.read_stream().format("rate").option("rowsPerSecond", 100).load()?;
/// assert_eq!(ticks.columns(), ["timestamp", "value"]);
///
/// let refused = session.read_stream().format("rate").option("rowPerSecond", 1).load().err();
/// assert_eq!(refused.expect("a misspelt option").code(), "OPTION_UNKNOWN");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DataStreamReader {
    session: Session,
    format: Option<String>,
    options: OptionMap,
}

impl DataStreamReader {
    pub(crate) fn new(session: Session) -> Self {
        DataStreamReader { session, format: None, options: OptionMap::new() }
    }

    /// The source's format: `kafka` or `rate`.
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// Sets an option; names are compared without regard to case.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.options.insert(name, value.to_string());
        self
    }

    /// Sets several options.
    #[must_use]
    pub fn options<N: Into<String>, V: ToString>(
        mut self,
        options: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        for (name, value) in options {
            self.options.insert(name, value.to_string());
        }
        self
    }

    /// The stream as a DataFrame. Options are checked here; nothing is connected yet.
    ///
    /// # Errors
    /// `SOURCE_FORMAT_MISSING`, and everything the source says about its options.
    pub fn load(self) -> Result<DataFrame> {
        let format = self.format.ok_or_else(|| {
            Error::invalid("SOURCE_FORMAT_MISSING", "read_stream() was given no format.")
                .cure("Write for example `.format(\"kafka\")`.")
        })?;
        let definition = define(&self.session, &format, self.options)?;
        self.session.stream(definition)
    }
}

/// Checks a stream's options and says what it is.
///
/// # Errors
/// `SOURCE_FORMAT_UNKNOWN`, and everything the source says about its options.
pub(crate) fn define(
    session: &Session,
    format: &str,
    mut options: OptionMap,
) -> Result<Arc<StreamDefinition>> {
    let dead_letter = DeadLetterRequest::from_options(
        options.remove(DEAD_LETTER_OPTION).as_deref(),
        options.remove(DEAD_LETTER_CASTS_OPTION).as_deref(),
    )?;
    let source = sources::open(format, &options, &session.env())?;
    if dead_letter.is_some() && !format.eq_ignore_ascii_case("kafka") {
        return Err(Error::invalid(
            "DEAD_LETTERS_UNCLEAR",
            format!("A stream of format `{format}` has no raw records to keep as dead letters."),
        ));
    }
    Ok(Arc::new(StreamDefinition {
        format: format.to_ascii_lowercase(),
        options,
        schema: source.schema(),
        dead_letter,
        identity: source.identity(),
    }))
}
