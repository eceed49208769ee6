//! Columns in scope, and the search for them without regard to case.

use super::{Analysis, Scope};
use datafusion::common::Column;
use millstream_sql::ast::Ident;
use millstream_sql::{Diagnostic, Span};
use millstream_types::DataType;

/// A column of a relation.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    /// Alias or name of the table it comes from.
    pub(crate) qualifier: Option<String>,
    /// Name as Spark prints it.
    pub(crate) name: String,
    /// The plan's own name for it.
    pub(crate) column: Column,
    /// Type.
    pub(crate) data_type: DataType,
}

impl Attribute {
    /// Whether `parts` name this attribute; how many of the parts it takes.
    fn matches(&self, parts: &[Ident]) -> Option<usize> {
        let [first, rest @ ..] = parts else { return None };
        if let (Some(qualifier), [second, ..]) = (&self.qualifier, rest)
            && same(qualifier, &first.name)
            && same(&self.name, &second.name)
        {
            return Some(2);
        }
        same(&self.name, &first.name).then_some(1)
    }
}

pub(crate) fn same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

impl<'a> Scope<'a> {
    /// Finds the column that `parts` begin with, and how many parts name it; what is left are
    /// fields. A qualified match wins over an unqualified one.
    pub(crate) fn find(&self, parts: &[Ident], span: Span) -> Analysis<(&'a Attribute, usize)> {
        for taken in [2, 1] {
            let hits: Vec<&Attribute> =
                self.attributes.iter().filter(|a| a.matches(parts) == Some(taken)).collect();
            match hits.as_slice() {
                [] => {}
                [one] => return Ok((one, taken)),
                many => return Err(ambiguous(parts, many, span)),
            }
        }
        Err(self.unresolved(parts, span))
    }

    fn unresolved(&self, parts: &[Ident], span: Span) -> Diagnostic {
        let name: Vec<String> = parts.iter().map(|p| format!("`{}`", p.name)).collect();
        let name = name.join(".");
        let message = format!(
            "A column, variable, or function parameter with name {name} cannot be resolved."
        );
        let diagnostic = Diagnostic::new("UNRESOLVED_COLUMN", message, span);
        let Some(first) = parts.first() else { return diagnostic };
        let wanted = match parts {
            [q, second, ..] if self.attributes.iter().any(|a| is_qualifier(a, &q.name)) => second,
            _ => first,
        };
        let diagnostic =
            diagnostic.suggest(&wanted.name, self.attributes.iter().map(|a| a.name.as_str()));
        if diagnostic.cure.is_some() {
            return diagnostic;
        }
        let known: Vec<&str> = self.attributes.iter().map(|a| a.name.as_str()).take(12).collect();
        if known.is_empty() {
            return diagnostic.cure("There is no FROM clause to take columns from.");
        }
        diagnostic.cure(format!("The columns are {}.", known.join(", ")))
    }
}

fn is_qualifier(attribute: &Attribute, name: &str) -> bool {
    attribute.qualifier.as_deref().is_some_and(|q| same(q, name))
}

fn ambiguous(parts: &[Ident], hits: &[&Attribute], span: Span) -> Diagnostic {
    let name: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    let could: Vec<String> = hits
        .iter()
        .map(|a| match &a.qualifier {
            Some(q) => format!("`{q}`.`{}`", a.name),
            None => format!("`{}`", a.name),
        })
        .collect();
    let message =
        format!("Reference `{}` is ambiguous, could be: [{}].", name.join("."), could.join(", "));
    Diagnostic::new("AMBIGUOUS_REFERENCE", message, span)
}
