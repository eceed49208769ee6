//! The batch protocol on a page, and its decisions as pure functions.
//!
//! **It is write-ahead intent plus a sink that remembers.** Before a batch runs, `offsets/N` fixes
//! what it reads; each sink's own log is the authority on whether batch N happened; `commits/N`
//! only saves asking.
//!
//! ```text
//! P0  claim the run     millstream/lease/<epoch>, created once; the highest epoch may go on
//! P1  read identity     compare with the query; refuse differences
//! P2  look              Scan -> LogFact, every sink's probe -> Facts -> decide()
//! P3  choose            admission limits -> ranges
//! P4  log the intent    millstream/intents/<uuid>, then offsets/N (exclusive), which names it
//! P5  probe             is N in a sink already?
//! P6  read, P7 execute  exactly the ranges; nothing shared is changed
//! P8  stage             data files under attempt-unique names, durable
//! P9  seal              millstream/prepared/N/<attempt>, durable
//! P10 check the lease   a higher epoch: stop
//! P11 commit the sinks  in order; unstaged ones first
//! P12 resolve doubt     an unclear answer is probed until it is an answer: resolve()
//! P13 complete          commits/N, then the ledger
//! P14 afterwards        advice; P15 purge; P16 stop
//! ```
//!
//! **Recovery** ([`decide`]), with N the newest intent and M the newest completion:
//! * M = N: plan N+1. M = N−1: finish N. Anything else, or a hole: refuse.
//! * No sink has N: execute N anew, same intent, new attempt.
//! * Some sink has N by attempt a: roll a forward from `prepared/N/a`; never execute again.
//! * A sink has N with another digest, or is ahead of N, or has lost what was complete: refuse.
//! * N without our marks (another engine committed it): complete by number, if no state is needed.
//! * A damaged newest file: refuse; the doctor ([`diagnose`]) repairs from evidence.
//!
//! **Two runs**: both may execute N, from one intent, as two attempts; the sink takes one, and the
//! loser's probe finds it ([`resolve`]) and stops. Safety never depends on the lease or on clocks.
//!
//! **What is never done**: guessing an outcome; repeating a commit without a probe; deleting files
//! of an attempt whose outcome is unknown; skipping a batch because of its number alone.
//!
//! [`Scan`] says which files to look at, in rounds, and turns them into a [`LogFact`]; it does no
//! I/O, so that the engine and the simulator share it. [`invariants`] has I1 to I14 as predicates.

mod decide;
mod doctor;
mod doubt;
mod facts;
pub mod invariants;
pub(crate) mod marks;
pub mod paths;
mod refusal;
mod scan;
mod strays;

pub use decide::{Adopt, Step, decide};
pub use doctor::{Diagnosis, Evidence, Finding, Repair, diagnose};
pub use doubt::{Resolved, resolve};
pub use facts::{Damage, Facts, IntentFact, LeaseFact, LogFact, PreparedFact, SinkFact};
pub use refusal::Refusal;
pub use scan::{Scan, Want};

#[cfg(test)]
mod tests;
