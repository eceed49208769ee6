//! `millstream check`: what a pipeline is and what it promises, without a broker.

use crate::args::CheckArgs;
use crate::commands::pipeline::{load, trigger};
use crate::commands::report::say;
use millstream::pipeline::FlowReport;
use millstream_core::Result;
use std::process::ExitCode;

/// Prints every flow.
///
/// # Errors
/// Where the file has mistakes; they are on stderr.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let trigger = trigger(args.trigger.as_deref())?;
    let loaded = load(&args.pipeline)?;
    for flow in &loaded.pipeline.flows {
        say(&text(&flow.report(&loaded.storage, trigger)?));
    }
    Ok(ExitCode::SUCCESS)
}

/// A flow for people.
fn text(flow: &FlowReport) -> String {
    let mut out = format!("flow        {}\n", flow.flow);
    for source in &flow.sources {
        out.push_str(&format!("source      {}\n", source.description));
        for (name, value) in &source.options {
            out.push_str(&format!("              {name} = {value}\n"));
        }
    }
    out.push_str(&format!("sink        Delta table `{}` in {}\n", flow.table, flow.path.display()));
    if !flow.partition_by.is_empty() {
        out.push_str(&format!("            partitioned by {}\n", flow.partition_by.join(", ")));
    }
    if let Some(letters) = &flow.dead_letters {
        out.push_str(&format!("dead letter {}\n", letters.display()));
        if !flow.dead_letter_casts.is_empty() {
            let casts = flow.dead_letter_casts.join(", ");
            out.push_str(&format!("            also records that fail a cast of {casts}\n"));
        }
    }
    out.push_str(&format!("checkpoint  {}\n", flow.checkpoint.display()));
    out.push_str(&format!("trigger     {}\n", flow.trigger));
    out.push_str("schema\n");
    for line in flow.schema.lines() {
        out.push_str(&format!("  {line}\n"));
    }
    out.push_str(&format!("guarantee   {}\n", flow.guarantee));
    out
}
