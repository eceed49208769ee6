//! Arrays and maps made of others: sequences, insertion, entries, concatenation.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::coercion::{common_type, implicit, list_of, map_of, type_name};
use crate::collection::{bounded, build_from, with_element};
use crate::conditional::{first_type, take};
use crate::def::{Call, Def, Param, Params, Sig, own, wrong_count};
use crate::error::spark_error;
use crate::nested::{element, item_range};
use crate::settings::FunctionSettings;

use Param::{Array as List, Int};

const ONE: Params = Params::Exact(&[List]);

pub(crate) const DEFS: &[Def] = &[
    own("array_insert", &[], Params::Custom(insert_params), first_type, array_insert),
    own("map_from_entries", &[], ONE, from_entries_type, map_from_entries),
    own("map_concat", &[], Params::Common(1), first_type, map_concat),
    own("sequence", &[], Params::Custom(sequence_params), list_type, sequence),
];

fn list_type(sig: &Sig) -> Result<DataType> {
    Ok(list_of(sig.data_type(0)))
}

fn insert_params(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [list, position, value] => {
            let both = with_element(&[list.clone(), value.clone()], settings)?;
            match both.as_slice() {
                [list, value] => {
                    Ok(vec![list.clone(), implicit("array_insert", Int, position)?, value.clone()])
                }
                _ => Err(wrong_count("array_insert", ONE, types.len())),
            }
        }
        _ => {
            let wanted = Params::Exact(&[List, Int, Param::Any]);
            Err(wrong_count("array_insert", wanted, types.len()))
        }
    }
}

/// Position 1 is the front, -1 the end; beyond either side NULLs fill the gap.
fn array_insert(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let offset = list.values().len();
    let all = concat(&[list.values().as_ref(), call.array(2)?.as_ref()])?;
    build_from(call, &all, |row, out| {
        let Some(position) = call.int(1, row)?.filter(|_| list.is_valid(row)) else {
            return Ok(false);
        };
        if position == 0 {
            return Err(spark_error(
                "INVALID_INDEX_OF_ZERO",
                "The index 0 is invalid. An index shall be either < 0 or > 0 (the first element \
                 has index 1).",
            ));
        }
        let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
        bounded(distance)?;
        let mut items: Vec<Option<usize>> = item_range(list.offsets(), row).map(Some).collect();
        let new = Some(offset + row);
        if position > 0 {
            while items.len() < distance - 1 {
                items.push(None);
            }
            items.insert(distance - 1, new);
        } else if let Some(at) = (items.len() + 1).checked_sub(distance) {
            items.insert(at, new);
        } else {
            let gap = distance - items.len() - 1;
            items.splice(0..0, std::iter::once(new).chain(std::iter::repeat_n(None, gap)));
        }
        out.extend(items);
        Ok(true)
    })
}

fn from_entries_type(sig: &Sig) -> Result<DataType> {
    match element(&sig.data_type(0)) {
        DataType::Struct(fields) if fields.len() == 2 => {
            let mut types = fields.iter().map(|field| field.data_type().clone());
            let key = types.next().unwrap_or(DataType::Null);
            Ok(map_of(key, types.next().unwrap_or(DataType::Null)))
        }
        other => Err(spark_error(
            "DATATYPE_MISMATCH.MAP_FROM_ENTRIES_WRONG_TYPE",
            format!(
                "The first parameter of `map_from_entries` is expected to have type \"ARRAY\" of \
                 pairs \"STRUCT\", but its elements are \"{}\".",
                type_name(&other)
            ),
        )),
    }
}

/// NULL when one entry is.
fn map_from_entries(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let entries = list.values().as_struct();
    let (mut picks, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let range = item_range(list.offsets(), row);
        let present = list.is_valid(row) && range.clone().all(|at| entries.is_valid(at));
        valid.push(present);
        lengths.push(if present { range.len() } else { 0 });
        if present {
            picks.extend(range.map(Some));
        }
    }
    crate::nested::build_map(
        call.return_type,
        OffsetBuffer::from_lengths(lengths),
        take(entries.column(0), &picks)?,
        take(entries.column(1), &picks)?,
        Some(NullBuffer::from(valid)),
    )
}

fn map_concat(call: &Call) -> Result<ArrayRef> {
    let maps = (0..call.args.len()).map(|index| call.maps(index)).collect::<Result<Vec<_>>>()?;
    let keys: Vec<&dyn Array> = maps.iter().map(|map| map.keys().as_ref()).collect();
    let values: Vec<&dyn Array> = maps.iter().map(|map| map.values().as_ref()).collect();
    let (keys, values) = (concat(&keys)?, concat(&values)?);
    let (mut picks, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let present = maps.iter().all(|map| map.is_valid(row));
        let before = picks.len();
        let mut offset = 0;
        for map in maps.iter().filter(|_| present) {
            picks.extend(item_range(map.offsets(), row).map(|at| Some(at + offset)));
            offset += map.keys().len();
        }
        valid.push(present);
        lengths.push(picks.len() - before);
    }
    crate::nested::build_map(
        call.return_type,
        OffsetBuffer::from_lengths(lengths),
        take(&keys, &picks)?,
        take(&values, &picks)?,
        Some(NullBuffer::from(valid)),
    )
}

fn sequence_params(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    let (2 | 3) = types.len() else {
        return Err(wrong_count("sequence", Params::Optional(2, &[Int, Int, Int]), types.len()));
    };
    let common = common_type(types, settings)?;
    if crate::coercion::is_integral(&common) {
        return Ok(vec![common; types.len()]);
    }
    Err(spark_error(
        "DATATYPE_MISMATCH.SEQUENCE_WRONG_INPUT_TYPES",
        format!(
            "`sequence` takes integers here; sequences of \"{}\" are not supported yet.",
            type_name(&common)
        ),
    ))
}

fn sequence(call: &Call) -> Result<ArrayRef> {
    let wide: Vec<ArrayRef> = call
        .args
        .iter()
        .map(|array| arrow::compute::cast(array, &DataType::Int64))
        .collect::<Result<_, _>>()?;
    let at = |index: usize, row: usize| {
        wide.get(index)
            .map(|a| a.as_primitive::<arrow::datatypes::Int64Type>())
            .filter(|a| a.is_valid(row))
            .map(|a| a.value(row))
    };
    let mut values: Vec<i64> = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let (Some(start), Some(stop)) = (at(0, row), at(1, row)) else {
            valid.push(false);
            lengths.push(0);
            continue;
        };
        let step = if call.has(2) { at(2, row) } else { Some(if start <= stop { 1 } else { -1 }) };
        let Some(step) = step else {
            valid.push(false);
            lengths.push(0);
            continue;
        };
        let forward = step > 0 && start <= stop || step < 0 && start >= stop;
        let at_rest = step == 0 && start == stop;
        if !forward && !at_rest {
            return Err(spark_error(
                "ILLEGAL_SEQUENCE_BOUNDARIES",
                format!("Illegal sequence boundaries: {start} to {stop} by {step}."),
            ));
        }
        let span = start.abs_diff(stop);
        let count = if step == 0 { 1 } else { span / step.unsigned_abs() + 1 };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        bounded(count)?;
        let steps = std::iter::successors(Some(start), |v| v.checked_add(step));
        values.extend(steps.take(count));
        valid.push(true);
        lengths.push(count);
    }
    let DataType::List(field) = call.return_type else { return Ok(call.nulls()) };
    let values = arrow::compute::cast(&arrow::array::Int64Array::from(values), field.data_type())?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(NullBuffer::from(valid)),
    )?))
}
