//! `millstream verify`: proves that tables hold every record once.

use crate::args::{PipelineArgs, ReportFormat, VerifyArgs};
use crate::commands::pipeline::{absolute, load};
use crate::commands::report::{blocking, json, say};
use crate::commands::witnesses;
use millstream::Session;
use millstream::checkpoint::{Inspection, open_read_only};
use millstream::plan::FlowPlan;
use millstream::verify::{Brokers, Report, Verdict, VerifyTarget, verify, verify_with_brokers};
use millstream_core::{Error, Result};
use std::path::Path;
use std::process::ExitCode;

/// Audits every flow and prints what was found.
///
/// # Errors
/// What keeps a checkpoint or a table from being read.
pub async fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let targets = match (&args.file, &args.table, &args.checkpoint) {
        (Some(file), _, _) => of_pipeline(args, file)?,
        (None, Some(table), Some(checkpoint)) => vec![(of_table(table, checkpoint).await?, None)],
        _ => return Err(Error::invalid("VERIFY_NO_TARGET", "There is nothing to verify.")),
    };
    let mut reports = Vec::new();
    for (target, flow) in targets {
        let (table, checkpoint) =
            (target.table.display().to_string(), target.checkpoint.display().to_string());
        let report = match &args.bootstrap_servers {
            Some(servers) => {
                let brokers = Brokers { bootstrap_servers: servers.clone(), flow };
                verify_with_brokers(&target, &brokers).await
            }
            None => blocking(move || verify(&target)).await,
        };
        // One flow that cannot be read does not keep the others from being looked at.
        reports.push(report.unwrap_or_else(|error| Report::unreadable(table, checkpoint, &error)));
    }
    match args.format {
        ReportFormat::Json => say(&json(&reports)?),
        ReportFormat::Text => reports.iter().for_each(|report| say(&format!("{report}\n"))),
    }
    Ok(ExitCode::from(worst(&reports).exit_status()))
}

fn worst(reports: &[Report]) -> Verdict {
    let any = |verdict: Verdict| reports.iter().any(|r| r.verdict == verdict);
    if any(Verdict::Violation) {
        Verdict::Violation
    } else if any(Verdict::Unknown) || reports.is_empty() {
        Verdict::Unknown
    } else {
        Verdict::Clean
    }
}

/// What is verified, and the flow that wrote it, where it is at hand.
type Target = (VerifyTarget, Option<(Session, FlowPlan)>);

fn of_pipeline(args: &VerifyArgs, file: &Path) -> Result<Vec<Target>> {
    let args = PipelineArgs {
        file: file.to_path_buf(),
        storage: args.storage.clone(),
        set: args.set.clone(),
    };
    let loaded = load(&args)?;
    let storage = &loaded.storage;
    let target = |flow: &millstream::pipeline::PipelineFlow| {
        let target = VerifyTarget {
            checkpoint: flow.checkpoint_path(storage),
            table: flow.table_path(storage)?,
            dead_letters: flow.dead_letter_path(storage)?,
        };
        Ok((target, Some((flow.data.session().clone(), flow.plan.clone()))))
    };
    loaded.pipeline.flows.iter().map(target).collect()
}

/// The table, with the dead letters that the checkpoint remembers as its other sink.
async fn of_table(table: &Path, checkpoint: &Path) -> Result<VerifyTarget> {
    let table = absolute(table)?;
    let store = open_read_only(checkpoint).await?;
    let identity = Inspection::of(&*store).await?.identity;
    let dead_letters = match &identity {
        Some(identity) => witnesses::dead_letters(checkpoint, identity, &table).await?,
        None => None,
    };
    Ok(VerifyTarget { checkpoint: checkpoint.to_path_buf(), table, dead_letters })
}
