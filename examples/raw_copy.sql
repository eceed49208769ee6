-- The records of every topic whose name starts with `events`, as they are: nothing decoded,
-- nothing dropped. `millstream verify` can check this table row by row. A pattern is looked for
-- anywhere in the name: without the `^` it would find `my_events` as well.
--
--   millstream run examples/raw_copy.sql --set brokers=localhost:9092 --trigger available-now

SET brokers = localhost:9092;

CREATE OR REFRESH STREAMING TABLE raw_events
TBLPROPERTIES ('delta.enableChangeDataFeed' = 'false')
AS SELECT topic, partition, offset, timestamp, key, value, headers
FROM STREAM read_kafka(
  bootstrapServers => '${brokers}',
  subscribePattern => '^events',
  startingOffsets  => 'earliest',
  includeHeaders   => true);
