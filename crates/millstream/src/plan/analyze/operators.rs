//! Operators: Spark's semantics come from the function library, the printed names from here.

use super::{Analysis, Analyzer, Scope, Typed, mismatch};
use arrow::datatypes::DataType as ArrowType;
use millstream_functions::Op;
use millstream_sql::Span;
use millstream_sql::ast::{BinaryOp, UnaryOp};

impl Analyzer<'_> {
    /// `left op right`
    pub(crate) fn binary(
        &self,
        op: BinaryOp,
        left: Typed,
        right: Typed,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let text = binary_text(op, &left, &right);
        self.boolean_operands(op, [&left, &right])?;
        let expr = self.functions.binary(operator(op), left.expr, right.expr, scope.schema);
        Typed::new(expr, text, scope, span)
    }

    /// AND and OR: the mistake is placed at the operand that is no condition.
    fn boolean_operands(&self, op: BinaryOp, operands: [&Typed; 2]) -> Analysis<()> {
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            operands.into_iter().try_for_each(|o| check_condition(o, op.symbol()))?;
        }
        Ok(())
    }

    /// `op operand`
    pub(crate) fn unary(
        &self,
        op: UnaryOp,
        operand: Typed,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let (schema, text) = (scope.schema, &operand.text);
        let (text, expr) = match op {
            UnaryOp::Not => {
                check_condition(&operand, "NOT")?;
                (format!("(NOT {text})"), self.functions.not(operand.expr, schema))
            }
            UnaryOp::BitNot => (format!("~{text}"), self.functions.bit_not(operand.expr, schema)),
            UnaryOp::Minus => (format!("(- {text})"), self.functions.negate(operand.expr, schema)),
            UnaryOp::Plus => {
                (format!("(+ {text})"), self.functions.call("positive", vec![operand.expr], schema))
            }
        };
        Typed::new(expr, text, scope, span)
    }

    /// A condition, as WHERE, HAVING and ON take it.
    pub(crate) fn condition(
        &self,
        typed: Typed,
        what: &str,
        scope: Scope<'_>,
    ) -> Analysis<datafusion::logical_expr::Expr> {
        check_condition(&typed, what)?;
        let span = typed.span;
        self.functions.condition(typed.expr, scope.schema).map_err(|e| super::refused(e, span))
    }
}

/// Refuses what is not BOOLEAN, at its own place.
pub(crate) fn check_condition(typed: &Typed, what: &str) -> Analysis<()> {
    if matches!(typed.arrow, ArrowType::Boolean | ArrowType::Null) {
        return Ok(());
    }
    let why = format!("{what} needs \"BOOLEAN\", but it is {}", typed.type_name());
    Err(mismatch(&typed.text, why, typed.span))
}

fn operator(op: BinaryOp) -> Op {
    match op {
        BinaryOp::Add => Op::Add,
        BinaryOp::Subtract => Op::Subtract,
        BinaryOp::Multiply => Op::Multiply,
        BinaryOp::Divide => Op::Divide,
        BinaryOp::Modulo => Op::Modulo,
        BinaryOp::IntegralDivide => Op::IntegralDivide,
        BinaryOp::Concat => Op::Concat,
        BinaryOp::BitAnd => Op::BitAnd,
        BinaryOp::BitOr => Op::BitOr,
        BinaryOp::BitXor => Op::BitXor,
        BinaryOp::Equal => Op::Equal,
        BinaryOp::NullSafeEqual => Op::NullSafeEqual,
        BinaryOp::NotEqual => Op::NotEqual,
        BinaryOp::Less => Op::Less,
        BinaryOp::LessOrEqual => Op::LessOrEqual,
        BinaryOp::Greater => Op::Greater,
        BinaryOp::GreaterOrEqual => Op::GreaterOrEqual,
        BinaryOp::And => Op::And,
        BinaryOp::Or => Op::Or,
    }
}

/// As Spark prints the operation, which it replaces by functions for dates and text.
fn binary_text(op: BinaryOp, left: &Typed, right: &Typed) -> String {
    let (l, r) = (&left.text, &right.text);
    let date = |t: &Typed| t.arrow == ArrowType::Date32;
    let timestamp = |t: &Typed| matches!(t.arrow, ArrowType::Timestamp(..));
    let interval = |t: &Typed| matches!(t.arrow, ArrowType::Duration(_) | ArrowType::Interval(_));
    match op {
        BinaryOp::NotEqual => format!("(NOT ({l} = {r}))"),
        BinaryOp::Concat => format!("concat({l}, {r})"),
        BinaryOp::Add if date(left) && right.arrow.is_integer() => format!("date_add({l}, {r})"),
        BinaryOp::Add if date(right) && left.arrow.is_integer() => format!("date_add({r}, {l})"),
        BinaryOp::Subtract if date(left) && right.arrow.is_integer() => {
            format!("date_sub({l}, {r})")
        }
        BinaryOp::Add | BinaryOp::Subtract
            if (timestamp(left) || date(left)) && interval(right) =>
        {
            format!("{l} {} {r}", op.symbol())
        }
        _ => format!("({l} {} {r})", op.symbol()),
    }
}
