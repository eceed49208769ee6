//! Connections: frames in, answers out, one request at a time as Kafka serves them.

use crate::api;
use crate::faults::{Action, Reach};
use crate::handlers;
use crate::refusal;
use crate::shared::Shared;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// What to send for a request.
pub(crate) enum Reply {
    Answer(Box<ResponseKind>),
    /// Nothing, and the connection goes on.
    Nothing,
    Close,
}

impl From<ResponseKind> for Reply {
    fn from(answer: ResponseKind) -> Self {
        Reply::Answer(Box::new(answer))
    }
}

/// A request and what belongs to it.
pub(crate) struct Call {
    pub node: i32,
    pub api: ApiKey,
    pub version: i16,
    pub request: RequestKind,
    /// Set by the fault that empties fetches.
    pub empty_fetch: bool,
}

/// Accepts connections of one node until the broker stops.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    node: i32,
    listener: TcpListener,
    reach: watch::Receiver<Reach>,
) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file handles, most likely: give the open connections time to end.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let open = shared.connections.fetch_add(1, Ordering::SeqCst);
        let guard = Open(Arc::clone(&shared));
        if open >= shared.config.connections_max {
            tracing::warn!(max = shared.config.connections_max, "too many connections");
            continue;
        }
        if *reach.borrow() == Reach::Closed {
            continue;
        }
        let (shared, mut reach) = (Arc::clone(&shared), reach.clone());
        tasks.spawn(async move {
            let _guard = guard;
            let cut = async move {
                // The sender lives as long as the broker, so an error means the end as well.
                let _ = reach.wait_for(|r| *r == Reach::Closed).await;
            };
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = cut => {}
                ended = connection(&shared, node, stream) => {
                    if let Err(error) = ended {
                        tracing::debug!(node, %error, "connection closed");
                    }
                }
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Counts a connection until it is dropped.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connection(shared: &Arc<Shared>, node: i32, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let Some(frame) = read_frame(&mut stream, shared.config.request_bytes_max).await? else {
            return Ok(());
        };
        match reach(shared, node) {
            Reach::Up => {}
            Reach::Silent => continue,
            Reach::Closed => return Ok(()),
        }
        let Some(bytes) = answer(shared, node, frame).await? else { continue };
        // Who was cut off meanwhile must not get an answer, even if the work is done.
        match reach(shared, node) {
            Reach::Up => stream.write_all(&bytes).await?,
            Reach::Silent => continue,
            Reach::Closed => return Ok(()),
        }
    }
}

fn reach(shared: &Shared, node: i32) -> Reach {
    shared.nodes.iter().find(|n| n.id == node).map_or(Reach::Up, |n| *n.reach.borrow())
}

/// One request; `None` at the end of the stream.
async fn read_frame(stream: &mut TcpStream, max: usize) -> io::Result<Option<Bytes>> {
    let length = match stream.read_i32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(length)
        .ok()
        .filter(|l| *l <= max)
        .ok_or_else(|| invalid(format!("a request of {length} bytes is refused")))?;
    // The buffer grows with what arrives, so that a false length costs nothing.
    let mut frame = BytesMut::with_capacity(length.min(64 << 10));
    while frame.len() < length {
        let left = length - frame.len();
        let mut part = (&mut *stream).take(left as u64);
        if part.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}

/// The bytes to send for a request. An error closes the connection, which is how Kafka answers
/// what it cannot parse or does not serve.
async fn answer(shared: &Arc<Shared>, node: i32, mut frame: Bytes) -> io::Result<Option<Bytes>> {
    let (Some(key), Some(version)) = (peek(&frame, 0), peek(&frame, 2)) else {
        return Err(invalid("a request is shorter than its header"));
    };
    let api = ApiKey::try_from(key).map_err(|()| invalid(format!("unknown API {key}")))?;
    if !api::serves(api, version) {
        if api == ApiKey::ApiVersions {
            return api::too_new(&frame).map(Some);
        }
        tracing::warn!(?api, version, "a client asks for an API that this broker does not serve");
        return Err(invalid(format!("{api:?} version {version} is not served")));
    }
    let header = RequestHeader::decode(&mut frame, api.request_header_version(version))
        .map_err(|e| invalid(format!("the header of a request cannot be read: {e}")))?;
    let request = RequestKind::decode(api, &mut frame, version)
        .map_err(|e| invalid(format!("{api:?} version {version} cannot be read: {e}")))?;
    if frame.has_remaining() {
        tracing::debug!(?api, version, left = frame.len(), "bytes are left behind a request");
    }
    let call = Call { node, api, version, request, empty_fetch: false };
    match with_faults(shared, call).await {
        Reply::Answer(answer) => encode(api, version, header.correlation_id, &answer).map(Some),
        Reply::Nothing => Ok(None),
        Reply::Close => Err(invalid("closed on demand")),
    }
}

/// Serves a call, or does with it what a fault on demand says.
async fn with_faults(shared: &Arc<Shared>, mut call: Call) -> Reply {
    let Some(action) = shared.faults.take(&call.request, call.api, call.node) else {
        return handlers::handle(shared, call).await;
    };
    match action {
        Action::CloseBeforeWork => Reply::Close,
        Action::Error(error) => refusal::refuse(shared, &call, error).into(),
        Action::ErrorAfterWork(error) => {
            let refused = refusal::refuse(shared, &call, error);
            handlers::handle(shared, call).await;
            refused.into()
        }
        Action::DropAnswer => {
            handlers::handle(shared, call).await;
            Reply::Nothing
        }
        Action::CloseAfterWork => {
            handlers::handle(shared, call).await;
            Reply::Close
        }
        Action::Delay(time) => {
            tokio::time::sleep(time).await;
            handlers::handle(shared, call).await
        }
        Action::Throttle(time) => match handlers::handle(shared, call).await {
            Reply::Answer(mut answer) => {
                refusal::throttle(&mut answer, time);
                Reply::Answer(answer)
            }
            reply => reply,
        },
        Action::EmptyFetch => {
            call.empty_fetch = true;
            handlers::handle(shared, call).await
        }
    }
}

/// A framed answer.
pub(crate) fn encode(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    answer: &ResponseKind,
) -> io::Result<Bytes> {
    let mut out = BytesMut::new();
    out.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(&mut out, api.response_header_version(version))
        .and_then(|()| answer.encode(&mut out, version))
        .map_err(|e| {
            tracing::error!(?api, version, error = %e, "an answer cannot be encoded");
            invalid(e.to_string())
        })?;
    let length = i32::try_from(out.len() - 4).map_err(|_| invalid("an answer is too long"))?;
    if let Some(prefix) = out.get_mut(..4) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
    Ok(out.freeze())
}

/// The correlation id of a request whose version is not served.
pub(crate) fn correlation_id(frame: &Bytes) -> Option<i32> {
    frame.get(4..)?.first_chunk::<4>().copied().map(i32::from_be_bytes)
}

fn peek(frame: &Bytes, at: usize) -> Option<i16> {
    frame.get(at..)?.first_chunk::<2>().copied().map(i16::from_be_bytes)
}

pub(crate) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}
