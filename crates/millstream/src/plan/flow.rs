//! A checked streaming plan: what one flow reads, how, and what it yields.

use super::analyze::Rel;
use super::dead_letter::CastCheck;
use super::error::from_datafusion;
use super::from_json::FromJsonCall;
use super::stream::{StreamDefinition, StreamTable};
use crate::execute::dead_letters::OWN_COLUMNS;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use millstream_core::{Error, Result};
use millstream_types::StructType;
use std::fmt;
use std::sync::Arc;

/// A streaming query, analysed and checked.
#[derive(Debug, Clone)]
pub struct FlowPlan {
    /// What the rows look like, names as Spark prints them.
    pub schema: StructType,
    /// The analysed plan.
    pub logical: LogicalPlan,
    /// Its streams, in the order of the lines of `offsets/N`.
    pub streams: Vec<Arc<StreamDefinition>>,
    /// Stable text of the analysed plan and the sources' identities, one operator a line.
    pub fingerprint: String,
    /// What the checkpoint compares at the next start, column by column.
    pub identity: serde_json::Value,
    /// What to do with records that do not decode, where the query asked for dead letters.
    pub dead_letters: Option<DeadLetterPlan>,
}

/// How records that do not decode are told from those that do.
#[derive(Clone)]
pub struct DeadLetterPlan {
    /// Index of the stream.
    pub stream: usize,
    /// Table name or path as written; empty for `<table>_dead_letters`.
    pub target: String,
    /// Decodes the stream's `value`; `None` where the query only names casts.
    pub(crate) decoding: Option<FromJsonCall>,
    /// The casts it names, each over the columns before its own.
    pub casts: Vec<CastCheck>,
    /// The stream's schema in the plan: its own columns, the decoded one, those of the casts.
    pub schema: SchemaRef,
}

impl fmt::Debug for DeadLetterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterPlan")
            .field("stream", &self.stream)
            .field("target", &self.target)
            .field("casts", &self.casts)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl FlowPlan {
    /// Columns whose casts make dead letters, as the query names them.
    pub fn dead_letter_casts(&self) -> Vec<String> {
        self.streams
            .iter()
            .filter_map(|stream| stream.dead_letter.as_ref())
            .flat_map(|request| request.casts.clone())
            .collect()
    }

    /// Checks that `rel` can run as a stream and fixes the order of its sources.
    ///
    /// # Errors
    /// `INVALID_FLOW_QUERY_TYPE` where nothing in it is a stream, `UNSUPPORTED_STREAMING_OPERATOR`
    /// for operators that cannot run over streams, `DEAD_LETTERS_UNCLEAR`, `COLUMN_ALREADY_EXISTS`.
    pub(crate) fn new(rel: &Rel) -> Result<Self> {
        let schema = rel.schema()?;
        refuse_duplicates(&schema)?;
        let plan = rel.named_plan()?;
        let (logical, streams) = number_streams(plan)?;
        if streams.is_empty() {
            return Err(Error::invalid(
                "INVALID_FLOW_QUERY_TYPE",
                "The query reads no stream, so it cannot feed a streaming table \
                 (BATCH_RELATION_FOR_STREAMING_TABLE).",
            )
            .cure("Write STREAM before the source: FROM STREAM read_kafka(..)."));
        }
        check_operators(&logical)?;
        let fingerprint = super::fingerprint::of(&logical, &streams);
        let identity = super::identity::of(&logical)?;
        let logical = super::prune::prune(logical)?;
        let (logical, dead_letters) = super::dead_letter::lift(logical, &streams)?;
        Ok(FlowPlan { schema, logical, streams, fingerprint, identity, dead_letters })
    }
}

fn refuse_duplicates(schema: &StructType) -> Result<()> {
    for (at, field) in schema.fields.iter().enumerate() {
        let lower = field.name.to_lowercase();
        if schema.fields.iter().skip(at + 1).any(|f| f.name.to_lowercase() == lower) {
            return Err(Error::invalid(
                "COLUMN_ALREADY_EXISTS",
                format!("The column `{}` already exists.", field.name),
            )
            .cure("Choose another name or rename the existing column."));
        }
        if field.name.starts_with(OWN_COLUMNS) {
            return Err(Error::invalid(
                "COLUMN_RESERVED",
                format!("The name `{}` is Millstream's own.", field.name),
            ));
        }
    }
    Ok(())
}

/// Operators whose answer over one batch is their answer over the stream.
fn check_operators(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        let refused = match node {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::TableScan(_) => return Ok(TreeNodeRecursion::Continue),
            LogicalPlan::Sort(_) => {
                "Sorting is not supported on streaming DataFrames/Datasets, unless it is on \
                 aggregated DataFrame/Dataset in Complete output mode"
            }
            LogicalPlan::Limit(_) => {
                "Limits are not supported yet on streaming DataFrames/Datasets"
            }
            LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => {
                "Aggregations and DISTINCT are not supported yet on streaming DataFrames/Datasets"
            }
            LogicalPlan::Join(_) => "Joins are not supported yet on streaming DataFrames/Datasets",
            _ => "This operator is not supported on streaming DataFrames/Datasets",
        };
        Err(datafusion::error::DataFusionError::External(Box::new(Error::invalid(
            "UNSUPPORTED_STREAMING_OPERATOR",
            format!("{refused}."),
        ))))
    })
    .map_err(from_datafusion)?;
    Ok(())
}

/// Gives every streaming scan its index, from left to right.
fn number_streams(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Arc<StreamDefinition>>)> {
    let mut streams = Vec::new();
    let mut batch_table = None;
    let numbered = plan
        .transform_down(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
            let provider = source_as_provider(&scan.source)?;
            let Some(stream) = provider.downcast_ref::<StreamTable>() else {
                batch_table = Some(scan.table_name.to_string());
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            let table = stream.at(streams.len());
            streams.push(Arc::clone(table.definition()));
            let source = provider_as_source(Arc::new(table));
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
        })
        .map_err(from_datafusion)?
        .data;
    match batch_table {
        Some(table) if !streams.is_empty() => Err(Error::invalid(
            "UNSUPPORTED_STREAMING_OPERATOR",
            format!(
                "Union between streaming and batch DataFrames/Datasets is not supported \
                 (`{table}` is read as a batch)."
            ),
        )
        .cure("Write STREAM before the source.")),
        _ => Ok((numbered, streams)),
    }
}
