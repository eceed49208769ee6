//! What may change between two runs of a query on one checkpoint (mission row T5).
//!
//! Of a stateless query, a changed plan changes only batches that are yet to come, so projections
//! and filters may change where the sink's schema rules allow the result; what is read and where
//! it goes may not.

use millstream_core::log::Difference;
use millstream_core::Error;

/// Paths of the identity whose change is written down and allowed.
const HARMLESS: [&str; 2] = ["plan.schema", "engine"];

/// Whether a query that differs so may go on with its checkpoint.
pub(super) fn is_harmless(difference: &Difference) -> bool {
    HARMLESS.iter().any(|path| difference.path == *path || is_below(&difference.path, path))
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// The refusal, with every difference that matters.
pub(super) fn refuse(place: &str, differences: &[Difference]) -> Error {
    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Error::invalid(
        "QUERY_CHANGED",
        format!("The query is not the one that {place} belongs to: {}.", list.join("; ")),
    )
    .cure(
        "Undo the change, give the query a checkpoint and a table of its own, or start the table \
         over with `--full-refresh`.",
    )
}
