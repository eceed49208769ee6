//! Answers as they come over a connection: a length, a header, a body.

use super::shape::Answered;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Reads one answer, header included, of at most `bytes_max` bytes.
///
/// # Errors
/// What the connection says, and a longer answer than allowed.
pub(crate) async fn read_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
    bytes_max: usize,
) -> std::io::Result<Bytes> {
    let len = stream.read_u32().await? as usize;
    if len > bytes_max {
        return Err(std::io::Error::other(format!(
            "an answer of {len} bytes is announced; is this a Kafka port without TLS?"
        )));
    }
    let mut frame = BytesMut::with_capacity(len);
    let mut rest = stream.take(len as u64);
    while frame.len() < len {
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

/// The body of an answer to the request with this correlation id.
///
/// # Errors
/// A sentence, without its full stop.
pub(crate) fn open_frame<R: Answered>(
    mut frame: Bytes,
    version: i16,
    correlation: i32,
) -> Result<Bytes, String> {
    let header_version = <R::Response as HeaderVersion>::header_version(version);
    let header = ResponseHeader::decode(&mut frame, header_version).map_err(|e| e.to_string())?;
    if header.correlation_id != correlation {
        return Err("its correlation id is another's".to_owned());
    }
    Ok(frame)
}

/// Decodes the body of an answer. What is reserved is bounded by the bytes that came.
///
/// # Errors
/// A sentence, without its full stop.
pub(crate) fn decode_body<R: Answered>(
    mut body: Bytes,
    version: i16,
) -> Result<R::Response, String> {
    if !R::SHAPE.fits(version, &body) {
        return Err("it ends before what it announces".to_owned());
    }
    R::Response::decode(&mut body, version).map_err(|e| e.to_string())
}
