//! A one-node Kafka-protocol broker for learning, tests and faults on demand.
