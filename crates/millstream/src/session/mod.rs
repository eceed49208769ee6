//! A session: settings, views, tables by name, running queries.
//!
//! ```
//! use millstream::Session;
//!
//! # #[tokio::main]
//! # async fn main() -> millstream::Result<()> {
//! let session = Session::builder().config("spark.sql.session.timeZone", "Europe/Berlin").build()?;
//! let frame = session.sql("SELECT upper('kafka') AS name, 1 + 1")?;
//! assert_eq!(frame.columns(), ["name", "(1 + 1)"]);
//! assert_eq!(frame.schema()?.fields[1].data_type.sql(), "INT");
//! assert_eq!(frame.collect().await?[0].num_rows(), 1);
//!
//! let mistake = session.sql("SELECT upper('kafka'").err().expect("a parenthesis is missing");
//! assert_eq!(mistake.code(), "PARSE_SYNTAX_ERROR");
//! # Ok(())
//! # }
//! ```

mod catalog;
mod conf;
mod queries;
mod state;

pub use catalog::TableCatalog;
pub use conf::{Conf, Outcome, SETTINGS};

use crate::dataframe::DataFrame;
use crate::plan::analyze::{Analyzer, Rel};
use crate::plan::{StreamDefinition, error};
use crate::reader::DataStreamReader;
use crate::sinks::MemoryTables;
use crate::sources::{MemoryStream, SourceScans, StreamingSource};
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use millstream_core::env::{SharedEnv, SystemEnv};
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_functions::Functions;
use millstream_sql::ast::{Statement, StatementKind};
use millstream_sql::{Span, parse_script};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A session. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    env: SharedEnv,
    settings: RwLock<Settings>,
    /// Temporary views by lower-case name.
    views: RwLock<BTreeMap<String, (String, Rel)>>,
    catalog: RwLock<Option<Arc<dyn TableCatalog>>>,
    memory_streams: Mutex<Vec<Arc<MemoryStream>>>,
    memory_tables: MemoryTables,
    queries: queries::Running,
    runtime: Arc<RuntimeEnv>,
}

#[derive(Clone)]
struct Settings {
    conf: Conf,
    functions: Arc<Functions>,
}

/// Builds a [`Session`].
pub struct SessionBuilder {
    env: SharedEnv,
    settings: Vec<(String, String)>,
    catalog: Option<Arc<dyn TableCatalog>>,
}

impl SessionBuilder {
    /// Sets `name` to `value`, as `SET name = value` does.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Clock and ids from `env` instead of the machine's.
    #[must_use]
    pub fn env(mut self, env: SharedEnv) -> Self {
        self.env = env;
        self
    }

    /// Where tables are found by name and path.
    #[must_use]
    pub fn catalog(mut self, catalog: Arc<dyn TableCatalog>) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// The session.
    ///
    /// # Errors
    /// What [`Session::set`] says about a setting.
    pub fn build(self) -> Result<Session> {
        let conf = Conf::default();
        let functions = functions_of(&conf)?;
        let session = Session(Arc::new(Inner {
            env: self.env,
            settings: RwLock::new(Settings { conf, functions }),
            views: RwLock::default(),
            catalog: RwLock::new(self.catalog),
            memory_streams: Mutex::default(),
            memory_tables: MemoryTables::default(),
            queries: queries::Running::default(),
            runtime: Arc::new(RuntimeEnv::default()),
        }));
        for (name, value) in self.settings {
            session.set(&name, &value)?;
        }
        Ok(session)
    }
}

fn functions_of(conf: &Conf) -> Result<Arc<Functions>> {
    millstream_functions::register(&conf.function_settings())
        .map(Arc::new)
        .map_err(error::from_datafusion)
}

impl Session {
    /// Starts building a session.
    pub fn builder() -> SessionBuilder {
        SessionBuilder { env: Arc::new(SystemEnv), settings: Vec::new(), catalog: None }
    }

    /// Clock and ids.
    pub fn env(&self) -> SharedEnv {
        Arc::clone(&self.0.env)
    }

    /// The settings in force.
    pub fn conf(&self) -> Conf {
        self.0.settings.read().conf.clone()
    }

    /// `SET name = value`. Plans made before keep their settings.
    ///
    /// # Errors
    /// `INVALID_CONF_VALUE`, `CONF_UNSUPPORTED`, `CONF_UNKNOWN`.
    pub fn set(&self, name: &str, value: &str) -> Result<Outcome> {
        let mut conf = self.conf();
        let outcome = conf.set(name, value)?;
        if let Outcome::Ignored(why) = &outcome {
            tracing::warn!(setting = name, "{why}");
        }
        let functions = functions_of(&conf)?;
        *self.0.settings.write() = Settings { conf, functions };
        Ok(outcome)
    }

    /// A stream to read, as in Spark.
    pub fn read_stream(&self) -> DataStreamReader {
        DataStreamReader::new(self.clone())
    }

    /// One statement: a query, `SET`, or `CREATE TEMPORARY VIEW`. The result of the latter two has
    /// no columns.
    ///
    /// # Errors
    /// The first mistake, with line and column.
    pub fn sql(&self, text: &str) -> Result<DataFrame> {
        let mut script = parse_script(text, &OptionMap::new());
        if let Some(mistake) = script.mistakes.first() {
            return Err(mistake.to_error(text));
        }
        let one = script.statements.pop();
        let (Some(statement), true) = (one, script.statements.is_empty()) else {
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", "sql() takes exactly one statement.")
                .cure("Run a file of statements with `millstream run`."));
        };
        self.run_statement(&statement).map_err(|d| d.to_error(text))
    }

    /// A query, `SET`, or `CREATE TEMPORARY VIEW`.
    pub(crate) fn run_statement(
        &self,
        statement: &Statement,
    ) -> Result<DataFrame, millstream_sql::Diagnostic> {
        let analyzer = Analyzer::new(self);
        match &statement.kind {
            StatementKind::Query(query) => {
                Ok(DataFrame::new(self.clone(), analyzer.query(query, &Vec::new())?))
            }
            StatementKind::Set { name, value } => {
                self.set(&name.name, value)
                    .map_err(|e| millstream_sql::Diagnostic::from_error(&e, name.span))?;
                DataFrame::empty(self.clone())
            }
            StatementKind::CreateView { .. } => {
                self.create_view(statement)?;
                DataFrame::empty(self.clone())
            }
            _ => Err(millstream_sql::Diagnostic::new(
                "UNSUPPORTED_SYNTAX",
                "Streaming tables and flows run as a pipeline, not through sql().",
                statement.span,
            )
            .cure("Use `millstream run`, or write_stream() of a DataFrame.")),
        }
    }

    /// `CREATE TEMPORARY VIEW`
    pub(crate) fn create_view(
        &self,
        statement: &Statement,
    ) -> Result<(), millstream_sql::Diagnostic> {
        let StatementKind::CreateView { name, or_replace, columns, query } = &statement.kind else {
            return Ok(());
        };
        let [name] = name.as_slice() else {
            let message = "The name of a temporary view has no schema.";
            let span = name.first().map_or(statement.span, |n| n.span);
            return Err(millstream_sql::Diagnostic::new(
                "TEMP_VIEW_NAME_TOO_MANY_NAME_PARTS",
                message,
                span,
            ));
        };
        if !or_replace && self.view(&name.name).is_some() {
            let message = format!(
                "Cannot create the temporary view `{}` because it already exists.",
                name.name
            );
            return Err(millstream_sql::Diagnostic::new(
                "TEMP_TABLE_OR_VIEW_ALREADY_EXISTS",
                message,
                name.span,
            )
            .cure("Write CREATE OR REPLACE TEMPORARY VIEW, or choose another name."));
        }
        let mut rel = Analyzer::new(self).query(query, &Vec::new())?;
        if !columns.is_empty() {
            rel = crate::plan::analyze::rename_columns(rel, columns, query.span)?;
        }
        self.register_view(&name.name, rel);
        Ok(())
    }

    /// A stream that the program feeds itself: [`MemoryStream`] has an example.
    ///
    /// # Errors
    /// Where a column has a type that Spark does not have.
    pub fn read_memory(&self, stream: &Arc<MemoryStream>) -> Result<DataFrame> {
        let mut streams = self.0.memory_streams.lock();
        let at = match streams.iter().position(|s| Arc::ptr_eq(s, stream)) {
            Some(at) => at,
            None => {
                streams.push(Arc::clone(stream));
                streams.len() - 1
            }
        };
        drop(streams);
        self.stream(Arc::new(StreamDefinition {
            format: "memory".to_owned(),
            options: [("id", at.to_string())].into_iter().collect(),
            schema: stream.schema(),
            dead_letter: None,
            identity: crate::sources::memory_identity(),
        }))
    }

    /// Gives `table` to queries under `name`.
    ///
    /// # Errors
    /// `PLAN_INVALID`, and types that Spark does not have.
    pub fn register_table(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        let rel =
            crate::plan::analyze::table_rel(name, table, Span::NONE).map_err(|d| d.to_error(""))?;
        self.register_view(name, rel);
        Ok(())
    }

    /// The memory sink's tables.
    pub fn memory_tables(&self) -> &MemoryTables {
        &self.0.memory_tables
    }

    pub(crate) fn register_view(&self, name: &str, rel: Rel) {
        self.0.views.write().insert(name.to_lowercase(), (name.to_owned(), rel));
    }

    pub(crate) fn view(&self, name: &str) -> Option<Rel> {
        self.0.views.read().get(&name.to_lowercase()).map(|(_, rel)| rel.clone())
    }

    /// A stream as a DataFrame.
    pub(crate) fn stream(&self, definition: Arc<StreamDefinition>) -> Result<DataFrame> {
        let rel =
            crate::plan::analyze::stream_rel(definition, Span::NONE).map_err(|d| d.to_error(""))?;
        Ok(DataFrame::new(self.clone(), rel))
    }

    pub(crate) fn memory_stream(
        &self,
        definition: &StreamDefinition,
    ) -> Option<Arc<dyn StreamingSource>> {
        if definition.format != "memory" {
            return None;
        }
        let at: usize = definition.options.get("id")?.parse().ok()?;
        let stream = self.0.memory_streams.lock().get(at).cloned()?;
        Some(Arc::new(stream.source()))
    }

    /// The table of a name in parts, from the session's catalog.
    pub(crate) fn table(&self, name: &[String]) -> Result<Option<Arc<dyn TableProvider>>> {
        let catalog = self.0.catalog.read().clone();
        match catalog {
            Some(catalog) => catalog.table(name),
            None => Ok(None),
        }
    }

    /// A batch read of a source such as Kafka.
    pub(crate) fn batch_source(
        &self,
        format: &str,
        options: &OptionMap,
    ) -> Result<Arc<dyn TableProvider>> {
        let catalog = self.0.catalog.read().clone();
        match catalog {
            Some(catalog) => catalog.source(format, options),
            None => Err(Error::invalid(
                "BATCH_SOURCE_UNSUPPORTED",
                format!("Reading `{format}` as a batch is not possible in this session."),
            )
            .cure("Write STREAM before it to read it as a stream.")),
        }
    }

    /// Names of views and tables, for "did you mean".
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.0.views.read().values().map(|(name, _)| name.clone()).collect();
        if let Some(catalog) = self.0.catalog.read().as_ref() {
            names.extend(catalog.names());
        }
        names
    }

    /// Sets where tables are found by name and path.
    pub fn set_catalog(&self, catalog: Arc<dyn TableCatalog>) {
        *self.0.catalog.write() = Some(catalog);
    }

    pub(crate) fn functions(&self) -> Arc<Functions> {
        Arc::clone(&self.0.settings.read().functions)
    }

    /// DataFusion's state for one batch of a stream: plans have as many partitions as their scans.
    pub(crate) fn state(&self) -> SessionState {
        self.streaming_state()
    }

    /// The same, for programs that bind plans themselves.
    pub fn streaming_state(&self) -> SessionState {
        state::streaming(&self.conf(), &self.functions(), &self.0.runtime)
    }

    /// DataFusion's state for batch queries, which use all cores.
    pub(crate) fn batch_state(&self) -> SessionState {
        state::batch(&self.conf(), &self.functions(), &self.0.runtime)
    }

    /// Makes the scans of bound plans that come from elsewhere ([`crate::plan::decode_bound`]).
    pub fn scan_resolver(&self) -> SourceScans {
        SourceScans::new(self.env())
    }

    pub(crate) fn batches_to_retain(&self) -> u64 {
        self.conf().batches_to_retain
    }

    pub(crate) fn shuffle_partitions(&self) -> u32 {
        self.conf().shuffle_partitions
    }

    pub(crate) fn parallelism(&self) -> usize {
        self.conf().parallelism
    }

    pub(crate) fn checkpoint_root(&self) -> Option<PathBuf> {
        self.conf().checkpoint_root
    }
}
