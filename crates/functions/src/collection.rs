//! Functions over arrays and maps.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, concat};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

use crate::coercion::{common_type, implicit, list_of, type_name};
use crate::conditional::take;
use crate::def::{Call, Def, Param, Params, Sig, own, wrong_count};
use crate::error::spark_error;
use crate::nested::{element, element_type, item_range};
use crate::settings::FunctionSettings;

use Param::{Array as List, Bool, Int};

/// Most elements that `sequence` and `array_repeat` make for one row.
const ELEMENTS_MAX: usize = 10_000_000;

const ONE: Params = Params::Exact(&[List]);

fn same(sig: &Sig) -> Result<DataType> {
    Ok(sig.data_type(0))
}

fn int(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int32)
}

fn boolean(_: &Sig) -> Result<DataType> {
    Ok(DataType::Boolean)
}

pub(crate) const DEFS: &[Def] = &[
    own("size", &["cardinality"], Params::Exact(&[Param::Any]), int, size),
    own("array_size", &[], ONE, int, array_size),
    own("array_contains", &[], Params::Custom(with_element), boolean, array_contains),
    own(
        "array_position",
        &[],
        Params::Custom(with_element),
        |_| Ok(DataType::Int64),
        array_position,
    ),
    own("array_append", &[], Params::Custom(with_element), same, |c| added(c, false)),
    own("array_prepend", &[], Params::Custom(with_element), same, |c| added(c, true)),
    own("array_remove", &[], Params::Custom(with_element), same, array_remove),
    own("array_distinct", &[], ONE, same, array_distinct),
    own("array_union", &[], Params::Custom(two_lists), same, array_union),
    own("array_intersect", &[], Params::Custom(two_lists), same, |c| kept(c, true)),
    own("array_except", &[], Params::Custom(two_lists), same, |c| kept(c, false)),
    own("arrays_overlap", &[], Params::Custom(two_lists), boolean, arrays_overlap),
    own("array_join", &[], Params::Custom(join_params), |_| Ok(DataType::Utf8), array_join),
    own("array_max", &[], ONE, element_type, |c| extreme(c, true)),
    own("array_min", &[], ONE, element_type, |c| extreme(c, false)),
    own("array_compact", &[], ONE, same, array_compact),
    own(
        "array_repeat",
        &[],
        Params::Exact(&[Param::Any, Int]),
        |s| Ok(list_of(s.data_type(0))),
        array_repeat,
    ),
    own("sort_array", &[], Params::Optional(1, &[List, Bool]), same, sort_array),
    own("array_sort", &[], ONE, same, |c| sorted(c, |_| Ok(Some(SortOptions::new(false, false))))),
    own("slice", &[], Params::Exact(&[List, Int, Int]), same, slice),
    own("flatten", &[], ONE, element_type, flatten),
];

/// Builds a list from elements of the first argument's list. `each` appends the positions of one
/// row's elements (`None` for a NULL element) and answers whether the row is not NULL.
pub(crate) fn build_list(
    call: &Call,
    each: impl FnMut(usize, &mut Vec<Option<usize>>) -> Result<bool>,
) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    build_from(call, list.values(), each)
}

/// As [`build_list`], from any array of elements.
pub(crate) fn build_from(
    call: &Call,
    values: &ArrayRef,
    mut each: impl FnMut(usize, &mut Vec<Option<usize>>) -> Result<bool>,
) -> Result<ArrayRef> {
    let DataType::List(field) = call.return_type else { return Ok(call.nulls()) };
    let mut picks = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let before = picks.len();
        let present = each(row, &mut picks)?;
        if !present {
            picks.truncate(before);
        }
        valid.push(present);
        lengths.push(picks.len() - before);
    }
    let values = take(values, &picks)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(NullBuffer::from(valid)),
    )?))
}

/// Elements as comparable rows.
fn comparable(values: &ArrayRef) -> Result<Rows> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    Ok(converter.convert_columns(&[Arc::clone(values)])?)
}

/// Two arrays of one type as rows of one converter.
fn comparable_pair(left: &ArrayRef, right: &ArrayRef) -> Result<(Rows, Rows)> {
    let converter = RowConverter::new(vec![SortField::new(left.data_type().clone())])?;
    let left = converter.convert_columns(&[Arc::clone(left)])?;
    Ok((left, converter.convert_columns(&[Arc::clone(right)])?))
}

/// NULL has the size NULL under ANSI, and -1 otherwise.
fn size(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let offsets = match array.data_type() {
        DataType::List(_) => Some(call.lists(0)?.offsets()),
        DataType::Map(..) => Some(call.maps(0)?.offsets()),
        DataType::Null => None,
        other => {
            return Err(spark_error(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!(
                    "The first parameter requires the (\"ARRAY\" or \"MAP\") type, however it has \
                     the type \"{}\".",
                    type_name(other)
                ),
            ));
        }
    };
    let of_null = if call.settings.ansi { None } else { Some(-1) };
    let sizes: Int32Array = (0..call.rows)
        .map(|row| match offsets {
            Some(offsets) if array.is_valid(row) => {
                i32::try_from(item_range(offsets, row).len()).ok()
            }
            _ => of_null,
        })
        .collect();
    Ok(Arc::new(sizes))
}

fn array_size(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    call.int_values(|row| {
        let count = item_range(list.offsets(), row).len();
        Ok(list.is_valid(row).then_some(count).and_then(|n| i32::try_from(n).ok()))
    })
}

/// An array and a value: both take the wider element type.
pub(crate) fn with_element(
    types: &[DataType],
    settings: &FunctionSettings,
) -> Result<Vec<DataType>> {
    match types {
        [list, value] => {
            let list = implicit("array function", List, list)?;
            if matches!(value, DataType::Null) {
                return Err(spark_error(
                    "DATATYPE_MISMATCH.NULL_TYPE",
                    "Null typed values cannot be used as arguments of an array function.",
                ));
            }
            let common = common_type(&[element(&list), value.clone()], settings)?;
            Ok(vec![list_of(common.clone()), common])
        }
        _ => Err(wrong_count("array", Params::Exact(&[List, Param::Any]), types.len())),
    }
}

fn two_lists(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [left, right] => {
            let left = implicit("array function", List, left)?;
            let right = implicit("array function", List, right)?;
            let common = common_type(&[left, right], settings)?;
            Ok(vec![common.clone(), common])
        }
        _ => Err(wrong_count("array", Params::Exact(&[List, List]), types.len())),
    }
}

/// Where the second argument stands in the list of one row, and whether the row has a NULL.
fn find(call: &Call, rows: &(Rows, Rows), row: usize) -> Result<(Option<usize>, bool)> {
    let list = call.lists(0)?;
    let values = list.values();
    let mut has_null = false;
    for (n, at) in item_range(list.offsets(), row).enumerate() {
        if values.is_null(at) {
            has_null = true;
        } else if rows.0.row(at) == rows.1.row(row) {
            return Ok((Some(n), has_null));
        }
    }
    Ok((None, has_null))
}

fn array_contains(call: &Call) -> Result<ArrayRef> {
    let (list, value) = (call.lists(0)?, call.array(1)?);
    let rows = comparable_pair(list.values(), value)?;
    call.flags(|row| {
        if list.is_null(row) || value.is_null(row) {
            return Ok(None);
        }
        Ok(match find(call, &rows, row)? {
            (Some(_), _) => Some(true),
            (None, true) => None,
            (None, false) => Some(false),
        })
    })
}

fn array_position(call: &Call) -> Result<ArrayRef> {
    let (list, value) = (call.lists(0)?, call.array(1)?);
    let rows = comparable_pair(list.values(), value)?;
    call.long_values(|row| {
        if list.is_null(row) || value.is_null(row) {
            return Ok(None);
        }
        let at = find(call, &rows, row)?.0.map_or(0, |n| n + 1);
        Ok(i64::try_from(at).ok())
    })
}

fn added(call: &Call, first: bool) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let offset = list.values().len();
    let all = concat(&[list.values().as_ref(), call.array(1)?.as_ref()])?;
    build_from(call, &all, |row, out| {
        if list.is_null(row) {
            return Ok(false);
        }
        let range = item_range(list.offsets(), row).map(Some);
        if first {
            out.push(Some(offset + row));
        }
        out.extend(range);
        if !first {
            out.push(Some(offset + row));
        }
        Ok(true)
    })
}

fn array_remove(call: &Call) -> Result<ArrayRef> {
    let (list, value) = (call.lists(0)?, call.array(1)?);
    let rows = comparable_pair(list.values(), value)?;
    build_list(call, |row, out| {
        if list.is_null(row) || value.is_null(row) {
            return Ok(false);
        }
        let range = item_range(list.offsets(), row);
        out.extend(range.filter(|at| rows.0.row(*at) != rows.1.row(row)).map(Some));
        Ok(true)
    })
}

fn array_distinct(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let rows = comparable(list.values())?;
    build_list(call, |row, out| {
        let mut seen = HashSet::new();
        let range = item_range(list.offsets(), row);
        out.extend(range.filter(|at| seen.insert(rows.row(*at))).map(Some));
        Ok(list.is_valid(row))
    })
}

fn array_union(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (call.lists(0)?, call.lists(1)?);
    let offset = left.values().len();
    let all = concat(&[left.values().as_ref(), right.values().as_ref()])?;
    let rows = comparable(&all)?;
    build_from(call, &all, |row, out| {
        if left.is_null(row) || right.is_null(row) {
            return Ok(false);
        }
        let mut seen = HashSet::new();
        let second = item_range(right.offsets(), row).map(|at| at + offset);
        let both = item_range(left.offsets(), row).chain(second);
        out.extend(both.filter(|at| seen.insert(rows.row(*at))).map(Some));
        Ok(true)
    })
}

/// The distinct elements of the first array that are (or are not) in the second.
fn kept(call: &Call, wanted: bool) -> Result<ArrayRef> {
    let (left, right) = (call.lists(0)?, call.lists(1)?);
    let rows = comparable_pair(left.values(), right.values())?;
    build_list(call, |row, out| {
        if left.is_null(row) || right.is_null(row) {
            return Ok(false);
        }
        let others: HashSet<_> =
            item_range(right.offsets(), row).map(|at| rows.1.row(at)).collect();
        let mut seen = HashSet::new();
        let range = item_range(left.offsets(), row);
        out.extend(
            range
                .filter(|at| {
                    others.contains(&rows.0.row(*at)) == wanted && seen.insert(rows.0.row(*at))
                })
                .map(Some),
        );
        Ok(true)
    })
}

/// NULL when nothing matches but a NULL could.
fn arrays_overlap(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (call.lists(0)?, call.lists(1)?);
    let rows = comparable_pair(left.values(), right.values())?;
    call.flags(|row| {
        if left.is_null(row) || right.is_null(row) {
            return Ok(None);
        }
        let (l, r) = (item_range(left.offsets(), row), item_range(right.offsets(), row));
        let others: HashSet<_> =
            r.clone().filter(|at| right.values().is_valid(*at)).map(|at| rows.1.row(at)).collect();
        let found =
            l.clone().any(|at| left.values().is_valid(at) && others.contains(&rows.0.row(at)));
        let nulls = l.clone().any(|at| left.values().is_null(at))
            || r.clone().any(|at| right.values().is_null(at));
        Ok(match (found, nulls && !l.is_empty() && !r.is_empty()) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        })
    })
}

fn join_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [_, rest @ ..] if matches!(rest.len(), 1 | 2) => {
            let mut wanted = vec![list_of(DataType::Utf8)];
            for t in rest {
                wanted.push(implicit("array_join", Param::Str, t)?);
            }
            Ok(wanted)
        }
        _ => Err(wrong_count("array_join", Params::Exact(&[List, Param::Str]), types.len())),
    }
}

fn array_join(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    call.texts(|row| {
        let Some(separator) = call.str(1, row)? else { return Ok(None) };
        if list.is_null(row) {
            return Ok(None);
        }
        let items = list.value(row);
        let for_null = call.str(2, row)?;
        let parts: Vec<&str> =
            items.as_string::<i32>().iter().filter_map(|item| item.or(for_null)).collect();
        Ok(Some(parts.join(separator)))
    })
}

fn extreme(call: &Call, largest: bool) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let values = list.values();
    let rows = comparable(values)?;
    let picks: Vec<Option<usize>> = (0..call.rows)
        .map(|row| {
            if list.is_null(row) {
                return None;
            }
            let items = item_range(list.offsets(), row).filter(|at| values.is_valid(*at));
            if largest {
                items.max_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
            } else {
                items.min_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
            }
        })
        .collect();
    take(values, &picks)
}

fn array_compact(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    build_list(call, |row, out| {
        let range = item_range(list.offsets(), row);
        out.extend(range.filter(|at| list.values().is_valid(*at)).map(Some));
        Ok(list.is_valid(row))
    })
}

fn array_repeat(call: &Call) -> Result<ArrayRef> {
    build_from(call, call.array(0)?, |row, out| {
        let Some(times) = call.int(1, row)? else { return Ok(false) };
        let times = usize::try_from(times).unwrap_or(0);
        bounded(times)?;
        out.extend(std::iter::repeat_n(Some(row), times));
        Ok(true)
    })
}

pub(crate) fn bounded(count: usize) -> Result<()> {
    if count <= ELEMENTS_MAX {
        return Ok(());
    }
    Err(spark_error(
        "COLLECTION_SIZE_LIMIT_EXCEEDED.PARAMETER",
        format!("Can't create array with {count} elements: the limit is {ELEMENTS_MAX}."),
    ))
}

/// NULLs come first in ascending order and last in descending order.
fn sort_array(call: &Call) -> Result<ArrayRef> {
    sorted(call, |row| {
        let ascending = if call.has(1) { call.bool(1, row)? } else { Some(true) };
        Ok(ascending.map(|ascending| SortOptions::new(!ascending, ascending)))
    })
}

fn sorted(call: &Call, options: impl Fn(usize) -> Result<Option<SortOptions>>) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let values = list.values();
    let rows = comparable(values)?;
    build_list(call, |row, out| {
        let Some(options) = options(row)? else { return Ok(false) };
        let items = item_range(list.offsets(), row);
        let (nulls, mut rest): (Vec<usize>, Vec<usize>) = items.partition(|at| values.is_null(*at));
        rest.sort_by(|a, b| rows.row(*a).cmp(&rows.row(*b)));
        if options.descending {
            rest.reverse();
        }
        let nulls = nulls.into_iter().map(Some);
        if options.nulls_first {
            out.extend(nulls.clone());
        }
        out.extend(rest.into_iter().map(Some));
        if !options.nulls_first {
            out.extend(nulls);
        }
        Ok(list.is_valid(row))
    })
}

fn slice(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let invalid = |name: &'static str, class: &'static str, value: i32, wanted: &str| {
        spark_error(
            class,
            format!(
                "The value of parameter(s) `{name}` in `slice` is invalid: Expects {wanted} but \
                 got {value}."
            ),
        )
    };
    build_list(call, |row, out| {
        let (Some(start), Some(length)) = (call.int(1, row)?, call.int(2, row)?) else {
            return Ok(false);
        };
        if list.is_null(row) {
            return Ok(false);
        }
        if start == 0 {
            let class = "INVALID_PARAMETER_VALUE.START";
            return Err(invalid(
                "start",
                class,
                start,
                "a positive or a negative value for `start`",
            ));
        }
        let Ok(length) = usize::try_from(length) else {
            let class = "INVALID_PARAMETER_VALUE.LENGTH";
            return Err(invalid("length", class, length, "`length` greater than or equal to 0"));
        };
        let range = item_range(list.offsets(), row);
        let distance = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
        let first = if start > 0 { Some(distance - 1) } else { range.len().checked_sub(distance) };
        if let Some(first) = first {
            out.extend(range.skip(first).take(length).map(Some));
        }
        Ok(true)
    })
}

fn flatten(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0)?;
    let inner = list.values().as_list::<i32>();
    build_from(call, inner.values(), |row, out| {
        for at in item_range(list.offsets(), row) {
            if inner.is_null(at) {
                return Ok(false);
            }
            out.extend(item_range(inner.offsets(), at).map(Some));
        }
        Ok(list.is_valid(row))
    })
}

/// The arrays of one row, one after the other; NULL when one of them is.
pub(crate) fn concat_lists(call: &Call) -> Result<ArrayRef> {
    let lists: Vec<&ListArray> =
        (0..call.args.len()).map(|index| call.lists(index)).collect::<Result<_>>()?;
    let parts: Vec<&dyn Array> = lists.iter().map(|list| list.values().as_ref()).collect();
    let all = concat(&parts)?;
    build_from(call, &all, |row, out| {
        let mut offset = 0;
        for list in &lists {
            if list.is_null(row) {
                return Ok(false);
            }
            out.extend(item_range(list.offsets(), row).map(|at| Some(at + offset)));
            offset += list.values().len();
        }
        Ok(true)
    })
}
