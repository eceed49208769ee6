//! A `CAST` taken apart, for whoever carries it out and keeps the values that do not fit.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use crate::def::SparkFunction;
use crate::settings::FunctionSettings;

/// A `CAST` of which some values may not fit.
#[derive(Debug, Clone)]
pub struct FallibleCast {
    /// What is cast.
    pub input: Expr,
    /// Type of the result.
    pub to: DataType,
    /// The settings under which the cast and everything in it was written.
    pub settings: FunctionSettings,
}

impl FallibleCast {
    /// Whether `expr` itself is a `CAST` that may fail: neither a `TRY_CAST`, nor one to STRING, nor
    /// one that loses nothing.
    pub fn is(expr: &Expr) -> bool {
        target(expr).is_some()
    }

    /// The parts of `expr`, where it [is one](FallibleCast::is).
    pub fn of(expr: &Expr) -> Option<FallibleCast> {
        let (Expr::ScalarFunction(call), Some(to)) = (expr, target(expr)) else { return None };
        let function = call.func.inner().downcast_ref::<SparkFunction>()?;
        let input = call.args.first()?.clone();
        Some(FallibleCast { input, to, settings: function.settings().clone() })
    }
}

/// The type that a fallible cast casts to.
fn target(expr: &Expr) -> Option<DataType> {
    let Expr::ScalarFunction(call) = expr else { return None };
    if call.func.name() != "spark_cast" {
        return None;
    }
    let Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) = call.args.get(1) else {
        return None;
    };
    let target = millstream_types::DataType::parse_ddl(text).ok()?.to_arrow();
    (target != DataType::Utf8).then_some(target)
}
