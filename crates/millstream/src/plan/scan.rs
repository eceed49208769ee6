//! The leaf of a streaming plan: a hole in the template, a reader of one batch's ranges when bound.

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use std::fmt;
use std::sync::Arc;

/// One batch's data of one source, cut into partitions that can be read independently.
pub trait PartitionedScan: Send + Sync + fmt::Debug {
    /// How many partitions there are; at least one.
    fn partitions(&self) -> usize;

    /// Reads one partition. `projection` are indices into the source's full schema, in the order
    /// wanted; the stream's batches have exactly those columns. `None` asks for all.
    ///
    /// # Errors
    /// Where reading cannot even start; later failures come through the stream.
    fn execute(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> Result<SendableRecordBatchStream>;

    /// What it reads, without connections and secrets, for plans that travel.
    ///
    /// # Errors
    /// `PLAN_NOT_SERIALIZABLE` for scans that live in this process only.
    fn description(&self) -> millstream_core::Result<serde_json::Value> {
        Err(millstream_core::Error::invalid(
            "PLAN_NOT_SERIALIZABLE",
            "The plan cannot be stored: a scan lives in this process only.",
        ))
    }
}

/// A streaming scan in a physical plan.
#[derive(Debug)]
pub struct StreamScanExec {
    stream_index: usize,
    source_schema: SchemaRef,
    projection: Option<Vec<usize>>,
    bound: Option<Arc<dyn PartitionedScan>>,
    properties: Arc<PlanProperties>,
}

impl StreamScanExec {
    /// The hole for stream `stream_index`.
    ///
    /// # Errors
    /// Where `projection` names a column that `source_schema` does not have.
    pub fn placeholder(
        stream_index: usize,
        source_schema: SchemaRef,
        projection: Option<Vec<usize>>,
    ) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(source_schema.project(columns)?),
            None => Arc::clone(&source_schema),
        };
        let properties = Arc::new(properties(schema, 1));
        Ok(StreamScanExec { stream_index, source_schema, projection, bound: None, properties })
    }

    /// The same scan, reading `scan`.
    #[must_use]
    pub fn bound_to(&self, scan: Arc<dyn PartitionedScan>) -> Self {
        let partitions = scan.partitions().max(1);
        StreamScanExec {
            stream_index: self.stream_index,
            source_schema: Arc::clone(&self.source_schema),
            projection: self.projection.clone(),
            properties: Arc::new(properties(self.schema(), partitions)),
            bound: Some(scan),
        }
    }

    /// Position of the source in the plan.
    pub fn stream_index(&self) -> usize {
        self.stream_index
    }

    /// What fills the hole; `None` in a template.
    pub fn bound(&self) -> Option<&Arc<dyn PartitionedScan>> {
        self.bound.as_ref()
    }

    /// Schema of the source, before the projection.
    pub fn source_schema(&self) -> &SchemaRef {
        &self.source_schema
    }

    /// The columns asked for, as indices into the source's schema; `None` for all.
    pub fn projection(&self) -> Option<&[usize]> {
        self.projection.as_deref()
    }
}

fn properties(schema: SchemaRef, partitions: usize) -> PlanProperties {
    PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
}

impl DisplayAs for StreamScanExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let names: Vec<&str> = schema.fields().iter().map(|c| c.name().as_str()).collect();
        let state = if self.bound.is_some() { "bound" } else { "unbound" };
        write!(
            f,
            "StreamScanExec: stream={}, columns=[{}], {state}",
            self.stream_index,
            names.join(", ")
        )
    }
}

impl ExecutionPlan for StreamScanExec {
    fn name(&self) -> &'static str {
        "StreamScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        match &self.bound {
            Some(scan) => scan.execute(partition, self.projection.as_deref()),
            None => Err(DataFusionError::Internal(format!(
                "stream {} was executed without a batch bound to it",
                self.stream_index
            ))),
        }
    }
}
