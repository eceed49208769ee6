//! `millstream checkpoint`: look at a checkpoint, repair it; making it anew is [`rebuild`]'s.

use crate::args::{CheckpointCommand, ReportFormat};
use crate::commands::report::print;
use crate::commands::{rebuild, witnesses};
use millstream::checkpoint::{Doctor, Inspection, Treatment, open_read_only};
use millstream_core::Result;
use millstream_core::contract::Sink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit status of `doctor` while something is wrong.
const NOT_SOUND: u8 = 1;

/// Does what the command says.
///
/// # Errors
/// What the checkpoint or the table says.
pub async fn run(command: &CheckpointCommand) -> Result<ExitCode> {
    match command {
        CheckpointCommand::Inspect { dir, format } => inspect(dir, *format).await,
        CheckpointCommand::Doctor { dir, apply, table, format } => {
            let treatment = if *apply { Treatment::Apply } else { Treatment::Describe };
            doctor(dir, table, treatment, *format).await
        }
        CheckpointCommand::Rebuild { table, query_id, dir } => {
            rebuild::run(table, query_id.as_deref(), dir).await
        }
    }
}

async fn inspect(dir: &Path, format: ReportFormat) -> Result<ExitCode> {
    let store = open_read_only(dir).await?;
    let inspection = Inspection::of(&*store).await?;
    print(&inspection, format)?;
    Ok(ExitCode::SUCCESS)
}

async fn doctor(
    dir: &Path,
    tables: &[PathBuf],
    treatment: Treatment,
    format: ReportFormat,
) -> Result<ExitCode> {
    let store = open_read_only(dir).await?;
    let inspection = Inspection::of(&*store).await?;
    let sinks = witnesses::of(dir, inspection.identity.as_ref(), tables).await?;
    let sinks: Vec<&dyn Sink> = sinks.iter().map(|sink| &**sink).collect();
    let doctor = Doctor::examine(store, &sinks, treatment).await?;
    print(&doctor, format)?;
    Ok(if doctor.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(NOT_SOUND) })
}
