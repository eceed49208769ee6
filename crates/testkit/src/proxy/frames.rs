//! Just enough of the protocol to change an answer on its way.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, FetchResponse, FindCoordinatorResponse, MetadataResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::collections::BTreeMap;
use std::io;

/// Length of the correlation id in front of every answer.
pub(super) const CORRELATION: usize = 4;

/// What a request asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) api: i16,
    version: i16,
}

/// Which bit to flip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flip {
    pub(super) bit: u64,
    /// Of the records of a Fetch answer, or of the whole answer.
    pub(super) within_records: bool,
}

impl Asked {
    /// The front of a request's header.
    pub(super) fn parse(frame: &Bytes) -> io::Result<Asked> {
        if frame.len() < 8 {
            return Err(io::Error::other("a request without a header"));
        }
        let mut head = frame.clone();
        Ok(Asked { api: head.get_i16(), version: head.get_i16() })
    }

    fn is(self, api: ApiKey) -> bool {
        self.api == api as i16
    }
}

/// The answer with the proxy's addresses in place of the brokers'.
pub(super) fn readdressed(
    frame: Bytes,
    asked: Asked,
    ports: &BTreeMap<i32, u16>,
) -> io::Result<Bytes> {
    let here = |node: i32| ports.get(&node).map(|p| (StrBytes::from_static_str("127.0.0.1"), *p));
    if asked.is(ApiKey::Metadata) {
        return change(frame, asked.version, |answer: &mut MetadataResponse| {
            for broker in &mut answer.brokers {
                if let Some((host, port)) = here(broker.node_id.0) {
                    (broker.host, broker.port) = (host, i32::from(port));
                }
            }
        });
    }
    if asked.is(ApiKey::FindCoordinator) {
        return change(frame, asked.version, |answer: &mut FindCoordinatorResponse| {
            // Newer answers are a list, and the fields of older ones cannot be written with it.
            let single = here(answer.node_id.0).filter(|_| answer.coordinators.is_empty());
            if let Some((host, port)) = single {
                (answer.host, answer.port) = (host, i32::from(port));
            }
            for coordinator in &mut answer.coordinators {
                if let Some((host, port)) = here(coordinator.node_id.0) {
                    (coordinator.host, coordinator.port) = (host, i32::from(port));
                }
            }
        });
    }
    Ok(frame)
}

fn change<T: Decodable + Encodable + HeaderVersion>(
    mut frame: Bytes,
    version: i16,
    change: impl FnOnce(&mut T),
) -> io::Result<Bytes> {
    let header_version = T::header_version(version);
    let header = ResponseHeader::decode(&mut frame, header_version).map_err(codec)?;
    let mut answer = T::decode(&mut frame, version).map_err(codec)?;
    change(&mut answer);
    let mut out = BytesMut::new();
    header.encode(&mut out, header_version).map_err(codec)?;
    answer.encode(&mut out, version).map_err(codec)?;
    Ok(out.freeze())
}

fn codec(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// The answer with one bit flipped; `None` where there is nothing to flip.
pub(super) fn flipped(frame: &Bytes, asked: Asked, flip: Flip) -> Option<Bytes> {
    let span = if flip.within_records {
        if !asked.is(ApiKey::Fetch) {
            return None;
        }
        records(frame, asked.version)?
    } else {
        CORRELATION..frame.len()
    };
    let bits = u64::try_from(span.len()).ok()?.checked_mul(8)?;
    let bit = flip.bit.checked_rem(bits)?;
    let at = span.start + usize::try_from(bit / 8).ok()?;
    let mut broken = frame.to_vec();
    broken[at] ^= 1 << (bit % 8);
    Some(broken.into())
}

/// Where the record batches of the first partition that has any lie in a Fetch answer.
fn records(frame: &Bytes, version: i16) -> Option<std::ops::Range<usize>> {
    let mut rest = frame.clone();
    let header_version = FetchResponse::header_version(version);
    ResponseHeader::decode(&mut rest, header_version).ok()?;
    let answer = FetchResponse::decode(&mut rest, version).ok()?;
    let partitions = answer.responses.iter().flat_map(|t| &t.partitions);
    let records = partitions.filter_map(|p| p.records.clone()).find(|r| !r.is_empty())?;
    // Decoding does not copy: the records are a slice of the frame.
    let start = (records.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
    let end = start + records.len();
    assert!(end <= frame.len() && frame[start..end] == records[..], "a slice of the frame");
    Some(start..end)
}
