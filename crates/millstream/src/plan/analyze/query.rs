//! Queries: set operators, SELECT, ORDER BY, LIMIT.

use super::relation::With;
use super::{Analysis, Analyzer, Rel, Typed, refused};
use datafusion::logical_expr::{Expr as Df, LogicalPlan, LogicalPlanBuilder, SortExpr};
use millstream_sql::ast::{Expr, ExprKind, Literal, Query, Select, SetExpr, SetOp, SortKey};
use millstream_sql::{Diagnostic, Span};

impl Analyzer<'_> {
    /// A query within the named subqueries around it.
    pub(crate) fn query(&self, query: &Query, with: &With) -> Analysis<Rel> {
        let mut with = with.clone();
        for (name, inner) in &query.with {
            let rel = self.query(inner, &with)?;
            with.push((name.name.clone(), rel));
        }
        let mut rel = match &query.body {
            SetExpr::Select(select) if !query.order_by.is_empty() => {
                self.sorted_select(select, &query.order_by, &with)?
            }
            body => {
                let rel = self.set_expr(body, &with)?;
                if query.order_by.is_empty() { rel } else { self.sort(rel, &query.order_by)? }
            }
        };
        if query.limit.is_some() || query.offset.is_some() {
            rel = self.limit(rel, query)?;
        }
        Ok(rel)
    }

    fn set_expr(&self, body: &SetExpr, with: &With) -> Analysis<Rel> {
        match body {
            SetExpr::Select(select) => self.select(select, with),
            SetExpr::Query(query) => self.query(query, with),
            SetExpr::Values(rows, span) => self.values(rows, *span),
            SetExpr::Set { op, all, left, right, span } => {
                let left = self.set_expr(left, with)?;
                let right = self.set_expr(right, with)?;
                self.set_operation(*op, *all, left, right, *span)
            }
        }
    }

    fn select(&self, select: &Select, with: &With) -> Analysis<Rel> {
        let rel = self.filtered(select, with)?;
        self.listed(rel, select)
    }

    /// FROM, LATERAL VIEW, WHERE.
    fn filtered(&self, select: &Select, with: &With) -> Analysis<Rel> {
        let mut rel = match &select.from {
            Some(from) => self.relation(from, with)?,
            None => {
                let plan = LogicalPlanBuilder::empty(true).build();
                let plan = plan.map_err(|e| refused(e, select.span))?;
                Rel { plan, attributes: Vec::new(), streaming: false }
            }
        };
        for view in &select.lateral_views {
            rel = self.lateral_view(rel, view)?;
        }
        if let Some(filter) = &select.filter {
            if let Some(span) = super::aggregate::find_aggregate(filter) {
                let message = "Aggregate functions are not allowed in WHERE.";
                return Err(Diagnostic::new("INVALID_WHERE_CONDITION", message, span)
                    .cure("Use HAVING, or a subquery."));
            }
            let scope = rel.scope();
            let predicate = self.condition(self.expr(filter, scope)?, "WHERE", scope)?;
            rel = rel.filter(predicate, filter.span)?;
        }
        Ok(rel)
    }

    /// GROUP BY, the list, DISTINCT.
    fn listed(&self, rel: Rel, select: &Select) -> Analysis<Rel> {
        let grouped = !select.group_by.is_empty()
            || select.group_by_all
            || select.having.is_some()
            || select.items.iter().any(|i| super::aggregate::find_aggregate(&i.expr).is_some());
        let rel = if grouped {
            self.aggregate(rel, select)?
        } else {
            self.projection(rel, &select.items, select.span)?
        };
        if select.distinct { distinct(rel, select.span) } else { Ok(rel) }
    }

    /// ORDER BY may use columns of the list and columns below it.
    fn sorted_select(&self, select: &Select, keys: &[SortKey], with: &With) -> Analysis<Rel> {
        let below = self.filtered(select, with)?;
        let rel = self.listed(below.clone(), select)?;
        let resolves = |rel: &Rel| {
            keys.iter()
                .all(|k| position(&k.expr).is_some() || self.expr(&k.expr, rel.scope()).is_ok())
        };
        if resolves(&rel) || select.distinct || !resolves(&below) {
            return self.sort(rel, keys);
        }
        let sorted = self.sort(below, keys)?;
        self.listed(sorted, select)
    }

    fn sort(&self, rel: Rel, keys: &[SortKey]) -> Analysis<Rel> {
        let span = keys.first().map_or(Span::NONE, |k| k.expr.span);
        if rel.streaming {
            return Err(Diagnostic::new(
                "UNSUPPORTED_STREAMING_OPERATOR",
                "Sorting is not supported on streaming DataFrames/Datasets, unless it is on \
                 aggregated DataFrame/Dataset in Complete output mode.",
                span,
            )
            .cure("Leave ORDER BY out: a table has no order."));
        }
        let mut sort = Vec::with_capacity(keys.len());
        for key in keys {
            let expr = match position(&key.expr) {
                Some(at) => {
                    let attribute = at.checked_sub(1).and_then(|at| rel.attributes.get(at));
                    let attribute = attribute.ok_or_else(|| {
                        let message = format!("ORDER BY position {at} is not in select list.");
                        Diagnostic::new("ORDER_BY_POS_OUT_OF_RANGE", message, key.expr.span)
                    })?;
                    Df::Column(attribute.column.clone())
                }
                None => self.expr(&key.expr, rel.scope())?.expr,
            };
            // Spark puts NULL first when ascending, last when descending.
            let nulls_first = key.nulls_first.unwrap_or(!key.descending);
            sort.push(SortExpr::new(expr, !key.descending, nulls_first));
        }
        let plan = LogicalPlanBuilder::from(rel.plan)
            .sort(sort)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| refused(e, span))?;
        Ok(Rel { plan, ..rel })
    }

    fn limit(&self, rel: Rel, query: &Query) -> Analysis<Rel> {
        if rel.streaming {
            let span =
                query.limit.as_ref().or(query.offset.as_ref()).map_or(query.span, |e| e.span);
            let message = if query.limit.is_some() {
                "Limits on streaming DataFrames/Datasets are not supported yet."
            } else {
                "Offset is not supported on streaming DataFrames/Datasets."
            };
            return Err(Diagnostic::new("UNSUPPORTED_STREAMING_OPERATOR", message, span));
        }
        let number = |e: &Option<Expr>, what: &str| match e {
            None => Ok(None),
            Some(e) => match &e.kind {
                ExprKind::Literal(Literal::Integer(n)) if n.parse::<usize>().is_ok() => {
                    Ok(n.parse::<usize>().ok())
                }
                _ => {
                    let message =
                        format!("The {what} expression must be a whole number, 0 or more.");
                    Err(Diagnostic::new("INVALID_LIMIT_LIKE_EXPRESSION", message, e.span))
                }
            },
        };
        let (limit, offset) = (number(&query.limit, "limit")?, number(&query.offset, "offset")?);
        let plan = LogicalPlanBuilder::from(rel.plan)
            .limit(offset.unwrap_or(0), limit)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| refused(e, query.span))?;
        Ok(Rel { plan, ..rel })
    }

    /// `UNION`, `INTERSECT`, `EXCEPT`: by position, types widened, names from the left.
    pub(crate) fn set_operation(
        &self,
        op: SetOp,
        all: bool,
        left: Rel,
        right: Rel,
        span: Span,
    ) -> Analysis<Rel> {
        let (l, r) = (left.attributes.len(), right.attributes.len());
        if l != r {
            let message = format!(
                "{op:?} can only be performed on inputs with the same number of columns, but the \
                 first input has {l} columns and the second input has {r} columns."
            );
            return Err(Diagnostic::new("NUM_COLUMNS_MISMATCH", message, span));
        }
        if left.streaming != right.streaming {
            let message = "Union between streaming and batch DataFrames/Datasets is not supported.";
            return Err(Diagnostic::new("UNSUPPORTED_STREAMING_OPERATOR", message, span)
                .cure("Write STREAM before both sources."));
        }
        let streaming = left.streaming;
        if streaming && !(op == SetOp::Union && all) {
            let message =
                format!("{op:?} with duplicates removed is not supported on streams yet.");
            return Err(Diagnostic::new("UNSUPPORTED_STREAMING_OPERATOR", message, span)
                .cure("Write UNION ALL."));
        }
        refuse_too_many_inputs([&left, &right], span)?;
        let (left, right) = self.same_types(left, right, span)?;
        let attributes = left.attributes.clone();
        let builder = LogicalPlanBuilder::from(left.plan.clone());
        let plan = match (op, all) {
            (SetOp::Union, true) => builder.union(right.plan).and_then(LogicalPlanBuilder::build),
            (SetOp::Union, false) => {
                builder.union_distinct(right.plan).and_then(LogicalPlanBuilder::build)
            }
            (SetOp::Intersect, all) => {
                LogicalPlanBuilder::intersect(left.plan.clone(), right.plan, all)
            }
            (SetOp::Except, all) => LogicalPlanBuilder::except(left.plan.clone(), right.plan, all),
        };
        let plan = plan.map_err(|e| refused(e, span))?;
        Ok(Rel { plan, attributes, streaming })
    }

    /// Both sides with the same internal names and the common types.
    fn same_types(&self, left: Rel, right: Rel, span: Span) -> Analysis<(Rel, Rel)> {
        let names: Vec<String> = left.attributes.iter().map(|a| a.name.clone()).collect();
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        for ((l, r), name) in left.attributes.iter().zip(&right.attributes).zip(&names) {
            let types = [l.data_type.to_arrow(), r.data_type.to_arrow()];
            let common = self.functions.common_type(&types).map_err(|_| {
                let message = format!(
                    "The column `{name}` has incompatible types: {} on the left and {} on the \
                     right.",
                    super::quoted(&l.data_type),
                    super::quoted(&r.data_type)
                );
                Diagnostic::new("INCOMPATIBLE_COLUMN_TYPE", message, span)
            })?;
            let cast = |rel: &Rel, a| {
                let typed = Rel::column(a, span);
                let expr = self.functions.coerce(typed.expr, &common, rel.scope().schema);
                Typed::new(expr, typed.text, rel.scope(), span)
            };
            lefts.push((cast(&left, l)?, name.clone()));
            rights.push((cast(&right, r)?, name.clone()));
        }
        Ok((left.project(lefts, span)?, right.project(rights, span)?))
    }

    fn values(&self, rows: &[Vec<Expr>], span: Span) -> Analysis<Rel> {
        let mut result: Option<Rel> = None;
        let width = rows.first().map_or(0, Vec::len);
        for row in rows {
            if row.len() != width {
                let message = "All rows of VALUES need the same number of columns.";
                return Err(Diagnostic::new("INVALID_INLINE_TABLE", message, span));
            }
            let plan = LogicalPlanBuilder::empty(true).build().map_err(|e| refused(e, span))?;
            let empty = Rel { plan, attributes: Vec::new(), streaming: false };
            let mut columns = Vec::with_capacity(width);
            for (at, value) in row.iter().enumerate() {
                columns.push((self.expr(value, empty.scope())?, format!("col{}", at + 1)));
            }
            let row = empty.project(columns, span)?;
            result = Some(match result {
                None => row,
                Some(before) => self.set_operation(SetOp::Union, true, before, row, span)?,
            });
        }
        result.ok_or_else(|| Diagnostic::new("INVALID_INLINE_TABLE", "VALUES is empty.", span))
    }
}

/// `DISTINCT` over a batch.
fn distinct(rel: Rel, span: Span) -> Analysis<Rel> {
    if rel.streaming {
        let message = "DISTINCT on streaming DataFrames/Datasets is not supported yet.";
        return Err(Diagnostic::new("UNSUPPORTED_STREAMING_OPERATOR", message, span));
    }
    let plan = LogicalPlanBuilder::from(rel.plan)
        .distinct()
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| refused(e, span))?;
    Ok(Rel { plan, ..rel })
}

/// `ORDER BY 2`
fn position(expr: &Expr) -> Option<usize> {
    match &expr.kind {
        ExprKind::Literal(Literal::Integer(n)) => n.parse().ok(),
        _ => None,
    }
}

/// Relations that one query may read, views counted as often as they are named. A view that unions
/// or joins itself doubles at every step, so a page of SQL could otherwise ask for 2^50 of them.
const INPUTS_MAX: usize = 256;

/// Refuses a union or a join of too many relations.
///
/// # Errors
/// `QUERY_TOO_LARGE`.
pub(crate) fn refuse_too_many_inputs(sides: [&Rel; 2], span: Span) -> Analysis<()> {
    let inputs: usize = sides.iter().map(|side| inputs(&side.plan)).sum();
    if inputs <= INPUTS_MAX {
        return Ok(());
    }
    let message = format!("The query reads more than {INPUTS_MAX} relations.");
    Err(Diagnostic::new("QUERY_TOO_LARGE", message, span)
        .cure("Split it into several flows, or read a table that an earlier flow writes."))
}

fn inputs(plan: &LogicalPlan) -> usize {
    match plan.inputs().as_slice() {
        [] => 1,
        below => below.iter().map(|input| inputs(input)).sum(),
    }
}

/// Operators that may stand above one another. Every walk over the plan needs stack for each.
const DEPTH_MAX: usize = 500;

/// Refuses a view over views over views, far beyond what anybody writes.
///
/// # Errors
/// `QUERY_TOO_LARGE`.
pub(crate) fn refuse_too_deep(rel: &Rel, span: Span) -> Analysis<()> {
    let mut level: Vec<&LogicalPlan> = vec![&rel.plan];
    for _ in 0..DEPTH_MAX {
        level = level.into_iter().flat_map(LogicalPlan::inputs).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    let message = format!("The query has more than {DEPTH_MAX} operators above one another.");
    Err(Diagnostic::new("QUERY_TOO_LARGE", message, span)
        .cure("Split it: write a table in between, and read it in another pipeline."))
}
