//! `explode` and `explode_outer`, in SELECT lists and LATERAL VIEW.

use super::call::wrong_number;
use super::projection::Column;
use super::{Analysis, Analyzer, Attribute, Rel, Scope, Typed, mismatch, refused};
use datafusion::common::{Column as PlanColumn, ScalarValue, UnnestOptions};
use datafusion::logical_expr::{Expr as Df, LogicalPlanBuilder, lit};
use millstream_functions::Op;
use millstream_sql::ast::{Expr, ExprKind, Ident, LateralView};
use millstream_sql::{Diagnostic, Span};
use millstream_types::DataType;

/// Internal name of the column that is unnested.
const GENERATED: &str = "__millstream_generated";

/// A generator over an array (a map is turned into an array of its entries).
pub(crate) struct Generator {
    input: Typed,
    element: DataType,
    /// Default name of the result.
    name: &'static str,
}

impl Analyzer<'_> {
    /// The generator that `expr` calls, if it calls one.
    pub(crate) fn generator(&self, expr: &Expr, scope: Scope<'_>) -> Analysis<Option<Generator>> {
        let ExprKind::Function { name, args, .. } = &expr.kind else { return Ok(None) };
        let lower = name.name.to_lowercase();
        let outer = match lower.as_str() {
            "explode" => false,
            "explode_outer" => true,
            "posexplode" | "posexplode_outer" | "inline" | "inline_outer" | "stack"
            | "json_tuple" => {
                let message = format!("The generator `{lower}` is not supported yet.");
                return Err(Diagnostic::new("UNSUPPORTED_GENERATOR", message, expr.span)
                    .cure("Use explode."));
            }
            _ => return Ok(None),
        };
        let [arg] = args.as_slice() else {
            return Err(wrong_number(&lower, "1", args.len(), expr.span));
        };
        let input = self.expr(arg, scope)?;
        let element = match input.data_type()? {
            DataType::Array { element, .. } => *element,
            DataType::Map { .. } => {
                return Err(Diagnostic::new(
                    "UNSUPPORTED_GENERATOR",
                    "Exploding a map is not supported yet.",
                    expr.span,
                )
                .cure("Use explode(map_entries(..))."));
            }
            _ => {
                let text = format!("{lower}({})", input.text);
                let why = format!("it needs an array, but got {}", input.type_name());
                return Err(mismatch(&text, why, arg.span));
            }
        };
        let input = if outer { self.never_empty(input, &element, scope)? } else { input };
        Ok(Some(Generator { input, element, name: "col" }))
    }

    /// An array of one NULL in place of NULL and of an empty array.
    fn never_empty(&self, input: Typed, element: &DataType, scope: Scope<'_>) -> Analysis<Typed> {
        let (f, schema) = (&self.functions, scope.schema);
        let build = || {
            let size = f.call("size", vec![input.expr.clone()], schema)?;
            let empty = f.binary(Op::LessOrEqual, size, lit(0_i32), schema)?;
            let missing = Df::IsNull(Box::new(input.expr.clone()));
            let none = f.binary(Op::Or, missing, empty, schema)?;
            let null = f.cast(lit(ScalarValue::Null), element, schema)?;
            let one_null = f.call("array", vec![null], schema)?;
            f.case(None, vec![(none, one_null)], Some(input.expr.clone()), schema)
        };
        Typed::new(build(), input.text.clone(), scope, input.span)
    }

    /// A SELECT list with one generator in it.
    pub(crate) fn generate(&self, rel: Rel, columns: Vec<Column>, span: Span) -> Analysis<Rel> {
        let mut values = Vec::new();
        let mut generated = None;
        for (at, column) in columns.into_iter().enumerate() {
            match column {
                Column::Value(typed, name) => values.push((typed, name)),
                Column::Generated(generator, alias) => {
                    if generated.is_some() {
                        return Err(Diagnostic::new(
                            "UNSUPPORTED_GENERATOR",
                            "Only one generator is allowed per SELECT clause.",
                            span,
                        ));
                    }
                    let name = alias.map_or_else(|| generator.name.to_owned(), |a| a.name);
                    generated = Some((at, name, generator.element));
                    values.push((generator.input, GENERATED.to_owned()));
                }
            }
        }
        let Some((at, name, element)) = generated else { return rel.project(values, span) };
        let mut rel = unnest(rel.project(values, span)?, span)?;
        if let Some(attribute) = rel.attributes.get_mut(at) {
            attribute.name = name;
            attribute.data_type = element;
        }
        Ok(rel)
    }

    /// `LATERAL VIEW [OUTER] explode(x) t AS c`: the input's columns and the generated one.
    pub(crate) fn lateral_view(&self, rel: Rel, view: &LateralView) -> Analysis<Rel> {
        let span = view.generator.span;
        let mut call = view.generator.clone();
        if view.outer
            && let ExprKind::Function { name, .. } = &mut call.kind
            && !name.name.to_lowercase().ends_with("_outer")
        {
            name.name.push_str("_outer");
        }
        let Some(generator) = self.generator(&call, rel.scope())? else {
            return Err(Diagnostic::new(
                "UNSUPPORTED_GENERATOR",
                "LATERAL VIEW needs a generator such as explode.",
                span,
            ));
        };
        let name = match view.columns.as_slice() {
            [] => Ident::new(generator.name),
            [one] => one.clone(),
            _ => {
                let message = "The number of aliases does not match the generator's one column.";
                return Err(Diagnostic::new("UDTF_ALIAS_NUMBER_MISMATCH", message, span));
            }
        };
        let before = rel.attributes.clone();
        let mut columns: Vec<(Typed, String)> =
            before.iter().map(|a| (Rel::column(a, span), a.name.clone())).collect();
        let element = generator.element.clone();
        columns.push((generator.input, GENERATED.to_owned()));
        let mut rel = unnest(rel.project(columns, span)?, span)?;
        for (attribute, old) in rel.attributes.iter_mut().zip(&before) {
            attribute.qualifier.clone_from(&old.qualifier);
        }
        if let Some(last) = rel.attributes.last_mut() {
            last.qualifier = view.table.as_ref().map(|t| t.name.clone());
            last.name = name.name;
            last.data_type = element;
        }
        Ok(rel)
    }
}

fn unnest(rel: Rel, span: Span) -> Analysis<Rel> {
    let column: Option<PlanColumn> =
        rel.attributes.iter().find(|a: &&Attribute| a.name == GENERATED).map(|a| a.column.clone());
    let Some(column) = column else { return Ok(rel) };
    let options = UnnestOptions::new().with_preserve_nulls(false);
    let plan = LogicalPlanBuilder::from(rel.plan)
        .unnest_column_with_options(column, options)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| refused(e, span))?;
    Ok(Rel { plan, ..rel })
}
