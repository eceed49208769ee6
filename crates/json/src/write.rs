//! `to_json`: structs, maps and arrays as JSON texts.

use crate::number::{java_double, java_float, plain_decimal};
use crate::options::ToJsonOptions;
use crate::pattern::{Moment, Pattern};
use crate::text::{Escapes, push_quoted};
use crate::zone::Zone;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray,
    PrimitiveArray, StringArray, StringBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_core::{Error, Result};
use millstream_types::{DataType, NESTING_MAX};

/// Each value of a column of structs, maps or arrays as JSON.
///
/// # Errors
/// `DATATYPE_MISMATCH` for a column of another type, or with map keys that have no text.
pub fn to_json(array: &ArrayRef, options: &ToJsonOptions) -> Result<StringArray> {
    let data_type = DataType::from_arrow(array.data_type())?;
    if !data_type.is_nested() {
        return Err(mismatch(format!(
            "Input schema {} must be a struct, an array or a map.",
            data_type.sql()
        )));
    }
    let writer = Writer::new(array, &data_type, options, 0)?;
    let mut out = StringBuilder::with_capacity(array.len(), array.len() * 32);
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
        } else {
            text.clear();
            writer.write(row, options, &mut text);
            out.append_value(&text);
        }
    }
    Ok(out.finish())
}

fn mismatch(cause: String) -> Error {
    Error::invalid("DATATYPE_MISMATCH", cause)
}

/// A column prepared for writing its values.
enum Writer {
    Null,
    Boolean(BooleanArray),
    Byte(PrimitiveArray<Int8Type>),
    Short(PrimitiveArray<Int16Type>),
    Integer(PrimitiveArray<Int32Type>),
    Long(PrimitiveArray<Int64Type>),
    Float(PrimitiveArray<Float32Type>),
    Double(PrimitiveArray<Float64Type>),
    Decimal(Decimal128Array, i8),
    Text(StringArray),
    Binary(BinaryArray),
    Date(PrimitiveArray<Date32Type>),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>),
    TimestampNtz(PrimitiveArray<TimestampMicrosecondType>),
    List(ListArray, Box<Column>),
    Map(MapArray, Box<Writer>, Box<Column>),
    /// Each field's name in quotes with its colon.
    Struct(Vec<(String, Column)>),
}

struct Column {
    nulls: Option<NullBuffer>,
    void: bool,
    writer: Writer,
}

impl Column {
    fn new(
        array: &ArrayRef,
        data_type: &DataType,
        options: &ToJsonOptions,
        depth: usize,
    ) -> Result<Column> {
        let void = data_type == &DataType::Null;
        let writer = Writer::new(array, data_type, options, depth)?;
        Ok(Column { nulls: array.nulls().cloned(), void, writer })
    }

    fn is_null(&self, row: usize) -> bool {
        self.void || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn write(&self, row: usize, options: &ToJsonOptions, out: &mut String) {
        if self.is_null(row) {
            out.push_str("null");
        } else {
            self.writer.write(row, options, out);
        }
    }
}

impl Writer {
    fn new(
        array: &ArrayRef,
        data_type: &DataType,
        options: &ToJsonOptions,
        depth: usize,
    ) -> Result<Writer> {
        if depth > NESTING_MAX {
            return Err(mismatch(format!("The type nests deeper than {NESTING_MAX}.")));
        }
        let arrow = data_type.to_arrow();
        let array = if data_type.is_nested() || array.data_type() == &arrow {
            array.clone()
        } else {
            cast(array, &arrow).map_err(|e| {
                Error::internal("A column could not be brought to its usual form.").caused_by(e)
            })?
        };
        Ok(match data_type {
            DataType::Null => Writer::Null,
            DataType::Boolean => Writer::Boolean(array.as_boolean().clone()),
            DataType::Byte => Writer::Byte(array.as_primitive().clone()),
            DataType::Short => Writer::Short(array.as_primitive().clone()),
            DataType::Integer => Writer::Integer(array.as_primitive().clone()),
            DataType::Long => Writer::Long(array.as_primitive().clone()),
            DataType::Float => Writer::Float(array.as_primitive().clone()),
            DataType::Double => Writer::Double(array.as_primitive().clone()),
            DataType::Decimal(_, scale) => Writer::Decimal(array.as_primitive().clone(), *scale),
            DataType::String => Writer::Text(array.as_string().clone()),
            DataType::Binary => Writer::Binary(array.as_binary().clone()),
            DataType::Date => Writer::Date(array.as_primitive().clone()),
            DataType::Timestamp => Writer::Timestamp(array.as_primitive().clone()),
            DataType::TimestampNtz => Writer::TimestampNtz(array.as_primitive().clone()),
            DataType::Array { element, .. } => {
                let list = list(&array)?;
                let values = Column::new(list.values(), element, options, depth + 1)?;
                Writer::List(list, Box::new(values))
            }
            DataType::Map { key, value, .. } => {
                if key.is_nested() || **key == DataType::Binary {
                    return Err(mismatch(format!(
                        "to_json cannot write map keys of the type {}.",
                        key.sql()
                    )));
                }
                let map = array.as_map().clone();
                let keys = Writer::new(map.keys(), key, options, depth + 1)?;
                let values = Column::new(map.values(), value, options, depth + 1)?;
                Writer::Map(map, Box::new(keys), Box::new(values))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns().iter().zip(&fields.fields);
                let fields: Result<Vec<_>> = columns
                    .map(|(column, field)| {
                        let mut name = String::new();
                        push_quoted(&field.name, options.escapes, &mut name);
                        name.push(':');
                        Ok((name, Column::new(column, &field.data_type, options, depth + 1)?))
                    })
                    .collect();
                Writer::Struct(fields?)
            }
        })
    }

    fn write(&self, row: usize, options: &ToJsonOptions, out: &mut String) {
        match self {
            Writer::Null => out.push_str("null"),
            Writer::Boolean(a) => out.push_str(if a.value(row) { "true" } else { "false" }),
            Writer::Byte(a) => out.push_str(&a.value(row).to_string()),
            Writer::Short(a) => out.push_str(&a.value(row).to_string()),
            Writer::Integer(a) => out.push_str(&a.value(row).to_string()),
            Writer::Long(a) => out.push_str(&a.value(row).to_string()),
            Writer::Float(a) => {
                let value = a.value(row);
                push_number(&java_float(value), value.is_finite(), out);
            }
            Writer::Double(a) => {
                let value = a.value(row);
                push_number(&java_double(value), value.is_finite(), out);
            }
            Writer::Decimal(a, scale) => out.push_str(&java_decimal(a.value(row), *scale)),
            Writer::Text(a) => push_quoted(a.value(row), options.escapes, out),
            Writer::Binary(a) => {
                out.push('"');
                STANDARD.encode_string(a.value(row), out);
                out.push('"');
            }
            Writer::Date(a) => {
                let local_us = i64::from(a.value(row)) * 86_400_000_000;
                push_moment(&options.date, local_us, 0, Zone::UTC, out);
            }
            Writer::Timestamp(a) => {
                let offset = options.zone.offset_at(a.value(row));
                let local = a.value(row).saturating_add(i64::from(offset) * 1_000_000);
                push_moment(&options.timestamp, local, offset, options.zone, out);
            }
            Writer::TimestampNtz(a) => {
                push_moment(&options.timestamp_ntz, a.value(row), 0, Zone::UTC, out);
            }
            Writer::List(list, values) => {
                let (start, end) = range(list.value_offsets(), row);
                push_items('[', ']', start..end, out, |at, out| values.write(at, options, out));
            }
            Writer::Map(map, keys, values) => {
                let (start, end) = range(map.value_offsets(), row);
                push_items('{', '}', start..end, out, |at, out| {
                    let key = keys.key(at);
                    push_quoted(&key, options.escapes, out);
                    out.push(':');
                    values.write(at, options, out);
                });
            }
            Writer::Struct(fields) => {
                let written = fields
                    .iter()
                    .filter(|(_, column)| !options.ignore_null_fields || !column.is_null(row));
                push_items('{', '}', written, out, |(name, column), out| {
                    out.push_str(name);
                    column.write(row, options, out);
                });
            }
        }
    }

    /// A map key as Spark prints it: its internal value, so dates are day numbers.
    fn key(&self, row: usize) -> String {
        match self {
            Writer::Boolean(a) => a.value(row).to_string(),
            Writer::Byte(a) => a.value(row).to_string(),
            Writer::Short(a) => a.value(row).to_string(),
            Writer::Integer(a) => a.value(row).to_string(),
            Writer::Long(a) => a.value(row).to_string(),
            Writer::Float(a) => java_float(a.value(row)),
            Writer::Double(a) => java_double(a.value(row)),
            Writer::Decimal(a, scale) => plain_decimal(a.value(row), *scale),
            Writer::Text(a) => a.value(row).into(),
            Writer::Date(a) => a.value(row).to_string(),
            Writer::Timestamp(a) | Writer::TimestampNtz(a) => a.value(row).to_string(),
            _ => String::new(),
        }
    }
}

fn list(array: &ArrayRef) -> Result<ListArray> {
    if let Some(list) = array.as_list_opt::<i32>() {
        return Ok(list.clone());
    }
    let item = DataType::from_arrow(array.data_type())?;
    let cast = cast(array, &item.to_arrow()).map_err(|e| {
        Error::internal("A column could not be brought to its usual form.").caused_by(e)
    })?;
    Ok(cast.as_list().clone())
}

fn range(offsets: &[i32], row: usize) -> (usize, usize) {
    let at = |index: usize| {
        offsets.get(index).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0)
    };
    (at(row), at(row + 1))
}

fn push_items<T>(
    open: char,
    close: char,
    items: impl Iterator<Item = T>,
    out: &mut String,
    mut each: impl FnMut(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(close);
}

fn push_number(text: &str, finite: bool, out: &mut String) {
    if finite {
        out.push_str(text);
    } else {
        push_quoted(text, Escapes::None, out);
    }
}

fn push_moment(
    pattern: &Pattern,
    local_us: i64,
    offset_seconds: i32,
    zone: Zone,
    out: &mut String,
) {
    let mut text = String::new();
    pattern.write(&Moment { local_us, offset_seconds, zone }, &mut text);
    push_quoted(&text, Escapes::None, out);
}

/// A decimal as `java.math.BigDecimal.toString` prints it: with an exponent if it is very small.
fn java_decimal(value: i128, scale: i8) -> String {
    let digits = value.unsigned_abs().to_string();
    let exponent = i64::try_from(digits.len()).unwrap_or(0) - 1 - i64::from(scale);
    if exponent >= -6 {
        return plain_decimal(value, scale);
    }
    let sign = if value < 0 { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}E{exponent}")
}
