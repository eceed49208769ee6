//! `Column`: an expression built by verbs, resolved when a DataFrame takes it.
//!
//! Where a verb takes columns, a text is a column's name; where an operator of [`Column`] takes an
//! operand, a text is a constant; where `filter` takes a condition, a text is SQL. All as in Spark.

use millstream_sql::ast::{
    BinaryOp, CastMode, Expr, ExprKind, Ident, LikeOp, Literal, SelectItem, TypeText, UnaryOp,
};
use millstream_sql::{Diagnostic, Span, parse_select_item};

/// An expression over the columns of a DataFrame, not yet resolved.
///
/// ```
/// use millstream::Session;
/// use millstream::functions::{col, lit, upper};
///
/// # fn main() -> millstream::Result<()> {
/// let orders = Session::builder().build()?.sql("SELECT 'de' AS country, 3 AS amount")?;
/// let frame = orders.filter(col("country").eq("de").and(col("amount").gt(2)))?.select([
///     upper(col("country")).alias("country"),
///     (col("amount") * 2).alias("twice"),
///     lit("shop").alias("channel"),
///     col("amount").cast("STRING"),
/// ])?;
/// assert_eq!(frame.columns(), ["country", "twice", "channel", "amount"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    expr: Expr,
    alias: Option<Ident>,
}

/// The column of this name; dots lead into structs, backquotes protect them: ``col("a.`b.c`")``.
/// `col("*")` and `col("data.*")` stand for several columns.
pub fn col(name: &str) -> Column {
    let star = |parts: &str| {
        let qualifier = name_parts(parts);
        Expr::new(ExprKind::Star { qualifier, except: Vec::new() })
    };
    let expr = match name.trim() {
        "*" => star(""),
        other => match other.strip_suffix(".*") {
            Some(base) => star(base),
            None => Expr::new(ExprKind::Column(name_parts(other))),
        },
    };
    Column { expr, alias: None }
}

/// A constant.
pub fn lit(value: impl Into<Literal>) -> Column {
    Column { expr: Expr::new(ExprKind::Literal(value.into())), alias: None }
}

/// An expression as SQL text, with `AS name` if wanted.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with the column in the text.
pub fn expr(text: &str) -> millstream_core::Result<Column> {
    let item = parse_select_item(text).map_err(|d: Diagnostic| d.to_error(text))?;
    Ok(Column { expr: item.expr, alias: item.alias }.without_places())
}

fn name_parts(name: &str) -> Vec<Ident> {
    let mut parts = Vec::new();
    let (mut part, mut quoted, mut any) = (String::new(), false, false);
    for c in name.chars() {
        match c {
            '`' => {
                quoted = !quoted;
                any = true;
            }
            '.' if !quoted => {
                parts.push(Ident::new(std::mem::take(&mut part)));
                any = false;
            }
            other => {
                part.push(other);
                any = true;
            }
        }
    }
    if any || !part.is_empty() {
        parts.push(Ident::new(part));
    }
    parts
}

/// The other side of an operator: a [`Column`], or a constant as in Spark, where
/// `col("country").eq("DE")` compares with the text `DE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand(Column);

impl From<Column> for Operand {
    fn from(column: Column) -> Self {
        Operand(column)
    }
}

impl<T: Into<Literal>> From<T> for Operand {
    fn from(value: T) -> Self {
        Operand(lit(value))
    }
}

/// What `filter` takes: a [`Column`], or SQL text such as `amount > 0 AND country = 'DE'`. The
/// name of a BOOLEAN column is a condition too.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(ConditionOf);

#[derive(Debug, Clone, PartialEq)]
enum ConditionOf {
    Column(Column),
    Text(String),
}

impl Condition {
    /// The expression, and the text that its places point into; empty for columns.
    pub(crate) fn parse(self) -> millstream_core::Result<(Expr, String)> {
        match self.0 {
            ConditionOf::Column(column) => Ok((column.into_expr(), String::new())),
            ConditionOf::Text(text) => {
                let item = parse_select_item(&text).map_err(|d| d.to_error(&text))?;
                Ok((item.expr, text))
            }
        }
    }
}

impl From<Column> for Condition {
    fn from(column: Column) -> Self {
        Condition(ConditionOf::Column(column))
    }
}

impl From<&str> for Condition {
    fn from(text: &str) -> Self {
        Condition(ConditionOf::Text(text.to_owned()))
    }
}

impl From<String> for Condition {
    fn from(text: String) -> Self {
        Condition(ConditionOf::Text(text))
    }
}

impl From<&String> for Condition {
    fn from(text: &String) -> Self {
        Condition::from(text.as_str())
    }
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        col(name)
    }
}

impl From<&String> for Column {
    fn from(name: &String) -> Self {
        col(name)
    }
}

impl Column {
    pub(crate) fn of(kind: ExprKind) -> Self {
        Column { expr: Expr::new(kind), alias: None }
    }

    pub(crate) fn into_expr(self) -> Expr {
        self.expr
    }

    pub(crate) fn into_item(self) -> SelectItem {
        SelectItem { expr: self.expr, alias: self.alias }
    }

    fn without_places(mut self) -> Self {
        // Places in an expression's own text mean nothing beside other texts.
        self.expr.span = Span::NONE;
        self
    }

    /// The inner expression, with a name inside constructors such as `struct`.
    pub(crate) fn into_argument(self) -> Expr {
        match self.alias {
            Some(alias) => Expr::new(ExprKind::Alias(Box::new(self.expr), alias)),
            None => self.expr,
        }
    }

    fn boxed(self) -> Box<Expr> {
        Box::new(self.expr)
    }

    fn binary(self, op: BinaryOp, other: impl Into<Operand>) -> Column {
        Column::of(ExprKind::Binary(op, self.boxed(), other.into().0.boxed()))
    }

    /// `AS name`
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Column {
        self.alias = Some(Ident::new(name));
        self
    }

    /// `CAST(self AS type)`; the type is written as in SQL.
    #[must_use]
    pub fn cast(self, to: impl Into<String>) -> Column {
        self.cast_as(to, CastMode::Cast)
    }

    /// `TRY_CAST(self AS type)`: NULL for what does not fit.
    #[must_use]
    pub fn try_cast(self, to: impl Into<String>) -> Column {
        self.cast_as(to, CastMode::Try)
    }

    fn cast_as(self, to: impl Into<String>, mode: CastMode) -> Column {
        let to = TypeText { text: to.into(), span: Span::NONE };
        Column::of(ExprKind::Cast { expr: self.boxed(), to, mode })
    }

    /// `self = other`
    #[must_use]
    pub fn eq(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::Equal, other)
    }

    /// `self <> other`
    #[must_use]
    pub fn not_eq(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::NotEqual, other)
    }

    /// `self <=> other`: NULL equals NULL.
    #[must_use]
    pub fn eq_null_safe(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::NullSafeEqual, other)
    }

    /// `self > other`
    #[must_use]
    pub fn gt(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::Greater, other)
    }

    /// `self >= other`
    #[must_use]
    pub fn gt_eq(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::GreaterOrEqual, other)
    }

    /// `self < other`
    #[must_use]
    pub fn lt(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::Less, other)
    }

    /// `self <= other`
    #[must_use]
    pub fn lt_eq(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::LessOrEqual, other)
    }

    /// `self AND other`
    #[must_use]
    pub fn and(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::And, other)
    }

    /// `self OR other`
    #[must_use]
    pub fn or(self, other: impl Into<Operand>) -> Column {
        self.binary(BinaryOp::Or, other)
    }

    /// `self IS NULL`
    #[must_use]
    pub fn is_null(self) -> Column {
        Column::of(ExprKind::IsNull { expr: self.boxed(), negated: false })
    }

    /// `self IS NOT NULL`
    #[must_use]
    pub fn is_not_null(self) -> Column {
        Column::of(ExprKind::IsNull { expr: self.boxed(), negated: true })
    }

    /// `self IN (values)`
    #[must_use]
    pub fn is_in<V: Into<Operand>>(self, values: impl IntoIterator<Item = V>) -> Column {
        let list = values.into_iter().map(|v| v.into().0.expr).collect();
        Column::of(ExprKind::InList { expr: self.boxed(), list, negated: false })
    }

    /// `self BETWEEN low AND high`
    #[must_use]
    pub fn between(self, low: impl Into<Operand>, high: impl Into<Operand>) -> Column {
        Column::of(ExprKind::Between {
            expr: self.boxed(),
            low: low.into().0.boxed(),
            high: high.into().0.boxed(),
            negated: false,
        })
    }

    /// `self LIKE pattern`
    #[must_use]
    pub fn like(self, pattern: &str) -> Column {
        self.like_as(LikeOp::Like, pattern)
    }

    /// `self RLIKE pattern`
    #[must_use]
    pub fn rlike(self, pattern: &str) -> Column {
        self.like_as(LikeOp::RLike, pattern)
    }

    fn like_as(self, op: LikeOp, pattern: &str) -> Column {
        let pattern = lit(pattern).boxed();
        Column::of(ExprKind::Like { op, expr: self.boxed(), pattern, escape: None, negated: false })
    }

    /// `self.name`: a field of a struct.
    #[must_use]
    pub fn get_field(self, name: impl Into<String>) -> Column {
        Column::of(ExprKind::Field(self.boxed(), Ident::new(name)))
    }

    /// `self[key]`: an element of an array, or the value of a map's key.
    #[must_use]
    pub fn get_item(self, key: impl Into<Literal>) -> Column {
        Column::of(ExprKind::Index(self.boxed(), lit(key).boxed()))
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:ident) => {
        impl<V: Into<Operand>> std::ops::$trait<V> for Column {
            type Output = Column;
            fn $method(self, other: V) -> Column {
                self.binary(BinaryOp::$op, other)
            }
        }
    };
}

operator!(Add, add, Add);
operator!(Sub, sub, Subtract);
operator!(Mul, mul, Multiply);
operator!(Div, div, Divide);
operator!(Rem, rem, Modulo);

impl std::ops::Not for Column {
    type Output = Column;
    fn not(self) -> Column {
        Column::of(ExprKind::Unary(UnaryOp::Not, self.boxed()))
    }
}

impl std::ops::Neg for Column {
    type Output = Column;
    fn neg(self) -> Column {
        Column::of(ExprKind::Unary(UnaryOp::Minus, self.boxed()))
    }
}
