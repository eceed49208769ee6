//! Making structs, arrays and maps, and reaching into them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};

use crate::coercion::{self, list_of, map_of, map_types};
use crate::conditional::{common, take};
use crate::def::{Call, Def, Param, Params, Sig, own};
use crate::error::spark_error;
use crate::settings::FunctionSettings;

pub(crate) const DEFS: &[Def] = &[
    own("array", &[], Params::Common(0), |sig| Ok(list_of(sig.data_type(0))), array),
    own("map", &[], Params::Custom(map_params), map_type, map),
    own("named_struct", &[], Params::Variadic(2, Param::Any), struct_type, named_struct),
    own("array_item", &[], Params::Exact(&[Param::Array, Param::Int]), element_type, array_item),
    own("get", &[], Params::Exact(&[Param::Array, Param::Int]), element_type, get),
    own("map_item", &[], Params::Custom(map_key_params), value_type, map_item),
    own("element_at", &[], Params::Custom(element_at_params), element_at_type, |call| {
        element_at(call, call.settings.ansi)
    }),
    own("try_element_at", &[], Params::Custom(element_at_params), element_at_type, |call| {
        element_at(call, false)
    }),
    own(
        "array_field",
        &[],
        Params::Exact(&[Param::Any, Param::Str]),
        array_field_type,
        array_field,
    ),
    own("struct_field", &[], Params::Exact(&[Param::Any, Param::Str]), field_type, struct_field),
    own("map_keys", &[], Params::Exact(&[Param::Map]), keys_type, |call| map_side(call, 0)),
    own("map_values", &[], Params::Exact(&[Param::Map]), values_type, |call| map_side(call, 1)),
    own("map_entries", &[], Params::Exact(&[Param::Map]), entries_type, map_entries),
    own(
        "map_contains_key",
        &[],
        Params::Custom(map_key_params),
        |_| Ok(DataType::Boolean),
        map_contains,
    ),
    own(
        "map_from_arrays",
        &[],
        Params::Exact(&[Param::Array, Param::Array]),
        from_arrays_type,
        map_from_arrays,
    ),
];

pub(crate) fn element(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(field) => field.data_type().clone(),
        _ => DataType::Null,
    }
}

pub(crate) fn element_type(sig: &Sig) -> Result<DataType> {
    Ok(element(&sig.data_type(0)))
}

fn value_type(sig: &Sig) -> Result<DataType> {
    Ok(map_types(&sig.data_type(0)).map_or(DataType::Null, |(_, value)| value))
}

fn keys_type(sig: &Sig) -> Result<DataType> {
    Ok(list_of(map_types(&sig.data_type(0)).map_or(DataType::Null, |(key, _)| key)))
}

fn values_type(sig: &Sig) -> Result<DataType> {
    Ok(list_of(value_type(sig)?))
}

fn entry_fields(map: &DataType) -> Fields {
    match map {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields.clone(),
            _ => Fields::empty(),
        },
        _ => Fields::empty(),
    }
}

fn entries_type(sig: &Sig) -> Result<DataType> {
    Ok(list_of(DataType::Struct(entry_fields(&sig.data_type(0)))))
}

fn from_arrays_type(sig: &Sig) -> Result<DataType> {
    Ok(map_of(element(&sig.data_type(0)), element(&sig.data_type(1))))
}

fn field_type(sig: &Sig) -> Result<DataType> {
    let DataType::Struct(fields) = sig.data_type(0) else {
        return Err(DataFusionError::Internal("a field of what is no struct".to_owned()));
    };
    let name = sig.text(1).unwrap_or_default();
    fields
        .iter()
        .find(|field| field.name() == name)
        .map(|field| field.data_type().clone())
        .ok_or_else(|| DataFusionError::Internal(format!("no field {name}")))
}

fn array_field_type(sig: &Sig) -> Result<DataType> {
    let inner = [element(&sig.data_type(0)), DataType::Utf8];
    Ok(list_of(field_type(&Sig { types: &inner, ..*sig })?))
}

fn struct_field(call: &Call) -> Result<ArrayRef> {
    let structs = call.structs(0)?;
    let name = call.strings(1)?;
    if call.rows == 0 || name.is_null(0) {
        return Ok(call.nulls());
    }
    field_of(structs, name.value(0))
}

/// A field of a struct array; NULL where the struct is.
pub(crate) fn field_of(structs: &StructArray, name: &str) -> Result<ArrayRef> {
    let column = structs
        .column_by_name(name)
        .ok_or_else(|| DataFusionError::Internal(format!("no field {name}")))?;
    let nulls = NullBuffer::union(column.nulls(), structs.nulls());
    let data = column.to_data().into_builder().nulls(nulls).build()?;
    Ok(arrow::array::make_array(data))
}

fn array_field(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let name = call.strings(1)?;
    let DataType::List(field) = call.return_type else { return Ok(call.nulls()) };
    if call.rows == 0 || name.is_null(0) {
        return Ok(call.nulls());
    }
    let values = field_of(list.values().as_struct(), name.value(0))?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        list.offsets().clone(),
        values,
        list.nulls().cloned(),
    )?))
}

fn struct_type(sig: &Sig) -> Result<DataType> {
    let mut fields = Vec::with_capacity(sig.types.len() / 2);
    for index in (0..sig.types.len()).step_by(2) {
        let name = sig.text(index).ok_or_else(|| {
            spark_error(
                "DATATYPE_MISMATCH.CREATE_NAMED_STRUCT_WITHOUT_FOLDABLE_STRING",
                "Only foldable `STRING` expressions are allowed to appear at odd position.",
            )
        })?;
        fields.push(Field::new(name, sig.data_type(index + 1), true));
    }
    if sig.types.len() % 2 == 1 {
        return Err(spark_error(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            format!(
                "The `named_struct` requires 2n (n > 0) parameters but the actual number is {}.",
                sig.types.len()
            ),
        ));
    }
    Ok(DataType::Struct(fields.into()))
}

fn named_struct(call: &Call) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.return_type else { return Ok(call.nulls()) };
    let columns: Vec<ArrayRef> = call.args.iter().skip(1).step_by(2).cloned().collect();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, call.rows)?))
}

fn array(call: &Call) -> Result<ArrayRef> {
    let DataType::List(field) = call.return_type else { return Ok(call.nulls()) };
    let values = interleaved(&call.args, call.rows)?;
    let offsets = OffsetBuffer::from_repeated_length(call.args.len(), call.rows);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, None)?))
}

/// Row by row, one value of each array.
fn interleaved(arrays: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    if arrays.is_empty() {
        return Ok(arrow::array::new_empty_array(&DataType::Null));
    }
    let refs: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    let mut picks = Vec::with_capacity(rows * arrays.len());
    for row in 0..rows {
        picks.extend((0..arrays.len()).map(|index| (index, row)));
    }
    Ok(interleave(&refs, &picks)?)
}

fn map_params(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    if types.len() % 2 == 1 {
        return Err(spark_error(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            format!(
                "The `map` requires 2n (n > 0) parameters but the actual number is {}.",
                types.len()
            ),
        ));
    }
    let keys: Vec<DataType> = types.iter().step_by(2).cloned().collect();
    let values: Vec<DataType> = types.iter().skip(1).step_by(2).cloned().collect();
    let (key, value) = (common(&keys, settings)?, common(&values, settings)?);
    Ok((0..types.len()).map(|i| if i % 2 == 0 { key.clone() } else { value.clone() }).collect())
}

fn map_type(sig: &Sig) -> Result<DataType> {
    Ok(map_of(sig.data_type(0), sig.data_type(1)))
}

fn map(call: &Call) -> Result<ArrayRef> {
    let keys: Vec<ArrayRef> = call.args.iter().step_by(2).cloned().collect();
    let values: Vec<ArrayRef> = call.args.iter().skip(1).step_by(2).cloned().collect();
    let offsets = OffsetBuffer::from_repeated_length(keys.len(), call.rows);
    let keys = interleaved(&keys, call.rows)?;
    let values = interleaved(&values, call.rows)?;
    build_map(call.return_type, offsets, keys, values, None)
}

/// A map array, after the checks of its keys.
pub(crate) fn build_map(
    data_type: &DataType,
    offsets: OffsetBuffer<i32>,
    keys: ArrayRef,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = data_type else {
        return Err(DataFusionError::Internal(format!("{data_type} is not a map")));
    };
    check_keys(&offsets, &keys)?;
    let entry = StructArray::try_new_with_length(
        entry_fields(data_type),
        vec![Arc::clone(&keys), values],
        None,
        keys.len(),
    )?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, entry, nulls, *sorted)?))
}

fn check_keys(offsets: &OffsetBuffer<i32>, keys: &ArrayRef) -> Result<()> {
    if keys.null_count() > 0 {
        return Err(spark_error("NULL_MAP_KEY", "Cannot use null as map key."));
    }
    if keys.is_empty() {
        return Ok(());
    }
    let converter = RowConverter::new(vec![SortField::new(keys.data_type().clone())])?;
    let rows = converter.convert_columns(&[Arc::clone(keys)])?;
    let mut seen = std::collections::HashSet::new();
    for window in offsets.windows(2) {
        let [start, end] = window else { continue };
        seen.clear();
        for at in *start..*end {
            let at = usize::try_from(at).unwrap_or(0);
            if !seen.insert(rows.row(at)) {
                return Err(spark_error(
                    "DUPLICATED_MAP_KEY",
                    "Duplicate map key was found, please check the input data. If you want to \
                     remove the duplicated keys, you can set \"spark.sql.mapKeyDedupPolicy\" to \
                     \"LAST_WIN\" so that the key inserted at last takes precedence.",
                ));
            }
        }
    }
    Ok(())
}

fn map_key_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [map, _] => {
            let (key, _) = map_types(map).ok_or_else(|| {
                spark_error(
                    "DATATYPE_MISMATCH.MAP_FUNCTION_DIFF_TYPES",
                    "Input should have been \"MAP\" followed by a value with same key type.",
                )
            })?;
            Ok(vec![map.clone(), key])
        }
        _ => Err(crate::def::wrong_count(
            "map",
            Params::Exact(&[Param::Map, Param::Any]),
            types.len(),
        )),
    }
}

/// For each row, where in the map's entries the key of that row is.
fn find_key(call: &Call) -> Result<Vec<Option<usize>>> {
    let map = call.maps(0)?;
    let wanted = call.array(1)?;
    let converter = RowConverter::new(vec![SortField::new(wanted.data_type().clone())])?;
    let keys = converter.convert_columns(&[Arc::clone(map.keys())])?;
    let wanted_rows = converter.convert_columns(&[Arc::clone(wanted)])?;
    Ok((0..call.rows)
        .map(|row| {
            if map.is_null(row) || wanted.is_null(row) {
                return None;
            }
            let range = item_range(map.offsets(), row);
            range.into_iter().find(|at| keys.row(*at) == wanted_rows.row(row))
        })
        .collect())
}

/// Positions of one row's items.
pub(crate) fn item_range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    let at = |i: usize| offsets.get(i).and_then(|v| usize::try_from(*v).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

fn map_item(call: &Call) -> Result<ArrayRef> {
    take(call.maps(0)?.values(), &find_key(call)?)
}

fn map_contains(call: &Call) -> Result<ArrayRef> {
    let map = call.maps(0)?;
    let found: arrow::array::BooleanArray = find_key(call)?
        .into_iter()
        .enumerate()
        .map(|(row, at)| (!map.is_null(row)).then_some(at.is_some()))
        .collect();
    Ok(Arc::new(found))
}

fn array_item(call: &Call) -> Result<ArrayRef> {
    zero_based(call, call.settings.ansi)
}

fn get(call: &Call) -> Result<ArrayRef> {
    zero_based(call, false)
}

fn zero_based(call: &Call, strict: bool) -> Result<ArrayRef> {
    let (list, wanted) = (call.lists(0)?, call.ints(1)?);
    let mut rows = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if list.is_null(row) || wanted.is_null(row) {
            rows.push(None);
            continue;
        }
        let range = item_range(list.offsets(), row);
        let index = wanted.value(row);
        let at = usize::try_from(index).ok().filter(|i| *i < range.len());
        if at.is_none() && strict {
            return Err(spark_error(
                "INVALID_ARRAY_INDEX",
                format!(
                    "The index {index} is out of bounds. The array has {} elements. Use the SQL \
                     function `get()` to tolerate accessing element at invalid index and return \
                     NULL instead.",
                    range.len()
                ),
            ));
        }
        rows.push(at.map(|i| range.start + i));
    }
    take(list.values(), &rows)
}

fn element_at_params(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [DataType::Map(..), _] => map_key_params(types, settings),
        [list, index] => Ok(vec![
            coercion::implicit("element_at", Param::Array, list)?,
            coercion::implicit("element_at", Param::Int, index)?,
        ]),
        _ => Err(crate::def::wrong_count(
            "element_at",
            Params::Exact(&[Param::Any, Param::Any]),
            types.len(),
        )),
    }
}

fn element_at_type(sig: &Sig) -> Result<DataType> {
    match sig.data_type(0) {
        DataType::Map(..) => value_type(sig),
        _ => element_type(sig),
    }
}

fn element_at(call: &Call, strict: bool) -> Result<ArrayRef> {
    if matches!(call.array(0)?.data_type(), DataType::Map(..)) {
        return map_item(call);
    }
    let (list, wanted) = (call.lists(0)?, call.ints(1)?);
    let mut rows = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if list.is_null(row) || wanted.is_null(row) {
            rows.push(None);
            continue;
        }
        let range = item_range(list.offsets(), row);
        let index = wanted.value(row);
        if index == 0 {
            return Err(spark_error(
                "INVALID_INDEX_OF_ZERO",
                "The index 0 is invalid. An index shall be either < 0 or > 0 (the first element \
                 has index 1).",
            ));
        }
        let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        let at = (distance <= range.len())
            .then(|| if index > 0 { range.start + distance - 1 } else { range.end - distance });
        if at.is_none() && strict {
            return Err(spark_error(
                "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
                format!(
                    "The index {index} is out of bounds. The array has {} elements. Use \
                     `try_element_at` to tolerate accessing element at invalid index and return \
                     NULL instead.",
                    range.len()
                ),
            ));
        }
        rows.push(at);
    }
    take(list.values(), &rows)
}

fn map_side(call: &Call, column: usize) -> Result<ArrayRef> {
    let map = call.maps(0)?;
    let DataType::List(field) = call.return_type else { return Ok(call.nulls()) };
    let values = Arc::clone(map.entries().column(column));
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        map.offsets().clone(),
        values,
        map.nulls().cloned(),
    )?))
}

fn map_entries(call: &Call) -> Result<ArrayRef> {
    let map = call.maps(0)?;
    let DataType::List(field) = call.return_type else { return Ok(call.nulls()) };
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        map.offsets().clone(),
        Arc::new(map.entries().clone()),
        map.nulls().cloned(),
    )?))
}

fn map_from_arrays(call: &Call) -> Result<ArrayRef> {
    let (keys, values) = (call.lists(0)?, call.lists(1)?);
    let (mut key_rows, mut value_rows) = (Vec::new(), Vec::new());
    let mut lengths = Vec::with_capacity(call.rows);
    let nulls = NullBuffer::union(keys.nulls(), values.nulls());
    for row in 0..call.rows {
        if nulls.as_ref().is_some_and(|n| n.is_null(row)) {
            lengths.push(0);
            continue;
        }
        let (k, v) = (item_range(keys.offsets(), row), item_range(values.offsets(), row));
        if k.len() != v.len() {
            return Err(spark_error(
                "MAP_DATA_SIZE_MISMATCH",
                format!(
                    "The key array and value array of MapData must have the same length. \
                     keys: {}, values: {}",
                    k.len(),
                    v.len()
                ),
            ));
        }
        lengths.push(k.len());
        key_rows.extend(k.map(|i| u32::try_from(i).unwrap_or(u32::MAX)));
        value_rows.extend(v.map(|i| u32::try_from(i).unwrap_or(u32::MAX)));
    }
    let keys = arrow::compute::take(keys.values(), &UInt32Array::from(key_rows), None)?;
    let values = arrow::compute::take(values.values(), &UInt32Array::from(value_rows), None)?;
    build_map(call.return_type, OffsetBuffer::from_lengths(lengths), keys, values, nulls)
}
