//! Syntax trees, unresolved. SQL text and DataFrame verbs both build these, so that both are
//! analysed by the same rules.

use crate::diagnostic::Span;

/// A name as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Ident {
    /// The name, without quotes.
    pub name: String,
    /// Where.
    pub span: Span,
}

impl Ident {
    /// A name with no place in a text.
    pub fn new(name: impl Into<String>) -> Self {
        Ident { name: name.into(), span: Span::NONE }
    }
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
}

impl Expr {
    /// An expression with no place in a text.
    pub fn new(kind: ExprKind) -> Self {
        Expr { kind, span: Span::NONE }
    }
}

/// A literal with the type that its spelling gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `NULL`
    Null,
    /// `TRUE`, `FALSE`
    Boolean(bool),
    /// Digits without suffix: INT, BIGINT or DECIMAL by size.
    Integer(String),
    /// `1Y`
    Byte(i8),
    /// `1S`
    Short(i16),
    /// `1L`
    Long(i64),
    /// `1.5`, or `1.5BD`: DECIMAL with the digits written.
    Decimal(String),
    /// `1.5F`
    Float(f32),
    /// `1.5D`, `1e3`
    Double(f64),
    /// `'x'`
    String(String),
    /// `X'1F'`
    Binary(Vec<u8>),
    /// `DATE '2026-01-02'`, `TIMESTAMP '..'`, `TIMESTAMP_NTZ '..'`: type name and text.
    Typed(String, String),
    /// `INTERVAL 10 SECONDS`: value and unit pairs as written.
    Interval(String),
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Literal::String(text.to_owned())
    }
}

impl From<String> for Literal {
    fn from(text: String) -> Self {
        Literal::String(text)
    }
}

impl From<bool> for Literal {
    fn from(value: bool) -> Self {
        Literal::Boolean(value)
    }
}

impl From<i32> for Literal {
    fn from(value: i32) -> Self {
        Literal::Integer(value.to_string())
    }
}

impl From<i64> for Literal {
    fn from(value: i64) -> Self {
        Literal::Long(value)
    }
}

impl From<f64> for Literal {
    fn from(value: f64) -> Self {
        Literal::Double(value)
    }
}

/// Operators with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `DIV`
    IntegralDivide,
    /// `||`
    Concat,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `=`, `==`
    Equal,
    /// `<=>`
    NullSafeEqual,
    /// `<>`, `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `AND`
    And,
    /// `OR`
    Or,
}

impl BinaryOp {
    /// As Spark prints it.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::Modulo => "%",
            BinaryOp::IntegralDivide => "div",
            BinaryOp::Concat => "||",
            BinaryOp::BitAnd => "&",
            BinaryOp::BitOr => "|",
            BinaryOp::BitXor => "^",
            BinaryOp::Equal => "=",
            BinaryOp::NullSafeEqual => "<=>",
            BinaryOp::NotEqual => "<>",
            BinaryOp::Less => "<",
            BinaryOp::LessOrEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterOrEqual => ">=",
            BinaryOp::And => "AND",
            BinaryOp::Or => "OR",
        }
    }
}

/// Operators with one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Minus,
    /// `+`
    Plus,
    /// `~`
    BitNot,
    /// `NOT`, `!`
    Not,
}

/// `LIKE` and its relatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LikeOp {
    /// `LIKE`
    Like,
    /// `ILIKE`
    ILike,
    /// `RLIKE`, `REGEXP`
    RLike,
}

/// What a `CAST` does with a value that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CastMode {
    /// `CAST(x AS t)`: by `spark.sql.ansi.enabled`.
    Cast,
    /// `TRY_CAST(x AS t)`: NULL.
    Try,
}

/// A type as written.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeText {
    /// The text.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A sort key.
#[derive(Debug, Clone, PartialEq)]
pub struct SortKey {
    /// What to sort by.
    pub expr: Expr,
    /// `DESC`.
    pub descending: bool,
    /// `NULLS FIRST` (true) or `NULLS LAST` (false) where written.
    pub nulls_first: Option<bool>,
}

/// Kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// `a`, `t.a`, `a.b.c`
    Column(Vec<Ident>),
    /// `*`, `t.*`, `data.*`, with `EXCEPT (..)`
    Star {
        /// What stands before the star.
        qualifier: Vec<Ident>,
        /// Columns left out.
        except: Vec<Ident>,
    },
    /// A literal.
    Literal(Literal),
    /// One operand.
    Unary(UnaryOp, Box<Expr>),
    /// Two operands.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `x IS [NOT] NULL`
    IsNull {
        /// Operand.
        expr: Box<Expr>,
        /// `IS NOT NULL`.
        negated: bool,
    },
    /// `x IS [NOT] TRUE|FALSE|UNKNOWN`
    IsBoolean {
        /// Operand.
        expr: Box<Expr>,
        /// TRUE, FALSE, or UNKNOWN.
        value: Option<bool>,
        /// `IS NOT`.
        negated: bool,
    },
    /// `x [NOT] BETWEEN a AND b`
    Between {
        /// Operand.
        expr: Box<Expr>,
        /// Lower bound.
        low: Box<Expr>,
        /// Upper bound.
        high: Box<Expr>,
        /// `NOT BETWEEN`.
        negated: bool,
    },
    /// `x [NOT] IN (a, b)`
    InList {
        /// Operand.
        expr: Box<Expr>,
        /// Candidates.
        list: Vec<Expr>,
        /// `NOT IN`.
        negated: bool,
    },
    /// `x [NOT] LIKE p [ESCAPE e]`
    Like {
        /// Which.
        op: LikeOp,
        /// Operand.
        expr: Box<Expr>,
        /// Pattern.
        pattern: Box<Expr>,
        /// Escape character.
        escape: Option<char>,
        /// `NOT`.
        negated: bool,
    },
    /// `CASE [x] WHEN .. THEN .. [ELSE ..] END`
    Case {
        /// `CASE x`.
        operand: Option<Box<Expr>>,
        /// Conditions and results.
        branches: Vec<(Expr, Expr)>,
        /// `ELSE`.
        otherwise: Option<Box<Expr>>,
    },
    /// `CAST(x AS t)`, `x::t`, `TRY_CAST(x AS t)`
    Cast {
        /// Operand.
        expr: Box<Expr>,
        /// Target.
        to: TypeText,
        /// What happens to values that do not fit.
        mode: CastMode,
    },
    /// `f(a, b)`
    Function {
        /// Name as written.
        name: Ident,
        /// Arguments.
        args: Vec<Expr>,
        /// `f(DISTINCT a)`.
        distinct: bool,
    },
    /// `x.f` where `x` is not a name
    Field(Box<Expr>, Ident),
    /// `x[i]`
    Index(Box<Expr>, Box<Expr>),
    /// `x AS name`, for struct constructors and the DataFrame interface
    Alias(Box<Expr>, Ident),
}

/// One column of a SELECT list.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectItem {
    /// The expression.
    pub expr: Expr,
    /// `AS name`.
    pub alias: Option<Ident>,
}

/// `WITH .. SELECT .. ORDER BY .. LIMIT ..`
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Named subqueries.
    pub with: Vec<(Ident, Query)>,
    /// What it selects.
    pub body: SetExpr,
    /// `ORDER BY`.
    pub order_by: Vec<SortKey>,
    /// `LIMIT`.
    pub limit: Option<Expr>,
    /// `OFFSET`.
    pub offset: Option<Expr>,
    /// Where.
    pub span: Span,
}

/// Set operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOp {
    /// `UNION`
    Union,
    /// `INTERSECT`
    Intersect,
    /// `EXCEPT`, `MINUS`
    Except,
}

/// The body of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum SetExpr {
    /// `SELECT ..`
    Select(Box<Select>),
    /// `VALUES (..), (..)`
    Values(Vec<Vec<Expr>>, Span),
    /// `( query )`
    Query(Box<Query>),
    /// `a UNION ALL b`
    Set {
        /// Which.
        op: SetOp,
        /// `ALL`.
        all: bool,
        /// Left side.
        left: Box<SetExpr>,
        /// Right side.
        right: Box<SetExpr>,
        /// Where the operator stands.
        span: Span,
    },
}

/// `SELECT` without its set operators, order and limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// `DISTINCT`.
    pub distinct: bool,
    /// The list.
    pub items: Vec<SelectItem>,
    /// `FROM`.
    pub from: Option<Relation>,
    /// `LATERAL VIEW`s in order.
    pub lateral_views: Vec<LateralView>,
    /// `WHERE`.
    pub filter: Option<Expr>,
    /// `GROUP BY`.
    pub group_by: Vec<Expr>,
    /// `GROUP BY ALL`.
    pub group_by_all: bool,
    /// `HAVING`.
    pub having: Option<Expr>,
    /// Where.
    pub span: Span,
}

/// `LATERAL VIEW [OUTER] explode(x) t AS c`
#[derive(Debug, Clone, PartialEq)]
pub struct LateralView {
    /// `OUTER`.
    pub outer: bool,
    /// The generator call.
    pub generator: Expr,
    /// Table alias.
    pub table: Option<Ident>,
    /// Column aliases.
    pub columns: Vec<Ident>,
}

/// `name => value` or `value` in a table function's parentheses.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// The name, for `name => value`.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// Whether a relation is read as a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAs {
    /// `STREAM x`
    Stream,
    /// `x`
    Batch,
}

/// Kinds of joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// `[INNER] JOIN`
    Inner,
    /// `LEFT [OUTER] JOIN`
    Left,
    /// `RIGHT [OUTER] JOIN`
    Right,
    /// `FULL [OUTER] JOIN`
    Full,
    /// `LEFT SEMI JOIN`
    LeftSemi,
    /// `LEFT ANTI JOIN`
    LeftAnti,
    /// `CROSS JOIN`
    Cross,
}

/// Something in a FROM clause.
#[derive(Debug, Clone, PartialEq)]
pub enum Relation {
    /// A table, a view, or `` delta.`/path` ``
    Table {
        /// Name in parts.
        name: Vec<Ident>,
        /// `STREAM t`.
        read_as: ReadAs,
        /// `AS a`.
        alias: Option<Ident>,
        /// Where.
        span: Span,
    },
    /// `read_kafka(a => b)`
    Function {
        /// Name.
        name: Ident,
        /// Arguments.
        args: Vec<Argument>,
        /// `STREAM f(..)`.
        read_as: ReadAs,
        /// `AS a`.
        alias: Option<Ident>,
        /// Where.
        span: Span,
    },
    /// `(query) AS a`
    Subquery {
        /// The query.
        query: Box<Query>,
        /// `AS a`.
        alias: Option<Ident>,
        /// `AS a (x, y)`.
        columns: Vec<Ident>,
    },
    /// `a JOIN b`
    Join {
        /// Left side.
        left: Box<Relation>,
        /// Right side.
        right: Box<Relation>,
        /// Which.
        kind: JoinKind,
        /// `ON`.
        on: Option<Expr>,
        /// `USING`.
        using: Vec<Ident>,
        /// Where the keyword stands.
        span: Span,
    },
}

/// One column of a table definition.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    /// Name.
    pub name: Ident,
    /// Type.
    pub data_type: TypeText,
    /// `NOT NULL` was not written.
    pub nullable: bool,
    /// `COMMENT`.
    pub comment: Option<String>,
}

/// The clauses of `CREATE STREAMING TABLE`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateStreamingTable {
    /// Name in parts.
    pub name: Vec<Ident>,
    /// `OR REFRESH`.
    pub or_refresh: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `(columns)`.
    pub columns: Vec<ColumnDef>,
    /// `USING`.
    pub using: Option<Ident>,
    /// `PARTITIONED BY`.
    pub partitioned_by: Option<Vec<Ident>>,
    /// `LOCATION`.
    pub location: Option<String>,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// `TBLPROPERTIES`.
    pub properties: Vec<(Ident, String)>,
    /// `AS SELECT`.
    pub query: Option<Query>,
}

/// A statement of a pipeline file.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// Where.
    pub span: Span,
}

/// Kinds of statements.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `SET name = value`
    Set {
        /// Key.
        name: Ident,
        /// Value as written.
        value: String,
    },
    /// `CREATE [OR REPLACE] TEMPORARY VIEW v AS ..`
    CreateView {
        /// Name in parts.
        name: Vec<Ident>,
        /// `OR REPLACE`.
        or_replace: bool,
        /// `(a, b)`.
        columns: Vec<Ident>,
        /// `AS`.
        query: Query,
    },
    /// `CREATE STREAMING TABLE`
    CreateStreamingTable(Box<CreateStreamingTable>),
    /// `CREATE FLOW f AS INSERT INTO t BY NAME SELECT ..`
    CreateFlow {
        /// Name of the flow.
        name: Ident,
        /// Table in parts.
        target: Vec<Ident>,
        /// `AS INSERT INTO t BY NAME`.
        query: Query,
    },
    /// A query by itself.
    Query(Query),
}
