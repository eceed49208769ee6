//! Which call of a run goes wrong, and how: one aim for the stores of all sites of a query.

use millstream_core::Error;
use millstream_store::{Operation, io_error};
use parking_lot::Mutex;
use std::io;
use std::path::Path;

/// A place that keeps files of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    Checkpoint,
    Letters,
    Table,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// An exclusive creation.
    Create,
    Read,
    List,
    /// Deleting, forgetting, sweeping.
    Remove,
    /// Everything that only looks at a file or makes it durable.
    Settle,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Another run of the query comes first and goes to its end; then the call happens.
    Refused,
    /// An error, and nothing has happened.
    Failed,
    /// It has happened, and the answer is lost.
    Landed,
    /// It has not happened, and the answer is lost.
    Lost,
    /// It happens after so many further calls to the site, this run's or a later one's, and the
    /// answer is lost.
    Late(u32),
    /// It has happened; a retry below us saw its own file and answers that the path is taken.
    OwnWrite,
    /// The answer is that the path is taken, and nothing is there.
    NothingThere,
    /// Until the run ends, every creation replaces what is there, and says that there was nothing.
    Lies,
    /// Until the run ends, another writer is first at every creation.
    Beaten,
    /// This call and so many after it are refused for being too many.
    Storm(u32),
    /// Half the bytes.
    Torn,
    /// The last line is missing.
    TornLine,
    /// There is only the first line.
    TornHead,
    /// One listing misses the newest name.
    LagOnce,
    /// Every listing until the run ends misses the newest names.
    LagLong,
}

/// The one call that goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Aim {
    pub site: Site,
    /// `None` counts calls of every class.
    pub class: Option<Class>,
    /// The call's number among those of its site and class, from 0.
    pub call: u32,
    pub outcome: Outcome,
}

/// A creation that is under way and has not arrived.
#[derive(Debug, Clone)]
struct Late {
    site: Site,
    path: String,
    bytes: Vec<u8>,
    calls_left: u32,
}

#[derive(Debug, Default)]
struct State {
    seen: u32,
    fired: bool,
    storm: u32,
    late: Option<Late>,
    lagging: bool,
    /// What becomes of every further creation.
    lasting: Option<Outcome>,
    /// Paths in the order of their creation.
    created: Vec<(Site, String)>,
    reads: u32,
    violations: Vec<String>,
}

/// Newest names that a listing misses while it lags.
const LAG_NAMES: usize = 3;

/// What all decorated stores of a cell share, over all runs of the cell.
#[derive(Debug)]
pub struct Fire {
    aim: Option<Aim>,
    state: Mutex<State>,
}

impl Fire {
    pub fn new(aim: Option<Aim>) -> Fire {
        Fire { aim, state: Mutex::default() }
    }

    /// What becomes of this call. Called once for each.
    pub fn meet(&self, site: Site, class: Class) -> Option<Outcome> {
        let mut state = self.state.lock();
        if matches!(class, Class::Read | Class::List) {
            state.reads += 1;
        }
        let aim = self.aim.filter(|aim| aim.site == site)?;
        if state.storm > 0 {
            state.storm -= 1;
            return Some(Outcome::Storm(0));
        }
        if state.lasting.is_some() && class == Class::Create {
            return state.lasting;
        }
        if state.fired || aim.class.is_some_and(|wanted| wanted != class) {
            return None;
        }
        state.seen += 1;
        if state.seen <= aim.call {
            return None;
        }
        state.fired = true;
        match aim.outcome {
            Outcome::Storm(calls) => state.storm = calls,
            Outcome::LagLong => state.lagging = true,
            Outcome::Beaten | Outcome::Lies => state.lasting = Some(aim.outcome),
            _ => {}
        }
        Some(aim.outcome)
    }

    /// Whether the aim was reached.
    pub fn fired(&self) -> bool {
        self.state.lock().fired
    }

    /// Reads and listings of all sites so far.
    pub fn reads(&self) -> u32 {
        self.state.lock().reads
    }

    /// A new run begins: listings have caught up, and other writers rest.
    pub fn new_run(&self) {
        let mut state = self.state.lock();
        (state.lagging, state.lasting) = (false, None);
    }

    pub fn delay(&self, site: Site, path: &str, bytes: &[u8], calls: u32) {
        let late = Late { site, path: path.to_owned(), bytes: bytes.to_vec(), calls_left: calls };
        self.state.lock().late = Some(late);
    }

    /// The late creation that arrives before this call to `site`.
    pub fn due(&self, site: Site) -> Option<(String, Vec<u8>)> {
        let mut state = self.state.lock();
        let late = state.late.as_mut().filter(|late| late.site == site)?;
        late.calls_left = late.calls_left.saturating_sub(1);
        let arrived = late.calls_left == 0;
        let late = state.late.take_if(|_| arrived)?;
        Some((late.path, late.bytes))
    }

    /// The late creation, wherever it goes, arrives now.
    pub fn arrive(&self) -> Option<(Site, String, Vec<u8>)> {
        self.state.lock().late.take().map(|late| (late.site, late.path, late.bytes))
    }

    pub fn created(&self, site: Site, path: &str) {
        self.state.lock().created.push((site, path.to_owned()));
    }

    /// The names in `dir` without those that the listing misses.
    pub fn listed(
        &self,
        site: Site,
        dir: &str,
        names: Vec<String>,
        met: Option<Outcome>,
    ) -> Vec<String> {
        let state = self.state.lock();
        let missed = match met {
            Some(Outcome::LagOnce) => 1,
            _ if state.lagging && self.aim.is_some_and(|aim| aim.site == site) => LAG_NAMES,
            _ => return names,
        };
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let in_dir = |(at, path): &(Site, String)| {
            let rest = path.strip_prefix(&prefix).filter(|_| *at == site)?;
            rest.split('/').next().map(str::to_owned)
        };
        let hidden: Vec<String> =
            state.created.iter().rev().filter_map(in_dir).take(missed).collect();
        names.into_iter().filter(|name| !hidden.contains(name)).collect()
    }

    pub fn violated(&self, what: String) {
        self.state.lock().violations.push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }
}

/// The error of a call that did not happen, or whose answer is lost.
pub fn error(outcome: Outcome) -> Error {
    let kind = match outcome {
        Outcome::Failed => io::ErrorKind::StorageFull,
        Outcome::Storm(_) => io::ErrorKind::ResourceBusy,
        _ => io::ErrorKind::TimedOut,
    };
    io_error(Operation::Write, Path::new("store"), io::Error::from(kind))
}

/// What is left of a file.
pub fn torn(outcome: Outcome, mut bytes: Vec<u8>) -> Vec<u8> {
    let length = match outcome {
        Outcome::Torn => bytes.len() / 2,
        Outcome::TornHead => bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1),
        // The newline that ends the line before stays.
        _ => {
            let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            body.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
        }
    };
    bytes.truncate(length);
    bytes
}
