-- Two topics into one table, partitioned by country. A flow has a checkpoint of its own, so each
-- topic is read exactly once, and flows can be added later.
--
--   millstream run examples/two_flows.sql --set brokers=localhost:9092 --trigger "10 seconds"

SET brokers = localhost:9092;
SET schema = 'id STRING, customer STRING, amount DECIMAL(12,2), country STRING';

CREATE OR REPLACE TEMPORARY VIEW web AS
SELECT from_json(CAST(value AS STRING), ${schema}) AS o, topic, partition, offset
FROM STREAM read_kafka(
  bootstrapServers => '${brokers}', subscribe => 'web-orders', startingOffsets => 'earliest')
WHERE value IS NOT NULL;

CREATE OR REPLACE TEMPORARY VIEW shop AS
SELECT from_json(CAST(value AS STRING), ${schema}) AS o, topic, partition, offset
FROM STREAM read_kafka(
  bootstrapServers => '${brokers}', subscribe => 'shop-orders', startingOffsets => 'earliest')
WHERE value IS NOT NULL;

CREATE STREAMING TABLE all_orders PARTITIONED BY (country);

CREATE FLOW from_web AS INSERT INTO all_orders BY NAME
SELECT o.*, 'web' AS channel, topic, partition, offset FROM STREAM web WHERE o.id IS NOT NULL;

CREATE FLOW from_shop AS INSERT INTO all_orders BY NAME
SELECT o.*, 'shop' AS channel, topic, partition, offset FROM STREAM shop WHERE o.id IS NOT NULL;
