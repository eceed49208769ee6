//! Files of a checkpoint: ours and Spark's.

use crate::check_error;
use crate::input::Input;
use millstream_core::contract::Position;
use millstream_core::ids::Digest;
use millstream_core::log::{
    CommitFile, Identity, Intent, IntentRef, Lease, LedgerEntry, LedgerSegment, Metadata,
    OffsetsFile, Prepared, Rebuilt, Record, SourceStart,
};
use millstream_core::offsets::Offsets;
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use std::fmt::Debug;

/// The header and the checksum are made for the input's JSON.
const FRAMES: u8 = 0x80;

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let bytes = input.0;
    match kind & 0x7f {
        0 => ours::<Intent>(kind, bytes),
        1 => ours::<Prepared>(kind, bytes),
        2 => ours::<LedgerEntry>(kind, bytes),
        3 => ours::<LedgerSegment>(kind, bytes),
        4 => ours::<Lease>(kind, bytes),
        5 => ours::<Identity>(kind, bytes),
        6 => ours::<Rebuilt>(kind, bytes),
        7 => sparks(bytes, Metadata::decode, Metadata::encode),
        8 => sparks(bytes, OffsetsFile::decode, OffsetsFile::encode),
        9 => sparks(bytes, CommitFile::decode, CommitFile::encode),
        10 => sparks(bytes, SourceStart::decode, SourceStart::encode),
        _ => names(input),
    }
}

fn ours<R: Record + PartialEq + Debug>(kind: u8, bytes: &[u8]) {
    let framed;
    let bytes = if kind & FRAMES == 0 {
        bytes
    } else {
        let header = format!("millstream-{} v{}\n", R::KIND, R::VERSION);
        let body = [header.as_bytes(), bytes, b"\n"].concat();
        let digest = Digest::of(&body);
        framed = [&body, format!("sha256:{digest}\n").as_bytes()].concat();
        &framed
    };
    let value = match R::decode(bytes) {
        Ok(value) => value,
        Err(error) => return refused(&error),
    };
    let encoded = value.encode().unwrap();
    let again = R::decode(&encoded).unwrap();
    if is_exact(bytes) {
        assert_eq!(again, value);
        assert_eq!(again.encode().unwrap(), encoded);
    }
    // The checksum covers every byte: any other one is refused.
    let at = bytes.len() / 2;
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1;
    assert!(R::decode(&flipped).is_err() && R::decode(&bytes[..at]).is_err());
}

fn sparks<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let value = match decode(bytes) {
        Ok(value) => value,
        Err(error) => return refused(&error),
    };
    let encoded = encode(&value);
    let again = decode(&encoded).unwrap();
    if is_exact(bytes) {
        assert_eq!(again, value);
        assert_eq!(encode(&again), encoded);
    }
}

/// Whether no number has a fraction, an exponent or more digits than 64 bits: the JSON library
/// reads the last digit of such numbers carelessly. No record and no position has any.
fn is_exact(bytes: &[u8]) -> bool {
    let fraction = bytes.windows(2).any(|w| w[0].is_ascii_digit() && b".eE".contains(&w[1]));
    !fraction && !bytes.split(|b| !b.is_ascii_digit()).any(|digits| digits.len() > 18)
}

fn refused(error: &Error) {
    check_error(error);
    let known = ["CHECKPOINT_FILE_TORN", "CHECKPOINT_FILE_DAMAGED", "CHECKPOINT_VERSION_NEWER"];
    assert!(known.contains(&error.code()), "{error}");
}

/// Names of files, and the texts inside them.
fn names(input: Input<'_>) {
    let Some(text) = input.text() else { return };
    if let Some(found) = IntentRef::parse(text) {
        assert_eq!(found.to_string(), text);
    }
    if let Some((first, last)) = paths::segment_range(text) {
        assert!(paths::ledger_segment(first, last).ends_with(text) && first <= last);
    }
    if let Some(revision) = paths::identity_revision(text) {
        assert!(paths::identity(revision).ends_with(text));
    }
    let names: Vec<String> = text.split('\n').map(str::to_owned).collect();
    assert!(paths::numbers(&names).len() <= names.len());
    match Offsets::parse(text) {
        Ok(offsets) => {
            let json = offsets.to_json();
            assert_eq!(Offsets::parse(&json).unwrap(), offsets);
            let position = Position(serde_json::from_str(&json).unwrap());
            let start = SourceStart { position };
            assert_eq!(SourceStart::decode(&start.encode()).unwrap(), start);
        }
        Err(error) => check_error(&error),
    }
}
