//! The physical plan of a flow with holes, planned once, and the rewrite that fills the holes for
//! one batch.

use super::flow::FlowPlan;
use super::scan::{PartitionedScan, StreamScanExec};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millstream_core::{Error, Result};
use std::sync::Arc;

/// What one batch puts into a template.
#[derive(Debug, Clone)]
pub struct BatchBinding {
    /// Time of the batch in milliseconds since the epoch, from its intent.
    pub batch_time_ms: i64,
    /// What each stream reads, by its index.
    pub scans: Vec<Arc<dyn PartitionedScan>>,
}

/// A flow's physical plan with holes for scans and batch time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PhysicalTemplate {
    plan: Arc<dyn ExecutionPlan>,
    streams: usize,
}

impl PhysicalTemplate {
    /// Plans `flow` physically.
    ///
    /// # Errors
    /// `PLAN_INVALID` where DataFusion refuses the plan, `UNSUPPORTED_STREAMING_OPERATOR` where
    /// the plan holds an operator that may not run inside a micro-batch.
    pub async fn new(flow: &FlowPlan, state: &SessionState) -> Result<Self> {
        let plan = state
            .create_physical_plan(&flow.logical)
            .await
            .map_err(super::error::from_datafusion)?;
        let template = PhysicalTemplate { plan, streams: flow.streams.len() };
        template.check()?;
        Ok(template)
    }

    /// Schema of the rows a bound plan yields.
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// How many streams have to be bound.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// The plan as indented text.
    pub fn explain(&self) -> String {
        displayable(self.plan.as_ref()).indent(false).to_string()
    }

    /// Binding knows how to put the batch's time into projections and filters only, so any other
    /// node that holds the placeholder is refused here instead of failing in the first batch.
    fn check(&self) -> Result<()> {
        self.plan
            .apply(|node| {
                let mut misplaced = false;
                node.apply_expressions(&mut |expr| {
                    misplaced |= contains_batch_time(expr)?;
                    Ok(TreeNodeRecursion::Continue)
                })?;
                let bindable = node.is::<ProjectionExec>() || node.is::<FilterExec>();
                if misplaced && !bindable {
                    return Err(DataFusionError::Plan(format!(
                        "the batch's time is used inside {}",
                        node.name()
                    )));
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .map_err(super::error::from_datafusion)?;
        Ok(())
    }
}

/// Fills the holes of `template` for one batch. Nothing is optimised again, and the template is
/// not changed: it can be bound any number of times.
///
/// # Errors
/// `INTERNAL` where the binding does not fit the template.
pub fn bind(template: &PhysicalTemplate, binding: &BatchBinding) -> Result<Arc<dyn ExecutionPlan>> {
    if binding.scans.len() != template.streams {
        return Err(Error::internal(format!(
            "the plan has {} streams and the batch binds {}",
            template.streams,
            binding.scans.len()
        )));
    }
    bind_node(&template.plan, binding).map_err(super::error::from_datafusion)
}

fn bind_node(
    node: &Arc<dyn ExecutionPlan>,
    binding: &BatchBinding,
) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    if let Some(scan) = node.downcast_ref::<StreamScanExec>() {
        let source = binding.scans.get(scan.stream_index()).ok_or_else(|| {
            DataFusionError::Internal(format!("stream {} is not bound", scan.stream_index()))
        })?;
        return Ok(Arc::new(scan.bound_to(Arc::clone(source))));
    }
    let mut children = Vec::with_capacity(node.children().len());
    for child in node.children() {
        children.push(bind_node(child, binding)?);
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>()
        && let [input] = children.as_slice()
        && projection.expr().iter().try_fold(false, |any, e| {
            Ok::<_, DataFusionError>(any || contains_batch_time(&e.expr)?)
        })?
    {
        let mut exprs = Vec::with_capacity(projection.expr().len());
        for e in projection.expr() {
            let expr = bind_time(&e.expr, binding.batch_time_ms)?;
            exprs.push(ProjectionExpr { expr, alias: e.alias.clone() });
        }
        return Ok(Arc::new(ProjectionExec::try_new(exprs, Arc::clone(input))?));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>()
        && let [input] = children.as_slice()
        && contains_batch_time(filter.predicate())?
    {
        let predicate = bind_time(filter.predicate(), binding.batch_time_ms)?;
        let bound = FilterExecBuilder::from(filter)
            .with_predicate(predicate)
            .with_input(Arc::clone(input))
            .build()?;
        return Ok(Arc::new(bound));
    }
    replace_children_if_necessary(Arc::clone(node), children)
}

fn contains_batch_time(expr: &Arc<dyn PhysicalExpr>) -> datafusion::error::Result<bool> {
    expr.exists(|e| Ok(is_batch_time(e)))
}

fn is_batch_time(expr: &Arc<dyn PhysicalExpr>) -> bool {
    const PLACEHOLDERS: &[&str] = &["current_timestamp", "current_date", "localtimestamp"];
    expr.downcast_ref::<ScalarFunctionExpr>()
        .is_some_and(|f| f.args().is_empty() && PLACEHOLDERS.contains(&f.name()))
}

fn bind_time(
    expr: &Arc<dyn PhysicalExpr>,
    batch_time_ms: i64,
) -> datafusion::error::Result<Arc<dyn PhysicalExpr>> {
    let micros = batch_time_ms.saturating_mul(1_000);
    millstream_functions::bind_batch_time(Arc::clone(expr), micros)
}
