//! One connection to one broker: one request at a time, each with a deadline. A connection whose
//! call failed or was dropped half-way is never used again: callers own it and let it fall.

use super::frame::{decode_body, open_frame, read_frame};
use super::shape::Answered;
use crate::config::ClientSettings;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use millstream_core::{Error, Result};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// Longest answer that is read: more than the largest message a broker can be set to send in
/// practice, less than what a stranger's bytes read as a length would ask for.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// The same before the other end has shown that it speaks Kafka: TLS and HTTP servers answer with
/// bytes that would be a longer length.
const GREETING_BYTES_MAX: usize = 16 << 20;
/// `UNSUPPORTED_VERSION`, the one answer to ApiVersions in the oldest format.
const UNSUPPORTED_VERSION: i16 = 35;

/// Versions of an API, lowest and highest, by its key.
pub(crate) type Versions = HashMap<i16, (i16, i16)>;

/// An open connection that knows its broker's API versions.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: String,
    client_id: StrBytes,
    correlation: i32,
    versions: Versions,
    request_timeout: Duration,
    answer_bytes_max: usize,
}

impl Connection {
    /// Connects and asks for the API versions, both within the connection timeout.
    pub(crate) async fn open(settings: &ClientSettings, host: &str, port: u16) -> Result<Self> {
        let address = format!("{host}:{port}");
        let open = async {
            let stream = connect(settings, host, port).await.map_err(|e| {
                Error::unavailable("KAFKA_UNREACHABLE", format!("Cannot connect to {address}."))
                    .caused_by(e)
            })?;
            let mut connection = Connection {
                stream,
                address: address.clone(),
                client_id: StrBytes::from_string(settings.client_id.clone()),
                correlation: 0,
                versions: HashMap::new(),
                request_timeout: settings.connect_timeout,
                answer_bytes_max: GREETING_BYTES_MAX,
            };
            connection.negotiate().await?;
            connection.request_timeout = settings.request_timeout;
            connection.answer_bytes_max = ANSWER_BYTES_MAX;
            Ok(connection)
        };
        match tokio::time::timeout(settings.connect_timeout, open).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::unavailable(
                "KAFKA_UNREACHABLE",
                format!(
                    "{address} did not set up a connection within {} ms.",
                    settings.connect_timeout.as_millis()
                ),
            )),
        }
    }

    /// Whether it was opened to this address.
    pub(crate) fn leads_to(&self, host: &str, port: u16) -> bool {
        self.address == format!("{host}:{port}")
    }

    async fn negotiate(&mut self) -> Result<()> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("millstream"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let body = self.exchange(&request, 3).await?;
        let answer = if is_unsupported(&body) {
            let oldest = ApiVersionsRequest::default();
            let body = self.exchange(&oldest, 0).await?;
            decode_body::<ApiVersionsRequest>(body, 0)
        } else {
            decode_body::<ApiVersionsRequest>(body, 3)
        };
        let versions = answer.and_then(|a| read_versions(&a));
        self.versions = versions.map_err(|e| self.garbled("ApiVersions", &e))?;
        Ok(())
    }

    /// The newest version of `R` that the broker and `ours` have in common.
    pub(crate) fn version<R: Request>(&self, ours: RangeInclusive<i16>) -> Result<i16> {
        let name = short_name::<R>();
        let unsupported = |theirs: String| {
            Error::invalid(
                "KAFKA_VERSION_UNSUPPORTED",
                format!(
                    "The broker at {} speaks {name} {theirs}; this client needs one of the \
                     versions {} to {}.",
                    self.address,
                    ours.start(),
                    ours.end()
                ),
            )
            .cure("Brokers from Apache Kafka 1.0 on are supported.")
        };
        let Some((min, max)) = self.versions.get(&R::KEY).copied() else {
            return Err(unsupported("not at all".to_owned()));
        };
        let newest = max.min(*ours.end());
        if newest < min.max(*ours.start()) {
            return Err(unsupported(format!("in versions {min} to {max}")));
        }
        Ok(newest)
    }

    /// Sends `request` and waits for its answer within the request timeout.
    pub(crate) async fn call<R: Answered>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response> {
        let body = self.exchange(request, version).await?;
        decode_body::<R>(body, version).map_err(|e| self.garbled(short_name::<R>(), &e))
    }

    /// The answer's body, behind its header.
    async fn exchange<R: Answered>(&mut self, request: &R, version: i16) -> Result<Bytes> {
        let frame = self.encode(request, version)?;
        let timeout = self.request_timeout;
        let exchanged = tokio::time::timeout(timeout, self.send_and_receive(&frame)).await;
        let frame = match exchanged {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => {
                let what = format!("The connection to {} broke.", self.address);
                return Err(Error::unavailable("KAFKA_CONNECTION_LOST", what).caused_by(error));
            }
            Err(_) => {
                return Err(Error::unavailable(
                    "KAFKA_REQUEST_TIMEOUT",
                    format!(
                        "The broker at {} did not answer {} within {} ms.",
                        self.address,
                        short_name::<R>(),
                        timeout.as_millis()
                    ),
                ));
            }
        };
        open_frame::<R>(frame, version, self.correlation)
            .map_err(|e| self.garbled(short_name::<R>(), &e))
    }

    fn encode<R: Request>(&mut self, request: &R, version: i16) -> Result<BytesMut> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::zeroed(4);
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|e| Error::internal(format!("cannot encode {}: {e}", short_name::<R>())))?;
        let len = u32::try_from(frame.len() - 4)
            .map_err(|_| Error::internal(format!("{} is too long", short_name::<R>())))?;
        if let Some(slot) = frame.get_mut(..4) {
            slot.copy_from_slice(&len.to_be_bytes());
        }
        Ok(frame)
    }

    async fn send_and_receive(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        read_frame(&mut self.stream, self.answer_bytes_max).await
    }

    fn garbled(&self, what: &str, why: &dyn std::fmt::Display) -> Error {
        Error::unavailable(
            "KAFKA_ANSWER_MALFORMED",
            format!("The answer of {} to {what} cannot be read: {why}.", self.address),
        )
    }
}

/// Whether a broker does not know the version of ApiVersions that it was asked in; it answers
/// that in the oldest one.
pub(crate) fn is_unsupported(body: &[u8]) -> bool {
    body.get(..2) == Some(&UNSUPPORTED_VERSION.to_be_bytes())
}

/// # Errors
/// The broker's error.
pub(crate) fn read_versions(answer: &ApiVersionsResponse) -> Result<Versions, String> {
    if answer.error_code != 0 {
        return Err(format!("error {}", answer.error_code));
    }
    Ok(answer.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version))).collect())
}

async fn connect(settings: &ClientSettings, host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = settings.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = settings.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `FetchRequest` without path and suffix.
fn short_name<R>() -> &'static str {
    let name = std::any::type_name::<R>();
    let name = name.rsplit("::").next().unwrap_or(name);
    name.strip_suffix("Request").unwrap_or(name)
}
