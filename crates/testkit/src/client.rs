//! A plain Kafka client: one connection, one request at a time, any version.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// One connection to one broker.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    next_id: i32,
    versions: HashMap<i16, (i16, i16)>,
}

impl Client {
    /// Connects to the first address of a bootstrap list that answers, and asks for its versions.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn connect(bootstrap: &str) -> io::Result<Client> {
        let mut failure = io::Error::other("no address");
        for address in bootstrap.split(',') {
            match Self::open(address.trim()).await {
                Ok(client) => return Ok(client),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn open(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, next_id: 0, versions: HashMap::new() };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("millstream-testkit"))
            .with_client_software_version(StrBytes::from_static_str("0"));
        let answer = client.call_at(&request, 3).await?;
        for api in answer.api_keys {
            client.versions.insert(api.api_key, (api.min_version, api.max_version));
        }
        Ok(client)
    }

    /// The versions of `api` that the broker serves.
    pub fn versions(&self, api: ApiKey) -> Option<(i16, i16)> {
        self.versions.get(&(api as i16)).copied()
    }

    /// Sends a request in the newest version that both sides know, but not above `max`.
    ///
    /// # Errors
    /// Those of the connection, and a broker that does not serve the API.
    pub async fn call_up_to<R: Request>(
        &mut self,
        request: &R,
        max: i16,
    ) -> io::Result<R::Response> {
        let (low, high) = self
            .versions
            .get(&R::KEY)
            .copied()
            .ok_or_else(|| io::Error::other(format!("API {} is not served", R::KEY)))?;
        let known =
            R::VERSIONS.max.min(<R::Response as kafka_protocol::protocol::Message>::VERSIONS.max);
        let version = high.min(known).min(max);
        if version < low {
            return Err(io::Error::other(format!("API {} has no common version", R::KEY)));
        }
        self.call_at(request, version).await
    }

    /// Sends a request in the newest version that both sides know.
    ///
    /// # Errors
    /// Those of the connection, and a broker that does not serve the API.
    pub async fn call<R: Request>(&mut self, request: &R) -> io::Result<R::Response> {
        self.call_up_to(request, i16::MAX).await
    }

    /// Sends a request in exactly this version.
    ///
    /// # Errors
    /// Those of the connection and of the codec.
    pub async fn call_at<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> io::Result<R::Response> {
        let id = self.send(request, version).await?;
        let mut answer = tokio::time::timeout(ANSWER_TIMEOUT, self.receive())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut answer, header_version).map_err(codec)?;
        if header.correlation_id != id {
            return Err(io::Error::other("an answer to another request"));
        }
        R::Response::decode(&mut answer, version).map_err(codec)
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// Those of the connection and of the codec.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<i32> {
        let id = self.next_id;
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(StrBytes::from_static_str("millstream-testkit")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, R::header_version(version)).map_err(codec)?;
        request.encode(&mut frame, version).map_err(codec)?;
        let length = i32::try_from(frame.len() - 4).map_err(io::Error::other)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).await?;
        Ok(id)
    }

    /// Sends bytes as a frame, whatever they are.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn send_raw(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = i32::try_from(frame.len()).map_err(io::Error::other)?;
        self.stream.write_all(&length.to_be_bytes()).await?;
        self.stream.write_all(frame).await
    }

    /// The next frame.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        let length = self.stream.read_i32().await?;
        let mut answer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.stream.read_exact(&mut answer).await?;
        let answer = Bytes::from(answer);
        if answer.remaining() < 4 {
            return Err(io::Error::other("an answer without a header"));
        }
        Ok(answer)
    }
}

fn codec(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
