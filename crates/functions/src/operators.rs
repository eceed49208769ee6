//! Spark's operators over typed expressions.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, Like, Operator, lit};

use crate::coercion::{self, is_integral, is_numeric, is_timestamp, type_name};
use crate::def::DAY_TIME;
use crate::error::spark_error;
use crate::functions::Functions;

/// Operators with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
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
    /// `=`
    Equal,
    /// `<=>`
    NullSafeEqual,
    /// `<>`
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

/// `LIKE` and its relatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LikeKind {
    /// `LIKE`
    Like,
    /// `ILIKE`
    ILike,
    /// `RLIKE`
    RLike,
}

impl Functions {
    /// `left op right`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.*` when the operator does not take such operands.
    pub fn binary(&self, op: Op, left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
        match op {
            Op::Concat => self.call("concat", vec![left, right], schema),
            Op::And | Op::Or => {
                let left = self.condition(left, schema)?;
                let right = self.condition(right, schema)?;
                let op = if op == Op::And { Operator::And } else { Operator::Or };
                Ok(binary_expr(left, op, right))
            }
            Op::BitAnd | Op::BitOr | Op::BitXor => self.bitwise(op, left, right, schema),
            Op::Add => self.arithmetic("spark_add", left, right, schema),
            Op::Subtract => self.arithmetic("spark_subtract", left, right, schema),
            Op::Multiply => self.arithmetic("spark_multiply", left, right, schema),
            Op::Divide => self.arithmetic("spark_divide", left, right, schema),
            Op::Modulo => self.arithmetic("mod", left, right, schema),
            Op::IntegralDivide => self.arithmetic("div", left, right, schema),
            Op::Equal => self.compare(Operator::Eq, left, right, schema),
            Op::NullSafeEqual => self.compare(Operator::IsNotDistinctFrom, left, right, schema),
            Op::NotEqual => self.compare(Operator::NotEq, left, right, schema),
            Op::Less => self.compare(Operator::Lt, left, right, schema),
            Op::LessOrEqual => self.compare(Operator::LtEq, left, right, schema),
            Op::Greater => self.compare(Operator::Gt, left, right, schema),
            Op::GreaterOrEqual => self.compare(Operator::GtEq, left, right, schema),
        }
    }

    /// An expression used as a condition: BOOLEAN, or NULL.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
    pub fn condition(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        let data_type = expr.get_type(schema)?;
        match data_type {
            DataType::Boolean => Ok(expr),
            DataType::Null => self.cast_between(expr, &data_type, &DataType::Boolean),
            other => Err(mismatch("a condition requires the \"BOOLEAN\" type", &other)),
        }
    }

    fn compare(&self, op: Operator, left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
        let (lt, rt) = (left.get_type(schema)?, right.get_type(schema)?);
        let common = coercion::comparison(&lt, &rt, self.settings().ansi)
            .filter(|t| !matches!(t, DataType::Map(..)))
            .ok_or_else(|| differ(&lt, &rt))?;
        let left = self.float_key(self.cast_between(left, &lt, &common)?, &common)?;
        let right = self.float_key(self.cast_between(right, &rt, &common)?, &common)?;
        Ok(binary_expr(left, op, right))
    }

    /// Negative zero equals zero in Spark, but not in Arrow's total order.
    fn float_key(&self, expr: Expr, data_type: &DataType) -> Result<Expr> {
        if !matches!(data_type, DataType::Float32 | DataType::Float64) {
            return Ok(expr);
        }
        let negative_zero = match &expr {
            Expr::Literal(ScalarValue::Float64(Some(v)), _) => *v == 0.0,
            Expr::Literal(ScalarValue::Float32(Some(v)), _) => *v == 0.0,
            Expr::Literal(..) => false,
            _ => true,
        };
        if !negative_zero {
            return Ok(expr);
        }
        let udf = self.udf("normalize_zero")?;
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(udf, vec![expr])))
    }

    fn bitwise(&self, op: Op, left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
        let (lt, rt) = (left.get_type(schema)?, right.get_type(schema)?);
        let common = coercion::wider(&lt, &rt, self.settings().ansi)
            .filter(|t| is_integral(t) || matches!(t, DataType::Null))
            .ok_or_else(|| differ(&lt, &rt))?;
        let common = if common == DataType::Null { DataType::Int32 } else { common };
        let left = self.cast_between(left, &lt, &common)?;
        let right = self.cast_between(right, &rt, &common)?;
        let op = match op {
            Op::BitAnd => Operator::BitwiseAnd,
            Op::BitOr => Operator::BitwiseOr,
            _ => Operator::BitwiseXor,
        };
        Ok(binary_expr(left, op, right))
    }

    /// `+ - * / % DIV` by the UDF `name`, or date and time arithmetic.
    pub(crate) fn arithmetic(
        &self,
        name: &str,
        left: Expr,
        right: Expr,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let (lt, rt) = (left.get_type(schema)?, right.get_type(schema)?);
        if let Some(expr) = self.time_arithmetic(name, &left, &lt, &right, &rt, schema)? {
            return Ok(expr);
        }
        let (lt, rt) = (literal_type(&left, lt, &rt), (right, rt));
        let (right, rt) = rt;
        let rt = literal_type(&right, rt, &lt);
        let (to_left, to_right) = self.operand_types(name, &lt, &rt)?;
        let left = self.coerce(left, &to_left, schema)?;
        let right = self.coerce(right, &to_right, schema)?;
        let udf = self.udf(name)?;
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(udf, vec![left, right]));
        expr.get_type(schema)?;
        Ok(expr)
    }

    /// The types the two operands are cast to.
    fn operand_types(
        &self,
        name: &str,
        left: &DataType,
        right: &DataType,
    ) -> Result<(DataType, DataType)> {
        use DataType::{Decimal128, Float64, Int64, Null, Utf8};
        let ansi = self.settings().ansi;
        let number = |t: &DataType, other: &DataType| match t {
            Utf8 if !ansi => Some(Float64),
            Utf8 if is_numeric(other) => coercion::wider(t, other, true),
            Null if is_numeric(other) => Some(other.clone()),
            Null => Some(Float64),
            t if is_numeric(t) => Some(t.clone()),
            _ => None,
        };
        let (Some(l), Some(r)) = (number(left, right), number(right, left)) else {
            let same = left == right;
            return Err(operand_error(name, left, right, same));
        };
        let decimal = matches!(l, Decimal128(..)) || matches!(r, Decimal128(..));
        let float =
            matches!(l, DataType::Float32 | Float64) || matches!(r, DataType::Float32 | Float64);
        match name {
            "spark_divide" | "try_divide" if float || !decimal => Ok((Float64, Float64)),
            "div" if float => Err(operand_error(name, left, right, l == r)),
            "div" if !decimal => Ok((Int64, Int64)),
            _ if decimal && !float => Ok((as_decimal(&l), as_decimal(&r))),
            _ => {
                let common = coercion::wider(&l, &r, ansi).ok_or_else(|| differ(left, right))?;
                Ok((common.clone(), common))
            }
        }
    }

    fn time_arithmetic(
        &self,
        name: &str,
        left: &Expr,
        lt: &DataType,
        right: &Expr,
        rt: &DataType,
        schema: &DFSchema,
    ) -> Result<Option<Expr>> {
        let plus = matches!(name, "spark_add" | "try_add");
        if !plus && !matches!(name, "spark_subtract" | "try_subtract") {
            return Ok(None);
        }
        let is_interval = |t: &DataType| *t == DAY_TIME || matches!(t, DataType::Interval(_));
        let days = |t: &DataType| {
            is_integral(t) && !matches!(t, DataType::Int64) || matches!(t, DataType::Null)
        };
        let call = |name: &str, args: Vec<Expr>| self.plain(name, args, schema).map(Some);
        let (l, r) = (left.clone(), right.clone());
        match (lt, rt) {
            (DataType::Date32, t) if days(t) => {
                call(if plus { "date_add" } else { "date_sub" }, vec![l, r])
            }
            (t, DataType::Date32) if plus && days(t) => call("date_add", vec![r, l]),
            (DataType::Date32, DataType::Date32) if !plus => call("subtract_dates", vec![l, r]),
            (a, b)
                if !plus
                    && (is_timestamp(a) || is_timestamp(b))
                    && (is_timestamp(a) || *a == DataType::Date32)
                    && (is_timestamp(b) || *b == DataType::Date32) =>
            {
                call("subtract_timestamps", vec![l, r])
            }
            (a, b) if is_interval(b) && (is_timestamp(a) || *a == DataType::Date32) => {
                let interval = if plus { r } else { self.negate(r, schema)? };
                self.add_interval(l, a, interval, b, schema).map(Some)
            }
            (a, b) if plus && is_interval(a) && (is_timestamp(b) || *b == DataType::Date32) => {
                self.add_interval(r, b, l, a, schema).map(Some)
            }
            (DataType::Utf8, b) if is_interval(b) => {
                let timestamp = crate::def::timestamp_type();
                let text = self.cast_between(l, lt, &timestamp)?;
                let interval = if plus { r } else { self.negate(r, schema)? };
                self.add_interval(text, &timestamp, interval, b, schema).map(Some)
            }
            (a, b) if a == b && is_interval(a) => {
                let op = if plus { Operator::Plus } else { Operator::Minus };
                Ok(Some(binary_expr(l, op, r)))
            }
            _ => Ok(None),
        }
    }

    fn add_interval(
        &self,
        time: Expr,
        time_type: &DataType,
        interval: Expr,
        interval_type: &DataType,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let date = *time_type == DataType::Date32;
        if matches!(interval_type, DataType::Interval(_)) {
            let name = if date { "date_add_months" } else { "timestamp_add_months" };
            return self.plain(name, vec![time, interval], schema);
        }
        const DAY: i64 = 86_400_000_000;
        if date
            && let Expr::Literal(ScalarValue::DurationMicrosecond(Some(micros)), _) = &interval
            && micros % DAY == 0
        {
            let days = i32::try_from(micros / DAY).unwrap_or(i32::MAX);
            return self.plain("date_add", vec![time, lit(days)], schema);
        }
        self.plain("timestamp_add_duration", vec![time, interval], schema)
    }

    /// `-expr`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
    pub fn negate(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        if let Expr::Literal(value, _) = &expr {
            let negated = match value {
                ScalarValue::DurationMicrosecond(Some(v)) => {
                    v.checked_neg().map(|v| ScalarValue::DurationMicrosecond(Some(v)))
                }
                ScalarValue::IntervalYearMonth(Some(v)) => {
                    v.checked_neg().map(|v| ScalarValue::IntervalYearMonth(Some(v)))
                }
                _ => None,
            };
            if let Some(value) = negated {
                return Ok(Expr::Literal(value, None));
            }
        }
        self.plain("negative", vec![expr], schema)
    }

    /// `~expr`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
    pub fn bit_not(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        self.plain("bit_not", vec![expr], schema)
    }

    /// `NOT expr`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
    pub fn not(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        Ok(Expr::Not(Box::new(self.condition(expr, schema)?)))
    }

    /// `CASE [operand] WHEN .. THEN .. ELSE .. END`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.*` when conditions are not boolean or results have no common type.
    pub fn case(
        &self,
        operand: Option<Expr>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Expr>,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let mut types = Vec::with_capacity(branches.len() + 1);
        for (_, result) in &branches {
            types.push(result.get_type(schema)?);
        }
        if let Some(result) = &otherwise {
            types.push(result.get_type(schema)?);
        }
        let common = self.common_type(&types)?;
        let mut when_then_expr = Vec::with_capacity(branches.len());
        for (condition, result) in branches {
            let condition = match &operand {
                Some(operand) => self.compare(Operator::Eq, operand.clone(), condition, schema)?,
                None if condition.get_type(schema)? == DataType::Null => {
                    return Err(mismatch(
                        "a parameter requires the \"BOOLEAN\" type",
                        &DataType::Null,
                    ));
                }
                None => self.condition(condition, schema)?,
            };
            let result = self.coerce(result, &common, schema)?;
            when_then_expr.push((Box::new(condition), Box::new(result)));
        }
        let else_expr = match otherwise {
            Some(result) => Some(Box::new(self.coerce(result, &common, schema)?)),
            None => None,
        };
        Ok(Expr::Case(Case { expr: None, when_then_expr, else_expr }))
    }

    /// `expr [NOT] IN (list)`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.DATA_DIFF_TYPES`.
    pub fn in_list(
        &self,
        expr: Expr,
        list: Vec<Expr>,
        negated: bool,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let mut types = vec![expr.get_type(schema)?];
        types.extend(self.types(&list, schema)?);
        let common = match types.as_slice() {
            [left, right] => coercion::comparison(left, right, self.settings().ansi)
                .ok_or_else(|| differ(left, right))?,
            _ => self.common_type(&types)?,
        };
        let expr = self.float_key(self.coerce(expr, &common, schema)?, &common)?;
        let list = list
            .into_iter()
            .map(|item| self.float_key(self.coerce(item, &common, schema)?, &common))
            .collect::<Result<Vec<Expr>>>()?;
        Ok(Expr::InList(InList { expr: Box::new(expr), list, negated }))
    }

    /// `expr [NOT] BETWEEN low AND high`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.*`.
    pub fn between(
        &self,
        expr: Expr,
        low: Expr,
        high: Expr,
        negated: bool,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let above = self.binary(Op::GreaterOrEqual, expr.clone(), low, schema)?;
        let below = self.binary(Op::LessOrEqual, expr, high, schema)?;
        let both = binary_expr(above, Operator::And, below);
        Ok(if negated { Expr::Not(Box::new(both)) } else { both })
    }

    /// `expr [NOT] LIKE pattern [ESCAPE escape]`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
    pub fn like(
        &self,
        kind: LikeKind,
        expr: Expr,
        pattern: Expr,
        escape: Option<char>,
        negated: bool,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let escape = escape.unwrap_or('\\');
        let expr = match kind {
            LikeKind::RLike => self.plain("rlike", vec![expr, pattern], schema)?,
            LikeKind::Like | LikeKind::ILike => {
                let simple = matches!(&pattern,
                    Expr::Literal(ScalarValue::Utf8(Some(text)), _)
                        if !text.contains(escape) && !text.contains('\\'));
                if simple && kind == LikeKind::Like {
                    let expr = self.coerce(expr, &DataType::Utf8, schema)?;
                    let like = Like::new(negated, Box::new(expr), Box::new(pattern), None, false);
                    return Ok(Expr::Like(like));
                }
                let name = if kind == LikeKind::Like { "like" } else { "ilike" };
                self.plain(name, vec![expr, pattern, lit(escape.to_string())], schema)?
            }
        };
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    /// `expr IS [NOT] TRUE | FALSE | UNKNOWN`; `value` is `None` for UNKNOWN.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
    pub fn is_boolean(
        &self,
        expr: Expr,
        value: Option<bool>,
        negated: bool,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let expr = Box::new(self.condition(expr, schema)?);
        Ok(match (value, negated) {
            (Some(true), false) => Expr::IsTrue(expr),
            (Some(true), true) => Expr::IsNotTrue(expr),
            (Some(false), false) => Expr::IsFalse(expr),
            (Some(false), true) => Expr::IsNotFalse(expr),
            (None, false) => Expr::IsUnknown(expr),
            (None, true) => Expr::IsNotUnknown(expr),
        })
    }

    /// `DATE '..'`, `TIMESTAMP '..'`, `TIMESTAMP_NTZ '..'`.
    ///
    /// # Errors
    /// `INVALID_TYPED_LITERAL`.
    pub fn typed_literal(&self, type_name: &str, text: &str) -> Result<Expr> {
        let upper = type_name.to_ascii_uppercase();
        let invalid = || {
            spark_error(
                "INVALID_TYPED_LITERAL",
                format!("The value of the typed literal \"{upper}\" is invalid: '{text}'."),
            )
        };
        let zone = self.settings().zone()?;
        let value = match upper.as_str() {
            "DATE" => {
                ScalarValue::Date32(Some(crate::cast::parse::date(text).ok_or_else(invalid)?))
            }
            "TIMESTAMP" | "TIMESTAMP_LTZ" | "TIMESTAMP_NTZ" => {
                let parsed = crate::cast::parse::timestamp(text).ok_or_else(invalid)?;
                if upper == "TIMESTAMP_NTZ" {
                    ScalarValue::TimestampMicrosecond(Some(parsed.local_micros), None)
                } else {
                    let micros = parsed.zone.unwrap_or(zone).to_instant(parsed.local_micros);
                    let utc = std::sync::Arc::from(millstream_types::TIMESTAMP_ZONE);
                    ScalarValue::TimestampMicrosecond(Some(micros), Some(utc))
                }
            }
            _ => {
                return Err(spark_error(
                    "UNSUPPORTED_TYPED_LITERAL",
                    format!("Literals of the type \"{upper}\" are not supported."),
                ));
            }
        };
        Ok(Expr::Literal(value, None))
    }

    /// `INTERVAL ..`: a day-time or a year-month interval from its text after the keyword.
    ///
    /// # Errors
    /// `INVALID_INTERVAL_FORMAT`.
    pub fn interval(&self, text: &str) -> Result<Expr> {
        crate::interval::literal(text).map(|value| Expr::Literal(value, None))
    }
}

fn binary_expr(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// An integer literal beside a decimal has only the digits it is written with.
fn literal_type(expr: &Expr, own: DataType, other: &DataType) -> DataType {
    if !matches!(other, DataType::Decimal128(..)) || !is_integral(&own) {
        return own;
    }
    let value = match expr {
        Expr::Literal(ScalarValue::Int8(Some(v)), _) => i64::from(*v),
        Expr::Literal(ScalarValue::Int16(Some(v)), _) => i64::from(*v),
        Expr::Literal(ScalarValue::Int32(Some(v)), _) => i64::from(*v),
        Expr::Literal(ScalarValue::Int64(Some(v)), _) => *v,
        _ => return own,
    };
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
    DataType::Decimal128(u8::try_from(digits).unwrap_or(20), 0)
}

fn as_decimal(t: &DataType) -> DataType {
    coercion::decimal_form(t).map_or_else(|| t.clone(), |(p, s)| DataType::Decimal128(p, s))
}

fn differ(left: &DataType, right: &DataType) -> DataFusionError {
    spark_error(
        "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
        format!(
            "Cannot resolve the expression due to data type mismatch: the left and right operands \
             of the binary operator have incompatible types (\"{}\" and \"{}\").",
            type_name(left),
            type_name(right)
        ),
    )
}

fn operand_error(name: &str, left: &DataType, right: &DataType, same: bool) -> DataFusionError {
    if !same {
        return differ(left, right);
    }
    let name = name.trim_start_matches("spark_");
    spark_error(
        "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE",
        format!(
            "Cannot resolve \"{name}\" due to data type mismatch: the binary operator requires a \
             numeric or interval input type, not \"{}\".",
            type_name(left)
        ),
    )
}

fn mismatch(what: &str, given: &DataType) -> DataFusionError {
    spark_error(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!(
            "Cannot resolve the expression due to data type mismatch: {what}, however a value has \
             the type \"{}\".",
            type_name(given)
        ),
    )
}
