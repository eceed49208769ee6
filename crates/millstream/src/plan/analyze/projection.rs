//! SELECT lists: stars, names, generators.

use super::expr::StarBase;
use super::generator::Generator;
use super::{Analysis, Analyzer, Rel, Scope, Typed};
use millstream_sql::ast::{ExprKind, Ident, SelectItem};
use millstream_sql::{Diagnostic, Span};
use millstream_types::DataType;

/// A column of a SELECT list: a value, or a generator whose rows multiply the input's.
pub(crate) enum Column {
    Value(Typed, String),
    Generated(Generator, Option<Ident>),
}

impl Analyzer<'_> {
    /// The projection that a SELECT list asks for.
    pub(crate) fn projection(&self, rel: Rel, items: &[SelectItem], span: Span) -> Analysis<Rel> {
        let columns = self.select_columns(items, rel.scope())?;
        if columns.iter().any(|c| matches!(c, Column::Generated(..))) {
            return self.generate(rel, columns, span);
        }
        let values = columns
            .into_iter()
            .filter_map(|c| match c {
                Column::Value(typed, name) => Some((typed, name)),
                Column::Generated(..) => None,
            })
            .collect();
        rel.project(values, span)
    }

    pub(crate) fn select_columns(
        &self,
        items: &[SelectItem],
        scope: Scope<'_>,
    ) -> Analysis<Vec<Column>> {
        let mut out = Vec::new();
        for item in items {
            match &item.expr.kind {
                ExprKind::Star { qualifier, except } => {
                    if let Some(alias) = &item.alias {
                        let message = "A star cannot have an alias.";
                        return Err(Diagnostic::new(
                            "INVALID_USAGE_OF_STAR_OR_REGEX",
                            message,
                            alias.span,
                        ));
                    }
                    let columns = self.star(qualifier, except, scope, item.expr.span)?;
                    out.extend(columns.into_iter().map(|(t, n)| Column::Value(t, n)));
                }
                _ => {
                    if let Some(generator) = self.generator(&item.expr, scope)? {
                        out.push(Column::Generated(generator, item.alias.clone()));
                        continue;
                    }
                    let typed = self.expr(&item.expr, scope)?;
                    let name = match &item.alias {
                        Some(alias) => alias.name.clone(),
                        None => typed.output_name().to_owned(),
                    };
                    out.push(Column::Value(typed, name));
                }
            }
        }
        Ok(out)
    }

    /// The columns of `qualifier.* EXCEPT (..)`.
    pub(crate) fn star(
        &self,
        qualifier: &[Ident],
        except: &[Ident],
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Vec<(Typed, String)>> {
        let mut columns: Vec<(Typed, String)> = match self.star_base(qualifier, scope, span)? {
            StarBase::Attributes(attributes) => {
                attributes.into_iter().map(|a| (Rel::column(a, span), a.name.clone())).collect()
            }
            StarBase::Struct(base) => {
                let DataType::Struct(fields) = base.data_type()? else { return Ok(Vec::new()) };
                let mut columns = Vec::with_capacity(fields.fields.len());
                for field in fields.fields {
                    let expr = self.functions.field(base.expr.clone(), &field.name, scope.schema);
                    let text = format!("{}.{}", base.text, field.name);
                    columns.push((Typed::new(expr, text, scope, span)?, field.name));
                }
                columns
            }
        };
        for left_out in except {
            let before = columns.len();
            columns.retain(|(_, name)| !super::attribute::same(name, &left_out.name));
            if columns.len() == before {
                let message = format!("EXCEPT column `{}` cannot be resolved.", left_out.name);
                return Err(Diagnostic::new("UNRESOLVED_COLUMN", message, left_out.span)
                    .suggest(&left_out.name, columns.iter().map(|(_, n)| n.as_str())));
            }
        }
        if columns.is_empty() {
            let message = "The star stands for no column.";
            return Err(Diagnostic::new("INVALID_USAGE_OF_STAR_OR_REGEX", message, span));
        }
        Ok(columns)
    }
}
