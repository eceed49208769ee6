//! One conformance script for brokers, run against the embedded one and against Apache Kafka, with
//! librdkafka and a plain protocol client as the independent eyes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod by_librdkafka;
mod coordination;
mod logs;
mod script;
mod support;
mod topics;
mod transactions;
mod under_faults;

use millstream_testkit::KafkaHarness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_conforms() {
    script::run(&KafkaHarness::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka_conforms() {
    if let Some(kafka) = KafkaHarness::real() {
        script::run(&kafka).await;
    }
}
