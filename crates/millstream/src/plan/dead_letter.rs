//! Dead letters: moves the one `from_json` over a stream's `value` into the stream's scan, where
//! the raw record is at hand and records that do not decode can be told apart, decoded once.
//!
//! The meaning is kept simple on purpose. Every record that is read is either decoded or a dead
//! letter, so nothing may stand between the scan and the decoding that drops records or decides
//! whether to decode; and there must be exactly one way to decode.

use super::error::from_datafusion;
use super::flow::DeadLetterPlan;
use super::from_json::FromJsonCall;
use super::stream::{StreamDefinition, StreamTable};
use crate::execute::dead_letters::DECODED_COLUMN;
use arrow::datatypes::{Field, Schema};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias,
};
use millstream_core::{Error, Result};
use std::sync::Arc;

const VALUE: &str = "value";

/// Lifts the decoding of the stream that asks for dead letters, if one does.
///
/// # Errors
/// `DEAD_LETTERS_UNCLEAR`, saying what is unclear.
pub(crate) fn lift(
    plan: LogicalPlan,
    streams: &[Arc<StreamDefinition>],
) -> Result<(LogicalPlan, Option<DeadLetterPlan>)> {
    let mut asking = streams.iter().enumerate().filter(|(_, s)| s.dead_letter.is_some());
    let Some((stream, definition)) = asking.next() else { return Ok((plan, None)) };
    if asking.next().is_some() {
        return Err(unclear("several streams of one query ask for dead letters"));
    }
    let call = the_call(&plan, stream)?;
    if call.is_fail_fast() {
        return Err(unclear("`from_json` has mode FAILFAST, which stops at the first bad record"));
    }
    let decoded = Field::new(DECODED_COLUMN, call.arrow_type(), true);
    let mut fields: Vec<Field> =
        definition.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(decoded);
    let schema = Arc::new(Schema::new(fields));
    let lifted = Arc::new(StreamDefinition { schema: schema.clone(), ..(**definition).clone() });
    let plan = Lift { stream, definition: lifted, call: call.clone() }.rewrite(plan)?;
    let target = definition.dead_letter.clone().unwrap_or_default();
    let letters = DeadLetterPlan { stream, target, decoder: Arc::clone(call.decoder()), schema };
    Ok((plan, Some(letters)))
}

fn unclear(why: &str) -> Error {
    Error::invalid("DEAD_LETTERS_UNCLEAR", format!("Dead letters are not clear here: {why}.")).cure(
        "Decode in the query that reads the stream, once, before any WHERE: SELECT \
             from_json(CAST(value AS STRING), '..') AS data FROM STREAM read_kafka(..).",
    )
}

/// The one `from_json` over `value` of stream `stream`, in a place where it always runs.
fn the_call(plan: &LogicalPlan, stream: usize) -> Result<FromJsonCall> {
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
    match (problem, found) {
        (Some(why), _) => Err(unclear(why)),
        (None, None) => Err(unclear("no `from_json` reads the stream's `value` directly")),
        (None, Some(call)) => Ok(call),
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

/// Puts the decoded column into the scan and carries it up to where it was calculated.
struct Lift {
    stream: usize,
    definition: Arc<StreamDefinition>,
    call: FromJsonCall,
}

impl Lift {
    fn rewrite(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let rewritten = plan.transform_down(|node| self.node(node)).map_err(from_datafusion)?;
        Ok(rewritten.data)
    }

    fn node(&self, node: LogicalPlan) -> datafusion::error::Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = &node else { return Ok(Transformed::no(node)) };
        let mut hit = false;
        let node_ref = &node;
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for expr in &projection.expr {
            let name = expr.schema_name().to_string();
            let replaced = expr.clone().transform_down(|e| {
                let is_it = FromJsonCall::of(&e).is_some_and(|(call, argument)| {
                    *call == self.call
                        && matches!(origin(node_ref, argument, self.stream), Origin::Value)
                });
                if is_it {
                    hit = true;
                    let column = Column::new_unqualified(DECODED_COLUMN);
                    return Ok(Transformed::yes(Expr::Column(column)));
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
        let (relation, _) = find_decoded(&input)?;
        let exprs = exprs
            .into_iter()
            .map(|expr| {
                let qualified = expr.transform_down(|e| {
                    Ok(match e {
                        Expr::Column(c) if c.name == DECODED_COLUMN => {
                            Transformed::yes(Expr::Column(relation.clone()))
                        }
                        other => Transformed::no(other),
                    })
                })?;
                Ok(qualified.data)
            })
            .collect::<datafusion::error::Result<Vec<Expr>>>()?;
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
        Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
    }

    /// `node`, a chain of projections over the scan, with the decoded column in its output.
    fn carry(&self, node: &LogicalPlan) -> datafusion::error::Result<LogicalPlan> {
        match node {
            LogicalPlan::TableScan(scan) => {
                let table = StreamTable::new(Arc::clone(&self.definition)).at(self.stream);
                let source = provider_as_source(Arc::new(table));
                LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?.build()
            }
            LogicalPlan::Projection(projection) => {
                let input = self.carry(&projection.input)?;
                let (column, _) = find_decoded(&input)?;
                let mut exprs = projection.expr.clone();
                exprs.push(Expr::Column(column).alias(DECODED_COLUMN));
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
                "the decoding of dead letters cannot pass {}",
                other.display()
            ))),
        }
    }
}

/// The decoded column of a plan, as it has to be referred to.
fn find_decoded(plan: &LogicalPlan) -> datafusion::error::Result<(Column, usize)> {
    plan.schema()
        .iter()
        .enumerate()
        .find(|(_, (_, field))| field.name() == DECODED_COLUMN)
        .map(|(at, (relation, field))| (Column::new(relation.cloned(), field.name()), at))
        .ok_or_else(|| DataFusionError::Internal("the decoded column is missing".to_owned()))
}
