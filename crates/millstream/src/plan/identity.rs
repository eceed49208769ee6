//! What the checkpoint compares of a plan between two runs: every output column as an expression
//! over the streams' own columns, the filters, and what lies below them.
//!
//! Written so that an added column is an added entry and nothing else: a field of a `from_json` is
//! named with its own type only, whatever other fields the schema has.

use super::error::from_datafusion;
use super::from_json::FromJsonCall;
use super::prune::field_of;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use millstream_core::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The identity of an analysed plan, before anything is pruned from it.
///
/// # Errors
/// Only defects of the rewriting.
pub(crate) fn of(plan: &LogicalPlan) -> Result<Value> {
    identity(plan).map_err(from_datafusion)
}

fn identity(plan: &LogicalPlan) -> datafusion::error::Result<Value> {
    let mut columns = Map::new();
    for at in 0..plan.schema().fields().len() {
        let column = Column::from(plan.schema().qualified_field(at));
        let name = column.name.clone();
        columns.insert(name, text(inlined(Expr::Column(column), plan)?)?.into());
    }
    let (mut filters, mut node) = (Vec::new(), plan);
    loop {
        node = match node {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Filter(filter) => {
                let predicate = inlined(filter.predicate.clone(), &filter.input)?;
                filters.push(Value::from(text(predicate)?));
                &filter.input
            }
            _ => break,
        };
    }
    let base = node.display_indent().to_string();
    Ok(json!({
        "columns": columns,
        "filters": filters,
        "base": base.lines().collect::<Vec<_>>(),
    }))
}

/// `expr` over `input`, written over the columns of the lowest plan that is followed.
fn inlined(expr: Expr, input: &LogicalPlan) -> datafusion::error::Result<Expr> {
    let inlined = expr.transform_up(|e| match &e {
        Expr::Column(column) => Ok(Transformed::yes(source_of(column, input)?)),
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(inlined.data.unalias_nested().data)
}

/// What a column of `plan` is made of.
fn source_of(column: &Column, plan: &LogicalPlan) -> datafusion::error::Result<Expr> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.index_of_column(column)?;
            match projection.expr.get(at) {
                Some(expr) => inlined(expr.clone(), &projection.input),
                None => Ok(Expr::Column(column.clone())),
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.index_of_column(column)?;
            let below = Column::from(alias.input.schema().qualified_field(at));
            source_of(&below, &alias.input)
        }
        LogicalPlan::Filter(filter) => source_of(column, &filter.input),
        _ => Ok(Expr::Column(Column::new_unqualified(&column.name))),
    }
}

/// The expression as text, with every field of a `from_json` named by itself.
fn text(expr: Expr) -> datafusion::error::Result<String> {
    let named = expr.transform_down(|e| {
        let Some((base, field)) = field_of(&e) else { return Ok(Transformed::no(e)) };
        let Some((call, argument)) = FromJsonCall::of(base) else { return Ok(Transformed::no(e)) };
        let name = format!(
            "from_json({}, {}).{field}",
            text(argument.clone())?,
            call.key_of_field(&BTreeSet::from([field.to_owned()]))
        );
        let column = Expr::Column(Column::new_unqualified(name));
        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
    })?;
    Ok(named.data.to_string())
}
