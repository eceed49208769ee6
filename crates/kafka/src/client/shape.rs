//! The layout of the answers that are read, walked before they are decoded.
//!
//! The decoder of `kafka-protocol` reserves room for as many items as an array announces, before
//! it has seen one of them. A damaged count, or a stranger's bytes, would ask for hundreds of
//! gigabytes, and the process would be aborted. An answer that was walked to its end holds every
//! item it announces, so that what is reserved is a small multiple of its bytes.
//!
//! Only lengths are looked at: whether texts are UTF-8, or an absent array is allowed, is the
//! decoder's business.

use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::Request;

/// A request whose answers have a known layout.
pub(crate) trait Answered: Request {
    /// The layout.
    const SHAPE: &'static Shape;
}

/// The fields of a message or of an item, in order.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The first version with compact lengths and tagged fields.
    flexible: i16,
    fields: &'static [Field],
    /// Tagged fields that the decoder knows; it skips the others by their size.
    tagged: &'static [(u32, Field)],
}

/// A field and the versions that have it.
#[derive(Debug)]
struct Field {
    from: i16,
    to: i16,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// This many bytes.
    Fixed(usize),
    /// A text behind its length.
    Text,
    /// Bytes behind their length.
    Bytes,
    /// One structure.
    One(&'static Shape),
    /// Structures behind their number.
    Items(&'static Shape),
}

const fn since(from: i16, kind: Kind) -> Field {
    Field { from, to: i16::MAX, kind }
}

const fn between(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}

const fn always(kind: Kind) -> Field {
    since(0, kind)
}

const fn shape(flexible: i16, fields: &'static [Field]) -> Shape {
    Shape { flexible, fields, tagged: &[] }
}

const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);

/// Numbers of 32 bits in an array have no tagged fields of their own.
const NUMBER: Shape = shape(i16::MAX, &[always(INT32)]);

impl Answered for ApiVersionsRequest {
    const SHAPE: &'static Shape = &Shape {
        flexible: 3,
        fields: &[
            always(INT16),
            always(Kind::Items(&shape(3, &[always(INT16), always(INT16), always(INT16)]))),
            since(1, INT32),
        ],
        tagged: &[
            (0, always(Kind::Items(&FEATURE))),
            (1, always(INT64)),
            (2, always(Kind::Items(&FEATURE))),
            (3, always(INT8)),
        ],
    };
}

/// A feature's name and two versions.
const FEATURE: Shape = shape(3, &[since(3, Kind::Text), since(3, INT16), since(3, INT16)]);

impl Answered for MetadataRequest {
    const SHAPE: &'static Shape = &shape(
        9,
        &[
            since(3, INT32),
            always(Kind::Items(&METADATA_BROKER)),
            since(2, Kind::Text),
            since(1, INT32),
            always(Kind::Items(&METADATA_TOPIC)),
            between(8, 10, INT32),
            since(13, INT16),
        ],
    );
}

const METADATA_BROKER: Shape =
    shape(9, &[always(INT32), always(Kind::Text), always(INT32), since(1, Kind::Text)]);

const METADATA_TOPIC: Shape = shape(
    9,
    &[
        always(INT16),
        always(Kind::Text),
        since(10, UUID),
        since(1, INT8),
        always(Kind::Items(&METADATA_PARTITION)),
        since(8, INT32),
    ],
);

const METADATA_PARTITION: Shape = shape(
    9,
    &[
        always(INT16),
        always(INT32),
        always(INT32),
        since(7, INT32),
        always(Kind::Items(&NUMBER)),
        always(Kind::Items(&NUMBER)),
        since(5, Kind::Items(&NUMBER)),
    ],
);

impl Answered for ListOffsetsRequest {
    const SHAPE: &'static Shape = &shape(
        6,
        &[
            since(2, INT32),
            always(Kind::Items(&shape(
                6,
                &[
                    always(Kind::Text),
                    always(Kind::Items(&shape(
                        6,
                        &[
                            always(INT32),
                            always(INT16),
                            always(INT64),
                            always(INT64),
                            since(4, INT32),
                        ],
                    ))),
                ],
            ))),
        ],
    );
}

impl Answered for OffsetForLeaderEpochRequest {
    const SHAPE: &'static Shape = &shape(
        4,
        &[
            always(INT32),
            always(Kind::Items(&shape(
                4,
                &[
                    always(Kind::Text),
                    always(Kind::Items(&shape(
                        4,
                        &[always(INT16), always(INT32), always(INT32), always(INT64)],
                    ))),
                ],
            ))),
        ],
    );
}

impl Answered for FetchRequest {
    const SHAPE: &'static Shape = &Shape {
        flexible: 12,
        fields: &[
            always(INT32),
            since(7, INT16),
            since(7, INT32),
            always(Kind::Items(&shape(
                12,
                &[
                    between(0, 12, Kind::Text),
                    since(13, UUID),
                    always(Kind::Items(&FETCH_PARTITION)),
                ],
            ))),
        ],
        tagged: &[(0, since(16, Kind::Items(&FETCH_NODE)))],
    };
}

const FETCH_PARTITION: Shape = Shape {
    flexible: 12,
    fields: &[
        always(INT32),
        always(INT16),
        always(INT64),
        always(INT64),
        since(5, INT64),
        always(Kind::Items(&shape(12, &[always(INT64), always(INT64)]))),
        since(11, INT32),
        always(Kind::Bytes),
    ],
    tagged: &[
        (0, since(12, Kind::One(&shape(12, &[always(INT32), always(INT64)])))),
        (1, since(12, Kind::One(&shape(12, &[always(INT32), always(INT32)])))),
        (2, since(12, Kind::One(&shape(12, &[always(INT64), always(INT32)])))),
    ],
};

const FETCH_NODE: Shape =
    shape(12, &[always(INT32), always(Kind::Text), always(INT32), always(Kind::Text)]);

impl Answered for FindCoordinatorRequest {
    const SHAPE: &'static Shape = &shape(
        3,
        &[
            since(1, INT32),
            between(0, 3, INT16),
            between(1, 3, Kind::Text),
            between(0, 3, INT32),
            between(0, 3, Kind::Text),
            between(0, 3, INT32),
            since(4, Kind::Items(&COORDINATOR)),
        ],
    );
}

const COORDINATOR: Shape = shape(
    3,
    &[
        always(Kind::Text),
        always(INT32),
        always(Kind::Text),
        always(INT32),
        always(INT16),
        always(Kind::Text),
    ],
);

impl Answered for OffsetCommitRequest {
    const SHAPE: &'static Shape = &shape(
        8,
        &[
            since(3, INT32),
            always(Kind::Items(&shape(
                8,
                &[
                    between(0, 9, Kind::Text),
                    since(10, UUID),
                    always(Kind::Items(&shape(8, &[always(INT32), always(INT16)]))),
                ],
            ))),
        ],
    );
}

impl Shape {
    /// Whether `body` holds everything that it announces in `version`.
    pub(crate) fn fits(&self, version: i16, body: &[u8]) -> bool {
        Walk { rest: body, version }.structure(self).is_some()
    }
}

/// A position in an answer. Every step answers `None` where the bytes end too early.
struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
}

impl Walk<'_> {
    fn structure(&mut self, shape: &Shape) -> Option<()> {
        let version = self.version;
        let is_flexible = version >= shape.flexible;
        for field in shape.fields.iter().filter(|f| f.is_in(version)) {
            self.value(&field.kind, is_flexible)?;
        }
        if !is_flexible {
            return Some(());
        }
        for _ in 0..self.varint()? {
            let (tag, size) = (self.varint()?, self.varint()?);
            match shape.tagged.iter().find(|(t, f)| *t == tag && f.is_in(version)) {
                Some((_, field)) => self.value(&field.kind, is_flexible)?,
                None => self.skip(usize::try_from(size).ok()?)?,
            }
        }
        Some(())
    }

    fn value(&mut self, kind: &Kind, is_flexible: bool) -> Option<()> {
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            Kind::One(shape) => self.structure(shape),
            Kind::Text if !is_flexible => {
                let length = i16::from_be_bytes(self.take()?);
                self.skip(usize::try_from(length.max(0)).ok()?)
            }
            Kind::Text | Kind::Bytes => {
                let length = self.count(is_flexible)?;
                self.skip(length)
            }
            Kind::Items(shape) => {
                for _ in 0..self.count(is_flexible)? {
                    self.structure(shape)?;
                }
                Some(())
            }
        }
    }

    /// A number of items or bytes; none for an absent value.
    fn count(&mut self, is_flexible: bool) -> Option<usize> {
        if is_flexible {
            return usize::try_from(self.varint()?.saturating_sub(1)).ok();
        }
        usize::try_from(i32::from_be_bytes(self.take()?).max(0)).ok()
    }

    /// As the decoder reads it: five bytes at most, what does not fit falls away.
    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Some(value)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }
}

impl Field {
    fn is_in(&self, version: i16) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

#[cfg(test)]
mod tests;
