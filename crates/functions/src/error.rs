//! Errors with Spark's class names, carried through DataFusion as [`millstream_core::Error`].

use datafusion::common::DataFusionError;
use millstream_core::error::Error;

/// An error of Spark's `class` with its text. The caller finds the [`Error`] again as the source
/// of a [`DataFusionError::External`].
pub fn spark_error(class: &'static str, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Error::invalid(class, message)))
}

/// The [`Error`] inside an error of DataFusion, if a function of this crate raised it.
pub fn find_spark_error(error: &DataFusionError) -> Option<&Error> {
    match error {
        DataFusionError::External(inner) => inner
            .downcast_ref::<Error>()
            .or_else(|| inner.downcast_ref::<DataFusionError>().and_then(find_spark_error)),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            find_spark_error(inner)
        }
        DataFusionError::Shared(inner) => find_spark_error(inner),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            arrow::error::ArrowError::ExternalError(inner) => inner
                .downcast_ref::<Error>()
                .or_else(|| inner.downcast_ref::<DataFusionError>().and_then(find_spark_error)),
            _ => None,
        },
        DataFusionError::Collection(errors) => errors.iter().find_map(find_spark_error),
        _ => None,
    }
}

/// `ARITHMETIC_OVERFLOW` of an operation on `kind`.
pub(crate) fn overflow(kind: &str, advice: &str) -> DataFusionError {
    spark_error("ARITHMETIC_OVERFLOW", format!("{kind} overflow.{advice}"))
}

/// `DIVIDE_BY_ZERO`.
pub(crate) fn divide_by_zero() -> DataFusionError {
    spark_error(
        "DIVIDE_BY_ZERO",
        "Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead. \
         If necessary set \"spark.sql.ansi.enabled\" to \"false\" to bypass this error.",
    )
}
