//! The orders of the benches: a function of their number, so that two runs have the same topic.

use millstream_testkit::{Admin, Producer, TestRecord};
use millstream_wire::Codec;
use std::time::{SystemTime, UNIX_EPOCH};

/// Partitions of every topic here.
pub const PARTITIONS: i32 = 4;
/// Records of one record batch: about 130 kB, between the default of the Java producer (16 KiB) and
/// what librdkafka sends under load (1 MB).
const BATCH_RECORDS: u64 = 1_000;
/// The DDL of an order's value.
pub const SCHEMA: &str = "order_id STRING, customer_id STRING, amount DOUBLE, status STRING, \
     event_time TIMESTAMP";
/// Orders of a smaller amount are filtered out: about one in ten.
pub const LEAST_AMOUNT: f64 = 400.0;

/// A topic to be filled.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Records.
    pub records: u64,
    /// How record batches are compressed.
    pub codec: Codec,
    /// One record in so many is cut off in the middle; 0 for none.
    pub malformed_one_in: u64,
}

/// One order, about 123 bytes of JSON.
pub fn order(n: u64) -> String {
    let mixed = mixed(n);
    let status = ["NEW", "PAID", "SHIPPED", "CANCELLED"][(mixed >> 60) as usize & 3];
    format!(
        r#"{{"order_id":"o-{n:09}","customer_id":"c-{:06}","amount":{}.{:02},"status":"{status}","event_time":"2026-01-{:02}T{:02}:{:02}:{:02}.{:03}Z"}}"#,
        mixed % 1_000_000,
        mixed >> 32 & 0xfff,
        mixed >> 20 & 0x3f,
        n / 500_000 % 28 + 1,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        mixed >> 8 & 0x1ff,
    )
}

/// An order that passes the filter, and whose event time is `now` to the microsecond.
pub fn order_at(n: u64, now: SystemTime) -> Vec<u8> {
    let micros = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(i64::try_from(days).unwrap_or(0));
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!(
        r#"{{"order_id":"o-{n:09}","customer_id":"c-{:06}","amount":{}.5,"status":"NEW","event_time":"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"}}"#,
        n % 1_000_000,
        1_000 + n % 1_000,
    )
    .into_bytes()
}

/// Year, month and day of a day after 1970-01-01.
fn civil(days: i64) -> (i64, u32, u32) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut left) = (1970, days);
    while left >= if is_leap(year) { 366 } else { 365 } {
        left -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, u32::try_from(left).unwrap_or(0) + 1)
}

fn mixed(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The value of record `n` of a topic.
fn value(topic: &Topic, n: u64) -> Vec<u8> {
    let mut value = order(n).into_bytes();
    // Whether a record is malformed depends on its number as everything else does.
    if topic.malformed_one_in > 0 && (mixed(n) >> 12).is_multiple_of(topic.malformed_one_in) {
        value.truncate(value.len() / 2);
    }
    value
}

/// Creates `topic` and fills its partitions in turn.
pub async fn fill(bootstrap: &str, topic: &Topic) {
    let mut admin = Admin::connect(bootstrap).await;
    admin.create_topic(&topic.name, PARTITIONS).await;
    send(bootstrap, topic).await;
}

/// Adds the records of `topic` to those that it has.
pub async fn send(bootstrap: &str, topic: &Topic) {
    let mut producer = Producer::connect(bootstrap).await;
    let mut partition = 0;
    let mut n = 0;
    while n < topic.records {
        let end = (n + BATCH_RECORDS).min(topic.records);
        let records: Vec<TestRecord> =
            (n..end).map(|n| TestRecord::value(value(topic, n)).at(1_767_225_600_000)).collect();
        producer.produce(&topic.name, partition, &records, topic.codec).await;
        partition = (partition + 1) % PARTITIONS;
        n = end;
    }
}
