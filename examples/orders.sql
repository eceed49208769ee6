-- Orders from a Kafka topic of JSON into a Delta table, every order once.
--
--   millstream run examples/orders.sql --set brokers=localhost:9092
--
-- Records whose JSON is malformed or does not fit the schema go to the table
-- `orders_dead_letters`, with their bytes and the reason.

SET brokers = localhost:9092;

CREATE OR REFRESH STREAMING TABLE orders
COMMENT 'Every order once, with the place in Kafka that it came from'
AS SELECT
  o.id AS order_id,
  o.customer,
  o.amount,
  o.country,
  o.ordered_at,
  topic,
  partition,
  offset
FROM (
  SELECT
    from_json(CAST(value AS STRING),
      'id STRING, customer STRING, amount DECIMAL(12,2), country STRING, ordered_at TIMESTAMP')
      AS o,
    topic, partition, offset
  FROM STREAM read_kafka(
    bootstrapServers     => '${brokers}',
    subscribe            => 'orders',
    startingOffsets      => 'earliest',
    maxOffsetsPerTrigger => 20000,
    deadLetter           => 'orders_dead_letters')
  WHERE value IS NOT NULL          -- tombstones
);
