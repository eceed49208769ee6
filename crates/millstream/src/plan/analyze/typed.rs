//! A resolved expression with its type and Spark's name for it.

use super::{Analysis, Scope, refused};
use arrow::datatypes::DataType as ArrowType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable};
use millstream_sql::{Diagnostic, Span};
use millstream_types::DataType;

/// A resolved expression.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    /// DataFusion's expression.
    pub(crate) expr: Expr,
    /// Its Arrow type. Intervals have one, though they are no type of a column.
    pub(crate) arrow: ArrowType,
    /// The text by which Spark prints it inside other expressions.
    pub(crate) text: String,
    /// Name as a result column where it differs from `text` (columns, fields, casts of columns).
    pub(crate) name: Option<String>,
    /// Where.
    pub(crate) span: Span,
}

/// Operators and columns of one expression. BETWEEN, `coalesce` and others write an operand out
/// more than once, so that a few levels of them could otherwise fill the memory.
const NODES_MAX: usize = 10_000;

fn is_too_large(expr: &Expr) -> bool {
    let mut nodes = 0usize;
    let walked = expr.apply(|node| {
        nodes += usize::from(!matches!(node, Expr::Literal(..)));
        Ok(if nodes > NODES_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.is_err() || nodes > NODES_MAX
}

impl Typed {
    /// An expression whose type is asked of `scope`.
    pub(crate) fn new(
        expr: datafusion::error::Result<Expr>,
        text: impl Into<String>,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Self> {
        let text: String = text.into();
        if expr.as_ref().is_ok_and(is_too_large) {
            let message = "The expression is too large once its parts are written out.";
            return Err(Diagnostic::new("EXPRESSION_TOO_LARGE", message, span)
                .cure("Calculate parts of it in a subquery, under names."));
        }
        let typed = expr.and_then(|expr| Ok((expr.get_type(scope.schema)?, expr)));
        let (arrow, expr) = typed.map_err(|e| named(refused(e, span), &text))?;
        Ok(Typed { expr, arrow, text, name: None, span })
    }

    /// Spark's type, for types that a column can have.
    pub(crate) fn data_type(&self) -> Analysis<DataType> {
        DataType::from_arrow(&self.arrow).map_err(|_| {
            Diagnostic::new(
                "UNSUPPORTED_DATATYPE",
                format!("`{}` is an interval, which cannot be a column.", self.text),
                self.span,
            )
        })
    }

    /// The type as messages quote it.
    pub(crate) fn type_name(&self) -> String {
        match DataType::from_arrow(&self.arrow) {
            Ok(spark) => super::quoted(&spark),
            Err(_) => "\"INTERVAL\"".to_owned(),
        }
    }

    /// Name as a column of the result.
    pub(crate) fn output_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.text)
    }

    /// The same with another name as a column.
    #[must_use]
    pub(crate) fn named(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }
}

/// The library does not know how the user wrote the expression that it refuses.
fn named(mut diagnostic: Diagnostic, text: &str) -> Diagnostic {
    let quoted = format!("\"{text}\"");
    diagnostic.message = diagnostic.message.replacen("the expression", &quoted, 1);
    diagnostic
}
