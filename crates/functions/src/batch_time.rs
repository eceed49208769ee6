//! `current_timestamp()` and its relatives: placeholders until the time of the batch is known.
//!
//! The optimiser sees them as volatile, so nothing folds them while planning. Executing one that
//! was not bound is an error: a batch that is run again must see the time that was recorded.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::PhysicalExpr;

use crate::def::{Call, Def, Eval, NTZ, Params, SparkFunction, timestamp_type};
use crate::error::spark_error;
use crate::zone::Zone;

pub(crate) const DEFS: &[Def] = &[
    placeholder("current_timestamp", &["now"], Eval::Own(|_| Ok(timestamp_type()), unbound)),
    placeholder("current_date", &["curdate"], Eval::Own(|_| Ok(DataType::Date32), unbound)),
    placeholder("localtimestamp", &[], Eval::Own(|_| Ok(NTZ), unbound)),
];

const fn placeholder(name: &'static str, aliases: &'static [&'static str], eval: Eval) -> Def {
    Def { name, aliases, params: Params::Exact(&[]), eval, immutable: false }
}

fn unbound(_: &Call) -> Result<ArrayRef> {
    Err(spark_error(
        "BATCH_TIME_UNBOUND",
        "The time of the batch is not known where current_timestamp() or a relative of it is used.",
    ))
}

/// The value of placeholder `name` at `micros`.
fn value(name: &str, micros: i64, zone: Zone) -> Option<ScalarValue> {
    Some(match name {
        "current_timestamp" => {
            let utc = Arc::from(millstream_types::TIMESTAMP_ZONE);
            ScalarValue::TimestampMicrosecond(Some(micros), Some(utc))
        }
        "current_date" => {
            let days = zone.to_local(micros).div_euclid(86_400_000_000);
            ScalarValue::Date32(i32::try_from(days).ok())
        }
        "localtimestamp" => ScalarValue::TimestampMicrosecond(Some(zone.to_local(micros)), None),
        _ => return None,
    })
}

fn bound(function: &SparkFunction, micros: i64) -> Result<Option<ScalarValue>> {
    Ok(value(function.name(), micros, function.settings().zone()?))
}

/// Puts the time of the batch, in microseconds since the epoch, where a physical expression asks
/// for it.
///
/// # Errors
/// Only a defect of the expression's own rewriting.
pub fn bind_batch_time(expr: Arc<dyn PhysicalExpr>, micros: i64) -> Result<Arc<dyn PhysicalExpr>> {
    let bound = expr.transform_up(|expr| {
        let found = expr
            .downcast_ref::<ScalarFunctionExpr>()
            .and_then(|call| call.fun().inner().downcast_ref::<SparkFunction>())
            .map(|function| bound(function, micros))
            .transpose()?
            .flatten();
        Ok(match found {
            Some(value) => Transformed::yes(Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(expr),
        })
    })?;
    Ok(bound.data)
}

/// Puts the time of the batch into every expression of a logical plan.
///
/// # Errors
/// Only a defect of the plan's own rewriting.
pub fn bind_logical_batch_time(plan: LogicalPlan, micros: i64) -> Result<LogicalPlan> {
    let bound = plan.transform_up(|plan| {
        let saved = datafusion::logical_expr::expr_rewriter::NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = saved.save(&expr);
            let expr = expr.transform_up(|expr| {
                Ok(match batch_function(&expr).map(|f| bound(f, micros)).transpose()?.flatten() {
                    Some(value) => Transformed::yes(Expr::Literal(value, None)),
                    None => Transformed::no(expr),
                })
            })?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(bound.data)
}

fn batch_function(expr: &Expr) -> Option<&SparkFunction> {
    let Expr::ScalarFunction(call) = expr else { return None };
    call.func.inner().downcast_ref::<SparkFunction>()
}

/// Whether an expression asks for the time of the batch.
///
/// # Errors
/// Only a defect of the expression's own traversal.
pub fn uses_batch_time(expr: &Expr) -> Result<bool> {
    let mut found = false;
    expr.apply(|expr| {
        if let Some(function) = batch_function(expr)
            && value(function.name(), 0, Zone::Region(chrono_tz::Tz::UTC)).is_some()
        {
            found = true;
            return Ok::<_, DataFusionError>(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
