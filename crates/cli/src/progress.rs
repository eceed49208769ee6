//! How progress is shown: a live view on a terminal, lines of text, or Spark's JSON.

use crate::args::ProgressMode;
use crate::commands::report::say;
use millstream::query::ProgressListener;
use millstream_core::progress::{DEAD_LETTERS, QueryProgress};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// What to call with the progress of the flow `label`.
pub fn listeners(mode: ProgressMode, label: &str) -> Vec<ProgressListener> {
    let label = label.to_owned();
    match mode {
        ProgressMode::None => Vec::new(),
        ProgressMode::Auto if !std::io::stdout().is_terminal() => Vec::new(),
        ProgressMode::Auto => vec![Arc::new(move |progress: &QueryProgress| {
            live().lock().unwrap_or_else(PoisonError::into_inner).show(&label, progress);
        })],
        ProgressMode::Plain => vec![Arc::new(move |progress: &QueryProgress| {
            if progress.num_input_rows > 0 {
                say(&line(&label, progress));
            }
        })],
        ProgressMode::Json => vec![Arc::new(|progress: &QueryProgress| say(&progress.json()))],
    }
}

/// Leaves the cursor below the live view.
pub fn finish() {
    let live = live().lock().unwrap_or_else(PoisonError::into_inner);
    if !live.lines.is_empty() {
        say("");
    }
}

/// One batch in one line.
fn line(label: &str, progress: &QueryProgress) -> String {
    let mut out = format!(
        "{}  {label}  batch {}  {} rows in",
        progress.timestamp, progress.batch_id, progress.num_input_rows
    );
    if progress.sink.num_output_rows >= 0 {
        out.push_str(&format!(", {} out", progress.sink.num_output_rows));
    }
    if let Some(letters) = progress.sink.metrics.get(DEAD_LETTERS).filter(|count| *count != "0") {
        out.push_str(&format!(", {letters} dead letters"));
    }
    out.push_str(&format!("  {} ms", progress.batch_duration));
    if progress.processed_rows_per_second.is_finite() {
        out.push_str(&format!("  {:.0} rows/s", progress.processed_rows_per_second));
    }
    let lags = progress.sources.iter().filter_map(|s| s.metrics.get("maxOffsetsBehindLatest"));
    if let Some(lag) = lags.filter_map(|l| l.parse::<u64>().ok()).max() {
        out.push_str(&format!("  lag {lag}"));
    }
    out
}

fn live() -> &'static Mutex<Live> {
    static LIVE: Mutex<Live> = Mutex::new(Live { lines: BTreeMap::new(), drawn: 0 });
    &LIVE
}

/// One line a flow, drawn over the lines drawn before.
struct Live {
    lines: BTreeMap<String, (u64, String)>,
    drawn: usize,
}

impl Live {
    fn show(&mut self, label: &str, progress: &QueryProgress) {
        let entry = self.lines.entry(label.to_owned()).or_default();
        entry.0 += progress.num_input_rows;
        let idle = progress.num_input_rows == 0;
        if !idle || entry.1.is_empty() {
            entry.1 = line(label, progress);
        }
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for (total, text) in self.lines.values() {
            out.push_str(&format!("\r\x1b[2K{text}  total {total}\n"));
        }
        self.drawn = self.lines.len();
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::progress::{SinkProgress, SourceProgress};
    use serde_json::Value;

    #[test]
    fn a_line_has_rows_time_and_lag() {
        let progress = QueryProgress {
            id: String::new(),
            run_id: String::new(),
            name: None,
            timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
            batch_id: 7,
            batch_duration: 250,
            num_input_rows: 1_000,
            input_rows_per_second: f64::NAN,
            processed_rows_per_second: 4_000.0,
            duration_ms: BTreeMap::new(),
            event_time: BTreeMap::new(),
            state_operators: Vec::new(),
            sources: vec![SourceProgress {
                description: String::new(),
                start_offset: Value::Null,
                end_offset: Value::Null,
                latest_offset: Value::Null,
                num_input_rows: 1_000,
                input_rows_per_second: f64::NAN,
                processed_rows_per_second: f64::NAN,
                metrics: [("maxOffsetsBehindLatest".to_owned(), "42".to_owned())].into(),
            }],
            sink: SinkProgress {
                description: String::new(),
                num_output_rows: 990,
                metrics: [(DEAD_LETTERS.to_owned(), "10".to_owned())].into(),
            },
            observed_metrics: BTreeMap::new(),
        };
        assert_eq!(
            line("orders", &progress),
            "2026-01-01T00:00:00.000Z  orders  batch 7  1000 rows in, 990 out, 10 dead letters  250 ms  4000 rows/s  lag 42"
        );
    }
}
