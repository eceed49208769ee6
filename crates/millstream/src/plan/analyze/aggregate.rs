//! GROUP BY over batches: grouping keys, aggregates, HAVING. Over streams it is refused.

use super::call::wrong_number;
use super::rel::unique;
use super::{Analysis, Analyzer, Attribute, Rel, Scope, Typed, mismatch, refused};
use arrow::datatypes::DataType as ArrowType;
use datafusion::common::Column;
use datafusion::functions_aggregate::expr_fn as df;
use datafusion::logical_expr::{Expr as Df, ExprFunctionExt, LogicalPlanBuilder, lit};
use millstream_sql::ast::{Expr, ExprKind, Ident, Literal, Select, SelectItem};
use millstream_sql::{Diagnostic, Span};
use millstream_types::DataType;

const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "first",
    "last",
    "any_value",
    "collect_list",
    "collect_set",
    "approx_count_distinct",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "variance",
    "var_samp",
    "var_pop",
    "count_if",
    "bool_and",
    "bool_or",
    "every",
    "some",
    "any",
    "max_by",
    "min_by",
    "percentile",
    "median",
    "mode",
    "grouping",
    "corr",
    "skewness",
    "kurtosis",
];

/// Starts the internal names of keys and aggregates; what follows is the name that Spark prints.
pub(crate) const GROUPED: &str = "__grouped ";

/// Whether a function of this (lower-case) name aggregates.
pub(crate) fn is_aggregate(lower: &str) -> bool {
    AGGREGATES.contains(&lower)
}

/// The first aggregate call inside `expr`.
pub(crate) fn find_aggregate(expr: &Expr) -> Option<Span> {
    let mut found = None;
    walk(expr, &mut |e| {
        if let ExprKind::Function { name, .. } = &e.kind
            && is_aggregate(&name.name.to_lowercase())
        {
            found.get_or_insert(e.span);
        }
    });
    found
}

/// Calls `visit` for `expr` and everything inside it.
fn walk(expr: &Expr, visit: &mut dyn FnMut(&Expr)) {
    visit(expr);
    for child in children(expr) {
        walk(child, visit);
    }
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Column(_) | ExprKind::Star { .. } | ExprKind::Literal(_) => Vec::new(),
        ExprKind::Unary(_, a) | ExprKind::Field(a, _) | ExprKind::Alias(a, _) => vec![a],
        ExprKind::Binary(_, a, b) | ExprKind::Index(a, b) => vec![a, b],
        ExprKind::IsNull { expr, .. }
        | ExprKind::IsBoolean { expr, .. }
        | ExprKind::Cast { expr, .. } => vec![expr],
        ExprKind::Between { expr, low, high, .. } => vec![expr, low, high],
        ExprKind::InList { expr, list, .. } => std::iter::once(&**expr).chain(list).collect(),
        ExprKind::Like { expr, pattern, .. } => vec![expr, pattern],
        ExprKind::Case { operand, branches, otherwise } => operand
            .as_deref()
            .into_iter()
            .chain(branches.iter().flat_map(|(a, b)| [a, b]))
            .chain(otherwise.as_deref())
            .collect(),
        ExprKind::Function { args, .. } => args.iter().collect(),
    }
}

impl Analyzer<'_> {
    /// `SELECT items .. GROUP BY keys HAVING ..` over `rel`.
    pub(crate) fn aggregate(&self, rel: Rel, select: &Select) -> Analysis<Rel> {
        if rel.streaming {
            return Err(streaming_aggregate(select));
        }
        let mut group = Grouping { keys: Vec::new(), aggregates: Vec::new() };
        for key in self.grouping_keys(select)? {
            let typed = self.expr(&key, rel.scope())?;
            group.keys.push((key, typed));
        }
        for expr in select.items.iter().map(|i| &i.expr).chain(&select.having) {
            self.collect(expr, &rel, &mut group)?;
        }
        let (grouped, names) = group.apply(rel, select.span)?;
        let items: Vec<SelectItem> = select
            .items
            .iter()
            .map(|item| {
                let expr = group.replace(&item.expr, &names);
                let implicit = match (&item.alias, &expr.kind) {
                    (None, ExprKind::Column(_)) if expr != item.expr => group.display(&item.expr),
                    _ => None,
                };
                let alias = item.alias.clone().or(implicit.map(Ident::new));
                SelectItem { expr, alias }
            })
            .collect();
        let mut grouped = grouped;
        if let Some(having) = &select.having {
            let having = group.replace(having, &names);
            let scope = grouped.scope();
            let condition = self.condition(self.expr(&having, scope)?, "HAVING", scope)?;
            grouped = grouped.filter(condition, having.span)?;
        }
        self.projection(grouped, &items, select.span).map_err(|e| missing(e, &group))
    }

    /// Keys as written; `GROUP BY 1` and `GROUP BY alias` mean columns of the list.
    fn grouping_keys(&self, select: &Select) -> Analysis<Vec<Expr>> {
        if select.group_by_all {
            let plain = |i: &&SelectItem| find_aggregate(&i.expr).is_none();
            return Ok(select.items.iter().filter(plain).map(|i| i.expr.clone()).collect());
        }
        let mut keys = Vec::new();
        for key in &select.group_by {
            keys.push(match &key.kind {
                ExprKind::Literal(Literal::Integer(n)) => {
                    let item = n.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                    let item = item.and_then(|at| select.items.get(at)).ok_or_else(|| {
                        let message = format!("GROUP BY position {n} is not in select list.");
                        Diagnostic::new("GROUP_BY_POS_OUT_OF_RANGE", message, key.span)
                    })?;
                    item.expr.clone()
                }
                ExprKind::Column(parts) if parts.len() == 1 => {
                    let named = select.items.iter().find(|i| {
                        i.alias.as_ref().zip(parts.first()).is_some_and(|(alias, part)| {
                            super::attribute::same(&alias.name, &part.name)
                        })
                    });
                    named.map_or_else(|| key.clone(), |i| i.expr.clone())
                }
                _ => key.clone(),
            });
        }
        Ok(keys)
    }

    fn collect(&self, expr: &Expr, rel: &Rel, group: &mut Grouping) -> Analysis<()> {
        if group.keys.iter().any(|(key, _)| same_tree(key, expr)) {
            return Ok(());
        }
        if let ExprKind::Function { name, args, distinct } = &expr.kind {
            let lower = name.name.to_lowercase();
            if is_aggregate(&lower) {
                if group.aggregates.iter().all(|(ast, _)| !same_tree(ast, expr)) {
                    let call =
                        AggregateCall { name: &lower, args, distinct: *distinct, span: expr.span };
                    let typed = self.aggregate_call(&call, rel.scope())?;
                    group.aggregates.push((expr.clone(), typed));
                }
                return Ok(());
            }
        }
        children(expr).into_iter().try_for_each(|child| self.collect(child, rel, group))
    }

    fn aggregate_call(&self, call: &AggregateCall<'_>, scope: Scope<'_>) -> Analysis<Typed> {
        let AggregateCall { name, args, distinct, span } = *call;
        let mut typed = Vec::new();
        for arg in args {
            match &arg.kind {
                ExprKind::Star { qualifier, .. } if name == "count" && qualifier.is_empty() => {
                    typed.push(Typed::new(Ok(lit(1_i32)), "1", scope, arg.span)?);
                }
                _ => typed.push(self.expr(arg, scope)?),
            }
        }
        let texts: Vec<&str> = typed.iter().map(|t| t.text.as_str()).collect();
        let word = if distinct { "DISTINCT " } else { "" };
        let text = format!("{name}({word}{})", texts.join(", "));
        let [argument] = typed.as_slice() else {
            return Err(wrong_number(name, "1", typed.len(), span));
        };
        let expr = self.aggregate_expr(name, argument, scope, &text, span)?;
        let expr = match distinct {
            true => expr.distinct().build().map_err(|e| refused(e, span))?,
            false => expr,
        };
        Typed::new(Ok(expr), text, scope, span)
    }

    fn aggregate_expr(
        &self,
        name: &str,
        argument: &Typed,
        scope: Scope<'_>,
        text: &str,
        span: Span,
    ) -> Analysis<Df> {
        let value = argument.expr.clone();
        let as_type = |to: &DataType| {
            self.functions.cast(value.clone(), to, scope.schema).map_err(|e| refused(e, span))
        };
        let number = || match &argument.arrow {
            ArrowType::Decimal128(p, s) => Ok(Some((*p, *s))),
            t if t.is_numeric() || matches!(t, ArrowType::Utf8 | ArrowType::Null) => Ok(None),
            _ => {
                let why = format!("it needs a number, but got {}", argument.type_name());
                Err(mismatch(text, why, argument.span))
            }
        };
        Ok(match name {
            "count" => df::count(value),
            "count_if" => df::count(
                self.functions
                    .case(None, vec![(value, lit(1_i32))], None, scope.schema)
                    .map_err(|e| refused(e, span))?,
            ),
            "sum" if argument.arrow.is_integer() => df::sum(as_type(&DataType::Long)?),
            "sum" => match number()? {
                Some(_) => df::sum(value),
                None => df::sum(as_type(&DataType::Double)?),
            },
            "avg" | "mean" => match number()? {
                Some(_) => df::avg(value),
                None => df::avg(as_type(&DataType::Double)?),
            },
            "min" => df::min(value),
            "max" => df::max(value),
            "approx_count_distinct" => df::approx_distinct(value),
            "collect_list" => df::array_agg(value.clone())
                .filter(value.is_not_null())
                .build()
                .map_err(|e| refused(e, span))?,
            "stddev" | "stddev_samp" => df::stddev(as_type(&DataType::Double)?),
            "stddev_pop" => df::stddev_pop(as_type(&DataType::Double)?),
            "variance" | "var_samp" => df::var_sample(as_type(&DataType::Double)?),
            "var_pop" => df::var_pop(as_type(&DataType::Double)?),
            "bool_and" | "every" => df::bool_and(value),
            "bool_or" | "some" | "any" => df::bool_or(value),
            other => {
                let message = format!("The aggregate function `{other}` is not supported yet.");
                return Err(Diagnostic::new("UNSUPPORTED_FUNCTION", message, span));
            }
        })
    }
}

#[derive(Clone, Copy)]
struct AggregateCall<'a> {
    name: &'a str,
    args: &'a [Expr],
    distinct: bool,
    span: Span,
}

/// Keys and aggregates with the trees that they were written as.
struct Grouping {
    keys: Vec<(Expr, Typed)>,
    aggregates: Vec<(Expr, Typed)>,
}

impl Grouping {
    /// The aggregated relation, and the internal name of every key and aggregate in order.
    fn apply(&self, rel: Rel, span: Span) -> Analysis<(Rel, Vec<String>)> {
        let (mut taken, mut attributes) = (Vec::new(), Vec::new());
        let mut name = |typed: &Typed| -> Analysis<Df> {
            let internal = unique(&format!("{GROUPED}{}", typed.output_name()), &mut taken);
            attributes.push(Attribute {
                qualifier: None,
                name: internal.clone(),
                column: Column::new_unqualified(internal.clone()),
                data_type: typed.data_type()?,
            });
            Ok(typed.expr.clone().alias(internal))
        };
        let keys: Analysis<Vec<Df>> = self.keys.iter().map(|(_, t)| name(t)).collect();
        let aggregates: Analysis<Vec<Df>> = self.aggregates.iter().map(|(_, t)| name(t)).collect();
        let plan = LogicalPlanBuilder::from(rel.plan)
            .aggregate(keys?, aggregates?)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| refused(e, span))?;
        Ok((Rel { plan, attributes, streaming: false }, taken))
    }

    fn all(&self) -> impl Iterator<Item = &(Expr, Typed)> {
        self.keys.iter().chain(&self.aggregates)
    }

    fn display(&self, expr: &Expr) -> Option<String> {
        self.all().find(|(ast, _)| same_tree(ast, expr)).map(|(_, t)| t.output_name().to_owned())
    }

    /// `expr` with keys and aggregates replaced by the columns that hold them.
    fn replace(&self, expr: &Expr, names: &[String]) -> Expr {
        let hit = self.all().zip(names).find(|((ast, _), _)| same_tree(ast, expr));
        if let Some(((_, typed), name)) = hit {
            let ident = Ident { name: name.clone(), span: typed.span };
            return Expr { kind: ExprKind::Column(vec![ident]), span: expr.span };
        }
        let mut out = expr.clone();
        let go = |e: &Expr| Box::new(self.replace(e, names));
        match &mut out.kind {
            ExprKind::Unary(_, a) | ExprKind::Field(a, _) | ExprKind::Alias(a, _) => *a = go(a),
            ExprKind::Binary(_, a, b) | ExprKind::Index(a, b) => (*a, *b) = (go(a), go(b)),
            ExprKind::IsNull { expr, .. }
            | ExprKind::IsBoolean { expr, .. }
            | ExprKind::Cast { expr, .. } => *expr = go(expr),
            ExprKind::Between { expr, low, high, .. } => {
                (*expr, *low, *high) = (go(expr), go(low), go(high));
            }
            ExprKind::InList { expr, list, .. } => {
                *expr = go(expr);
                *list = list.iter().map(|e| self.replace(e, names)).collect();
            }
            ExprKind::Like { expr, pattern, .. } => (*expr, *pattern) = (go(expr), go(pattern)),
            ExprKind::Case { operand, branches, otherwise } => {
                *operand = operand.as_deref().map(go);
                *branches = branches
                    .iter()
                    .map(|(a, b)| (self.replace(a, names), self.replace(b, names)))
                    .collect();
                *otherwise = otherwise.as_deref().map(go);
            }
            ExprKind::Function { args, .. } => {
                *args = args.iter().map(|e| self.replace(e, names)).collect();
            }
            ExprKind::Column(_) | ExprKind::Star { .. } | ExprKind::Literal(_) => {}
        }
        out
    }
}

/// Whether two trees say the same, wherever they stand and however names are capitalised.
fn same_tree(a: &Expr, b: &Expr) -> bool {
    match (&a.kind, &b.kind) {
        (ExprKind::Column(x), ExprKind::Column(y)) => {
            let names = |parts: &[Ident]| -> Vec<String> {
                parts.iter().map(|p| p.name.to_lowercase()).collect()
            };
            names(x) == names(y)
        }
        (ExprKind::Function { name: f, .. }, ExprKind::Function { name: g, .. })
            if !f.name.eq_ignore_ascii_case(&g.name) =>
        {
            false
        }
        _ => {
            let (left, right) = (children(a), children(b));
            std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind)
                && left.len() == right.len()
                && left.iter().zip(&right).all(|(x, y)| same_tree(x, y))
                && shallow(a) == shallow(b)
        }
    }
}

/// What a node is, without its children and its place.
fn shallow(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Literal(value) => format!("{value:?}"),
        ExprKind::Unary(op, _) => format!("{op:?}"),
        ExprKind::Binary(op, ..) => format!("{op:?}"),
        ExprKind::IsNull { negated, .. } => format!("{negated}"),
        ExprKind::IsBoolean { value, negated, .. } => format!("{value:?} {negated}"),
        ExprKind::Between { negated, .. } | ExprKind::InList { negated, .. } => {
            format!("{negated}")
        }
        ExprKind::Like { op, escape, negated, .. } => format!("{op:?} {escape:?} {negated}"),
        ExprKind::Case { operand, otherwise, .. } => {
            format!("{} {}", operand.is_some(), otherwise.is_some())
        }
        ExprKind::Cast { to, mode, .. } => format!("{} {mode:?}", to.text.to_lowercase()),
        ExprKind::Function { distinct, .. } => format!("{distinct}"),
        ExprKind::Field(_, name) | ExprKind::Alias(_, name) => name.name.to_lowercase(),
        ExprKind::Column(_) | ExprKind::Star { .. } | ExprKind::Index(..) => String::new(),
    }
}

/// A column that is neither key nor aggregate: Spark's own words for it.
fn missing(error: Diagnostic, group: &Grouping) -> Diagnostic {
    if error.code != "UNRESOLVED_COLUMN" {
        return error;
    }
    if group.keys.is_empty() {
        let message = "The query has no GROUP BY, but its list mixes aggregates and columns.";
        return Diagnostic::new("MISSING_GROUP_BY", message, error.span)
            .cure("Add GROUP BY, or aggregate the column.");
    }
    let message = "The list holds a column that is neither grouped by nor aggregated.";
    Diagnostic::new("MISSING_AGGREGATION", message, error.span)
        .cure("Add it to GROUP BY, or wrap it in any_value().")
}

fn streaming_aggregate(select: &Select) -> Diagnostic {
    let span = select
        .items
        .iter()
        .find_map(|i| find_aggregate(&i.expr))
        .or(select.group_by.first().map(|g| g.span))
        .unwrap_or(select.span);
    Diagnostic::new(
        "STREAMING_OUTPUT_MODE",
        "Invalid streaming output mode: append. This output mode is not supported for streaming \
         aggregations without watermark on streaming DataFrames/DataSets.",
        span,
    )
    .cure("Streaming aggregations and watermarks come with a later release.")
}
