//! One face for the brokers that tests run against.

use crate::{Admin, Producer, RealKafka, skip_or_fail};
use millstream_broker::{Broker, BrokerConfig};

/// A broker to test against: ours, or Apache Kafka.
#[derive(Debug)]
pub enum KafkaHarness {
    /// The embedded broker, in memory.
    Embedded(Broker),
    /// Apache Kafka in a process of its own.
    Real(RealKafka),
}

impl KafkaHarness {
    /// The embedded broker with its defaults.
    pub fn embedded() -> KafkaHarness {
        let broker = Broker::start(BrokerConfig::default()).expect("the embedded broker starts");
        KafkaHarness::Embedded(broker)
    }

    /// Apache Kafka; `None`, after a loud SKIP, where its jars or Java are missing.
    pub fn real() -> Option<KafkaHarness> {
        skip_or_fail("Apache Kafka", RealKafka::start()).map(KafkaHarness::Real)
    }

    /// Addresses for clients.
    pub fn bootstrap_servers(&self) -> String {
        match self {
            KafkaHarness::Embedded(broker) => broker.bootstrap_servers(),
            KafkaHarness::Real(kafka) => kafka.bootstrap_servers(),
        }
    }

    /// A name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            KafkaHarness::Embedded(_) => "embedded broker",
            KafkaHarness::Real(_) => "Apache Kafka",
        }
    }

    /// An administrator of this cluster.
    pub async fn admin(&self) -> Admin {
        Admin::connect(&self.bootstrap_servers()).await
    }

    /// A producer to this cluster.
    pub async fn producer(&self) -> Producer {
        Producer::connect(&self.bootstrap_servers()).await
    }
}
