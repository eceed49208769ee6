//! Functions of dates and timestamps, in the session time zone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, DurationMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, DurationMicrosecondType, IntervalYearMonthType};
use chrono::{DateTime, Datelike, Duration, Months, NaiveDate, NaiveDateTime, Timelike};
use datafusion::common::{DataFusionError, Result};

use crate::cast::parse;
use crate::coercion::{implicit, is_timestamp, type_name};
use crate::def::{Call, DAY_TIME, Def, Param, Params, Sig, own, timestamp_type, wrong_count};
use crate::error::spark_error;
use crate::settings::FunctionSettings;
use crate::zone::Zone;

use Param::{AnyTimestamp, Bool, Date, Int, Long, Number, Str, Timestamp};

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;
const SECOND: i64 = 1_000_000;

fn int(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int32)
}

fn long(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int64)
}

fn date(_: &Sig) -> Result<DataType> {
    Ok(DataType::Date32)
}

fn text(_: &Sig) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn timestamp(_: &Sig) -> Result<DataType> {
    Ok(timestamp_type())
}

fn same(sig: &Sig) -> Result<DataType> {
    Ok(sig.data_type(0))
}

macro_rules! date_field {
    ($name:literal, $aliases:expr, $f:expr) => {
        own($name, $aliases, Params::Exact(&[Date]), int, |c| {
            c.int_values(|r| Ok(c.date(0, r)?.and_then(day_of).map($f)))
        })
    };
}

macro_rules! time_field {
    ($name:literal, $f:expr) => {
        own($name, &[], Params::Exact(&[AnyTimestamp]), int, |c| {
            c.int_values(|r| Ok(local(c, 0, r)?.and_then(moment).map($f)))
        })
    };
}

pub(crate) const DEFS: &[Def] = &[
    date_field!("year", &[], |d: NaiveDate| d.year()),
    date_field!("quarter", &[], |d: NaiveDate| small(d.month0() / 3 + 1)),
    date_field!("month", &[], |d: NaiveDate| small(d.month())),
    date_field!("day", &["dayofmonth"], |d: NaiveDate| small(d.day())),
    date_field!("dayofyear", &[], |d: NaiveDate| small(d.ordinal())),
    date_field!("dayofweek", &[], |d: NaiveDate| small(d.weekday().number_from_sunday())),
    date_field!("weekday", &[], |d: NaiveDate| small(d.weekday().num_days_from_monday())),
    date_field!("weekofyear", &[], |d: NaiveDate| small(d.iso_week().week())),
    time_field!("hour", |t: NaiveDateTime| small(t.hour())),
    time_field!("minute", |t: NaiveDateTime| small(t.minute())),
    time_field!("second", |t: NaiveDateTime| small(t.second())),
    own("dayname", &[], Params::Exact(&[Date]), text, |c| names(c, "%a")),
    own("monthname", &[], Params::Exact(&[Date]), text, |c| names(c, "%b")),
    own("date_part", &["datepart", "extract"], Params::Custom(part_params), part_type, date_part),
    own("date_add", &["dateadd"], Params::Exact(&[Date, Int]), date, |c| shifted(c, 1)),
    own("date_sub", &[], Params::Exact(&[Date, Int]), date, |c| shifted(c, -1)),
    own("datediff", &["date_diff"], Params::Exact(&[Date, Date]), int, datediff),
    own("add_months", &[], Params::Exact(&[Date, Int]), date, add_months),
    own(
        "months_between",
        &[],
        Params::Optional(2, &[Timestamp, Timestamp, Bool]),
        |_| Ok(DataType::Float64),
        months_between,
    ),
    own("last_day", &[], Params::Exact(&[Date]), date, last_day),
    own("next_day", &[], Params::Exact(&[Date, Str]), date, next_day),
    own("trunc", &[], Params::Exact(&[Date, Str]), date, trunc),
    own("date_trunc", &[], Params::Exact(&[Str, AnyTimestamp]), |s| Ok(s.data_type(1)), date_trunc),
    own("unix_seconds", &[], Params::Exact(&[Timestamp]), long, |c| epoch(c, SECOND)),
    own("unix_millis", &[], Params::Exact(&[Timestamp]), long, |c| epoch(c, 1_000)),
    own("unix_micros", &[], Params::Exact(&[Timestamp]), long, |c| epoch(c, 1)),
    own("unix_date", &[], Params::Exact(&[Date]), int, |c| c.int_values(|r| c.date(0, r))),
    own("date_from_unix_date", &[], Params::Exact(&[Int]), date, |c| {
        c.date_values(|r| c.int(0, r))
    }),
    own("timestamp_seconds", &[], Params::Exact(&[Number]), timestamp, timestamp_seconds),
    own("timestamp_millis", &[], Params::Exact(&[Long]), timestamp, |c| from_epoch(c, 1_000)),
    own("timestamp_micros", &[], Params::Exact(&[Long]), timestamp, |c| from_epoch(c, 1)),
    own("make_date", &[], Params::Exact(&[Int, Int, Int]), date, make_date),
    own("make_timestamp", &[], Params::Custom(make_timestamp_params), timestamp, make_timestamp),
    own("from_utc_timestamp", &[], Params::Exact(&[Timestamp, Str]), timestamp, |c| utc(c, true)),
    own("to_utc_timestamp", &[], Params::Exact(&[Timestamp, Str]), timestamp, |c| utc(c, false)),
    own("current_timezone", &[], Params::Exact(&[]), text, |c| {
        c.texts(|_| Ok(Some(c.settings.time_zone.clone())))
    }),
    own("subtract_dates", &[], Params::Exact(&[Date, Date]), |_| Ok(DAY_TIME), subtract_dates),
    own(
        "subtract_timestamps",
        &[],
        Params::Exact(&[AnyTimestamp, AnyTimestamp]),
        |_| Ok(DAY_TIME),
        subtract_timestamps,
    ),
    own("timestamp_add_duration", &[], Params::Custom(add_params), same, add_duration),
    own("timestamp_add_months", &[], Params::Custom(add_params), same, timestamp_add_months),
    own("date_add_months", &[], Params::Exact(&[Date, Param::Any]), date, date_add_months),
];

pub(crate) fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The calendar day of days since the epoch.
pub(crate) fn day_of(days: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(Duration::days(i64::from(days)))
}

/// The wall clock of microseconds.
pub(crate) fn moment(local_micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(local_micros).map(|at| at.naive_utc())
}

/// Wall-clock microseconds of a timestamp argument.
pub(crate) fn local(call: &Call, index: usize, row: usize) -> Result<Option<i64>> {
    let Some(micros) = call.micros(index, row)? else { return Ok(None) };
    Ok(Some(match call.array(index)?.data_type() {
        DataType::Timestamp(_, None) => micros,
        _ => call.zone()?.to_local(micros),
    }))
}

fn names(call: &Call, format: &str) -> Result<ArrayRef> {
    call.texts(|r| Ok(call.date(0, r)?.and_then(day_of).map(|d| d.format(format).to_string())))
}

fn part_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [field, source] => {
            let source = match source {
                DataType::Date32 => source.clone(),
                t if is_timestamp(t) || *t == DAY_TIME => t.clone(),
                other => implicit("date_part", Timestamp, other)?,
            };
            Ok(vec![implicit("date_part", Str, field)?, source])
        }
        _ => Err(wrong_count("date_part", Params::Exact(&[Str, Timestamp]), types.len())),
    }
}

fn is_second(field: &str) -> bool {
    matches!(field, "s" | "sec" | "second" | "seconds" | "secs")
}

fn part_type(sig: &Sig) -> Result<DataType> {
    let Some(field) = sig.text(0) else {
        return Err(spark_error(
            "NON_FOLDABLE_ARGUMENT",
            "The function `date_part` requires the parameter `field` to be a foldable \
             expression of the type \"STRING\".",
        ));
    };
    let field = field.to_lowercase();
    if is_second(&field) {
        return Ok(DataType::Decimal128(8, 6));
    }
    if part(&field, NaiveDateTime::default()).is_none() {
        return Err(spark_error(
            "INVALID_EXTRACT_FIELD",
            format!("Cannot extract `{field}` from \"{}\".", type_name(&sig.data_type(1))),
        ));
    }
    Ok(DataType::Int32)
}

fn part(field: &str, at: NaiveDateTime) -> Option<i32> {
    Some(match field {
        "year" | "y" | "years" | "yr" | "yrs" => at.year(),
        "yearofweek" => at.iso_week().year(),
        "quarter" | "qtr" => small(at.month0() / 3 + 1),
        "month" | "mon" | "mons" | "months" => small(at.month()),
        "week" | "w" | "weeks" => small(at.iso_week().week()),
        "day" | "d" | "days" => small(at.day()),
        "dayofweek" | "dow" => small(at.weekday().number_from_sunday()),
        "dayofweek_iso" | "dow_iso" => small(at.weekday().number_from_monday()),
        "doy" => small(at.ordinal()),
        "hour" | "h" | "hours" | "hr" | "hrs" => small(at.hour()),
        "minute" | "m" | "min" | "mins" | "minutes" => small(at.minute()),
        _ => return None,
    })
}

fn date_part(call: &Call) -> Result<ArrayRef> {
    let source = call.array(1)?;
    let at = |row: usize| -> Result<Option<i64>> {
        match source.data_type() {
            DataType::Date32 => Ok(call.date(1, row)?.map(|d| i64::from(d) * MICROS_PER_DAY)),
            _ => local(call, 1, row),
        }
    };
    if matches!(call.return_type, DataType::Decimal128(..)) {
        let seconds = call.primitives::<arrow::datatypes::Decimal128Type>(|r| {
            Ok(at(r)?.map(|micros| i128::from(micros.rem_euclid(60 * SECOND))))
        })?;
        return Ok(Arc::new(Decimal128Array::with_precision_and_scale(seconds, 8, 6)?));
    }
    call.int_values(|r| {
        let Some(field) = call.str(0, r)? else { return Ok(None) };
        let field = field.to_lowercase();
        Ok(at(r)?.and_then(moment).and_then(|at| part(&field, at)))
    })
}

fn shifted(call: &Call, sign: i32) -> Result<ArrayRef> {
    call.date_values(|r| {
        let (Some(date), Some(days)) = (call.date(0, r)?, call.int(1, r)?) else {
            return Ok(None);
        };
        Ok(Some(date.wrapping_add(days.wrapping_mul(sign))))
    })
}

fn datediff(call: &Call) -> Result<ArrayRef> {
    call.int_values(|r| {
        Ok(call.date(0, r)?.zip(call.date(1, r)?).map(|(end, start)| end.wrapping_sub(start)))
    })
}

/// A date some months away; the day is cut at the end of the month.
pub(crate) fn months_later(date: NaiveDate, months: i32) -> Option<NaiveDate> {
    let count = Months::new(months.unsigned_abs());
    if months >= 0 { date.checked_add_months(count) } else { date.checked_sub_months(count) }
}

fn add_months(call: &Call) -> Result<ArrayRef> {
    call.date_values(|r| {
        let (Some(date), Some(months)) = (call.date(0, r)?, call.int(1, r)?) else {
            return Ok(None);
        };
        Ok(day_of(date).and_then(|d| months_later(d, months)).map(parse::days_of))
    })
}

fn date_add_months(call: &Call) -> Result<ArrayRef> {
    let months = call.array(1)?.as_primitive::<IntervalYearMonthType>();
    call.date_values(|r| {
        let Some(date) = call.date(0, r)?.filter(|_| months.is_valid(r)) else { return Ok(None) };
        Ok(day_of(date).and_then(|d| months_later(d, months.value(r))).map(parse::days_of))
    })
}

fn add_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [time, interval] => Ok(vec![implicit("+", AnyTimestamp, time)?, interval.clone()]),
        _ => Err(wrong_count("+", Params::Exact(&[Timestamp, Param::Any]), types.len())),
    }
}

fn add_duration(call: &Call) -> Result<ArrayRef> {
    let durations = call.array(1)?.as_primitive::<DurationMicrosecondType>();
    call.timestamp_values(|r| {
        let Some(micros) = call.micros(0, r)?.filter(|_| durations.is_valid(r)) else {
            return Ok(None);
        };
        add_day_time(call, micros, durations.value(r)).map(Some)
    })
}

/// Whole days move the wall clock, the rest moves the instant.
fn add_day_time(call: &Call, micros: i64, duration: i64) -> Result<i64> {
    let overflow = || crate::error::overflow("long", "");
    let (days, rest) = (duration / MICROS_PER_DAY, duration % MICROS_PER_DAY);
    let moved = match call.return_type {
        DataType::Timestamp(_, None) => micros.checked_add(days * MICROS_PER_DAY),
        _ if days == 0 => Some(micros),
        _ => {
            let zone = call.zone()?;
            zone.to_local(micros)
                .checked_add(days * MICROS_PER_DAY)
                .map(|local| zone.to_instant(local))
        }
    };
    moved.and_then(|v| v.checked_add(rest)).ok_or_else(overflow)
}

fn timestamp_add_months(call: &Call) -> Result<ArrayRef> {
    let months = call.array(1)?.as_primitive::<IntervalYearMonthType>();
    let ntz = matches!(call.return_type, DataType::Timestamp(_, None));
    let zone = call.zone()?;
    call.timestamp_values(|r| {
        let Some(local) = local(call, 0, r)?.filter(|_| months.is_valid(r)) else {
            return Ok(None);
        };
        let (days, time) = (local.div_euclid(MICROS_PER_DAY), local.rem_euclid(MICROS_PER_DAY));
        let moved = i32::try_from(days)
            .ok()
            .and_then(day_of)
            .and_then(|d| months_later(d, months.value(r)))
            .map(|d| i64::from(parse::days_of(d)) * MICROS_PER_DAY + time);
        Ok(moved.map(|local| if ntz { local } else { zone.to_instant(local) }))
    })
}

/// Months by calendar, with the rest as 31sts, rounded to eight places unless told not to.
fn months_between(call: &Call) -> Result<ArrayRef> {
    call.double_values(|r| {
        let (Some(a), Some(b)) = (local(call, 0, r)?, local(call, 1, r)?) else {
            return Ok(None);
        };
        let rounded = if call.has(2) { call.bool(2, r)? } else { Some(true) };
        let (Some(rounded), Some(x), Some(y)) = (rounded, moment(a), moment(b)) else {
            return Ok(None);
        };
        let months = f64::from((x.year() - y.year()) * 12 + small(x.month()) - small(y.month()));
        let is_last = |d: NaiveDateTime| d.date().succ_opt().is_none_or(|n| n.day() == 1);
        if x.day() == y.day() || is_last(x) && is_last(y) {
            return Ok(Some(months));
        }
        let seconds = |d: NaiveDateTime, micros: i64| {
            i64::from(d.day()) * 86_400 + micros.rem_euclid(MICROS_PER_DAY) / SECOND
        };
        let difference = months + (seconds(x, a) - seconds(y, b)) as f64 / (31.0 * 86_400.0);
        Ok(Some(if rounded { (difference * 1e8).round() / 1e8 } else { difference }))
    })
}

fn last_day(call: &Call) -> Result<ArrayRef> {
    call.date_values(|r| {
        Ok(call.date(0, r)?.and_then(day_of).and_then(|d| {
            let first = d.with_day(1)?;
            Some(parse::days_of(months_later(first, 1)?.pred_opt()?))
        }))
    })
}

fn next_day(call: &Call) -> Result<ArrayRef> {
    call.date_values(|r| {
        let (Some(date), Some(name)) = (call.date(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        let wanted = match name.trim().to_uppercase().as_str() {
            "MO" | "MON" | "MONDAY" => 0,
            "TU" | "TUE" | "TUESDAY" => 1,
            "WE" | "WED" | "WEDNESDAY" => 2,
            "TH" | "THU" | "THURSDAY" => 3,
            "FR" | "FRI" | "FRIDAY" => 4,
            "SA" | "SAT" | "SATURDAY" => 5,
            "SU" | "SUN" | "SUNDAY" => 6,
            _ if !call.settings.ansi => return Ok(None),
            _ => {
                return Err(spark_error(
                    "ILLEGAL_DAY_OF_WEEK",
                    format!("Illegal input for day of week: {name}."),
                ));
            }
        };
        // Day 0 of the epoch was a Thursday.
        let own = (date + 3).rem_euclid(7);
        let ahead = (wanted - own).rem_euclid(7);
        Ok(Some(date + if ahead == 0 { 7 } else { ahead }))
    })
}

/// The first day of the unit that a date lies in.
fn trunc_date(date: NaiveDate, unit: &str) -> Option<NaiveDate> {
    match unit {
        "WEEK" => {
            let back = i64::from(date.weekday().num_days_from_monday());
            date.checked_sub_signed(Duration::days(back))
        }
        "MONTH" | "MM" | "MON" => date.with_day(1),
        "QUARTER" => date.with_day(1)?.with_month0(date.month0() / 3 * 3),
        "YEAR" | "YYYY" | "YY" => date.with_day(1)?.with_month(1),
        _ => None,
    }
}

fn trunc(call: &Call) -> Result<ArrayRef> {
    call.date_values(|r| {
        let (Some(date), Some(unit)) = (call.date(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        let unit = unit.to_uppercase();
        Ok(day_of(date).and_then(|d| trunc_date(d, &unit)).map(parse::days_of))
    })
}

fn date_trunc(call: &Call) -> Result<ArrayRef> {
    let ntz = matches!(call.return_type, DataType::Timestamp(_, None));
    let zone = if ntz { Zone::Region(chrono_tz::Tz::UTC) } else { call.zone()? };
    call.timestamp_values(|r| {
        let (Some(unit), Some(micros)) = (call.str(0, r)?, call.micros(1, r)?) else {
            return Ok(None);
        };
        Ok(trunc_timestamp(&unit.to_uppercase(), micros, zone))
    })
}

fn trunc_timestamp(unit: &str, micros: i64, zone: Zone) -> Option<i64> {
    let down = |per: i64| micros - micros.rem_euclid(per);
    match unit {
        "MICROSECOND" => return Some(micros),
        "MILLISECOND" => return Some(down(1_000)),
        "SECOND" => return Some(down(SECOND)),
        _ => {}
    }
    let local = zone.to_local(micros);
    let down = |per: i64| {
        // Within a day the same offset applies before and after, so the instant moves back.
        Some(micros - local.rem_euclid(per))
    };
    match unit {
        "MINUTE" => return down(60 * SECOND),
        "HOUR" => return down(3_600 * SECOND),
        _ => {}
    }
    let day = day_of(i32::try_from(local.div_euclid(MICROS_PER_DAY)).ok()?)?;
    let day = if matches!(unit, "DAY" | "DD") { day } else { trunc_date(day, unit)? };
    Some(zone.to_instant(i64::from(parse::days_of(day)) * MICROS_PER_DAY))
}

fn epoch(call: &Call, per: i64) -> Result<ArrayRef> {
    call.long_values(|r| Ok(call.micros(0, r)?.map(|v| v.div_euclid(per))))
}

fn from_epoch(call: &Call, per: i64) -> Result<ArrayRef> {
    call.timestamp_values(|r| {
        let Some(value) = call.long(0, r)? else { return Ok(None) };
        value.checked_mul(per).map(Some).ok_or_else(long_overflow)
    })
}

fn long_overflow() -> DataFusionError {
    spark_error("ARITHMETIC_OVERFLOW", "long overflow")
}

fn timestamp_seconds(call: &Call) -> Result<ArrayRef> {
    use crate::cast::{Number, numbers};
    let values = numbers(call.array(0)?)?;
    call.timestamp_values(|r| {
        let Some(value) = values.get(r).copied().flatten() else { return Ok(None) };
        match value {
            Number::Whole(v) => v.checked_mul(SECOND).map(Some).ok_or_else(long_overflow),
            Number::Float(v) if !v.is_finite() => Ok(None),
            Number::Float(v) => Ok(Some((v * SECOND as f64) as i64)),
            Number::Decimal(v, scale) => {
                let divisor = 10i128.pow(u32::from(scale.max(0).unsigned_abs()));
                let micros = v.checked_mul(i128::from(SECOND)).map(|v| v / divisor);
                micros.and_then(|v| i64::try_from(v).ok()).map(Some).ok_or_else(long_overflow)
            }
        }
    })
}

fn out_of_bounds(call: &Call, what: String) -> Result<Option<i32>> {
    if !call.settings.ansi {
        return Ok(None);
    }
    Err(spark_error(
        "DATETIME_FIELD_OUT_OF_BOUNDS.WITH_SUGGESTION",
        format!(
            "{what}. If necessary set \"spark.sql.ansi.enabled\" to \"false\" to bypass this error."
        ),
    ))
}

fn make_date(call: &Call) -> Result<ArrayRef> {
    call.date_values(|r| {
        let (Some(y), Some(m), Some(d)) = (call.int(0, r)?, call.int(1, r)?, call.int(2, r)?)
        else {
            return Ok(None);
        };
        match parse::ymd(y, m, d) {
            Some(days) => Ok(Some(days)),
            None => out_of_bounds(call, format!("Invalid date '{y}-{m}-{d}'")),
        }
    })
}

fn make_timestamp_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    if !matches!(types.len(), 6 | 7) {
        return Err(wrong_count(
            "make_timestamp",
            Params::Optional(6, &[Int, Int, Int, Int, Int, Number, Str]),
            types.len(),
        ));
    }
    let mut wanted = vec![DataType::Int32; 5];
    wanted.push(DataType::Decimal128(16, 6));
    if types.len() == 7 {
        wanted.push(DataType::Utf8);
    }
    Ok(wanted)
}

fn make_timestamp(call: &Call) -> Result<ArrayRef> {
    let seconds = call.array(5)?.as_primitive::<arrow::datatypes::Decimal128Type>();
    let session = call.zone()?;
    call.timestamp_values(|r| {
        let mut fields = [0i32; 5];
        for (index, field) in fields.iter_mut().enumerate() {
            match call.int(index, r)? {
                Some(value) => *field = value,
                None => return Ok(None),
            }
        }
        if seconds.is_null(r) {
            return Ok(None);
        }
        let zone = if call.has(6) {
            match call.str(6, r)? {
                Some(name) => Zone::parse(name).ok_or_else(|| {
                    spark_error("INVALID_TIMEZONE", format!("The timezone: {name} is invalid."))
                })?,
                None => return Ok(None),
            }
        } else {
            session
        };
        let [year, month, day, hour, minute] = fields;
        let micros = i64::try_from(seconds.value(r)).unwrap_or(i64::MAX);
        // Sixty seconds are the next minute.
        let in_range = (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60 * SECOND).contains(&micros);
        match parse::ymd(year, month, day).filter(|_| in_range) {
            Some(days) => {
                let time = (i64::from(hour) * 60 + i64::from(minute)) * 60 * SECOND + micros;
                Ok(Some(zone.to_instant(i64::from(days) * MICROS_PER_DAY + time)))
            }
            None => {
                let what =
                    format!("Invalid value of a field of {year}-{month}-{day} {hour}:{minute}");
                out_of_bounds(call, what).map(|_| None)
            }
        }
    })
}

/// A wall clock read in UTC and shown in a zone, or the other way round.
fn utc(call: &Call, from: bool) -> Result<ArrayRef> {
    call.timestamp_values(|r| {
        let (Some(micros), Some(name)) = (call.micros(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        let zone = Zone::parse(name).ok_or_else(|| {
            spark_error("INVALID_TIMEZONE", format!("The timezone: {name} is invalid."))
        })?;
        let utc = Zone::Region(chrono_tz::Tz::UTC);
        let (read, shown) = if from { (utc, zone) } else { (zone, utc) };
        Ok(Some(read.to_instant(shown.to_local(micros))))
    })
}

fn durations(call: &Call, each: impl Fn(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    let array: DurationMicrosecondArray = call.primitives::<DurationMicrosecondType>(each)?;
    Ok(Arc::new(array))
}

fn subtract_dates(call: &Call) -> Result<ArrayRef> {
    let (a, b) =
        (call.array(0)?.as_primitive::<Date32Type>(), call.array(1)?.as_primitive::<Date32Type>());
    durations(call, |r| {
        Ok((a.is_valid(r) && b.is_valid(r))
            .then(|| (i64::from(a.value(r)) - i64::from(b.value(r))) * MICROS_PER_DAY))
    })
}

/// The difference of wall clocks.
fn subtract_timestamps(call: &Call) -> Result<ArrayRef> {
    durations(call, |r| {
        Ok(local(call, 0, r)?.zip(local(call, 1, r)?).map(|(a, b)| a.saturating_sub(b)))
    })
}
