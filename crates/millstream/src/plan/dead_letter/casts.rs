//! The casts that a query names for its dead letters.
//!
//! A name is a column of the query's result. Every cast in that column's expression counts that may
//! fail, implicit ones too, wherever in the query it stands; a record for which one of them fails
//! is a dead letter, as ANSI mode judges failure, whether or not the session has it on.

use super::lift::Lift;
use super::{drops_tombstones_only, is_stream, unclear, with_column};
use crate::execute::dead_letters::CAST_COLUMNS;
use crate::plan::error::from_datafusion;
use crate::plan::stream::{DeadLetterRequest, StreamDefinition};
use arrow::datatypes::Field;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan};
use millstream_core::options::did_you_mean;
use millstream_core::{Error, Result};
use millstream_functions::FallibleCast;
use std::sync::Arc;

/// One cast that the scan carries out.
#[derive(Debug, Clone)]
pub struct CastCheck {
    /// The scan's column that holds its result.
    pub column: String,
    /// The column of the query's result that named it.
    pub named: String,
    /// The cast over the scan's columns before it.
    pub cast: FallibleCast,
    /// Records without a `value` are dropped before the cast, so that they do not count.
    pub after_tombstones: bool,
}

/// Lifts the casts that `request` names.
///
/// # Errors
/// `DEAD_LETTERS_UNCLEAR` where a name is none of the result's columns, holds no cast, or the cast
/// does not run for every record.
pub(super) fn lift(
    mut plan: LogicalPlan,
    stream: usize,
    mut definition: Arc<StreamDefinition>,
    request: &DeadLetterRequest,
) -> Result<(LogicalPlan, Arc<StreamDefinition>, Vec<CastCheck>)> {
    let mut checks: Vec<CastCheck> = Vec::new();
    for named in &request.casts {
        // One cast at a time: what is found next stands over the columns of those before.
        while let Some(found) = first_cast(&plan, stream, named)? {
            let column = format!("{CAST_COLUMNS}{}", checks.len());
            let cast = FallibleCast::of(&found.call)
                .ok_or_else(|| Error::internal("a cast that is none"))?;
            if cast.to.is_nested() {
                return Err(unclear(&format!(
                    "`{named}` casts arrays, maps or structs, of which parts may fail"
                )));
            }
            definition = with_column(&definition, Field::new(&column, cast.to.clone(), true));
            let is_it = |node: &LogicalPlan, expr: &Expr| {
                FallibleCast::is(expr) && {
                    let inlined = Inlining::new(stream).above(node, expr);
                    inlined.is_ok_and(|i| i.is_some_and(|i| i.expr == found.call))
                }
            };
            let rewritten =
                Lift { stream, definition: definition.clone(), column: &column, is_it: &is_it };
            plan = rewritten.rewrite(plan)?;
            checks.push(CastCheck {
                column,
                named: named.clone(),
                cast,
                after_tombstones: found.passed.tombstones,
            });
        }
    }
    Ok((plan, definition, checks))
}

/// The innermost cast left in the expression of the result's column `named`, in terms of the scan's
/// columns. `None` where all of its casts are in the scan.
fn first_cast(plan: &LogicalPlan, stream: usize, named: &str) -> Result<Option<FoundCast>> {
    let columns = plan.schema().columns();
    let column = columns.iter().find(|c| c.name.eq_ignore_ascii_case(named)).ok_or_else(|| {
        let mut why = format!("the result has no column `{named}`");
        if let Some(near) = did_you_mean(named, columns.iter().map(|c| c.name.as_str())) {
            why.push_str(&format!("; did you mean `{near}`?"));
        }
        unclear(&why)
    })?;
    let mut inlining = Inlining::new(stream);
    if inlining.column(plan, column).map_err(from_datafusion)?.is_none() {
        return Err(unclear(&format!(
            "`{named}` does not come from the stream's records one by one"
        )));
    }
    let Some(first) = inlining.casts.into_iter().next() else {
        if inlining.lifted {
            return Ok(None);
        }
        return Err(unclear(&format!("the column `{named}` holds no cast that may fail")));
    };
    if first.conditional {
        return Err(unclear(&format!("the cast of `{named}` stands inside a condition")));
    }
    if first.passed.filtered {
        return Err(unclear(&format!("records are filtered before the cast of `{named}`")));
    }
    Ok(Some(first))
}

struct FoundCast {
    /// The cast over the scan's columns.
    call: Expr,
    conditional: bool,
    passed: Passed,
}

/// What stands between a place in the plan and the scan.
#[derive(Debug, Clone, Copy, Default)]
struct Passed {
    filtered: bool,
    tombstones: bool,
}

struct Inlined {
    expr: Expr,
    passed: Passed,
}

/// Writes expressions in terms of the scan's columns, and notes the casts in them.
struct Inlining {
    stream: usize,
    /// Inner casts before those around them.
    casts: Vec<FoundCast>,
    /// Whether a cast was met that is in the scan already.
    lifted: bool,
}

impl Inlining {
    fn new(stream: usize) -> Self {
        Inlining { stream, casts: Vec::new(), lifted: false }
    }

    /// `expr` of `node`. `None` where it does not come from the stream alone.
    fn above(&mut self, node: &LogicalPlan, expr: &Expr) -> DfResult<Option<Inlined>> {
        match node.inputs().as_slice() {
            [input] => self.expr(input, expr, false),
            _ => Ok(None),
        }
    }

    /// `expr` over the columns of `input`.
    fn expr(
        &mut self,
        input: &LogicalPlan,
        expr: &Expr,
        conditional: bool,
    ) -> DfResult<Option<Inlined>> {
        if let Expr::Alias(alias) = expr {
            return self.expr(input, &alias.expr, conditional);
        }
        if let Expr::Column(column) = expr {
            return self.column(input, column);
        }
        let inside = conditional || matches!(expr, Expr::Case(_));
        let mut passed = Passed::default();
        let mut lost = false;
        let rebuilt = expr.clone().map_children(|child| {
            Ok(match self.expr(input, &child, inside)? {
                Some(inlined) => {
                    passed.filtered |= inlined.passed.filtered;
                    passed.tombstones |= inlined.passed.tombstones;
                    Transformed::yes(inlined.expr)
                }
                None => {
                    lost = true;
                    Transformed::no(child)
                }
            })
        })?;
        if lost {
            return Ok(None);
        }
        let expr = rebuilt.data;
        if FallibleCast::is(&expr) {
            self.casts.push(FoundCast { call: expr.clone(), conditional, passed });
        }
        Ok(Some(Inlined { expr, passed }))
    }

    /// A column of `node`'s output.
    fn column(&mut self, node: &LogicalPlan, column: &Column) -> DfResult<Option<Inlined>> {
        match node {
            LogicalPlan::TableScan(_) if is_stream(node, self.stream) => {
                self.lifted |= column.name.starts_with(CAST_COLUMNS);
                let expr = Expr::Column(Column::new_unqualified(&column.name));
                Ok(Some(Inlined { expr, passed: Passed::default() }))
            }
            LogicalPlan::Projection(projection) => {
                let at = projection.schema.maybe_index_of_column(column);
                match at.and_then(|at| projection.expr.get(at)) {
                    Some(expr) => self.expr(&projection.input, expr, false),
                    None => Ok(None),
                }
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let at = alias.schema.maybe_index_of_column(column);
                let below = at.map(|at| Column::from(alias.input.schema().qualified_field(at)));
                match below {
                    Some(below) => self.column(&alias.input, &below),
                    None => Ok(None),
                }
            }
            LogicalPlan::Filter(filter) => {
                let mut below = self.column(&filter.input, column)?;
                if let Some(below) = &mut below {
                    if drops_tombstones_only(filter, self.stream) {
                        below.passed.tombstones = true;
                    } else {
                        below.passed.filtered = true;
                    }
                }
                Ok(below)
            }
            _ => Ok(None),
        }
    }
}
