//! Dead letters: moves the one `from_json` over a stream's `value`, and the casts that the query
//! names, into the stream's scan, where the raw record is at hand and records that do not fit can be
//! told apart, each decoded once.
//!
//! The meaning is kept simple on purpose. Every record that is read is either decoded or a dead
//! letter, so nothing may stand between the scan and the decoding that drops records or decides
//! whether to decode; and there must be exactly one way to decode.
//!
//! * this file: which `from_json`, and whether it is clear
//! * `casts`: the same for casts
//! * `lift`: the rewriting

mod casts;
mod lift;

pub use casts::CastCheck;

use super::error::from_datafusion;
use super::flow::DeadLetterPlan;
use super::from_json::FromJsonCall;
use super::stream::{StreamDefinition, StreamTable};
use crate::execute::dead_letters::{DECODED_COLUMN, with_field};
use arrow::datatypes::Field;
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use lift::Lift;
use millstream_core::{Error, Result};
use std::sync::Arc;

const VALUE: &str = "value";

/// Lifts what the stream that asks for dead letters decodes and casts, if one does.
///
/// # Errors
/// `DEAD_LETTERS_UNCLEAR`, saying what is unclear.
pub(crate) fn lift(
    plan: LogicalPlan,
    streams: &[Arc<StreamDefinition>],
) -> Result<(LogicalPlan, Option<DeadLetterPlan>)> {
    let mut asking = streams
        .iter()
        .enumerate()
        .filter_map(|(at, s)| s.dead_letter.as_ref().map(|request| (at, s, request)));
    let Some((stream, definition, request)) = asking.next() else { return Ok((plan, None)) };
    if asking.next().is_some() {
        return Err(unclear("several streams of one query ask for dead letters"));
    }
    let call = the_call(&plan, stream)?;
    if call.is_none() && request.casts.is_empty() {
        return Err(unclear("no `from_json` reads the stream's `value` directly"));
    }
    if call.as_ref().is_some_and(FromJsonCall::is_fail_fast) {
        return Err(unclear("`from_json` has mode FAILFAST, which stops at the first bad record"));
    }
    let mut definition = Arc::clone(definition);
    let mut plan = plan;
    if let Some(call) = &call {
        definition = with_column(&definition, Field::new(DECODED_COLUMN, call.arrow_type(), true));
        let is_it = |node: &LogicalPlan, expr: &Expr| {
            FromJsonCall::of(expr).is_some_and(|(c, argument)| {
                c == call && matches!(origin(node, argument, stream), Origin::Value)
            })
        };
        let lift =
            Lift { stream, definition: definition.clone(), column: DECODED_COLUMN, is_it: &is_it };
        plan = lift.rewrite(plan)?;
    }
    let (plan, definition, casts) = casts::lift(plan, stream, definition, request)?;
    let letters = DeadLetterPlan {
        stream,
        target: request.target.clone(),
        decoding: call,
        casts,
        schema: definition.schema.clone(),
    };
    Ok((plan, Some(letters)))
}

/// The stream with one more column at the end of its scan.
fn with_column(definition: &StreamDefinition, column: Field) -> Arc<StreamDefinition> {
    let schema = Arc::new(with_field(&definition.schema, column));
    Arc::new(StreamDefinition { schema, ..definition.clone() })
}

fn unclear(why: &str) -> Error {
    Error::invalid("DEAD_LETTERS_UNCLEAR", format!("Dead letters are not clear here: {why}.")).cure(
        "Decode in the query that reads the stream, once, before any WHERE: SELECT \
             from_json(CAST(value AS STRING), '..') AS data FROM STREAM read_kafka(..).",
    )
}

/// The one `from_json` over `value` of stream `stream`, in a place where it always runs; `None` if there is none.
fn the_call(plan: &LogicalPlan, stream: usize) -> Result<Option<FromJsonCall>> {
    let mut found: Option<FromJsonCall> = None;
    let mut problem = None;
    plan.apply(|node| {
        for expr in node.expressions() {
            visit(&expr, false, &mut |call, argument, conditional| match origin(
                node, argument, stream,
            ) {
                Origin::Elsewhere => {}
                Origin::Filtered => problem = Some("records are filtered before `from_json`"),
                Origin::Value if conditional => {
                    problem = Some("`from_json` stands inside a condition");
                }
                Origin::Value if !matches!(node, LogicalPlan::Projection(_)) => {
                    problem = Some("`from_json` stands outside a SELECT list");
                }
                Origin::Value => match &found {
                    Some(first) if first != call => {
                        problem = Some("`value` is decoded in several ways");
                    }
                    _ => found = Some(call.clone()),
                },
            });
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(from_datafusion)?;
    match problem {
        Some(why) => Err(unclear(why)),
        None => Ok(found),
    }
}

/// Visits every `from_json` in `expr`, saying whether it runs only sometimes.
fn visit(expr: &Expr, conditional: bool, f: &mut dyn FnMut(&FromJsonCall, &Expr, bool)) {
    if let Some((call, argument)) = FromJsonCall::of(expr) {
        f(call, argument, conditional);
    }
    let conditional = conditional || matches!(expr, Expr::Case(_));
    // The closure never fails, and neither does the walk over direct children.
    let _ = expr.apply_children(|child| {
        visit(child, conditional, f);
        Ok(TreeNodeRecursion::Continue)
    });
}

enum Origin {
    /// The stream's own `value`, of every record.
    Value,
    /// The stream's own `value`, of some records only.
    Filtered,
    Elsewhere,
}

/// Where `expr`, evaluated above `node`'s inputs, comes from.
fn origin(node: &LogicalPlan, expr: &Expr, stream: usize) -> Origin {
    let Expr::Column(column) = unaliased(expr) else { return Origin::Elsewhere };
    let [input] = node.inputs().as_slice()[..] else { return Origin::Elsewhere };
    trace(input, column, stream)
}

fn trace(node: &LogicalPlan, column: &Column, stream: usize) -> Origin {
    match node {
        LogicalPlan::TableScan(_) => {
            if is_stream(node, stream) && column.name == VALUE {
                Origin::Value
            } else {
                Origin::Elsewhere
            }
        }
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.maybe_index_of_column(column);
            match at.and_then(|at| projection.expr.get(at)) {
                Some(expr) => origin(node, expr, stream),
                None => Origin::Elsewhere,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.maybe_index_of_column(column);
            let below = at.map(|at| Column::from(alias.input.schema().qualified_field(at)));
            below.map_or(Origin::Elsewhere, |below| trace(&alias.input, &below, stream))
        }
        LogicalPlan::Filter(filter) => match trace(&filter.input, column, stream) {
            Origin::Value if drops_tombstones_only(filter, stream) => Origin::Value,
            Origin::Value => Origin::Filtered,
            other => other,
        },
        // A union's branches decode for themselves; above it, one stream's records are mixed
        // with others'.
        other => {
            let touches = other.inputs().into_iter().any(|i| contains_stream(i, stream));
            if touches { Origin::Filtered } else { Origin::Elsewhere }
        }
    }
}

/// `WHERE value IS NOT NULL`: a NULL never is a dead letter, so this may as well come afterwards.
fn drops_tombstones_only(filter: &Filter, stream: usize) -> bool {
    let Expr::IsNotNull(operand) = &filter.predicate else { return false };
    let Expr::Column(column) = operand.as_ref() else { return false };
    matches!(trace(&filter.input, column, stream), Origin::Value)
}

fn is_stream(node: &LogicalPlan, stream: usize) -> bool {
    let LogicalPlan::TableScan(scan) = node else { return false };
    source_as_provider(&scan.source)
        .is_ok_and(|p| p.downcast_ref::<StreamTable>().is_some_and(|t| t.index() == stream))
}

fn contains_stream(node: &LogicalPlan, stream: usize) -> bool {
    node.exists(|n| Ok(is_stream(n, stream))).unwrap_or(false)
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
