//! `millstream run`: all flows of a pipeline, until they end or are asked to.

use crate::args::RunArgs;
use crate::commands::pipeline::{Loaded, load, trigger};
use crate::commands::refresh;
use crate::progress;
use futures::stream::{FuturesUnordered, StreamExt};
use millstream::pipeline::check_history;
use millstream::query::StreamingQuery;
use millstream_core::trigger::Trigger;
use millstream_core::{Error, Result};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Runs the pipeline.
///
/// # Errors
/// What is wrong with the file, or the first error that ended a flow. The other flows finish
/// their batch in flight first.
pub async fn run(args: &RunArgs, stop: CancellationToken) -> Result<ExitCode> {
    let trigger = trigger(args.trigger.as_deref())?;
    let loaded = load(&args.pipeline)?;
    check_new_flows(&loaded, &args.new_flow)?;
    refresh::start_over(&loaded, &args.full_refresh, args.yes).await?;
    check_history(&loaded.pipeline.flows, &loaded.storage, &args.new_flow)?;
    let queries = start(&loaded, trigger, args, &stop).await?;
    let mut ended: FuturesUnordered<_> = queries
        .iter()
        .map(|(name, query)| async move { (name, query.await_termination().await) })
        .collect();
    let mut first_error = None;
    let mut stopping = false;
    loop {
        tokio::select! {
            next = ended.next() => match next {
                None => break,
                Some((name, Err(error))) => {
                    drain(&queries);
                    match &first_error {
                        Some(_) => tracing::error!(flow = %name, %error, "another flow ended"),
                        // The text comes when the process ends, and it comes once.
                        None if queries.len() > 1 => {
                            let code = error.code();
                            tracing::error!(flow = %name, code, "a flow ended, the others stop");
                        }
                        None => {}
                    }
                    first_error.get_or_insert(error);
                }
                Some((name, Ok(()))) => tracing::info!(flow = %name, "a flow ended"),
            },
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                drain(&queries);
            }
        }
    }
    progress::finish();
    match first_error {
        Some(error) => Err(error),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Refuses `--new-flow` of a flow that the pipeline does not have.
fn check_new_flows(loaded: &Loaded, new_flows: &[String]) -> Result<()> {
    let names = || loaded.pipeline.flows.iter().map(|flow| flow.name.as_str());
    let is_known = |name: &String| names().any(|known| known.eq_ignore_ascii_case(name));
    let Some(name) = new_flows.iter().find(|name| !is_known(name)) else { return Ok(()) };
    let error =
        Error::invalid("FLOW_NOT_IN_PIPELINE", format!("The pipeline has no flow `{name}`."));
    Err(match millstream_core::options::did_you_mean(name, names()) {
        Some(near) => error.cure(format!("Did you mean `{near}`?")),
        None => error,
    })
}

/// Starts every flow; where one cannot start, those before it are stopped.
async fn start(
    loaded: &Loaded,
    trigger: Trigger,
    args: &RunArgs,
    stop: &CancellationToken,
) -> Result<Vec<(String, StreamingQuery)>> {
    let mut queries = Vec::new();
    for flow in &loaded.pipeline.flows {
        let report = flow.report(&loaded.storage, trigger)?;
        let label = if flow.name == report.table {
            flow.name.clone()
        } else {
            format!("{}/{}", report.table, flow.name)
        };
        tracing::info!(
            flow = %label,
            table = %report.path.display(),
            guarantee = %report.guarantee,
            "starting"
        );
        let listeners = progress::listeners(args.progress, &label);
        let started = tokio::select! {
            started = flow.start(&loaded.storage, trigger, listeners) => started,
            () = stop.cancelled() => Err(stopped_while_starting()),
        };
        match started {
            Ok(query) => queries.push((label, query)),
            Err(error) => {
                drain(&queries);
                for (_, query) in &queries {
                    // Its own error, if it has one, is not why the pipeline did not start.
                    let _ = query.await_termination().await;
                }
                return Err(error.context(format!("flow `{label}`")));
            }
        }
    }
    Ok(queries)
}

fn drain(queries: &[(String, StreamingQuery)]) {
    for (_, query) in queries {
        query.request_stop();
    }
}

fn stopped_while_starting() -> Error {
    Error::unavailable("RUN_STOPPED", "The pipeline was stopped before all its flows had started.")
}
