//! Fault points: named places of the batch protocol where a test can end or hold the process.
//!
//! [`PLACES`] lists them all, in the order in which a batch passes them. `MILLSTREAM_FAULT` arms one
//! (`P11:before:3`); reading the environment, and what happens at an armed point, is the binary's
//! business: it calls [`arm`] once.

use std::fmt;
use std::sync::OnceLock;

/// Where in a step the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the step's first effect.
    Before,
    /// Between two effects of the step.
    Inside,
    /// After the step's last effect.
    After,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Before => "before",
            Moment::Inside => "inside",
            Moment::After => "after",
        })
    }
}

/// How often a run passes a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// Once, when it starts or ends.
    OncePerRun,
    /// In every batch.
    PerBatch,
    /// When a start finds batches of earlier runs.
    OnRecovery,
    /// When the answer to a commit was unclear.
    InDoubt,
}

/// One fault point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Step of the protocol, `P0` to `P16`.
    pub step: &'static str,
    /// Where in it.
    pub moment: Moment,
    /// When a run gets there.
    pub passes: Passes,
    /// What has happened, and what has not.
    pub what: &'static str,
}

const fn place(step: &'static str, moment: Moment, passes: Passes, what: &'static str) -> Place {
    Place { step, moment, passes, what }
}

/// All fault points. A step with one effect has no inside.
pub const PLACES: &[Place] = &{
    use Moment::{After, Before, Inside};
    use Passes::{InDoubt, OnRecovery, OncePerRun, PerBatch};
    [
        place("P0", Before, OncePerRun, "nothing is claimed"),
        place("P0", Inside, OncePerRun, "the lock is held, no epoch is claimed"),
        place("P0", After, OncePerRun, "the epoch is claimed"),
        place("P1", Before, OncePerRun, "the identity is not read"),
        place("P1", Inside, OncePerRun, "the identity is compared and not stored"),
        place("P1", After, OncePerRun, "the identity is stored"),
        place("P2", Before, OncePerRun, "nothing is looked at"),
        place("P2", Inside, OncePerRun, "the checkpoint is scanned, no sink is asked"),
        place("P2", After, OncePerRun, "the next step is decided and not begun"),
        place("P3", Before, PerBatch, "no range is chosen"),
        place("P3", After, PerBatch, "a range is chosen"),
        place("P4", Before, PerBatch, "no intent is stored"),
        place("P4", Inside, PerBatch, "the intent is stored, nothing names it"),
        place("P4", After, PerBatch, "offsets/N names the intent"),
        place("P5", Before, OnRecovery, "no sink is asked for the batch"),
        place("P5", Inside, OnRecovery, "one sink has answered, another is not asked"),
        place("P5", After, OnRecovery, "all sinks have answered"),
        place("P6", Before, PerBatch, "nothing is read"),
        place("P6", Inside, PerBatch, "some rows are read, none is written"),
        place("P7", Inside, PerBatch, "some rows are in a data file"),
        place("P7", After, PerBatch, "all rows of one task are written, its files are open"),
        place("P8", Before, PerBatch, "the data files are durable, the dead letters are not"),
        place("P8", Inside, PerBatch, "all data files are durable, nothing is staged"),
        place("P8", After, PerBatch, "the commits are staged in memory"),
        place("P9", Before, PerBatch, "the attempt is not sealed"),
        place("P9", After, PerBatch, "the attempt is sealed"),
        place("P10", Before, PerBatch, "the lease is not checked"),
        place("P10", After, PerBatch, "the lease is checked"),
        place("P11", Before, PerBatch, "no sink has the batch"),
        place("P11", Inside, PerBatch, "a log entry is created, nobody knows it"),
        place("P11", After, PerBatch, "all sinks have the batch"),
        place("P12", Before, InDoubt, "an answer is unclear, no sink is asked"),
        place("P12", Inside, InDoubt, "the sink has answered, nothing follows from it"),
        place("P12", After, InDoubt, "the doubt is settled"),
        place("P13", Before, PerBatch, "nothing says that the batch is complete"),
        place("P13", Inside, PerBatch, "the ledger has the batch, commits/N does not exist"),
        place("P13", After, PerBatch, "commits/N exists"),
        place("P14", Before, PerBatch, "nobody is told about the completed batch"),
        place("P14", Inside, PerBatch, "the source is told, the sinks are not"),
        place("P14", After, PerBatch, "sources and sinks are told"),
        place("P15", Before, PerBatch, "nothing is purged"),
        place("P15", Inside, PerBatch, "sealed attempts are purged, old batches are not"),
        place("P15", After, PerBatch, "everything old is purged"),
        place("P16", Before, OncePerRun, "the last batch is complete, housekeeping may go on"),
        place("P16", After, OncePerRun, "housekeeping has ended, the claim is still held"),
    ]
};

/// What an armed point does to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End it at once, as a crash does: no destructor runs.
    Abort,
    /// Hold this thread until whoever armed it lets it go on.
    Hold,
}

/// One armed fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The place, one of [`PLACES`].
    pub place: Place,
    /// Batch number; `None` fires in whichever batch comes first.
    pub batch: Option<u64>,
    /// What happens there.
    pub action: Action,
}

impl Fault {
    /// Parses `STEP:before|inside|after[:BATCH][:hold]`, for example `P11:before:3`; `None` for
    /// anything else, and for a place that does not exist.
    pub fn parse(text: &str) -> Option<Fault> {
        let mut parts = text.split(':').peekable();
        let (step, moment) = (parts.next()?, parts.next()?);
        let place = *PLACES.iter().find(|p| p.step == step && p.moment.to_string() == moment)?;
        let batch = match parts.peek() {
            Some(part) if *part != "hold" => Some(parts.next()?.parse().ok()?),
            _ => None,
        };
        let action = match parts.next() {
            None => Action::Abort,
            Some("hold") => Action::Hold,
            Some(_) => return None,
        };
        parts.next().is_none().then_some(Fault { place, batch, action })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place.step, self.place.moment)?;
        self.batch.iter().try_for_each(|batch| write!(f, ":{batch}"))
    }
}

type Handler = Box<dyn Fn(&Fault) + Send + Sync>;

static ARMED: OnceLock<(Fault, Handler)> = OnceLock::new();

/// Arms the one fault of this process; `handler` is called at each pass. Later calls change nothing.
pub fn arm(fault: Fault, handler: impl Fn(&Fault) + Send + Sync + 'static) {
    let _ = ARMED.set((fault, Box::new(handler)));
}

/// Calls the handler if this point is armed.
pub fn point(step: &str, moment: Moment, batch: u64) {
    if let Some((armed, handler)) = ARMED.get()
        && armed.place.step == step
        && armed.place.moment == moment
        && armed.batch.is_none_or(|b| b == batch)
    {
        handler(armed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_can_be_written_and_read() {
        for place in PLACES {
            for (text, batch, action) in [
                (format!("{}:{}", place.step, place.moment), None, Action::Abort),
                (format!("{}:{}:7", place.step, place.moment), Some(7), Action::Abort),
                (format!("{}:{}:hold", place.step, place.moment), None, Action::Hold),
                (format!("{}:{}:0:hold", place.step, place.moment), Some(0), Action::Hold),
            ] {
                let fault = Fault { place: *place, batch, action };
                // What is printed says where it stopped, not what was asked for there.
                assert_eq!(fault.to_string(), text.trim_end_matches(":hold"));
                assert_eq!(Fault::parse(&text), Some(fault), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "P4", "P4:", "P4:within:1", "P99:before", "P10:inside", "P4:before:x"] {
            assert_eq!(Fault::parse(text), None, "{text}");
        }
        for text in ["P4:before:1:stop", "P4:before:1:hold:2", "P4:before:-1", "P4:before::hold"] {
            assert_eq!(Fault::parse(text), None, "{text}");
        }
    }

    #[test]
    fn places_differ_and_every_step_has_one() {
        for (at, place) in PLACES.iter().enumerate() {
            let same = |p: &Place| p.step == place.step && p.moment == place.moment;
            assert_eq!(PLACES.iter().position(same), Some(at), "{place:?}");
        }
        for step in 0..=16 {
            assert!(PLACES.iter().any(|p| p.step == format!("P{step}")), "P{step}");
        }
    }

    /// Which process reaches which point: this test runs itself, since a fault ends its process.
    const CHILD: &str = "MILLSTREAM_TEST_FAULT";

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn an_armed_point_calls_its_handler_and_no_other_does() {
        if let Ok(given) = std::env::var(CHILD) {
            arm(Fault::parse(&given).unwrap(), |_| std::process::abort());
            point("P4", Moment::Before, 7);
            return;
        }
        for (given, aborts) in [
            ("P4:before:7", true),
            ("P4:before", true),
            ("P4:before:8", false),
            ("P4:after:7", false),
            ("P3:before:7", false),
        ] {
            let name = "fault::tests::an_armed_point_calls_its_handler_and_no_other_does";
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args([name, "--exact"])
                .env(CHILD, given)
                .output()
                .unwrap();
            assert_eq!(!output.status.success(), aborts, "{given}");
        }
    }
}
