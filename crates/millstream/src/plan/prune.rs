//! Decodes only the fields of a `from_json` that the query uses.
//!
//! Safe in every mode: the decoder checks the syntax of every record all the same, and every field
//! where a corrupt-record column, FAILFAST or dead letters ask for it. Calls with the same schema
//! and options are pruned to the same fields, so that they stay one function.

use super::error::from_datafusion;
use super::from_json::FromJsonCall;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use millstream_core::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Function of the library that takes a field out of a struct.
const STRUCT_FIELD: &str = "struct_field";

/// What of a column is used.
#[derive(Debug, Clone, PartialEq)]
enum Use {
    All,
    Fields(BTreeSet<String>),
}

impl Use {
    fn field(name: &str) -> Use {
        Use::Fields(BTreeSet::from([name.to_owned()]))
    }
}

fn add(slot: &mut Option<Use>, more: Use) {
    *slot = Some(match (slot.take(), more) {
        (None, more) => more,
        (Some(Use::Fields(mut a)), Use::Fields(b)) => {
            a.extend(b);
            Use::Fields(a)
        }
        _ => Use::All,
    });
}

/// The plan with every `from_json` reduced to the fields that are used above it.
///
/// # Errors
/// Only defects of the rewriting.
pub(crate) fn prune(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut usage = Usage::default();
    let all = vec![Some(Use::All); plan.schema().fields().len()];
    usage.node(&plan, all);
    let mut pruned: BTreeMap<String, FromJsonCall> = BTreeMap::new();
    for (key, (call, used)) in usage.calls {
        if let Some(Use::Fields(fields)) = used
            && let Some(smaller) = call.reduced_to(&fields)?
        {
            pruned.insert(key, smaller);
        }
    }
    if pruned.is_empty() {
        return Ok(plan);
    }
    let rewritten = plan.transform_up(|node| {
        let node = node.map_expressions(|expr| expr.transform_up(|e| replace(e, &pruned)))?;
        if !node.transformed && node.data.inputs().is_empty() {
            return Ok(node);
        }
        Ok(Transformed::yes(node.data.recompute_schema()?))
    });
    Ok(rewritten.map_err(from_datafusion)?.data)
}

fn replace(
    expr: Expr,
    pruned: &BTreeMap<String, FromJsonCall>,
) -> datafusion::error::Result<Transformed<Expr>> {
    let smaller = FromJsonCall::of(&expr)
        .and_then(|(call, input)| Some(pruned.get(call.key())?.clone().call(input.clone())));
    Ok(match smaller {
        Some(call) => Transformed::yes(call),
        None => Transformed::no(expr),
    })
}

#[derive(Default)]
struct Usage {
    calls: BTreeMap<String, (FromJsonCall, Option<Use>)>,
}

impl Usage {
    /// `needs` says what of each output column of `node` is used above.
    fn node(&mut self, node: &LogicalPlan, needs: Vec<Option<Use>>) {
        match node {
            LogicalPlan::Projection(projection) => {
                let mut below = Below::of(&projection.input);
                for (expr, need) in projection.expr.iter().zip(needs) {
                    if let Some(need) = need {
                        self.output(expr, need, &mut below);
                    }
                }
                self.node(&projection.input, below.needs);
            }
            LogicalPlan::Filter(filter) => {
                let mut below = Below::of(&filter.input);
                below.needs = needs;
                self.inside(&filter.predicate, &mut below);
                self.node(&filter.input, below.needs);
            }
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input, needs),
            other => {
                for input in other.inputs() {
                    let mut below = Below::of(input);
                    below.needs.fill(Some(Use::All));
                    for expr in other.expressions() {
                        self.inside(&expr, &mut below);
                    }
                    self.node(input, below.needs);
                }
            }
        }
    }

    /// An expression that is a column of the result, of which `need` is used.
    fn output(&mut self, expr: &Expr, need: Use, below: &mut Below<'_>) {
        match expr {
            Expr::Alias(alias) => self.output(&alias.expr, need, below),
            Expr::Column(column) => below.add(column, need),
            other => match FromJsonCall::of(other) {
                Some((call, argument)) => {
                    self.called(call, need);
                    self.inside(argument, below);
                }
                None => self.inside(other, below),
            },
        }
    }

    /// An expression whose value is used whole.
    fn inside(&mut self, expr: &Expr, below: &mut Below<'_>) {
        if let Some((base, field)) = field_of(expr) {
            return self.output(base, Use::field(field), below);
        }
        match expr {
            Expr::Column(column) => below.add(column, Use::All),
            other => {
                if let Some((call, _)) = FromJsonCall::of(other) {
                    self.called(call, Use::All);
                }
                // The closure never fails.
                let _ = other.apply_children(|child| {
                    self.inside(child, below);
                    Ok(TreeNodeRecursion::Continue)
                });
            }
        }
    }

    fn called(&mut self, call: &FromJsonCall, need: Use) {
        let slot = self.calls.entry(call.key().to_owned()).or_insert_with(|| (call.clone(), None));
        add(&mut slot.1, need);
    }
}

/// `struct_field(base, 'name')`
pub(crate) fn field_of(expr: &Expr) -> Option<(&Expr, &str)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match call.args.as_slice() {
        [base, Expr::Literal(ScalarValue::Utf8(Some(name)), _)]
            if call.func.name() == STRUCT_FIELD =>
        {
            Some((base, name))
        }
        _ => None,
    }
}

/// What of the input's columns is used.
struct Below<'a> {
    input: &'a LogicalPlan,
    needs: Vec<Option<Use>>,
}

impl<'a> Below<'a> {
    fn of(input: &'a LogicalPlan) -> Self {
        Below { input, needs: vec![None; input.schema().fields().len()] }
    }

    fn add(&mut self, column: &Column, need: Use) {
        let at = self.input.schema().maybe_index_of_column(column);
        if let Some(slot) = at.and_then(|at| self.needs.get_mut(at)) {
            add(slot, need);
        }
    }
}
