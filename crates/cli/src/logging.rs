//! Logs: always on stderr, so that stdout carries only what was asked for.

use crate::args::{LogArgs, LogFormat};
use millstream_core::{Error, Result};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Installs the subscriber.
///
/// # Errors
/// `LOG_LEVEL_INVALID` for a level or filter that cannot be read.
pub fn install(args: &LogArgs) -> Result<()> {
    let filter = filter(&args.log_level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
        }
    };
    outcome.map_err(|e| Error::internal(format!("The log could not be set up: {e}")))
}

/// A bare level speaks of Millstream's own events; what other crates say starts at a warning.
fn filter(level: &str) -> Result<EnvFilter> {
    let lower = level.trim().to_ascii_lowercase();
    let directives = match lower.as_str() {
        "off" => "off".to_owned(),
        "error" => "error".to_owned(),
        word if LEVELS.contains(&word) => format!("warn,millstream={word}"),
        _ => level.to_owned(),
    };
    let known = directives.contains('=') || LEVELS.contains(&directives.as_str()) || lower == "off";
    match EnvFilter::builder().parse(&directives) {
        Ok(filter) if known => Ok(filter),
        _ => Err(Error::invalid("LOG_LEVEL_INVALID", format!("`{level}` is no log level."))
            .cure("Write error, warn, info, debug, trace or a filter such as `warn,millstream_kafka=debug`.")),
    }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn levels_and_filters_are_read() {
        for good in ["info", "ERROR", "off", "warn,millstream_kafka=debug"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        let error = filter("loud").unwrap_err();
        assert_eq!(error.code(), "LOG_LEVEL_INVALID");
    }
}
