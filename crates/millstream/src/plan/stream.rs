//! A stream as a table of the plan: what it is and where its hole goes.

use super::analyze::Rel;
use super::scan::StreamScanExec;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use millstream_core::options::OptionMap;
use std::sync::Arc;

/// One streaming source as the user wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamDefinition {
    /// `kafka`, `rate` or `memory`.
    pub format: String,
    /// The source's options, without those of [`StreamDefinition::dead_letter`].
    pub options: OptionMap,
    /// The columns it yields.
    pub schema: SchemaRef,
    /// What happens to records that do not fit. `None`: there are no dead letters.
    pub dead_letter: Option<DeadLetterRequest>,
    /// What the fingerprint remembers: kind and the options that choose the data, never a secret.
    pub identity: serde_json::Value,
}

/// The options `deadLetter` and `deadLetterCasts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRequest {
    /// Where records go that do not fit: a table name or a path, empty for `<table>_dead_letters`.
    pub target: String,
    /// Columns of the query's result whose casts count besides `from_json`.
    pub casts: Vec<String>,
}

impl DeadLetterRequest {
    /// What the options ask for; `None` where neither is given.
    ///
    /// # Errors
    /// `DEAD_LETTERS_UNCLEAR` for casts without `deadLetter`, or an empty name among them.
    pub fn from_options(
        target: Option<&str>,
        casts: Option<&str>,
    ) -> millstream_core::Result<Option<Self>> {
        let unclear = |why: &str| millstream_core::Error::invalid("DEAD_LETTERS_UNCLEAR", why);
        let Some(target) = target else {
            return match casts {
                None => Ok(None),
                Some(_) => Err(unclear("`deadLetterCasts` is given without `deadLetter`.")
                    .cure("Say where dead letters go: deadLetter => 'name'.")),
            };
        };
        let casts: Vec<String> = casts
            .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect())
            .unwrap_or_default();
        if casts.iter().any(String::is_empty) {
            return Err(unclear("`deadLetterCasts` has an empty name.").cure(
                "List columns of the query's result: deadLetterCasts => 'amount, ordered_at'.",
            ));
        }
        Ok(Some(DeadLetterRequest { target: target.to_owned(), casts }))
    }
}

/// The table provider of a stream. `index` is its position in the plan's traversal, which is the
/// order of lines in `offsets/N`.
#[derive(Debug, Clone)]
pub struct StreamTable {
    index: usize,
    definition: Arc<StreamDefinition>,
}

impl StreamTable {
    /// A stream that has not been given its place yet.
    pub fn new(definition: Arc<StreamDefinition>) -> Self {
        StreamTable { index: 0, definition }
    }

    /// The same stream at position `index`.
    #[must_use]
    pub fn at(&self, index: usize) -> Self {
        StreamTable { index, definition: Arc::clone(&self.definition) }
    }

    /// Position in the plan's traversal.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it is.
    pub fn definition(&self) -> &Arc<StreamDefinition> {
        &self.definition
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.definition.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(StreamScanExec::placeholder(
            self.index,
            Arc::clone(&self.definition.schema),
            projection.cloned(),
        )?))
    }
}

/// `rel` with dead letters that the writer asks for. There has to be exactly one stream.
///
/// # Errors
/// `DEAD_LETTERS_UNCLEAR` where there are several streams, or one that has its own dead letters.
pub(crate) fn with_dead_letters(
    rel: Rel,
    request: &DeadLetterRequest,
) -> millstream_core::Result<Rel> {
    let mut streams = 0;
    let mut twice = false;
    let plan = rel.plan.clone().transform_down(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
        let provider = source_as_provider(&scan.source)?;
        let Some(stream) = provider.downcast_ref::<StreamTable>() else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        streams += 1;
        twice |= stream.definition.dead_letter.is_some();
        let dead_letter = Some(request.clone());
        let definition = StreamDefinition { dead_letter, ..(*stream.definition).clone() };
        let source = provider_as_source(Arc::new(StreamTable::new(Arc::new(definition))));
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
    });
    let plan = plan.map_err(super::error::from_datafusion)?.data;
    if streams != 1 || twice {
        return Err(millstream_core::Error::invalid(
            "DEAD_LETTERS_UNCLEAR",
            "The option `deadLetter` of the writer needs a query over exactly one stream that does \
             not have the option itself.",
        ));
    }
    Ok(Rel { plan, ..rel })
}
