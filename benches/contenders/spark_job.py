"""The same job in Apache Spark, with the settings that its users tune.

    spark_job.py JARS BOOTSTRAP TOPIC LAKE ROWS_OF_A_BATCH LEAST_AMOUNT SCHEMA available-now|endless
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json


def main() -> None:
    jars, bootstrap, topic, lake, rows_of_batch, least, schema, until = sys.argv[1:9]
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "4g")
        .config("spark.jars", ",".join(str(jar) for jar in sorted(Path(jars).glob("*.jar"))))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config(
            "spark.sql.catalog.spark_catalog",
            "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        )
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.databricks.delta.snapshotPartitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    orders = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", rows_of_batch)
        .load()
        .select(from_json(col("value").cast("string"), schema).alias("o"))
        .select("o.*")
        .where(col("amount") >= float(least))
    )
    writer = orders.writeStream.format("delta").option("checkpointLocation", f"{lake}/checkpoint")
    if until == "available-now":
        writer = writer.trigger(availableNow=True)
    query = writer.start(f"{lake}/orders")
    query.awaitTermination()
    spark.stop()
    # Whoever measures must see the JVM end as a child of this process.
    jvm = spark.sparkContext._gateway.proc
    jvm.stdin.close()
    jvm.wait()


main()
