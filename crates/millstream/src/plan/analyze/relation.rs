//! FROM: streams, views, tables, subqueries, joins.

use super::query::{refuse_too_deep, refuse_too_many_inputs};
use super::{Analysis, Analyzer, Attribute, Rel, Typed, refused};
use crate::plan::stream::{StreamDefinition, StreamTable};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{JoinType, LogicalPlanBuilder};
use millstream_core::options::{OptionMap, did_you_mean};
use millstream_sql::ast::{
    Argument, Expr, ExprKind, Ident, JoinKind, Literal, ReadAs, Relation, UnaryOp,
};
use millstream_sql::{Diagnostic, Span};
use std::sync::Arc;

/// Table functions that read something.
const TABLE_FUNCTIONS: &[&str] = &["read_kafka", "read_rate"];

/// Named subqueries in scope.
pub(crate) type With = Vec<(String, Rel)>;

impl Analyzer<'_> {
    /// One item of a FROM clause.
    pub(crate) fn relation(&self, relation: &Relation, with: &With) -> Analysis<Rel> {
        match relation {
            Relation::Table { name, read_as, alias, span } => {
                let rel = self.table(name, *read_as, with, *span)?;
                let last = name.last().map(|n| n.name.clone()).unwrap_or_default();
                let alias = alias.as_ref().map_or(last, |a| a.name.clone());
                Ok(rel.aliased(&alias))
            }
            Relation::Function { name, args, read_as, alias, span } => {
                let rel = self.table_function(name, args, *read_as, *span)?;
                Ok(match alias {
                    Some(alias) => rel.aliased(&alias.name),
                    None => rel.aliased(&name.name),
                })
            }
            Relation::Subquery { query, alias, columns } => {
                let mut rel = self.query(query, with)?;
                if !columns.is_empty() {
                    rel = rename_columns(rel, columns, query.span)?;
                }
                for attribute in &mut rel.attributes {
                    attribute.qualifier = alias.as_ref().map(|a| a.name.clone());
                }
                Ok(rel)
            }
            Relation::Join { left, right, kind, on, using, span } => {
                let left = self.relation(left, with)?;
                let right = self.relation(right, with)?;
                self.join(left, right, *kind, on.as_ref(), using, *span)
            }
        }
    }

    fn table(&self, name: &[Ident], read_as: ReadAs, with: &With, span: Span) -> Analysis<Rel> {
        let parts: Vec<String> = name.iter().map(|n| n.name.clone()).collect();
        if let [single] = parts.as_slice() {
            let named = with.iter().rev().find(|(n, _)| super::attribute::same(n, single));
            let view = named.map(|(_, rel)| rel.clone()).or_else(|| self.session.view(single));
            if let Some(rel) = view {
                if read_as == ReadAs::Stream && !rel.streaming {
                    let message = format!("`{single}` is no stream.");
                    return Err(Diagnostic::new("NOT_A_STREAM", message, span)
                        .cure("Leave STREAM out, or define the view over STREAM read_kafka(..)."));
                }
                refuse_too_deep(&rel, span)?;
                return Ok(rel);
            }
        }
        let shown = parts.join(".");
        match self.session.table(&parts) {
            Ok(Some(_)) if read_as == ReadAs::Stream => {
                let message =
                    format!("Reading the table `{shown}` as a stream is not supported yet.");
                Err(Diagnostic::new("UNSUPPORTED_SYNTAX", message, span))
            }
            Ok(Some(provider)) => table_rel(&shown, provider, span),
            Ok(None) => Err(self.no_table(&shown, with, span)),
            Err(error) => Err(Diagnostic::from_error(&error, span)),
        }
    }

    fn no_table(&self, name: &str, with: &With, span: Span) -> Diagnostic {
        let message = format!("The table or view `{name}` cannot be found.");
        let known = self.session.names();
        let names = with.iter().map(|(n, _)| n.as_str()).chain(known.iter().map(String::as_str));
        Diagnostic::new("TABLE_OR_VIEW_NOT_FOUND", message, span).suggest(name, names)
    }

    fn table_function(
        &self,
        name: &Ident,
        args: &[Argument],
        read_as: ReadAs,
        span: Span,
    ) -> Analysis<Rel> {
        let lower = name.name.to_lowercase();
        let format = match lower.as_str() {
            "read_kafka" => "kafka",
            "read_rate" => "rate",
            _ => {
                let message = format!("Cannot resolve `{}` to a table-valued function.", name.name);
                return Err(Diagnostic::new(
                    "UNRESOLVABLE_TABLE_VALUED_FUNCTION",
                    message,
                    name.span,
                )
                .suggest(&name.name, TABLE_FUNCTIONS.iter().copied()));
            }
        };
        let (options, spans) = self.options(&lower, args)?;
        if read_as == ReadAs::Batch {
            let provider = self
                .session
                .batch_source(format, &options)
                .map_err(|e| at_option(&e, &spans, span))?;
            return table_rel(&lower, provider, span);
        }
        let definition = crate::reader::define(self.session, format, options)
            .map_err(|e| at_option(&e, &spans, span))?;
        stream_rel(definition, span)
    }

    /// Named arguments as options; Databricks' camel-case names become Spark's.
    fn options(
        &self,
        function: &str,
        args: &[Argument],
    ) -> Analysis<(OptionMap, Vec<(String, Span)>)> {
        let mut options = OptionMap::new();
        let mut spans = Vec::new();
        for arg in args {
            let Some(name) = &arg.name else {
                let message = format!("`{function}` takes named arguments only.");
                return Err(Diagnostic::new(
                    "UNEXPECTED_POSITIONAL_ARGUMENT",
                    message,
                    arg.value.span,
                )
                .cure("Write name => value."));
            };
            let option = match name.name.to_lowercase().as_str() {
                "bootstrapservers" => "kafka.bootstrap.servers".to_owned(),
                _ => name.name.clone(),
            };
            if options.get(&option).is_some() {
                let message = format!("The option `{}` is given twice.", name.name);
                return Err(Diagnostic::new(
                    "DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT",
                    message,
                    name.span,
                ));
            }
            let value = self.constant(&arg.value, &name.name)?;
            spans.push((option.clone(), name.span));
            options.insert(option, value);
        }
        Ok((options, spans))
    }

    /// The text of a constant argument.
    fn constant(&self, value: &Expr, option: &str) -> Analysis<String> {
        match &value.kind {
            ExprKind::Literal(Literal::String(text)) => Ok(text.clone()),
            ExprKind::Literal(Literal::Boolean(value)) => Ok(value.to_string()),
            ExprKind::Literal(Literal::Integer(text) | Literal::Decimal(text)) => Ok(text.clone()),
            ExprKind::Literal(Literal::Long(n)) => Ok(n.to_string()),
            ExprKind::Literal(Literal::Interval(text)) => Ok(text.clone()),
            ExprKind::Unary(UnaryOp::Minus, inner) => {
                Ok(format!("-{}", self.constant(inner, option)?))
            }
            _ => Err(Diagnostic::new(
                "NON_FOLDABLE_ARGUMENT",
                format!("The value of the option `{option}` must be a constant."),
                value.span,
            )),
        }
    }

    fn join(
        &self,
        left: Rel,
        right: Rel,
        kind: JoinKind,
        on: Option<&Expr>,
        using: &[Ident],
        span: Span,
    ) -> Analysis<Rel> {
        if left.streaming || right.streaming {
            let message = if left.streaming && right.streaming {
                "Joins between two streams are not supported yet."
            } else {
                "Joins between a stream and a table are not supported yet."
            };
            return Err(Diagnostic::new("UNSUPPORTED_STREAMING_OPERATOR", message, span));
        }
        if !using.is_empty() {
            return Err(Diagnostic::new(
                "UNSUPPORTED_SYNTAX",
                "JOIN .. USING is not supported yet.",
                span,
            )
            .cure("Write ON with an equality."));
        }
        refuse_too_many_inputs([&left, &right], span)?;
        let right = apart(&left, right, span)?;
        let keep_right = !matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        let mut attributes = left.attributes.clone();
        attributes.extend(right.attributes.iter().cloned());
        let builder = LogicalPlanBuilder::from(left.plan.clone());
        let builder = match (kind, on) {
            (JoinKind::Cross, None) | (JoinKind::Inner, None) => builder.cross_join(right.plan),
            (_, None) => {
                return Err(Diagnostic::new("PARSE_SYNTAX_ERROR", "The join needs ON.", span));
            }
            (_, Some(on)) => {
                let schema = left.plan.schema().join(right.plan.schema());
                let schema = schema.map_err(|e| refused(e, span))?;
                let scope = super::Scope { attributes: &attributes, schema: &schema };
                let condition = self.condition(self.expr(on, scope)?, "ON", scope)?;
                builder.join_on(right.plan, join_type(kind), [condition])
            }
        };
        let plan = builder.and_then(LogicalPlanBuilder::build).map_err(|e| refused(e, span))?;
        if !keep_right {
            attributes.truncate(left.attributes.len());
        }
        Ok(Rel { plan, attributes, streaming: false })
    }
}

/// A table as a relation.
pub(crate) fn table_rel(name: &str, provider: Arc<dyn TableProvider>, span: Span) -> Analysis<Rel> {
    let reference = TableReference::bare(name.to_owned());
    let plan = LogicalPlanBuilder::scan(reference, provider_as_source(provider), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| refused(e, span))?;
    let rel = Rel::from_plan(plan, None, false).map_err(|e| Diagnostic::from_error(&e, span))?;
    Ok(rel.aliased(name))
}

/// A stream as a relation.
pub(crate) fn stream_rel(definition: Arc<StreamDefinition>, span: Span) -> Analysis<Rel> {
    let table = StreamTable::new(definition);
    let plan = LogicalPlanBuilder::scan("stream", provider_as_source(Arc::new(table)), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| refused(e, span))?;
    Rel::from_plan(plan, None, true).map_err(|e| Diagnostic::from_error(&e, span))
}

/// Puts a refusal of options at the option that its message names, if it names one.
fn at_option(error: &millstream_core::Error, spans: &[(String, Span)], call: Span) -> Diagnostic {
    let message = error.message().to_lowercase();
    let named = |option: &str| {
        let option = option.to_lowercase();
        message.match_indices(&option).any(|(at, _)| {
            !message.get(..at).unwrap_or_default().ends_with(char::is_alphanumeric)
                && !message
                    .get(at + option.len()..)
                    .unwrap_or_default()
                    .starts_with(char::is_alphanumeric)
        })
    };
    let place = spans.iter().rev().find(|(name, _)| named(name)).map_or(call, |(_, span)| *span);
    let mut diagnostic = Diagnostic::from_error(error, place);
    if error.code() == "OPTION_UNKNOWN"
        && diagnostic.cure.is_none()
        && let Some((name, _)) = spans.iter().find(|(name, _)| named(name))
    {
        let own = ["deadLetter", "deadLetterCasts", "bootstrapServers"];
        if own.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            diagnostic = diagnostic.cure("It is for streams: write STREAM before the source.");
        } else if let Some(near) = did_you_mean(name, own.into_iter()) {
            diagnostic = diagnostic.cure(format!("Did you mean `{near}`?"));
        }
    }
    diagnostic
}

/// The right side of a join under internal names that the left side does not have.
fn apart(left: &Rel, right: Rel, span: Span) -> Analysis<Rel> {
    let clash = right
        .attributes
        .iter()
        .any(|r| left.attributes.iter().any(|l| l.column.name == r.column.name));
    if !clash {
        return Ok(right);
    }
    let old: Vec<Attribute> = right.attributes.clone();
    let names: Vec<String> = old.iter().map(|a| a.name.clone()).collect();
    let columns: Vec<(Typed, String)> =
        old.iter().map(|a| (Rel::column(a, span), format!("{}#right", a.column.name))).collect();
    let mut rel = right.project(columns, span)?.renamed(&names);
    for (attribute, before) in rel.attributes.iter_mut().zip(&old) {
        attribute.qualifier.clone_from(&before.qualifier);
    }
    apart(left, rel, span)
}

pub(crate) fn rename_columns(rel: Rel, columns: &[Ident], span: Span) -> Analysis<Rel> {
    if columns.len() != rel.attributes.len() {
        let message = format!(
            "Number of column aliases does not match number of columns. Number of column aliases: \
             {}; number of columns: {}.",
            columns.len(),
            rel.attributes.len()
        );
        return Err(Diagnostic::new("ASSIGNMENT_ARITY_MISMATCH", message, span));
    }
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    Ok(rel.renamed(&names))
}

fn join_type(kind: JoinKind) -> JoinType {
    match kind {
        JoinKind::Inner | JoinKind::Cross => JoinType::Inner,
        JoinKind::Left => JoinType::Left,
        JoinKind::Right => JoinType::Right,
        JoinKind::Full => JoinType::Full,
        JoinKind::LeftSemi => JoinType::LeftSemi,
        JoinKind::LeftAnti => JoinType::LeftAnti,
    }
}
