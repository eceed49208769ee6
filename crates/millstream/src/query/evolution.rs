//! What may change between two runs of a query on one checkpoint (mission row T5).
//!
//! Columns may be added. A changed filter, expression, source or sink would make one table out of
//! two queries without a word, so each is refused with the precise difference.

use crate::plan::FlowPlan;
use millstream_core::Error;
use millstream_core::ids::{BatchId, QueryId};
use millstream_core::log::{Difference, Identity};
use serde_json::Value;

/// Whether a query that differs so may go on with its checkpoint: it has one more column, or its
/// table, which the first batch has made meanwhile, has got its id.
pub(super) fn is_harmless(difference: &Difference) -> bool {
    let column = difference.path.starts_with("plan.columns.") && difference.then.is_none();
    let table_id = difference.path.starts_with("sinks[") && difference.path.ends_with("].tableId");
    column || (table_id && difference.then.as_ref().is_none_or(Value::is_null))
}

/// Whether a sink lies elsewhere than it did.
pub(super) fn is_sink_path(difference: &Difference) -> bool {
    difference.path.starts_with("sinks[") && difference.path.ends_with("].path")
}

/// What of `plan` is not what a checkpoint remembers, in sentences: changes that a run would
/// refuse.
pub(crate) fn changes(then: &Identity, plan: &FlowPlan, sources: Vec<Value>) -> Vec<String> {
    let now = Identity { plan: plan.identity.clone(), sources, ..then.clone() };
    let differences = then.differences(&now);
    differences.iter().filter(|d| !is_harmless(d)).map(ToString::to_string).collect()
}

/// The difference of a query that another plan's newest intent was made for, where nothing else is
/// left of that plan.
pub(super) fn other_plan(batch: BatchId) -> Difference {
    Difference {
        path: "plan".to_owned(),
        then: Some(Value::from(format!("the one that batch {batch} was planned with"))),
        now: Some(Value::from("another one")),
    }
}

/// The refusal of a `metadata` with another id than what else is in the checkpoint.
pub(super) fn mixed(place: &str, named: QueryId, what: &str, owner: QueryId) -> Error {
    Error::invalid(
        "QUERY_CHANGED",
        format!(
            "{place}: `metadata` has the id {named}, and {what} belongs to query {owner}: one of \
             them is another query's."
        ),
    )
    .cure(
        "Run `millstream checkpoint doctor`: the tables say which of the two is right. Or restore \
         the checkpoint from one backup.",
    )
}

/// A difference in words. A sink is named by its path as well as by its number.
fn words(difference: &Difference, sinks: &[Value]) -> String {
    let number = difference.path.strip_prefix("sinks[").and_then(|rest| rest.split_once(']'));
    let sink = number.and_then(|(number, _)| sinks.get(number.parse::<usize>().ok()?));
    match sink.and_then(|sink| sink.get("path")).and_then(Value::as_str) {
        Some(path) if !is_sink_path(difference) => format!("{difference} ({path})"),
        _ => difference.to_string(),
    }
}

/// The refusal, with every difference that matters. `sinks` are the query's, as it is now.
pub(super) fn refuse(place: &str, differences: &[Difference], sinks: &[Value]) -> Error {
    let list: Vec<String> = differences.iter().map(|d| words(d, sinks)).collect();
    Error::invalid(
        "QUERY_CHANGED",
        format!("The query is not the one that {place} belongs to: {}.", list.join("; ")),
    )
    .cure(
        "Undo the change, give the query a checkpoint and a table of its own, or start the table \
         over with `--full-refresh`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_names_a_sink_by_its_path() {
        let difference = Difference {
            path: "sinks[1].tableId".to_owned(),
            then: Some(json!("a")),
            now: Some(json!("b")),
        };
        let sinks = [json!({"path": "/lake/d"}), json!({"path": "/lake/t"})];
        let error = refuse("c", &[difference], &sinks);
        assert!(error.message().contains("was \"a\", is \"b\" (/lake/t)"), "{error}");
    }
}
