//! Expressions, one arm for each kind.

use super::{Analysis, Analyzer, Attribute, Rel, Scope, Typed, literal};
use arrow::datatypes::DataType as ArrowType;
use datafusion::logical_expr::{Expr as Df, lit};
use millstream_functions::LikeKind;
use millstream_sql::ast::{CastMode, Expr, ExprKind, Ident, LikeOp, Literal, TypeText};
use millstream_sql::{Diagnostic, Span};
use millstream_types::{DataType, StructType};

impl Analyzer<'_> {
    /// Resolves `expr` against `scope`.
    pub(crate) fn expr(&self, expr: &Expr, scope: Scope<'_>) -> Analysis<Typed> {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Column(parts) => self.column(parts, scope, span),
            ExprKind::Star { .. } => Err(Diagnostic::new(
                "INVALID_USAGE_OF_STAR_OR_REGEX",
                "Invalid usage of '*' in an expression.",
                span,
            )),
            ExprKind::Literal(value) => self.literal(value, scope, span),
            ExprKind::Unary(op, operand) => {
                self.unary(*op, self.expr(operand, scope)?, scope, span)
            }
            ExprKind::Binary(op, left, right) => {
                let left = self.expr(left, scope)?;
                self.binary(*op, left, self.expr(right, scope)?, scope, span)
            }
            ExprKind::IsNull { expr, negated } => {
                is_null(self.expr(expr, scope)?, *negated, scope, span)
            }
            ExprKind::IsBoolean { .. }
            | ExprKind::Between { .. }
            | ExprKind::InList { .. }
            | ExprKind::Like { .. } => self.predicate(expr, scope),
            ExprKind::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref(), scope, span)
            }
            ExprKind::Cast { expr, to, mode } => self.cast(expr, to, *mode, scope, span),
            ExprKind::Function { name, args, distinct } => {
                self.call(name, args, *distinct, scope, span)
            }
            ExprKind::Field(base, field) => {
                let base = self.expr(base, scope)?;
                let mut typed = self.field(base, field, scope, span)?;
                typed.name = None;
                Ok(typed)
            }
            ExprKind::Index(base, index) => {
                let base = self.expr(base, scope)?;
                self.index(base, self.expr(index, scope)?, scope, span)
            }
            ExprKind::Alias(inner, name) => {
                let inner = self.expr(inner, scope)?;
                let text = format!("{} AS {}", inner.text, name.name);
                Ok(Typed { text, name: Some(name.name.clone()), ..inner })
            }
        }
    }

    fn column(&self, parts: &[Ident], scope: Scope<'_>, span: Span) -> Analysis<Typed> {
        let (attribute, taken) = scope.find(parts, span)?;
        let mut typed = Rel::column(attribute, span);
        // Spark names the result as the query spells it.
        if let Some(part) = parts.get(taken - 1) {
            let shown = part.name.strip_prefix(super::aggregate::GROUPED).unwrap_or(&part.name);
            shown.clone_into(&mut typed.text);
            typed.name = Some(shown.to_owned());
        }
        for field in parts.iter().skip(taken) {
            typed = self.field(typed, field, scope, span)?;
        }
        Ok(typed)
    }

    /// `base.field` of a struct or a map.
    pub(crate) fn field(
        &self,
        base: Typed,
        field: &Ident,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let text = format!("{}.{}", base.text, field.name);
        // Our own search names the fields there are; other bases are the library's to judge.
        let wanted = match DataType::from_arrow(&base.arrow) {
            Ok(DataType::Struct(fields)) => find_field(&fields, field)?,
            _ => field.name.clone(),
        };
        let expr = self.functions.field(base.expr, &wanted, scope.schema);
        Ok(Typed::new(expr, text, scope, span)?.named(Some(field.name.clone())))
    }

    /// `base[index]`
    fn index(&self, base: Typed, index: Typed, scope: Scope<'_>, span: Span) -> Analysis<Typed> {
        let text = match &base.arrow {
            ArrowType::Struct(_) => format!("{}.{}", base.text, index.text),
            _ => format!("{}[{}]", base.text, index.text),
        };
        let expr = self.functions.index(base.expr, index.expr, scope.schema);
        Typed::new(expr, text, scope, span)
    }

    fn literal(&self, value: &Literal, scope: Scope<'_>, span: Span) -> Analysis<Typed> {
        match value {
            Literal::Typed(kind, text) => {
                let expr = self.functions.typed_literal(kind, text);
                Typed::new(expr, format!("{kind} '{text}'"), scope, span)
            }
            Literal::Interval(text) => {
                let expr = self.functions.interval(text);
                Typed::new(expr, format!("INTERVAL '{text}'"), scope, span)
            }
            other => {
                let (value, text) = literal::literal(other, span)?;
                Typed::new(Ok(lit(value)), text, scope, span)
            }
        }
    }

    fn predicate(&self, expr: &Expr, scope: Scope<'_>) -> Analysis<Typed> {
        let (span, schema, f) = (expr.span, scope.schema, &self.functions);
        let (text, expr, negated) = match &expr.kind {
            ExprKind::IsBoolean { expr, value, negated } => {
                let operand = self.expr(expr, scope)?;
                super::operators::check_condition(&operand, "IS")?;
                let word = match value {
                    Some(true) => "TRUE",
                    Some(false) => "FALSE",
                    None => "UNKNOWN",
                };
                let not = if *negated { "NOT " } else { "" };
                let text = format!("({} IS {not}{word})", operand.text);
                let expr = f.is_boolean(operand.expr, *value, *negated, schema);
                return Typed::new(expr, text, scope, span);
            }
            ExprKind::Between { expr, low, high, negated } => {
                let operand = self.expr(expr, scope)?;
                let (low, high) = (self.expr(low, scope)?, self.expr(high, scope)?);
                let text = format!("between({}, {}, {})", operand.text, low.text, high.text);
                (text, f.between(operand.expr, low.expr, high.expr, *negated, schema), *negated)
            }
            ExprKind::InList { expr, list, negated } => {
                let operand = self.expr(expr, scope)?;
                let list: Analysis<Vec<Typed>> = list.iter().map(|e| self.expr(e, scope)).collect();
                let list = list?;
                let items: Vec<&str> = list.iter().map(|t| t.text.as_str()).collect();
                let text = format!("({} IN ({}))", operand.text, items.join(", "));
                let list = list.into_iter().map(|t| t.expr).collect();
                (text, f.in_list(operand.expr, list, *negated, schema), *negated)
            }
            ExprKind::Like { op, expr, pattern, escape, negated } => {
                let operand = self.expr(expr, scope)?;
                let pattern = self.expr(pattern, scope)?;
                let text = like_text(*op, &operand, &pattern, *escape);
                let kind = match op {
                    LikeOp::Like => LikeKind::Like,
                    LikeOp::ILike => LikeKind::ILike,
                    LikeOp::RLike => LikeKind::RLike,
                };
                let expr = f.like(kind, operand.expr, pattern.expr, *escape, *negated, schema);
                (text, expr, *negated)
            }
            _ => return self.expr(expr, scope),
        };
        let text = if negated { format!("(NOT {text})") } else { text };
        Typed::new(expr, text, scope, span)
    }

    fn case(
        &self,
        operand: Option<&Expr>,
        branches: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let operand = operand.map(|e| self.expr(e, scope)).transpose()?;
        let mut text = String::from("CASE");
        let mut pairs = Vec::with_capacity(branches.len());
        for (when, then) in branches {
            let (when, then) = (self.expr(when, scope)?, self.expr(then, scope)?);
            match &operand {
                Some(o) => {
                    text.push_str(&format!(
                        " WHEN ({} = {}) THEN {}",
                        o.text, when.text, then.text
                    ));
                }
                None => {
                    super::operators::check_condition(&when, "WHEN")?;
                    text.push_str(&format!(" WHEN {} THEN {}", when.text, then.text));
                }
            }
            pairs.push((when.expr, then.expr));
        }
        let otherwise = otherwise.map(|e| self.expr(e, scope)).transpose()?;
        if let Some(otherwise) = &otherwise {
            text.push_str(&format!(" ELSE {}", otherwise.text));
        }
        text.push_str(" END");
        let operand = operand.map(|o| o.expr);
        let otherwise = otherwise.map(|o| o.expr);
        Typed::new(self.functions.case(operand, pairs, otherwise, scope.schema), text, scope, span)
    }

    fn cast(
        &self,
        operand: &Expr,
        to: &TypeText,
        mode: CastMode,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let is_column = match &operand.kind {
            ExprKind::Column(_) | ExprKind::Cast { .. } => true,
            ExprKind::Function { .. } => false,
            _ => false,
        };
        let operand = self.expr(operand, scope)?;
        let target = data_type(to)?;
        let word = if mode == CastMode::Try { "TRY_CAST" } else { "CAST" };
        let text = format!("{word}({} AS {})", operand.text, target.sql());
        // A cast of a column keeps the column's name; a field counts as an expression here.
        let name = operand
            .name
            .clone()
            .filter(|n| is_column && !operand.text.contains('.') || *n == operand.text);
        let expr = match mode {
            CastMode::Try => self.functions.try_cast(operand.expr, &target, scope.schema),
            CastMode::Cast => self.functions.cast(operand.expr, &target, scope.schema),
        };
        Ok(Typed::new(expr, text, scope, span)?.named(name))
    }
}

fn like_text(op: LikeOp, operand: &Typed, pattern: &Typed, escape: Option<char>) -> String {
    let suffix = escape.map(|e| format!(" ESCAPE '{e}'")).unwrap_or_default();
    match op {
        LikeOp::Like => format!("{} LIKE {}{suffix}", operand.text, pattern.text),
        LikeOp::ILike => format!("ilike({}, {})", operand.text, pattern.text),
        LikeOp::RLike => format!("RLIKE({}, {})", operand.text, pattern.text),
    }
}

/// A type as written in the text.
pub(crate) fn data_type(text: &TypeText) -> Analysis<DataType> {
    const NAMES: &[&str] = &[
        "BOOLEAN",
        "TINYINT",
        "BYTE",
        "SMALLINT",
        "SHORT",
        "INT",
        "INTEGER",
        "BIGINT",
        "LONG",
        "FLOAT",
        "REAL",
        "DOUBLE",
        "DECIMAL",
        "NUMERIC",
        "STRING",
        "VARCHAR",
        "CHAR",
        "BINARY",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_NTZ",
        "ARRAY",
        "MAP",
        "STRUCT",
    ];
    DataType::parse_ddl(&text.text).map_err(|error| {
        let head: String =
            text.text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let mut diagnostic = Diagnostic::from_error(&error, text.span);
        if NAMES.iter().all(|n| !n.eq_ignore_ascii_case(&head)) {
            diagnostic.code = "UNSUPPORTED_DATATYPE";
            diagnostic.message = format!("Unsupported data type \"{}\".", head.to_uppercase());
            diagnostic.cure = None;
        }
        diagnostic.suggest(&head, NAMES.iter().copied())
    })
}

fn find_field(fields: &StructType, field: &Ident) -> Analysis<String> {
    let hits: Vec<_> =
        fields.fields.iter().filter(|f| super::attribute::same(&f.name, &field.name)).collect();
    let names = || fields.fields.iter().map(|f| f.name.as_str());
    match hits.as_slice() {
        [one] => Ok(one.name.clone()),
        [] => {
            let known: Vec<String> = names().map(|n| format!("`{n}`")).collect();
            let message = format!("No such struct field `{}` in {}.", field.name, known.join(", "));
            Err(Diagnostic::new("FIELD_NOT_FOUND", message, field.span)
                .suggest(&field.name, names()))
        }
        many => {
            let message = format!(
                "Reference `{}` is ambiguous: {} fields have this name.",
                field.name,
                many.len()
            );
            Err(Diagnostic::new("AMBIGUOUS_REFERENCE_TO_FIELDS", message, field.span))
        }
    }
}

pub(crate) fn is_null(
    operand: Typed,
    negated: bool,
    scope: Scope<'_>,
    span: Span,
) -> Analysis<Typed> {
    let text = format!("({} IS {}NULL)", operand.text, if negated { "NOT " } else { "" });
    let inner = Box::new(operand.expr);
    let expr = if negated { Df::IsNotNull(inner) } else { Df::IsNull(inner) };
    Typed::new(Ok(expr), text, scope, span)
}

/// The attributes that `qualifier.*` stands for, or the struct column whose fields it names.
pub(crate) enum StarBase<'a> {
    Attributes(Vec<&'a Attribute>),
    Struct(Typed),
}

impl Analyzer<'_> {
    /// What stands before `.*`.
    pub(crate) fn star_base<'s>(
        &self,
        qualifier: &[Ident],
        scope: Scope<'s>,
        span: Span,
    ) -> Analysis<StarBase<'s>> {
        if qualifier.is_empty() {
            return Ok(StarBase::Attributes(scope.attributes.iter().collect()));
        }
        if let [table] = qualifier {
            let hits: Vec<&Attribute> = scope
                .attributes
                .iter()
                .filter(|a| {
                    a.qualifier.as_deref().is_some_and(|q| super::attribute::same(q, &table.name))
                })
                .collect();
            if !hits.is_empty() {
                return Ok(StarBase::Attributes(hits));
            }
        }
        let base = self.column(qualifier, scope, span)?;
        if let ArrowType::Struct(_) = base.arrow {
            return Ok(StarBase::Struct(base));
        }
        let message =
            format!("`{}.*` needs a table or a struct, but it is {}.", base.text, base.type_name());
        Err(Diagnostic::new("CANNOT_RESOLVE_STAR_EXPAND", message, span))
    }
}
