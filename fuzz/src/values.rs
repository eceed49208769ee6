//! Arrow values as JSON, so that rows of two decoders can be compared.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use millstream_types::DataType;
use serde_json::{Value, json};

/// The value in one row.
pub fn value(array: &ArrayRef, row: usize, data_type: &DataType) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match data_type {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Byte => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Short => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Integer => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Long => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Double => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal(..) => array.as_primitive::<Decimal128Type>().value_as_string(row).into(),
        DataType::String => array.as_string::<i32>().value(row).into(),
        DataType::Binary => {
            let hex = |b: &u8| format!("{b:02X}");
            array.as_binary::<i32>().value(row).iter().map(hex).collect::<String>().into()
        }
        DataType::Date => array.as_primitive::<Date32Type>().value(row).into(),
        DataType::Timestamp | DataType::TimestampNtz => {
            array.as_primitive::<TimestampMicrosecondType>().value(row).into()
        }
        DataType::Array { element, .. } => {
            let values = array.as_list::<i32>().value(row);
            (0..values.len()).map(|at| value(&values, at, element)).collect()
        }
        DataType::Map { key, value: kind, .. } => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            (0..keys.len())
                .map(|at| json!([value(keys, at, key), value(values, at, kind)]))
                .collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            columns.iter().zip(&fields.fields).map(|(c, f)| value(c, row, &f.data_type)).collect()
        }
    }
}

fn float(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        value.into()
    }
}
