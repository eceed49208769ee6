//! A `CAST` taken apart: what it casts, the same cast that answers NULL, and the one that says why.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

use crate::def::SparkFunction;
use crate::functions::register;
use crate::settings::FunctionSettings;

/// A `CAST` of some values of which some may not fit.
#[derive(Debug, Clone)]
pub struct FallibleCast {
    /// What is cast.
    pub input: Expr,
    /// `TRY_CAST`: NULL for a value that does not fit.
    pub tried: Expr,
    /// `CAST` with ANSI on: an error that says what does not fit.
    pub strict: Expr,
    /// Whether parts of a value may fail to fit, which `tried` answers with NULL inside of it.
    pub nested: bool,
}

impl FallibleCast {
    /// Whether `expr` itself is a `CAST` that may fail: neither a `TRY_CAST`, nor one to STRING, nor
    /// one that loses nothing.
    pub fn is(expr: &Expr) -> bool {
        target(expr).is_some()
    }

    /// The parts of `expr`, where it [is one](FallibleCast::is).
    ///
    /// # Errors
    /// Only defects: the cast was built from the same parts.
    pub fn of(expr: &Expr) -> Result<Option<FallibleCast>> {
        let (Expr::ScalarFunction(call), Some(target)) = (expr, target(expr)) else {
            return Ok(None);
        };
        let (Some(input), Some(function)) =
            (call.args.first(), call.func.inner().downcast_ref::<SparkFunction>())
        else {
            return Ok(None);
        };
        let time_zone = function.settings().time_zone.clone();
        let functions = register(&FunctionSettings { ansi: true, time_zone })?;
        let like_this = |name| -> Result<Expr> {
            let args = call.args.clone();
            Ok(Expr::ScalarFunction(ScalarFunction::new_udf(functions.udf(name)?, args)))
        };
        Ok(Some(FallibleCast {
            input: input.clone(),
            tried: like_this("spark_try_cast")?,
            strict: like_this("spark_cast")?,
            nested: target.to_arrow().is_nested(),
        }))
    }
}

/// The type that a fallible cast casts to.
fn target(expr: &Expr) -> Option<millstream_types::DataType> {
    let Expr::ScalarFunction(call) = expr else { return None };
    if call.func.name() != "spark_cast" {
        return None;
    }
    let Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) = call.args.get(1) else {
        return None;
    };
    let target = millstream_types::DataType::parse_ddl(text).ok()?;
    (target.to_arrow() != DataType::Utf8).then_some(target)
}
