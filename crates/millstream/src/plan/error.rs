//! DataFusion's errors as ours.

use datafusion::error::DataFusionError;
use millstream_core::{Error, ErrorKind};

/// Takes an error of ours out of DataFusion's wrappers, or names what DataFusion said.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return ours.clone();
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(why) => {
            Error::new(ErrorKind::Exhausted, "MEMORY_EXHAUSTED", why.clone())
        }
        DataFusionError::Internal(why) => Error::internal(why.clone()),
        DataFusionError::Plan(why) | DataFusionError::NotImplemented(why) => {
            Error::invalid("PLAN_INVALID", why.clone())
        }
        other => Error::invalid("EXECUTION_FAILED", other.to_string()),
    }
}
