//! Puts a column that is calculated above a stream's scan into the scan itself, and carries it up to
//! where it was calculated.

use crate::plan::error::from_datafusion;
use crate::plan::stream::{StreamDefinition, StreamTable};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias,
};
use millstream_core::Result;
use std::sync::Arc;

/// One column that moves into the scan of stream `stream`.
pub(super) struct Lift<'a> {
    pub(super) stream: usize,
    /// The stream, with the column in its schema.
    pub(super) definition: Arc<StreamDefinition>,
    /// The column's name in that schema.
    pub(super) column: &'a str,
    /// Whether an expression of a projection is what the column holds.
    pub(super) is_it: &'a dyn Fn(&LogicalPlan, &Expr) -> bool,
}

impl Lift<'_> {
    /// The plan that reads the column wherever it was calculated.
    pub(super) fn rewrite(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let rewritten = plan.transform_down(|node| self.node(node)).map_err(from_datafusion)?;
        Ok(rewritten.data)
    }

    fn node(&self, node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = &node else { return Ok(Transformed::no(node)) };
        let mut hit = false;
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for expr in &projection.expr {
            let name = expr.schema_name().to_string();
            let replaced = expr.clone().transform_down(|e| {
                if (self.is_it)(&node, &e) {
                    hit = true;
                    let column = Column::new_unqualified(self.column);
                    return Ok(Transformed::new(
                        Expr::Column(column),
                        true,
                        TreeNodeRecursion::Jump,
                    ));
                }
                Ok(Transformed::no(e))
            })?;
            exprs.push(match replaced.data {
                changed if replaced.transformed => changed.alias_if_changed(name)?,
                same => same,
            });
        }
        if !hit {
            return Ok(Transformed::no(node));
        }
        let input = self.carry(&projection.input)?;
        let relation = self.find(&input)?;
        let exprs = exprs
            .into_iter()
            .map(|expr| {
                let qualified = expr.transform_down(|e| {
                    Ok(match e {
                        Expr::Column(c) if c.name == self.column => {
                            Transformed::yes(Expr::Column(relation.clone()))
                        }
                        other => Transformed::no(other),
                    })
                })?;
                Ok(qualified.data)
            })
            .collect::<DfResult<Vec<Expr>>>()?;
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
        Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
    }

    /// `node`, a chain of operators over the scan, with the column in its output.
    fn carry(&self, node: &LogicalPlan) -> DfResult<LogicalPlan> {
        match node {
            LogicalPlan::TableScan(scan) => {
                let table = StreamTable::new(Arc::clone(&self.definition)).at(self.stream);
                let source = provider_as_source(Arc::new(table));
                LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?.build()
            }
            LogicalPlan::Projection(projection) => {
                let input = self.carry(&projection.input)?;
                let mut exprs = projection.expr.clone();
                exprs.push(Expr::Column(self.find(&input)?).alias(self.column));
                Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
            }
            LogicalPlan::Filter(filter) => {
                let input = Arc::new(self.carry(&filter.input)?);
                Ok(LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), input)?))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.carry(&alias.input)?;
                let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                Ok(LogicalPlan::SubqueryAlias(alias))
            }
            other => Err(DataFusionError::Internal(format!(
                "a column of the scan cannot pass {}",
                other.display()
            ))),
        }
    }

    /// The column in the output of `plan`, as it has to be referred to.
    fn find(&self, plan: &LogicalPlan) -> DfResult<Column> {
        plan.schema()
            .iter()
            .find(|(_, field)| field.name() == self.column)
            .map(|(relation, field)| Column::new(relation.cloned(), field.name()))
            .ok_or_else(|| DataFusionError::Internal(format!("no column {}", self.column)))
    }
}
