//! The command line as types. Every option that is listed here works; what does not exist yet is
//! not an argument.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Streams from Apache Kafka through SQL into Delta tables, every record exactly once.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Options of every command.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where logs go is fixed (stderr); how much and in which form is not.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How much to log on stderr: error, warn, info, debug, trace, or a filter such as
    /// `warn,millstream_kafka=debug`
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Form of the log lines
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the flows of a pipeline file
    Run(RunArgs),
    /// Check a pipeline file: schemas, sources, sinks and the guarantee, without a broker
    Check(CheckArgs),
    /// Run a read-only batch query over tables and topics
    Sql(SqlArgs),
    /// Prove that a table holds every record once
    Verify(VerifyArgs),
    /// Look at a checkpoint, repair it, or make it anew from its table
    Checkpoint {
        /// What to do with it.
        #[command(subcommand)]
        command: CheckpointCommand,
    },
    /// See it all: a broker, a pipeline that is killed again and again, and an audit of its table
    Demo(DemoArgs),
    /// Run the embedded one-node broker, for learning and tests
    Broker(BrokerArgs),
}

/// What a pipeline file is resolved with.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline: a file of SQL statements
    pub file: PathBuf,

    /// Directory of tables and checkpoints (`<DIR>/<table>`, `<DIR>/_checkpoints/<table>/<flow>`)
    #[arg(long, value_name = "DIR", default_value = "millstream-data")]
    pub storage: PathBuf,

    /// Set a variable `${name}` of the file, or a `spark.*` setting
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// When batches run: `available-now`, `once`, or an interval such as "10 seconds"; without it
    /// as fast as possible until stopped
    #[arg(long, value_name = "WHEN")]
    pub trigger: Option<String>,

    /// Start this table over: delete it and its checkpoints first (asks, unless --yes)
    #[arg(long, value_name = "TABLE")]
    pub full_refresh: Vec<String>,

    /// This flow is a new one: start it although its table has batches of a flow that the pipeline
    /// does not have
    #[arg(long, value_name = "FLOW")]
    pub new_flow: Vec<String>,

    /// Answer yes to every question
    #[arg(long)]
    pub yes: bool,

    /// How progress is shown on stdout
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A live view on a terminal, nothing elsewhere
    Auto,
    /// One line of text for each batch
    Plain,
    /// One JSON object for each batch, with Spark's keys
    Json,
    /// Nothing
    None,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// The trigger it would be run with
    #[arg(long, value_name = "WHEN")]
    pub trigger: Option<String>,
}

/// Arguments of `sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// The query
    #[arg(short = 'e', long = "execute", value_name = "SQL", conflicts_with = "file")]
    pub execute: Option<String>,

    /// A file with the query
    #[arg(required_unless_present = "execute")]
    pub file: Option<PathBuf>,

    /// Directory of the tables that the query names
    #[arg(long, value_name = "DIR", default_value = "millstream-data")]
    pub storage: PathBuf,

    /// Set a variable `${name}` of the query, or a `spark.*` setting
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,

    /// Form of the answer
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub format: SqlFormat,
}

/// Form of a query's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SqlFormat {
    /// Columns drawn with lines
    Table,
    /// Comma-separated, with a header
    Csv,
    /// One JSON object for each row
    Json,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The pipeline whose tables and checkpoints are verified
    #[arg(required_unless_present = "table", conflicts_with_all = ["table", "checkpoint"])]
    pub file: Option<PathBuf>,

    /// Directory of the pipeline's tables and checkpoints
    #[arg(long, value_name = "DIR", default_value = "millstream-data")]
    pub storage: PathBuf,

    /// Set a variable `${name}` of the pipeline
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,

    /// One table's directory, instead of a pipeline
    #[arg(long, value_name = "DIR", requires = "checkpoint")]
    pub table: Option<PathBuf>,

    /// The checkpoint that wrote it
    #[arg(long, value_name = "DIR", requires = "table")]
    pub checkpoint: Option<PathBuf>,

    /// Read the source back from these brokers and compare rows with its records
    #[arg(long, value_name = "HOST:PORT,..")]
    pub bootstrap_servers: Option<String>,

    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
}

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What to do with a checkpoint.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Say what the checkpoint holds
    Inspect {
        /// The checkpoint's directory
        dir: PathBuf,
        /// Form of the answer
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
    },
    /// Say what is wrong with the checkpoint and what would cure it
    Doctor {
        /// The checkpoint's directory
        dir: PathBuf,
        /// Do it
        #[arg(long)]
        apply: bool,
        /// A table that the checkpoint's query writes, as evidence, where it does not lie where
        /// the checkpoint says; the dead letters' table, too
        #[arg(long, value_name = "DIR")]
        table: Vec<PathBuf>,
        /// Form of the answer
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
    },
    /// Make a checkpoint anew from what its tables remember
    Rebuild {
        /// Every table that the query writes; `<TABLE>_dead_letters` beside it is found by itself
        #[arg(long, value_name = "TABLE", required = true)]
        table: Vec<PathBuf>,
        /// Which query, where several write to the table
        #[arg(long, value_name = "ID")]
        query_id: Option<String>,
        /// Directory of the new checkpoint; must not exist or be empty
        dir: PathBuf,
    },
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many orders to produce
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub records: u64,

    /// How often to kill the pipeline
    #[arg(long, default_value_t = 12)]
    pub kills: u32,

    /// Where to keep broker, tables and ledger; a new temporary directory if not given
    #[arg(long)]
    pub dir: Option<PathBuf>,

    /// Keep the broker's log as well; tables and checkpoints are always kept
    #[arg(long)]
    pub keep: bool,

    /// Seed of the orders and of the moments of the kills; chosen by chance if not given
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Arguments of `broker`.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// Where to keep the log; in memory if not given
    #[arg(long)]
    pub dir: Option<PathBuf>,

    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 9092)]
    pub port: u16,

    /// Topic to create at the start, with its number of partitions
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS]")]
    pub topics: Vec<String>,

    /// Longest batch of records that is taken, in bytes (Kafka's message.max.bytes)
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_588,
          value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub max_message_bytes: u32,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_need_a_name() {
        assert_eq!(name_and_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(name_and_value("=b").is_err());
        assert!(name_and_value("a").is_err());
    }

    #[test]
    fn sql_needs_a_query_from_one_place() {
        assert!(Cli::try_parse_from(["millstream", "sql"]).is_err());
        assert!(Cli::try_parse_from(["millstream", "sql", "-e", "SELECT 1", "x.sql"]).is_err());
        assert!(Cli::try_parse_from(["millstream", "sql", "-e", "SELECT 1"]).is_ok());
    }

    #[test]
    fn verify_takes_a_pipeline_or_a_table_with_its_checkpoint() {
        assert!(Cli::try_parse_from(["millstream", "verify", "p.sql"]).is_ok());
        assert!(Cli::try_parse_from(["millstream", "verify", "--table", "t"]).is_err());
        let both = ["millstream", "verify", "--table", "t", "--checkpoint", "c"];
        assert!(Cli::try_parse_from(both).is_ok());
    }
}
