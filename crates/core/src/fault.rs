//! Fault points: named places of the batch protocol where a test can kill the process.
//!
//! `MILLSTREAM_FAULT=P11:before:3` makes the process abort before step P11 of batch 3. Reading the
//! environment is the binary's business; it calls [`arm`] once.

use std::sync::OnceLock;

/// Where in a step the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the step's first effect.
    Before,
    /// Between two effects of the step.
    Inside,
    /// After the step's last effect.
    After,
}

/// One armed fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Step name, `P0` to `P16`.
    pub step: String,
    /// Where in the step.
    pub moment: Moment,
    /// Batch number; `None` fires in whichever batch comes first.
    pub batch: Option<u64>,
}

impl Fault {
    /// Parses `P11:before:3`; the batch may be left out.
    pub fn parse(text: &str) -> Option<Fault> {
        let mut parts = text.split(':');
        let step = parts.next()?.to_owned();
        let moment = match parts.next()? {
            "before" => Moment::Before,
            "inside" => Moment::Inside,
            "after" => Moment::After,
            _ => return None,
        };
        let batch = match parts.next() {
            None => None,
            Some(number) => Some(number.parse().ok()?),
        };
        parts.next().is_none().then_some(Fault { step, moment, batch })
    }
}

static ARMED: OnceLock<Fault> = OnceLock::new();

/// Arms the one fault of this process. Later calls change nothing.
pub fn arm(fault: Fault) {
    let _ = ARMED.set(fault);
}

/// Aborts the process if this point is armed. Aborting runs no destructor, as a crash would not.
pub fn point(step: &str, moment: Moment, batch: u64) {
    if let Some(armed) = ARMED.get()
        && armed.step == step
        && armed.moment == moment
        && armed.batch.is_none_or(|b| b == batch)
    {
        std::process::abort();
    }
}
