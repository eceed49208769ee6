//! `millstream broker`: the embedded broker on its own.

use crate::args::BrokerArgs;
use crate::commands::report::say;
use millstream_broker::{Broker, BrokerConfig};
use millstream_core::{Error, Result};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Serves until asked to stop.
///
/// # Errors
/// What the broker says about its port, its directory or its topics.
pub async fn run(args: &BrokerArgs, stop: CancellationToken) -> Result<ExitCode> {
    let topics = args.topics.iter().map(|t| topic(t)).collect::<Result<Vec<_>>>()?;
    let config = BrokerConfig {
        dir: args.dir.clone(),
        port: args.port,
        topics,
        auto_create_topics: true,
        message_bytes_max: args.max_message_bytes as usize,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config)?;
    say(&format!("listening on {}", broker.bootstrap_servers()));
    stop.cancelled().await;
    broker.stop();
    Ok(ExitCode::SUCCESS)
}

/// `name` or `name:partitions`.
fn topic(text: &str) -> Result<(String, i32)> {
    let (name, partitions) = match text.split_once(':') {
        Some((name, count)) => (name, count.parse::<i32>().ok().filter(|n| *n > 0)),
        None => (text, Some(1)),
    };
    match partitions {
        Some(partitions) if !name.is_empty() => Ok((name.to_owned(), partitions)),
        _ => Err(Error::invalid("BROKER_TOPIC_INVALID", format!("`{text}` names no topic."))
            .cure("Write NAME or NAME:PARTITIONS, for example `orders:4`.")),
    }
}

#[cfg(test)]
mod tests {
    use super::topic;

    #[test]
    fn topics_are_read_with_their_partitions() {
        assert_eq!(topic("a").unwrap(), ("a".to_owned(), 1));
        assert_eq!(topic("a:4").unwrap(), ("a".to_owned(), 4));
        for wrong in ["", ":4", "a:0", "a:x", "a:-1"] {
            assert!(topic(wrong).is_err(), "{wrong}");
        }
    }
}
