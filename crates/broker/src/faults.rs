//! Faults on demand: what the broker does wrong when a test asks for it.
//!
//! A [`Fault`] waits for the requests that it matches and is used up after its count. The first
//! fault that matches wins, in the order in which they were added.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, RequestKind};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happens to a request that a fault matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The work is done, the answer never sent; the connection stays open and silent.
    DropAnswer,
    /// The work is done, then the connection is closed instead of answering.
    CloseAfterWork,
    /// The connection is closed and nothing is done.
    CloseBeforeWork,
    /// Waits, then serves the request as usual.
    Delay(Duration),
    /// Answers with this error everywhere in the answer; nothing is done.
    Error(ResponseError),
    /// The work is done, and the answer says this error all the same.
    ErrorAfterWork(ResponseError),
    /// Serves the request and reports this throttle time; the answer itself is not held back.
    Throttle(Duration),
    /// Answers Fetch with no records although there are some, and everything else as usual.
    EmptyFetch,
}

/// One fault: which requests, how often, and what happens.
#[derive(Debug, Clone)]
pub struct Fault {
    api: Option<ApiKey>,
    node: Option<i32>,
    skip: u64,
    times: u64,
    action: Action,
}

impl Fault {
    /// A fault for the next request of `api`.
    pub fn on(api: ApiKey, action: Action) -> Self {
        Fault { api: Some(api), node: None, skip: 0, times: 1, action }
    }

    /// A fault for the next request of any kind.
    pub fn on_any(action: Action) -> Self {
        Fault { api: None, node: None, skip: 0, times: 1, action }
    }

    /// The next `n` matching requests instead of one.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = n;
        self
    }

    /// Lets `n` matching requests pass first.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Only requests that arrive at this node.
    #[must_use]
    pub fn at_node(mut self, node: i32) -> Self {
        self.node = Some(node);
        self
    }

    fn matches(&self, api: ApiKey, node: i32) -> bool {
        self.api.is_none_or(|a| a == api) && self.node.is_none_or(|n| n == node)
    }
}

/// How a node behaves towards connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// As it should.
    Up,
    /// Open connections are cut and new ones closed at once.
    Closed,
    /// Connections are accepted and requests read, but nothing is served or answered.
    Silent,
}

/// A handle to the faults of a running broker; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    faults: Mutex<Vec<Fault>>,
    hits: AtomicU64,
    requests: Mutex<Vec<(ApiKey, u64)>>,
}

impl Faults {
    /// Adds a fault behind those that wait already.
    pub fn add(&self, fault: Fault) {
        self.inner.faults.lock().push(fault);
    }

    /// Forgets every waiting fault.
    pub fn clear(&self) {
        self.inner.faults.lock().clear();
    }

    /// How many requests a fault has met so far.
    pub fn hits(&self) -> u64 {
        self.inner.hits.load(Ordering::SeqCst)
    }

    /// How many faults still wait for a request.
    pub fn waiting(&self) -> usize {
        self.inner.faults.lock().len()
    }

    /// How many requests of `api` arrived since the start, matched by a fault or not.
    pub fn requests(&self, api: ApiKey) -> u64 {
        self.inner.requests.lock().iter().find(|(a, _)| *a == api).map_or(0, |(_, n)| *n)
    }

    /// Counts the request and takes the action of the first fault that is due for it.
    pub(crate) fn take(&self, request: &RequestKind, api: ApiKey, node: i32) -> Option<Action> {
        self.count(api);
        let mut faults = self.inner.faults.lock();
        let at = faults.iter().position(|f| f.matches(api, node))?;
        let fault = faults.get_mut(at)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times = fault.times.saturating_sub(1);
        let action = fault.action.clone();
        if fault.times == 0 {
            faults.remove(at);
        }
        self.inner.hits.fetch_add(1, Ordering::SeqCst);
        tracing::debug!(?api, node, ?action, request = request_size(request), "fault on demand");
        Some(action)
    }

    fn count(&self, api: ApiKey) {
        let mut requests = self.inner.requests.lock();
        match requests.iter_mut().find(|(a, _)| *a == api) {
            Some((_, n)) => *n += 1,
            None => requests.push((api, 1)),
        }
    }
}

/// Partitions a request names, for the log line of a fault.
fn request_size(request: &RequestKind) -> usize {
    match request {
        RequestKind::Produce(r) => r.topic_data.iter().map(|t| t.partition_data.len()).sum(),
        RequestKind::Fetch(r) => r.topics.iter().map(|t| t.partitions.len()).sum(),
        _ => 0,
    }
}
