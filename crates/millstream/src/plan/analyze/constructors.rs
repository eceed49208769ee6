//! `struct` and `from_json`, whose arguments need their names or their text.

use super::call::{literal_text, wrong_number};
use super::{Analysis, Analyzer, Scope, Typed, mismatch, quoted};
use crate::plan::from_json;
use arrow::datatypes::DataType as ArrowType;
use datafusion::logical_expr::{Expr, lit};
use millstream_core::options::OptionMap;
use millstream_sql::ast::{Expr as Ast, ExprKind, Literal};
use millstream_sql::{Diagnostic, Span};
use millstream_types::DataType;

impl Analyzer<'_> {
    /// `struct(a, b + 1, c AS x)`: fields are named as columns are; other values `col1`, `col2`..
    pub(crate) fn struct_call(
        &self,
        args: Vec<Typed>,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let texts: Vec<&str> = args.iter().map(|a| a.text.as_str()).collect();
        let text = format!("struct({})", texts.join(", "));
        let mut fields = Vec::with_capacity(args.len() * 2);
        for (at, arg) in args.into_iter().enumerate() {
            fields.push(lit(arg.name.unwrap_or_else(|| format!("col{}", at + 1))));
            fields.push(arg.expr);
        }
        Typed::new(self.functions.call("named_struct", fields, scope.schema), text, scope, span)
    }

    /// `from_json(value, schema [, options])`; schema and options are literals.
    pub(crate) fn json_decoder(
        &self,
        args: &[Ast],
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let (input, schema, options) = match args {
            [input, schema] => (input, schema, OptionMap::new()),
            [input, schema, options] => (input, schema, literal_map(options)?),
            _ => return Err(wrong_number("from_json", "2 or 3", args.len(), span)),
        };
        let schema_span = schema.span;
        let schema = self.expr(schema, scope)?;
        let text = literal_text(&schema, "the schema")?;
        self.json_decoder_with(input, text, &options, schema_span, (scope, span))
    }

    /// `from_json` with schema and options at hand.
    fn json_decoder_with(
        &self,
        input: &Ast,
        schema: &str,
        options: &OptionMap,
        schema_span: Span,
        (scope, span): (Scope<'_>, Span),
    ) -> Analysis<Typed> {
        let typed = self.expr(input, scope)?;
        let text = format!("from_json({})", typed.text);
        let data_type = DataType::parse(schema).map_err(|e| {
            let mut diagnostic = Diagnostic::from_error(&e, schema_span);
            diagnostic.message = format!("The schema of from_json: {}", diagnostic.message);
            diagnostic
        })?;
        let data_type = data_type.as_nullable();
        if !data_type.is_nested() {
            let why = format!(
                "the schema of from_json must be a struct, an array or a map, but it is {}",
                quoted(&data_type)
            );
            return Err(mismatch(&text, why, schema_span));
        }
        let bytes = self.json_input(input, typed, &text, scope)?;
        let call = from_json::function(&data_type, options, &self.session.conf())
            .map_err(|e| Diagnostic::from_error(&e, span))?;
        Typed::new(Ok(call.call(bytes)), text, scope, span)
    }

    /// The text to decode. `CAST(binary AS STRING)` is looked through: the decoder reads bytes.
    fn json_input(&self, ast: &Ast, typed: Typed, text: &str, scope: Scope<'_>) -> Analysis<Expr> {
        let inner = match &ast.kind {
            ExprKind::Cast { expr, .. } => Some(expr.as_ref()),
            ExprKind::Function { name, args, .. } if name.name.eq_ignore_ascii_case("string") => {
                args.first()
            }
            _ => None,
        };
        if let Some(inner) = inner
            && typed.arrow == ArrowType::Utf8
        {
            let inner = self.expr(inner, scope)?;
            if inner.arrow == ArrowType::Binary {
                return Ok(inner.expr);
            }
        }
        match &typed.arrow {
            ArrowType::Utf8 => Ok(typed.expr),
            ArrowType::Null => {
                let cast = self.functions.cast(typed.expr, &DataType::String, scope.schema);
                cast.map_err(|e| super::refused(e, typed.span))
            }
            ArrowType::Binary => {
                let why = "it needs \"STRING\", but the value is \"BINARY\"";
                Err(mismatch(text, why, typed.span)
                    .cure("Write from_json(CAST(value AS STRING), ..)."))
            }
            _ => {
                let why = format!("it needs \"STRING\", but the value is {}", typed.type_name());
                Err(mismatch(text, why, typed.span))
            }
        }
    }
}

/// `map('mode', 'FAILFAST')` as options.
pub(crate) fn literal_map(map: &Ast) -> Analysis<OptionMap> {
    let malformed = || {
        Diagnostic::new(
            "INVALID_OPTIONS",
            "Invalid options: must use the `map()` function with literal strings.",
            map.span,
        )
        .cure("Write map('mode', 'PERMISSIVE').")
    };
    let ExprKind::Function { name, args, .. } = &map.kind else { return Err(malformed()) };
    if !name.name.eq_ignore_ascii_case("map") || args.len() % 2 == 1 {
        return Err(malformed());
    }
    let text = |e: &Ast| match &e.kind {
        ExprKind::Literal(Literal::String(s)) => Ok(s.clone()),
        ExprKind::Literal(Literal::Boolean(b)) => Ok(b.to_string()),
        _ => Err(malformed()),
    };
    let mut out = OptionMap::new();
    for pair in args.chunks_exact(2) {
        if let [name, value] = pair {
            out.insert(text(name)?, text(value)?);
        }
    }
    Ok(out)
}
