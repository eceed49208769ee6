//! Measures `from_json` on generated orders: `cargo run --release --example bench_decode`.

use arrow::array::{ArrayRef, BinaryArray};
use millstream_json::{FromJson, FromJsonOptions, Report};
use millstream_types::DataType;
use std::sync::Arc;
use std::time::Instant;

/// Nanoseconds that this thread has spent on a processor, where the system tells; other processes
/// on the machine then count less.
fn processor_ns() -> Option<u64> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    line.split(' ').next()?.parse().ok()
}

const ROWS: usize = 100_000;
const ROUNDS: usize = 15;

/// One order of some 123 bytes, a function of its number.
fn order(n: u64) -> String {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let status = ["NEW", "PAID", "SHIPPED", "CANCELLED"][(mixed >> 60) as usize & 3];
    format!(
        r#"{{"order_id":"o-{n:012}","customer_id":"c-{:06}","amount":{}.{:02},"status":"{status}","event_time":"2026-01-{:02}T{:02}:{:02}:{:02}.{:03}Z"}}"#,
        mixed % 1_000_000,
        mixed >> 32 & 0xfff,
        mixed >> 20 & 0x3f,
        n / 50_000 % 28 + 1,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        mixed >> 8 & 0x1ff,
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: Vec<String> = (0..ROWS as u64).map(order).collect();
    let bytes: usize = rows.iter().map(String::len).sum();
    let input: ArrayRef =
        Arc::new(BinaryArray::from_iter_values(rows.iter().map(String::as_bytes)));
    println!("{} bytes a row: {}", bytes / ROWS, rows[7]);
    let schema = DataType::parse(
        "order_id STRING, customer_id STRING, amount DOUBLE, status STRING, event_time TIMESTAMP",
    )?;
    let decoder = FromJson::new(&schema, &FromJsonOptions::default())?;
    for (name, decoder, report) in [
        ("all five columns", decoder.clone(), Report::None),
        ("all five, listing bad rows", decoder.clone(), Report::BadRows),
        ("two of five columns", decoder.with_projection(&[2, 3])?, Report::None),
    ] {
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..ROUNDS {
            let (start, before) = (Instant::now(), processor_ns());
            let decoded = decoder.decode(&input, report).map_err(millstream_core::Error::from)?;
            let spent = before.zip(processor_ns()).map(|(a, b)| (b - a) as f64 / 1e9);
            times.push(spent.unwrap_or(start.elapsed().as_secs_f64()));
            assert!(decoded.bad.is_empty() && decoded.array.len() == ROWS);
        }
        times.sort_by(f64::total_cmp);
        let rate = |seconds: f64| ROWS as f64 / seconds / 1e6;
        println!(
            "{name}: best {:.2}, median {:.2} million rows/s",
            rate(times[0]),
            rate(times[ROUNDS / 2])
        );
    }
    Ok(())
}
