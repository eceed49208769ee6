//! Parsed expressions without columns to typed expressions, through [`Functions`] alone.

use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, lit};
use millstream_functions::{Functions, LikeKind, Op, spark_error};
use millstream_sql::ast::{self, BinaryOp, CastMode, ExprKind, LikeOp, Literal, UnaryOp};
use millstream_types::DataType;

/// Lowers one expression.
pub(crate) fn lower(tree: &ast::Expr, f: &Functions, schema: &DFSchema) -> Result<Expr> {
    let go = |e: &ast::Expr| lower(e, f, schema);
    match &tree.kind {
        ExprKind::Literal(literal) => literal_expr(literal, f),
        ExprKind::Unary(op, operand) => {
            let operand = go(operand)?;
            match op {
                UnaryOp::Minus => f.negate(operand, schema),
                UnaryOp::Plus => Ok(operand),
                UnaryOp::BitNot => f.bit_not(operand, schema),
                UnaryOp::Not => f.not(operand, schema),
            }
        }
        ExprKind::Binary(op, left, right) => f.binary(operator(*op), go(left)?, go(right)?, schema),
        ExprKind::IsNull { expr, negated } => {
            let name = if *negated { "isnotnull" } else { "isnull" };
            f.call(name, vec![go(expr)?], schema)
        }
        ExprKind::IsBoolean { expr, value, negated } => {
            f.is_boolean(go(expr)?, *value, *negated, schema)
        }
        ExprKind::Between { expr, low, high, negated } => {
            f.between(go(expr)?, go(low)?, go(high)?, *negated, schema)
        }
        ExprKind::InList { expr, list, negated } => {
            let list = list.iter().map(go).collect::<Result<Vec<_>>>()?;
            f.in_list(go(expr)?, list, *negated, schema)
        }
        ExprKind::Like { op, expr, pattern, escape, negated } => {
            let kind = match op {
                LikeOp::Like => LikeKind::Like,
                LikeOp::ILike => LikeKind::ILike,
                LikeOp::RLike => LikeKind::RLike,
            };
            f.like(kind, go(expr)?, go(pattern)?, *escape, *negated, schema)
        }
        ExprKind::Case { operand, branches, otherwise } => {
            let operand = operand.as_deref().map(go).transpose()?;
            let branches = branches
                .iter()
                .map(|(condition, result)| Ok((go(condition)?, go(result)?)))
                .collect::<Result<Vec<_>>>()?;
            let otherwise = otherwise.as_deref().map(go).transpose()?;
            f.case(operand, branches, otherwise, schema)
        }
        ExprKind::Cast { expr, to, mode } => {
            let target = DataType::parse_ddl(&to.text)
                .map_err(|e| datafusion::common::DataFusionError::External(Box::new(e)))?;
            match mode {
                CastMode::Cast => f.cast(go(expr)?, &target, schema),
                CastMode::Try => f.try_cast(go(expr)?, &target, schema),
            }
        }
        ExprKind::Function { name, args, .. } => {
            let args = args.iter().map(go).collect::<Result<Vec<_>>>()?;
            f.call(&name.name, args, schema)
        }
        ExprKind::Field(base, name) => f.field(go(base)?, &name.name, schema),
        ExprKind::Index(base, key) => f.index(go(base)?, go(key)?, schema),
        ExprKind::Alias(expr, name) => Ok(go(expr)?.alias(&name.name)),
        ExprKind::Column(parts) if parts.len() == 1 => f.call(&parts[0].name, vec![], schema),
        other => Err(spark_error("UNSUPPORTED", format!("{other:?}"))),
    }
}

fn literal_expr(literal: &Literal, f: &Functions) -> Result<Expr> {
    Ok(match literal {
        Literal::Null => Expr::Literal(ScalarValue::Null, None),
        Literal::Boolean(v) => lit(*v),
        Literal::Integer(digits) => match (digits.parse::<i32>(), digits.parse::<i64>()) {
            (Ok(v), _) => lit(v),
            (_, Ok(v)) => lit(v),
            _ => decimal(digits),
        },
        Literal::Byte(v) => lit(*v),
        Literal::Short(v) => lit(*v),
        Literal::Long(v) => lit(*v),
        Literal::Decimal(digits) => decimal(digits),
        Literal::Float(v) => lit(*v),
        Literal::Double(v) => lit(*v),
        Literal::String(v) => lit(v.as_str()),
        Literal::Binary(v) => lit(v.clone()),
        Literal::Typed(name, text) => f.typed_literal(name, text)?,
        Literal::Interval(text) => f.interval(text)?,
    })
}

fn decimal(digits: &str) -> Expr {
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value: i128 = format!("{whole}{fraction}").parse().unwrap();
    let mut scale = i32::try_from(fraction.len()).unwrap() - exponent.parse::<i32>().unwrap();
    while scale < 0 {
        value *= 10;
        scale += 1;
    }
    let scale = i8::try_from(scale).unwrap();
    let digits = u8::try_from(value.unsigned_abs().to_string().len()).unwrap();
    let precision = digits.max(u8::try_from(scale).unwrap());
    Expr::Literal(ScalarValue::Decimal128(Some(value), precision, scale), None)
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
