//! Keeps the rows of a query in the session under the query's name (Spark's `memory`), where SQL
//! finds them as a table.

use super::collect::Attempts;
use super::{DataSink, StageInfo, TaskOutput, TaskWriter};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use millstream_core::Result;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One in-memory table: rows by batch, so that a batch done again replaces itself.
#[derive(Debug)]
struct MemoryTable {
    schema: SchemaRef,
    batches: BTreeMap<BatchId, (AttemptId, Vec<RecordBatch>)>,
}

/// The in-memory tables of a session, by query name.
#[derive(Debug, Clone, Default)]
pub struct MemoryTables(Arc<Mutex<BTreeMap<String, MemoryTable>>>);

impl MemoryTables {
    /// The schema and rows of the table `name`; `None` if no query of that name was started.
    pub fn rows(&self, name: &str) -> Option<(SchemaRef, Vec<RecordBatch>)> {
        let tables = self.0.lock();
        let table = tables.get(name)?;
        let rows = table.batches.values().flat_map(|(_, rows)| rows).cloned().collect();
        Some((table.schema.clone(), rows))
    }

    /// The table `name` for queries, which read the rows that are there when they run.
    pub(crate) fn provider(&self, name: &str, schema: SchemaRef) -> Arc<dyn TableProvider> {
        Arc::new(LiveTable { name: name.to_owned(), schema, tables: self.clone() })
    }

    /// Names of the tables.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}

/// A [`MemoryTables`] entry as queries see it.
#[derive(Debug)]
struct LiveTable {
    name: String,
    schema: SchemaRef,
    tables: MemoryTables,
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        // A query of another schema may have taken the name since; its rows are not these.
        let rows = match self.tables.rows(&self.name) {
            Some((schema, rows)) if schema == self.schema => rows,
            _ => Vec::new(),
        };
        let now = MemTable::try_new(self.schema.clone(), vec![rows])?;
        now.scan(state, projection, filters, limit).await
    }
}

/// Adds a query's rows to a [`MemoryTables`] entry.
pub struct MemorySink {
    name: String,
    schema: SchemaRef,
    tables: MemoryTables,
    attempts: Arc<Attempts>,
}

impl MemorySink {
    /// Starts the table `name` anew.
    pub fn new(name: &str, schema: SchemaRef, tables: &MemoryTables) -> Self {
        let table = MemoryTable { schema: schema.clone(), batches: BTreeMap::new() };
        tables.0.lock().insert(name.to_owned(), table);
        MemorySink {
            name: name.to_owned(),
            schema,
            tables: tables.clone(),
            attempts: Arc::default(),
        }
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn describe(&self) -> String {
        "MemorySink".to_owned()
    }

    fn identity(&self) -> Value {
        json!({ "format": "memory", "name": self.name })
    }

    fn is_exactly_once(&self) -> bool {
        false
    }

    async fn probe(&self, _query: QueryId, _batch: BatchId) -> Result<Probe> {
        Ok(Probe::Absent)
    }

    async fn commit(&self, tag: &CommitTag, _staged: &Staged) -> Result<CommitOutcome> {
        let rows = self.attempts.take(tag.attempt);
        if let Some(table) = self.tables.0.lock().get_mut(&self.name) {
            // The rows of an attempt are here once; a commit said twice must not drop them.
            if table.batches.get(&tag.batch).is_none_or(|(by, _)| *by != tag.attempt) {
                table.batches.insert(tag.batch, (tag.attempt, rows));
            }
        }
        Ok(CommitOutcome::Committed { version: tag.batch.0 })
    }
}

impl DataSink for MemorySink {
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
