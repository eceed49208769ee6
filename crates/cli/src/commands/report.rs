//! Answers on stdout, for people or for programs.

use crate::args::ReportFormat;
use millstream_core::{Error, Result};
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;

/// Prints `answer` in the form asked for.
///
/// # Errors
/// `INTERNAL` where the answer has no JSON form.
pub fn print<T: Serialize + Display>(answer: &T, format: ReportFormat) -> Result<()> {
    match format {
        ReportFormat::Text => say(answer.to_string().trim_end()),
        ReportFormat::Json => say(&json(answer)?),
    }
    Ok(())
}

/// One line on stdout. Whoever has stopped reading has had enough, which is no error.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// `answer` as JSON over several lines.
///
/// # Errors
/// `INTERNAL` where the answer has no JSON form.
pub fn json<T: Serialize + ?Sized>(answer: &T) -> Result<String> {
    serde_json::to_string_pretty(answer)
        .map_err(|e| Error::internal("The answer has no JSON form.").caused_by(e))
}

/// Runs work that blocks on the disk beside the runtime's own threads.
///
/// # Errors
/// That of the work.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("A step did not end.").caused_by(e))?
}
