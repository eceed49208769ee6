"""Runs one stateless Kafka-to-Delta query of real Spark to the end of its topic.

    spark_run.py JARS BOOTSTRAP TOPIC CHECKPOINT TABLE

The query is the one that `crates/cli/tests/handover.rs` runs with Millstream, so that both can go on
from one checkpoint and into one table.
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession


def main() -> None:
    jars, bootstrap, topic, checkpoint, table = sys.argv[1:6]
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", ",".join(str(jar) for jar in sorted(Path(jars).glob("*.jar"))))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config(
            "spark.sql.catalog.spark_catalog",
            "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        )
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    rows = records.selectExpr("CAST(value AS STRING) AS v", "partition", "offset")
    query = (
        rows.writeStream.format("delta")
        .option("checkpointLocation", checkpoint)
        .trigger(availableNow=True)
        .start(table)
    )
    query.awaitTermination()
    print(f"id={query.id} batches={len(query.recentProgress)}")


main()
