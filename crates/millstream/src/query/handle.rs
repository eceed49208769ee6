//! What a program holds of a running query (Spark's `StreamingQuery`).

use millstream_core::ids::{QueryId, RunId};
use millstream_core::progress::{QueryProgress, StreamingQueryStatus};
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Progress records kept of a query (`spark.sql.streaming.numRecentProgressUpdates`).
const RECENT_PROGRESS_MAX: usize = 100;

/// A started query. Clones are handles to the same query.
///
/// ```
/// use millstream::{Session, Trigger};
/// use std::time::Duration;
///
/// # #[tokio::main]
/// # async fn main() -> millstream::Result<()> {
/// let session = Session::builder().build()?;
/// let query = session
///     .read_stream()
///     .format("rate")
///     .option("rowsPerSecond", 10)
///     .load()?
///     .write_stream()
///     .format("memory")
///     .query_name("ticks")
///     .trigger(Trigger::ProcessingTime(Duration::from_millis(100)))
///     .start_query()
///     .await?;
/// assert!(query.is_active());
/// assert_eq!(query.name(), Some("ticks"));
/// assert_ne!(query.id().to_string(), query.run_id().to_string());
/// assert!(query.status().json().contains("\"isTriggerActive\":"));
///
/// let running = query.await_termination_timeout(Duration::from_millis(2_500)).await?;
/// assert!(!running, "a rate stream has no end");
/// query.stop().await?;
///
/// assert!(!query.is_active());
/// assert!(query.exception().is_none());
/// let worked = query.recent_progress().into_iter().find(|p| p.num_input_rows > 0);
/// let json = worked.expect("a batch of ten rows or more").json();
/// for key in ["\"runId\":", "\"batchId\":0", "\"numInputRows\":", "\"endOffset\":", "\"sink\":"] {
///     assert!(json.contains(key), "{json}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct StreamingQuery(Arc<Shared>);

/// What the handle and the batch loop share.
pub(crate) struct Shared {
    pub(crate) id: QueryId,
    pub(crate) run_id: RunId,
    pub(crate) name: Option<String>,
    /// Finish the batch in flight, then end.
    pub(crate) drain: CancellationToken,
    /// End at the next point where nothing is lost by ending.
    pub(crate) abort: CancellationToken,
    status: Mutex<StreamingQueryStatus>,
    progress: Mutex<VecDeque<QueryProgress>>,
    /// Called with every progress record, in order.
    listeners: Vec<ProgressListener>,
    /// How often the loop has found nothing to do.
    idle: watch::Sender<u64>,
    end: watch::Sender<Option<Result<(), Error>>>,
}

/// Called after every batch, and now and then while a query is idle.
pub type ProgressListener = Arc<dyn Fn(&QueryProgress) + Send + Sync>;

impl Shared {
    pub(crate) fn new(
        id: QueryId,
        run_id: RunId,
        name: Option<String>,
        listeners: Vec<ProgressListener>,
    ) -> Arc<Self> {
        Arc::new(Shared {
            id,
            run_id,
            name,
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
            status: Mutex::new(StreamingQueryStatus {
                message: "Initializing sources".to_owned(),
                is_data_available: false,
                is_trigger_active: false,
            }),
            progress: Mutex::default(),
            listeners,
            idle: watch::Sender::new(0),
            end: watch::Sender::new(None),
        })
    }

    pub(crate) fn set_status(&self, message: &str, data: bool, active: bool) {
        *self.status.lock() = StreamingQueryStatus {
            message: message.to_owned(),
            is_data_available: data,
            is_trigger_active: active,
        };
    }

    pub(crate) fn report(&self, progress: QueryProgress) {
        for listener in &self.listeners {
            listener(&progress);
        }
        let mut recent = self.progress.lock();
        if recent.len() == RECENT_PROGRESS_MAX {
            recent.pop_front();
        }
        recent.push_back(progress);
    }

    pub(crate) fn found_nothing_to_do(&self) {
        self.idle.send_modify(|times| *times += 1);
    }

    pub(crate) fn finish(&self, result: Result<()>) {
        let message = match &result {
            Ok(()) => "Stopped".to_owned(),
            Err(error) => format!("Terminated with exception: {error}"),
        };
        self.set_status(&message, false, false);
        self.end.send_replace(Some(result));
    }
}

impl StreamingQuery {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        StreamingQuery(shared)
    }

    /// The checkpoint's id: the same in every run.
    pub fn id(&self) -> QueryId {
        self.0.id
    }

    /// This run's id.
    pub fn run_id(&self) -> RunId {
        self.0.run_id
    }

    /// The name given with `query_name`.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Whether the query still runs.
    pub fn is_active(&self) -> bool {
        self.0.end.borrow().is_none()
    }

    /// What the query is doing.
    pub fn status(&self) -> StreamingQueryStatus {
        self.0.status.lock().clone()
    }

    /// The newest progress record.
    pub fn last_progress(&self) -> Option<QueryProgress> {
        self.0.progress.lock().back().cloned()
    }

    /// The newest progress records, oldest first; at most 100.
    pub fn recent_progress(&self) -> Vec<QueryProgress> {
        self.0.progress.lock().iter().cloned().collect()
    }

    /// The error that ended the query, if one did.
    pub fn exception(&self) -> Option<Error> {
        self.0.end.borrow().as_ref().and_then(|result| result.as_ref().err().cloned())
    }

    /// Finishes the batch in flight and ends the query. Unlike Spark's, it interrupts nothing;
    /// [`StreamingQuery::abort`] does.
    ///
    /// # Errors
    /// The error that ended the query, if it failed.
    pub async fn stop(&self) -> Result<()> {
        self.0.drain.cancel();
        self.await_termination().await
    }

    /// Asks for what [`StreamingQuery::stop`] does, without waiting.
    pub fn request_stop(&self) {
        self.0.drain.cancel();
    }

    /// Ends the query at once. A batch in flight stays in doubt and is settled by the next start.
    pub fn abort(&self) {
        self.0.drain.cancel();
        self.0.abort.cancel();
    }

    /// Waits until the query ends.
    ///
    /// # Errors
    /// The error that ended it.
    pub async fn await_termination(&self) -> Result<()> {
        let mut end = self.0.end.subscribe();
        let ended = end
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Error::internal("the query's task is gone"))?;
        ended.clone().unwrap_or(Ok(()))
    }

    /// Waits at most `timeout`; says whether the query has ended.
    ///
    /// # Errors
    /// The error that ended it.
    pub async fn await_termination_timeout(&self, timeout: Duration) -> Result<bool> {
        match tokio::time::timeout(timeout, self.await_termination()).await {
            Ok(result) => result.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Waits until everything that was in the sources when this was called has been processed.
    /// For tests: with sources that never pause it may wait for ever.
    ///
    /// # Errors
    /// The error that ended the query, if it failed meanwhile.
    pub async fn process_all_available(&self) -> Result<()> {
        let mut idle = self.0.idle.subscribe();
        let seen = *idle.borrow();
        // The look that is under way may have begun before the call: wait for the one after it.
        let settled = idle.wait_for(|times| *times >= seen + 2);
        tokio::select! {
            _ = settled => Ok(()),
            ended = self.await_termination() => ended,
        }
    }
}

impl fmt::Debug for StreamingQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingQuery")
            .field("id", &self.0.id)
            .field("run_id", &self.0.run_id)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}
