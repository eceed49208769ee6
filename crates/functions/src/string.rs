//! Functions over STRING and BINARY. Positions and lengths count characters of a STRING and bytes
//! of a BINARY.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::coercion::{implicit, list_of};
use crate::collection::build_list;
use crate::def::{Call, Def, Param, Params, Sig, own, wrong_count};
use crate::error::spark_error;
use crate::settings::FunctionSettings;

use Param::{Int, Str, StrOrBin};

/// Longest text that `repeat`, `lpad`, `rpad` and `space` make.
const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

const ONE: Params = Params::Exact(&[Str]);
const TWO: Params = Params::Exact(&[Str, Str]);

fn text(_: &Sig) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn int(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int32)
}

fn boolean(_: &Sig) -> Result<DataType> {
    Ok(DataType::Boolean)
}

fn same(sig: &Sig) -> Result<DataType> {
    Ok(match sig.data_type(0) {
        DataType::Null => DataType::Utf8,
        other => other,
    })
}

pub(crate) const DEFS: &[Def] = &[
    own(
        "length",
        &["len", "char_length", "character_length"],
        Params::Exact(&[StrOrBin]),
        int,
        length,
    ),
    own("octet_length", &[], Params::Exact(&[StrOrBin]), int, |c| bytes_times(c, 1)),
    own("bit_length", &[], Params::Exact(&[StrOrBin]), int, |c| bytes_times(c, 8)),
    own("upper", &["ucase"], ONE, text, |c| c.texts(|r| Ok(c.str(0, r)?.map(str::to_uppercase)))),
    own("lower", &["lcase"], ONE, text, |c| c.texts(|r| Ok(c.str(0, r)?.map(str::to_lowercase)))),
    own("initcap", &[], ONE, text, |c| c.texts(|r| Ok(c.str(0, r)?.map(initcap)))),
    own("trim", &["btrim"], Params::Optional(1, &[Str, Str]), text, |c| trim(c, true, true)),
    own("ltrim", &[], Params::Optional(1, &[Str, Str]), text, |c| trim(c, true, false)),
    own("rtrim", &[], Params::Optional(1, &[Str, Str]), text, |c| trim(c, false, true)),
    own("lpad", &[], Params::Optional(2, &[Str, Int, Str]), text, |c| pad(c, true)),
    own("rpad", &[], Params::Optional(2, &[Str, Int, Str]), text, |c| pad(c, false)),
    own("repeat", &[], Params::Exact(&[Str, Int]), text, repeat),
    own("space", &[], Params::Exact(&[Int]), text, space),
    own("reverse", &[], Params::Custom(text_or_array), same, reverse),
    own("concat", &[], Params::Custom(concat_params), concat_type, concat),
    own("concat_ws", &[], Params::Custom(concat_ws_params), text, concat_ws),
    own("substring", &["substr"], Params::Optional(2, &[StrOrBin, Int, Int]), same, substring),
    own("left", &[], Params::Exact(&[StrOrBin, Int]), same, left),
    own("right", &[], Params::Exact(&[Str, Int]), text, right),
    own("substring_index", &[], Params::Exact(&[Str, Str, Int]), text, substring_index),
    own("instr", &[], TWO, int, |c| c.int_values(|r| Ok(position(c.str(0, r)?, c.str(1, r)?, 1)))),
    own("locate", &["position"], Params::Optional(2, &[Str, Str, Int]), int, locate),
    own("contains", &[], TWO, boolean, |c| pair(c, |a, b| a.contains(b))),
    own("startswith", &[], TWO, boolean, |c| pair(c, |a, b| a.starts_with(b))),
    own("endswith", &[], TWO, boolean, |c| pair(c, |a, b| a.ends_with(b))),
    own("replace", &[], Params::Optional(2, &[Str, Str, Str]), text, replace),
    own("translate", &[], Params::Exact(&[Str, Str, Str]), text, translate),
    own("overlay", &[], Params::Optional(3, &[Str, Str, Int, Int]), text, overlay),
    own("split_part", &[], Params::Exact(&[Str, Str, Int]), text, split_part),
    own("elt", &[], Params::Custom(elt_params), text, elt),
    own("find_in_set", &[], TWO, int, find_in_set),
    own(
        "str_to_map",
        &[],
        Params::Optional(1, &[Str, Str, Str]),
        |_| Ok(crate::coercion::map_of(DataType::Utf8, DataType::Utf8)),
        str_to_map,
    ),
];

fn length(call: &Call) -> Result<ArrayRef> {
    if matches!(call.array(0)?.data_type(), DataType::Binary) {
        return bytes_times(call, 1);
    }
    call.int_values(|row| Ok(call.str(0, row)?.and_then(|s| i32::try_from(s.chars().count()).ok())))
}

fn bytes_times(call: &Call, factor: i32) -> Result<ArrayRef> {
    call.int_values(|row| {
        Ok(call.raw(0, row)?.and_then(|b| i32::try_from(b.len()).ok()?.checked_mul(factor)))
    })
}

fn initcap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        start = c == ' ';
    }
    out
}

/// Only the blank is trimmed unless characters are given, which come last here.
fn trim(call: &Call, start: bool, end: bool) -> Result<ArrayRef> {
    call.texts(|row| {
        let Some(mut text) = call.str(0, row)? else { return Ok(None) };
        let set = if call.has(1) {
            let Some(set) = call.str(1, row)? else { return Ok(None) };
            set
        } else {
            " "
        };
        if start {
            text = text.trim_start_matches(|c| set.contains(c));
        }
        if end {
            text = text.trim_end_matches(|c| set.contains(c));
        }
        Ok(Some(text.to_owned()))
    })
}

fn too_long() -> datafusion::common::DataFusionError {
    spark_error(
        "TEXT_TOO_LONG",
        format!("A function would make a text of more than {TEXT_BYTES_MAX} bytes."),
    )
}

fn pad(call: &Call, at_left: bool) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(length)) = (call.str(0, row)?, call.int(1, row)?) else {
            return Ok(None);
        };
        let pad = if call.has(2) {
            let Some(pad) = call.str(2, row)? else { return Ok(None) };
            pad
        } else {
            " "
        };
        let length = usize::try_from(length).unwrap_or(0);
        if length > TEXT_BYTES_MAX {
            return Err(too_long());
        }
        let own = text.chars().count();
        if own >= length || pad.is_empty() {
            return Ok(Some(text.chars().take(length).collect::<String>()));
        }
        let fill: String = pad.chars().cycle().take(length - own).collect();
        Ok(Some(if at_left { fill + text } else { format!("{text}{fill}") }))
    })
}

fn repeat(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(times)) = (call.str(0, row)?, call.int(1, row)?) else {
            return Ok(None);
        };
        let times = usize::try_from(times).unwrap_or(0);
        if text.len().saturating_mul(times) > TEXT_BYTES_MAX {
            return Err(too_long());
        }
        Ok(Some(text.repeat(times)))
    })
}

fn space(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let Some(count) = call.int(0, row)? else { return Ok(None) };
        let count = usize::try_from(count).unwrap_or(0);
        if count > TEXT_BYTES_MAX {
            return Err(too_long());
        }
        Ok(Some(" ".repeat(count)))
    })
}

fn text_or_array(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [list @ DataType::List(_)] => Ok(vec![list.clone()]),
        [other] => Ok(vec![implicit("reverse", Str, other)?]),
        _ => Err(wrong_count("reverse", ONE, types.len())),
    }
}

fn reverse(call: &Call) -> Result<ArrayRef> {
    if matches!(call.array(0)?.data_type(), DataType::List(_)) {
        return build_list(call, |row, out| {
            let list = call.lists(0)?;
            if list.is_null(row) {
                return Ok(false);
            }
            out.extend(crate::nested::item_range(list.offsets(), row).rev().map(Some));
            Ok(true)
        });
    }
    call.texts(|row| Ok(call.str(0, row)?.map(|s| s.chars().rev().collect::<String>())))
}

fn concat_params(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    let arrays = types.iter().any(|t| matches!(t, DataType::List(_)));
    if arrays {
        let common = crate::coercion::common_type(types, settings)?;
        return Ok(vec![common; types.len()]);
    }
    if !types.is_empty() && types.iter().all(|t| matches!(t, DataType::Binary)) {
        return Ok(types.to_vec());
    }
    types.iter().map(|t| implicit("concat", Str, t)).collect()
}

fn concat_type(sig: &Sig) -> Result<DataType> {
    Ok(if sig.types.is_empty() { DataType::Utf8 } else { same(sig)? })
}

fn concat(call: &Call) -> Result<ArrayRef> {
    match call.return_type {
        DataType::List(_) => crate::collection::concat_lists(call),
        DataType::Binary => call.blobs(|row| {
            let mut out = Vec::new();
            for index in 0..call.args.len() {
                let Some(part) = call.bytes(index, row)? else { return Ok(None) };
                out.extend_from_slice(part);
            }
            Ok(Some(out))
        }),
        _ => call.texts(|row| {
            let mut out = String::new();
            for index in 0..call.args.len() {
                let Some(part) = call.str(index, row)? else { return Ok(None) };
                out.push_str(part);
            }
            Ok(Some(out))
        }),
    }
}

fn concat_ws_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    if types.is_empty() {
        return Err(wrong_count("concat_ws", Params::Variadic(1, Str), 0));
    }
    types
        .iter()
        .map(|t| match t {
            DataType::List(_) => Ok(list_of(DataType::Utf8)),
            other => implicit("concat_ws", Str, other),
        })
        .collect()
}

/// NULLs are left out; arrays give their elements.
fn concat_ws(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let Some(separator) = call.str(0, row)? else { return Ok(None) };
        let mut parts: Vec<String> = Vec::new();
        for array in call.args.iter().skip(1) {
            if array.is_null(row) {
                continue;
            }
            match array.data_type() {
                DataType::List(_) => {
                    let items = array.as_list::<i32>().value(row);
                    let items = items.as_string::<i32>();
                    parts.extend(items.iter().flatten().map(str::to_owned));
                }
                _ => parts.push(array.as_string::<i32>().value(row).to_owned()),
            }
        }
        Ok(Some(parts.join(separator)))
    })
}

/// Where a one-based, possibly negative start and a length lie in `total` items.
fn span(total: usize, start: i32, length: Option<i32>) -> std::ops::Range<usize> {
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    let start = i64::from(start);
    let first = if start > 0 {
        start - 1
    } else if start < 0 {
        total + start
    } else {
        0
    };
    let end = match length {
        Some(length) => first.saturating_add(i64::from(length)),
        None => total,
    };
    let clamp = |v: i64| usize::try_from(v.clamp(0, total)).unwrap_or(0);
    let (first, end) = (clamp(first), clamp(end));
    first..end.max(first)
}

fn slice_chars(text: &str, range: std::ops::Range<usize>) -> &str {
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(i, _)| i);
    text.get(at(range.start)..at(range.end)).unwrap_or_default()
}

fn substring(call: &Call) -> Result<ArrayRef> {
    let range = |total: usize, row: usize| -> Result<Option<std::ops::Range<usize>>> {
        let Some(start) = call.int(1, row)? else { return Ok(None) };
        if call.has(2) {
            let Some(length) = call.int(2, row)? else { return Ok(None) };
            return Ok(Some(span(total, start, Some(length))));
        }
        Ok(Some(span(total, start, None)))
    };
    if matches!(call.return_type, DataType::Binary) {
        return call.blobs(|row| {
            let Some(bytes) = call.bytes(0, row)? else { return Ok(None) };
            Ok(range(bytes.len(), row)?.and_then(|r| bytes.get(r)))
        });
    }
    call.texts(|row| {
        let Some(text) = call.str(0, row)? else { return Ok(None) };
        Ok(range(text.chars().count(), row)?.map(|r| slice_chars(text, r)))
    })
}

fn left(call: &Call) -> Result<ArrayRef> {
    if matches!(call.return_type, DataType::Binary) {
        return call.blobs(|row| {
            let (Some(bytes), Some(n)) = (call.bytes(0, row)?, call.int(1, row)?) else {
                return Ok(None);
            };
            Ok(bytes.get(..usize::try_from(n).unwrap_or(0).min(bytes.len())))
        });
    }
    call.texts(|row| {
        let (Some(text), Some(n)) = (call.str(0, row)?, call.int(1, row)?) else {
            return Ok(None);
        };
        Ok(Some(text.chars().take(usize::try_from(n).unwrap_or(0)).collect::<String>()))
    })
}

fn right(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(n)) = (call.str(0, row)?, call.int(1, row)?) else {
            return Ok(None);
        };
        let total = text.chars().count();
        let skip = total.saturating_sub(usize::try_from(n).unwrap_or(0));
        Ok(Some(text.chars().skip(skip).collect::<String>()))
    })
}

fn substring_index(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(delimiter), Some(count)) =
            (call.str(0, row)?, call.str(1, row)?, call.int(2, row)?)
        else {
            return Ok(None);
        };
        if count == 0 || delimiter.is_empty() {
            return Ok(Some(""));
        }
        let nth = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let found = if count > 0 {
            text.match_indices(delimiter).nth(nth - 1).and_then(|(at, _)| text.get(..at))
        } else {
            text.rmatch_indices(delimiter)
                .nth(nth - 1)
                .and_then(|(at, _)| text.get(at + delimiter.len()..))
        };
        Ok(Some(found.unwrap_or(text)))
    })
}

/// One-based position of the first occurrence from position `from`, 0 for none.
fn position(text: Option<&str>, wanted: Option<&str>, from: usize) -> Option<i32> {
    let (text, wanted) = (text?, wanted?);
    let start = text.char_indices().nth(from - 1).map_or(text.len(), |(i, _)| i);
    let rest = text.get(start..)?;
    let found =
        rest.find(wanted).and_then(|at| Some(rest.get(..at)?.chars().count() + from)).unwrap_or(0);
    i32::try_from(found).ok()
}

fn locate(call: &Call) -> Result<ArrayRef> {
    call.int_values(|row| {
        let (wanted, text) = (call.str(0, row)?, call.str(1, row)?);
        if !call.has(2) {
            return Ok(position(text, wanted, 1));
        }
        // A NULL start is 0, which finds nothing.
        let from = call.int(2, row)?.unwrap_or(0);
        match usize::try_from(from) {
            Ok(from) if from >= 1 => Ok(position(text, wanted, from)),
            _ => Ok(text.and(wanted).map(|_| 0)),
        }
    })
}

fn pair(call: &Call, test: impl Fn(&str, &str) -> bool) -> Result<ArrayRef> {
    call.flags(|row| Ok(call.str(0, row)?.zip(call.str(1, row)?).map(|(a, b)| test(a, b))))
}

fn replace(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(wanted)) = (call.str(0, row)?, call.str(1, row)?) else {
            return Ok(None);
        };
        let with = if call.has(2) { call.str(2, row)? } else { Some("") };
        let Some(with) = with else { return Ok(None) };
        if wanted.is_empty() {
            return Ok(Some(text.to_owned()));
        }
        Ok(Some(text.replace(wanted, with)))
    })
}

fn translate(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(from), Some(to)) =
            (call.str(0, row)?, call.str(1, row)?, call.str(2, row)?)
        else {
            return Ok(None);
        };
        let to: Vec<char> = to.chars().collect();
        let changed = text
            .chars()
            .filter_map(|c| match from.chars().position(|f| f == c) {
                Some(at) => to.get(at).copied(),
                None => Some(c),
            })
            .collect::<String>();
        Ok(Some(changed))
    })
}

fn overlay(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(with), Some(at)) =
            (call.str(0, row)?, call.str(1, row)?, call.int(2, row)?)
        else {
            return Ok(None);
        };
        let length = if call.has(3) {
            let Some(length) = call.int(3, row)? else { return Ok(None) };
            length
        } else {
            -1
        };
        let length = match usize::try_from(length) {
            Ok(length) => length,
            Err(_) => with.chars().count(),
        };
        let before = usize::try_from(at.saturating_sub(1)).unwrap_or(0);
        let head: String = text.chars().take(before).collect();
        let tail: String = text.chars().skip(before + length).collect();
        Ok(Some(format!("{head}{with}{tail}")))
    })
}

fn split_part(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(text), Some(delimiter), Some(wanted)) =
            (call.str(0, row)?, call.str(1, row)?, call.int(2, row)?)
        else {
            return Ok(None);
        };
        if wanted == 0 {
            return Err(spark_error(
                "INVALID_INDEX_OF_ZERO",
                "The index 0 is invalid. An index shall be either < 0 or > 0 (the first element \
                 has index 1).",
            ));
        }
        let parts: Vec<&str> =
            if delimiter.is_empty() { vec![text] } else { text.split(delimiter).collect() };
        let nth = usize::try_from(wanted.unsigned_abs()).unwrap_or(usize::MAX);
        let at = if wanted > 0 { Some(nth - 1) } else { parts.len().checked_sub(nth) };
        Ok(Some(at.and_then(|at| parts.get(at).copied()).unwrap_or_default()))
    })
}

fn elt_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [index, rest @ ..] if !rest.is_empty() => {
            let mut wanted = vec![implicit("elt", Int, index)?];
            for t in rest {
                wanted.push(implicit("elt", Str, t)?);
            }
            Ok(wanted)
        }
        _ => Err(wrong_count("elt", Params::Variadic(2, Param::Any), types.len())),
    }
}

fn elt(call: &Call) -> Result<ArrayRef> {
    let count = call.args.len() - 1;
    call.texts(|row| {
        let Some(index) = call.int(0, row)? else { return Ok(None) };
        match usize::try_from(index) {
            Ok(at) if (1..=count).contains(&at) => call.str(at, row),
            _ if !call.settings.ansi => Ok(None),
            _ => Err(spark_error(
                "INVALID_ARRAY_INDEX",
                format!("The index {index} is out of bounds. The array has {count} elements."),
            )),
        }
    })
}

fn find_in_set(call: &Call) -> Result<ArrayRef> {
    call.int_values(|row| {
        let (Some(wanted), Some(list)) = (call.str(0, row)?, call.str(1, row)?) else {
            return Ok(None);
        };
        let at =
            if wanted.contains(',') { None } else { list.split(',').position(|p| p == wanted) };
        Ok(i32::try_from(at.map_or(0, |at| at + 1)).ok())
    })
}

fn str_to_map(call: &Call) -> Result<ArrayRef> {
    let (mut keys, mut values, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let pairs = if call.has(1) { call.str(1, row)? } else { Some(",") };
        let inner = if call.has(2) { call.str(2, row)? } else { Some(":") };
        let (Some(text), Some(pairs), Some(inner)) = (call.str(0, row)?, pairs, inner) else {
            valid.push(false);
            lengths.push(0);
            continue;
        };
        let before = keys.len();
        for part in text.split(pairs) {
            match part.split_once(inner) {
                Some((key, value)) => {
                    keys.push(key.to_owned());
                    values.push(Some(value.to_owned()));
                }
                None => {
                    keys.push(part.to_owned());
                    values.push(None);
                }
            }
        }
        valid.push(true);
        lengths.push(keys.len() - before);
    }
    crate::nested::build_map(
        call.return_type,
        arrow::buffer::OffsetBuffer::from_lengths(lengths),
        std::sync::Arc::new(arrow::array::StringArray::from(keys)),
        std::sync::Arc::new(arrow::array::StringArray::from(values)),
        Some(valid.into()),
    )
}
