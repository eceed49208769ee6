//! Hash functions with Spark's results: `hash` is Murmur3 with seed 42, `xxhash64` is xxHash.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;
use sha2::Digest;

use crate::def::{Call, Def, Param, Params, own, reuse};
use crate::encoding::hex_text;

const SEED: i32 = 42;

pub(crate) const DEFS: &[Def] = &[
    own("hash", &[], Params::Variadic(1, Param::Any), |_| Ok(DataType::Int32), murmur3),
    reuse(
        "xxhash64",
        &[],
        Params::Variadic(1, Param::Any),
        datafusion_spark::function::hash::xxhash64,
    ),
    reuse("crc32", &[], Params::Exact(&[Param::Bin]), datafusion_spark::function::hash::crc32),
    reuse("sha1", &["sha"], Params::Exact(&[Param::Bin]), datafusion_spark::function::hash::sha1),
    reuse("md5", &[], Params::Exact(&[Param::Bin]), md5),
    own("sha2", &[], Params::Exact(&[Param::Bin, Param::Int]), |_| Ok(DataType::Utf8), sha2),
];

fn md5() -> Arc<ScalarUDF> {
    datafusion::functions::crypto::md5()
}

fn sha2(call: &Call) -> Result<ArrayRef> {
    call.texts(|r| {
        let (Some(bytes), Some(bits)) = (call.bytes(0, r)?, call.int(1, r)?) else {
            return Ok(None);
        };
        let digest = match bits {
            224 => hex_text(&sha2::Sha224::digest(bytes)),
            0 | 256 => hex_text(&sha2::Sha256::digest(bytes)),
            384 => hex_text(&sha2::Sha384::digest(bytes)),
            512 => hex_text(&sha2::Sha512::digest(bytes)),
            _ => return Ok(None),
        };
        Ok(Some(digest.to_lowercase()))
    })
}

fn murmur3(call: &Call) -> Result<ArrayRef> {
    call.int_values(|row| {
        let mut hash = SEED;
        for array in &call.args {
            hash = hash_value(array, row, hash)?;
        }
        Ok(Some(hash))
    })
}

/// Murmur3 of one value with the hash so far as seed; NULL leaves it as it is.
pub(crate) fn hash_value(array: &ArrayRef, row: usize, seed: i32) -> Result<i32> {
    if array.is_null(row) {
        return Ok(seed);
    }
    Ok(match array.data_type() {
        DataType::Null => seed,
        DataType::Boolean => hash_int(i32::from(array.as_boolean().value(row)), seed),
        DataType::Int8 => hash_int(array.as_primitive::<Int8Type>().value(row).into(), seed),
        DataType::Int16 => hash_int(array.as_primitive::<Int16Type>().value(row).into(), seed),
        DataType::Int32 => hash_int(array.as_primitive::<Int32Type>().value(row), seed),
        DataType::Date32 => hash_int(array.as_primitive::<Date32Type>().value(row), seed),
        DataType::Int64 => hash_long(array.as_primitive::<Int64Type>().value(row), seed),
        DataType::Timestamp(..) => {
            hash_long(array.as_primitive::<TimestampMicrosecondType>().value(row), seed)
        }
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            let bits = if value == 0.0 { 0 } else { value.to_bits() };
            hash_int(bits.cast_signed(), seed)
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            let bits = if value == 0.0 { 0 } else { value.to_bits() };
            hash_long(bits.cast_signed(), seed)
        }
        DataType::Decimal128(precision, _) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            match i64::try_from(value) {
                Ok(value) if *precision <= 18 => hash_long(value, seed),
                _ => hash_bytes(big_integer(&value.to_be_bytes()), seed),
            }
        }
        DataType::Utf8 => hash_bytes(array.as_string::<i32>().value(row).as_bytes(), seed),
        DataType::Binary => hash_bytes(array.as_binary::<i32>().value(row), seed),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let mut hash = seed;
            for at in 0..items.len() {
                hash = hash_value(&items, at, hash)?;
            }
            hash
        }
        DataType::Struct(_) => {
            let mut hash = seed;
            for column in array.as_struct().columns() {
                hash = hash_value(column, row, hash)?;
            }
            hash
        }
        other => {
            return Err(DataFusionError::Internal(format!("no hash of {other}")));
        }
    })
}

/// The shortest two's complement form, as `BigInteger.toByteArray` gives it.
fn big_integer(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest
        && (*first == 0 && second & 0x80 == 0 || *first == 0xFF && second & 0x80 != 0)
    {
        rest = rest.get(1..).unwrap_or_default();
    }
    rest
}

fn mix_k(k: i32) -> i32 {
    k.wrapping_mul(0xcc9e_2d51_u32.cast_signed()).rotate_left(15).wrapping_mul(0x1b87_3593)
}

fn mix_h(h: i32, k: i32) -> i32 {
    (h ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64_u32.cast_signed())
}

fn finish(h: i32, length: i32) -> i32 {
    let mut h = (h ^ length).cast_unsigned();
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    h.cast_signed()
}

fn hash_int(value: i32, seed: i32) -> i32 {
    finish(mix_h(seed, mix_k(value)), 4)
}

fn hash_long(value: i64, seed: i32) -> i32 {
    let low = value as i32;
    let high = (value >> 32) as i32;
    finish(mix_h(mix_h(seed, mix_k(low)), mix_k(high)), 8)
}

/// Whole words little-endian, then the rest byte by byte with sign.
fn hash_bytes(bytes: &[u8], seed: i32) -> i32 {
    let mut h = seed;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let word = <[u8; 4]>::try_from(word).map_or(0, i32::from_le_bytes);
        h = mix_h(h, mix_k(word));
    }
    for byte in words.remainder() {
        h = mix_h(h, mix_k(i32::from(byte.cast_signed())));
    }
    finish(h, i32::try_from(bytes.len()).unwrap_or(i32::MAX))
}
