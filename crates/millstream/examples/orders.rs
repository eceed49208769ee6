//! Kafka → SQL expressions → Delta, exactly once, as a program.
//!
//! ```text
//! cargo run --release -p millstream --example orders -- localhost:9092 /data/lake
//! ```
//! Reads the topic `orders` to its end and stops; run it again for what has come meanwhile.

use millstream::{Result, Session, Trigger};
use std::path::PathBuf;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let lake = PathBuf::from(arguments.next().unwrap_or_else(|| "millstream-data".to_owned()));

    let session = Session::builder().build()?;
    let orders = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("subscribe", "orders")
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", 500_000)
        .load()?
        .select_expr([
            "from_json(CAST(value AS STRING), 'id STRING, amount DECIMAL(12,2)') AS o",
            "timestamp",
        ])?
        .select_expr(["o.*", "timestamp"])?
        .filter("amount > 0")?;
    let query = orders
        .write_stream()
        .format("delta")
        .output_mode("append")
        .option("checkpointLocation", lake.join("_checkpoints/orders").display())
        .trigger(Trigger::AvailableNow)
        .on_progress(|progress| println!("{}", progress.json()))
        .start(lake.join("orders"))
        .await?;
    query.await_termination().await
}
