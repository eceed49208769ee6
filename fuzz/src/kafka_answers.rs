//! Answers of brokers, from the bytes of a connection to what the client makes of them.

use crate::input::Input;
use crate::{check_error, memory};
use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use millstream_kafka::answers::{Question, Understood, Wanted, understand};
use millstream_kafka::{KafkaConfig, ReadMode, ReadOptions};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

const CORRELATION: i32 = 0x0102_0304;
const BATCH_ROWS: usize = 4;
/// What decoding may hold for one byte of an answer: structures are larger than their bytes.
const BYTES_PER_BYTE: usize = 64;
/// Plain bytes of one batch, what its codec needs, and the columns made of it.
const PLAIN_MAX: usize = 1 << 16;
const RECORDS_BYTES: usize = 32 << 20;

const AS_IT_IS: u8 = 0x80;

/// Both isolation levels, with and without looking at checksums.
static CONFIGS: LazyLock<Vec<KafkaConfig>> = LazyLock::new(|| {
    let all = [("read_committed", "true"), ("read_committed", "false")];
    let all = all.into_iter().chain([("read_uncommitted", "true"), ("read_uncommitted", "false")]);
    let config = |(isolation, crcs)| {
        let options = [
            ("kafka.bootstrap.servers", "broker:9092"),
            ("subscribe", "topic"),
            ("includeHeaders", "true"),
            ("kafka.isolation.level", isolation),
            ("kafka.check.crcs", crcs),
        ];
        KafkaConfig::from_options(&options.into_iter().collect(), ReadMode::Stream).unwrap()
    };
    all.map(config).collect()
});

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let question = Question::ALL[usize::from(flags & 7) % Question::ALL.len()];
    let config = &CONFIGS[usize::from(flags >> 3 & 3)];
    let versions = question.versions();
    let span = versions.end() - versions.start() + 1;
    let version = versions.start() + i16::from(input.byte()) % span;
    let wanted = Wanted {
        from: i64::from(input.byte()),
        end: i64::from(input.byte()) * 4,
        options: ReadOptions {
            batch_rows: BATCH_ROWS,
            batch_bytes: 1 << 10,
            prefetch_bytes: 1 << 20,
            decompressed_bytes_max: PLAIN_MAX,
        },
    };
    // A length and a correlation id that are right, or whatever the input says.
    let frame = if flags & AS_IT_IS != 0 {
        input.0.to_vec()
    } else {
        let len = u32::try_from(input.0.len() + 4).unwrap();
        [&len.to_be_bytes()[..], &CORRELATION.to_be_bytes(), input.0].concat()
    };
    let allowed = match question {
        Question::Records => RECORDS_BYTES,
        _ => 1 << 14,
    };
    let understood = memory::bounded(allowed + BYTES_PER_BYTE * frame.len(), || {
        let mut stream = &frame[..];
        let bytes_max = frame.len().max(64);
        ready(understand(&mut stream, question, version, CORRELATION, bytes_max, config, &wanted))
    });
    match understood {
        Ok(understood) => check(&understood, &wanted, frame.len()),
        Err(error) => check_error(&error),
    }
}

/// The outcome of work that never waits: its stream is a slice.
fn ready<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a slice has nothing to wait for"),
    }
}

/// Nothing can be there that the bytes could not hold, and no record outside the range.
fn check(understood: &Understood, wanted: &Wanted, bytes: usize) {
    match understood {
        Understood::Versions(all) => assert!(all.len() * 6 <= bytes),
        Understood::Topics(all) => {
            assert!(all.values().map(|(_, partitions)| partitions * 14).sum::<usize>() <= bytes);
        }
        Understood::Offsets(all) => assert!(all.len() * 14 <= bytes),
        Understood::Codes(all) => assert!(all.len() * 6 <= bytes),
        Understood::Records(all) => {
            for batch in all.iter().flat_map(|(_, batches)| batches) {
                assert!((1..=BATCH_ROWS).contains(&batch.num_rows()));
                let offsets = batch.column(4).as_primitive::<Int64Type>();
                assert!(offsets.values().iter().all(|o| (wanted.from..wanted.end).contains(o)));
                for column in batch.columns() {
                    column.to_data().validate_full().unwrap();
                }
            }
        }
        _ => {}
    }
}
