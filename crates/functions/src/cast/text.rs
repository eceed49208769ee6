//! Casts from and to STRING.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Date32Array, Decimal128Array,
    PrimitiveArray, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalYearMonthType, TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result};

use super::parse::{self, Parsed};
use super::{CastContext, OnFailure, print};

/// STRING to everything but BINARY.
pub(crate) fn from_text(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let values = array.as_string::<i32>();
    let fraction = ctx.on_failure == OnFailure::Legacy;
    Ok(match ctx.to {
        DataType::Int8 => integers::<Int8Type>(values, ctx, fraction)?,
        DataType::Int16 => integers::<Int16Type>(values, ctx, fraction)?,
        DataType::Int32 => integers::<Int32Type>(values, ctx, fraction)?,
        DataType::Int64 => integers::<Int64Type>(values, ctx, fraction)?,
        DataType::Float64 => primitives::<Float64Type>(values, ctx, parse::double)?,
        DataType::Float32 => {
            primitives::<Float32Type>(values, ctx, |t| parse::double(t).map(|v| v as f32))?
        }
        DataType::Boolean => Arc::new(each(values, ctx, parse::boolean)?.collect::<BooleanArray>()),
        DataType::Date32 => Arc::new(each(values, ctx, date_or_epoch)?.collect::<Date32Array>()),
        DataType::Timestamp(_, zone) => {
            let local = zone.is_none();
            let array = each(values, ctx, |text| timestamp(text, local, ctx))?
                .collect::<TimestampMicrosecondArray>();
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(precision, scale) => decimals(values, *precision, *scale, ctx)?,
        other => return Err(DataFusionError::Internal(format!("no cast of text to {other}"))),
    })
}

fn date_or_epoch(text: &str) -> Option<i32> {
    parse::date(text).or_else(|| (parse::trim(text).eq_ignore_ascii_case("epoch")).then_some(0))
}

fn timestamp(text: &str, local: bool, ctx: &CastContext) -> Option<i64> {
    let Some(parsed) = parse::timestamp(text) else {
        return parse::trim(text).eq_ignore_ascii_case("epoch").then_some(0);
    };
    if local {
        return Some(parsed.local_micros);
    }
    Some(parsed.zone.unwrap_or(ctx.zone).to_instant(parsed.local_micros))
}

/// Parses every value; the error of the first that fails, where errors are wanted.
fn each<T>(
    values: &StringArray,
    ctx: &CastContext,
    read: impl Fn(&str) -> Option<T>,
) -> Result<std::vec::IntoIter<Option<T>>> {
    let read: Vec<Option<T>> = values
        .iter()
        .map(|text| {
            let Some(text) = text else { return Ok(None) };
            match read(text) {
                Some(value) => Ok(Some(value)),
                None => ctx.failed(|| ctx.invalid(&format!("'{text}'"))),
            }
        })
        .collect::<Result<_>>()?;
    Ok(read.into_iter())
}

fn primitives<T: ArrowPrimitiveType>(
    values: &StringArray,
    ctx: &CastContext,
    read: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef> {
    Ok(Arc::new(each(values, ctx, read)?.collect::<PrimitiveArray<T>>()))
}

fn integers<T>(values: &StringArray, ctx: &CastContext, fraction: bool) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
{
    primitives::<T>(values, ctx, |text| {
        parse::integer(text, fraction).and_then(|v| T::Native::try_from(v).ok())
    })
}

fn decimals(values: &StringArray, precision: u8, scale: i8, ctx: &CastContext) -> Result<ArrayRef> {
    let array = values
        .iter()
        .map(|text| {
            let Some(text) = text else { return Ok(None) };
            match parse::decimal(text, precision, scale) {
                Parsed::Value(value) => Ok(Some(value)),
                Parsed::Malformed => ctx.failed(|| ctx.invalid(&format!("'{text}'"))),
                Parsed::TooLarge => ctx.failed(|| match parse::decimal(text, 38, 0) {
                    Parsed::TooLarge => crate::error::spark_error(
                        "NUMERIC_OUT_OF_SUPPORTED_RANGE",
                        format!(
                            "The value {text} cannot be interpreted as a numeric since it has \
                             more than 38 digits."
                        ),
                    ),
                    _ => ctx.out_of_range(text),
                }),
            }
        })
        .collect::<Result<Decimal128Array>>()?
        .with_precision_and_scale(precision, scale)?;
    Ok(Arc::new(array))
}

/// Everything to STRING.
pub(crate) fn to_text(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    if matches!(ctx.from, DataType::Binary) {
        let mut builder = StringBuilder::new();
        for value in array.as_binary::<i32>() {
            match value {
                // Arrow's strings are UTF-8; bytes that are not become replacement characters.
                Some(bytes) => builder.append_value(String::from_utf8_lossy(bytes)),
                None => builder.append_null(),
            }
        }
        return Ok(Arc::new(builder.finish()));
    }
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        write_value(&mut text, array, row, ctx)?;
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// Appends one value that is not null.
fn write_value(out: &mut String, array: &ArrayRef, row: usize, ctx: &CastContext) -> Result<()> {
    fn shown<T: ArrowPrimitiveType<Native: std::fmt::Display>>(
        out: &mut String,
        array: &ArrayRef,
        row: usize,
    ) {
        let _ = write!(out, "{}", array.as_primitive::<T>().value(row));
    }
    match array.data_type() {
        DataType::Boolean => {
            let _ = write!(out, "{}", array.as_boolean().value(row));
        }
        DataType::Int8 => shown::<Int8Type>(out, array, row),
        DataType::Int16 => shown::<Int16Type>(out, array, row),
        DataType::Int32 => shown::<Int32Type>(out, array, row),
        DataType::Int64 => shown::<Int64Type>(out, array, row),
        DataType::Float32 => {
            out.push_str(&print::float(array.as_primitive::<Float32Type>().value(row)));
        }
        DataType::Float64 => {
            out.push_str(&print::double(array.as_primitive::<Float64Type>().value(row)));
        }
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            out.push_str(&print::decimal(value, *scale, ctx.on_failure != OnFailure::Legacy));
        }
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            out.push_str(&String::from_utf8_lossy(array.as_binary::<i32>().value(row)));
        }
        DataType::Date32 => {
            out.push_str(&print::date(array.as_primitive::<Date32Type>().value(row)));
        }
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let local = if zone.is_some() { ctx.zone.to_local(micros) } else { micros };
            out.push_str(&print::timestamp(local));
        }
        DataType::Duration(_) => {
            let micros = array.as_primitive::<DurationMicrosecondType>().value(row);
            out.push_str(&print::day_time_interval(micros));
        }
        DataType::Interval(_) => {
            let months = array.as_primitive::<IntervalYearMonthType>().value(row);
            let sign = if months < 0 { "-" } else { "" };
            let months = months.unsigned_abs();
            let _ = write!(out, "INTERVAL '{sign}{}-{}' YEAR TO MONTH", months / 12, months % 12);
        }
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => {
            write_nested(out, array, row, ctx)?;
        }
        other => return Err(DataFusionError::Internal(format!("no text form of {other}"))),
    }
    Ok(())
}

/// Appends one array, map or struct.
fn write_nested(out: &mut String, array: &ArrayRef, row: usize, ctx: &CastContext) -> Result<()> {
    match array.data_type() {
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            write_items(out, &items, ctx, |out, items, i| write_value(out, items, i, ctx))?;
            out.push(']');
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.push('{');
            for i in 0..entries.len() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_value(out, keys, i, ctx)?;
                out.push_str(" -> ");
                write_part(out, values, i, ctx)?;
            }
            out.push('}');
        }
        DataType::Struct(_) => {
            out.push('{');
            for (i, column) in array.as_struct().columns().iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_part(out, column, row, ctx)?;
            }
            out.push('}');
        }
        other => return Err(DataFusionError::Internal(format!("{other} has no parts"))),
    }
    Ok(())
}

fn write_part(out: &mut String, array: &ArrayRef, row: usize, ctx: &CastContext) -> Result<()> {
    if array.is_null(row) || matches!(array.data_type(), DataType::Null) {
        out.push_str("null");
        return Ok(());
    }
    write_value(out, array, row, ctx)
}

fn write_items(
    out: &mut String,
    items: &ArrayRef,
    ctx: &CastContext,
    write: impl Fn(&mut String, &ArrayRef, usize) -> Result<()>,
) -> Result<()> {
    let _ = ctx;
    for i in 0..items.len() {
        if i > 0 {
            out.push_str(", ");
        }
        if items.is_null(i) {
            out.push_str("null");
        } else {
            write(out, items, i)?;
        }
    }
    Ok(())
}
