//! The data side: ranges of partitions to Arrow batches.
//!
//! A task of its own fetches ([`fetch`]) and stays ahead of the reader by a bounded number of
//! bytes; the stream decodes ([`decode`]) on whichever thread polls it. Dropping the stream ends
//! both.

pub(crate) mod answer;
pub(crate) mod columns;
pub(crate) mod decode;
mod fetch;
pub(crate) mod request;
mod sample;
mod state;

use crate::source::KafkaSource;
use crate::split::Split;
use arrow::record_batch::RecordBatch;
use columns::Columns;
use decode::Decoder;
use fetch::Fetcher;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use millstream_core::Result;
pub(crate) use sample::sample_bytes_per_offset;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::task::AbortOnDropHandle;

/// How a stream of batches is cut, and how far fetching runs ahead.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// Rows of one Arrow batch, at most.
    pub batch_rows: usize,
    /// Bytes of one Arrow batch; a single record may be larger.
    pub batch_bytes: usize,
    /// Bytes of record batches fetched and not yet decoded. One record batch always fits.
    pub prefetch_bytes: usize,
    /// Plain bytes that one compressed record batch may become.
    pub decompressed_bytes_max: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            batch_rows: 8_192,
            batch_bytes: 8 << 20,
            prefetch_bytes: 32 << 20,
            decompressed_bytes_max: 1 << 30,
        }
    }
}

impl KafkaSource {
    /// Reads all the given splits in one stream, exactly from start to end of each; batches of one
    /// partition come in offset order. `projection` names columns of the schema by position.
    ///
    /// Errors end the stream: `KAFKA_DATA_LOSS_*`, `KAFKA_FETCH_TIMEOUT`, `KAFKA_CORRUPT_BATCH`,
    /// `KAFKA_FORMAT_UNSUPPORTED`, `KAFKA_UNAUTHORIZED` and what connections report.
    pub fn read(
        self: &Arc<Self>,
        splits: Vec<Split>,
        projection: Option<Vec<usize>>,
        options: ReadOptions,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let source = Arc::clone(self);
        let opened = async move { Reader::open(source, splits, projection.as_deref(), &options) };
        stream::once(opened)
            .flat_map(|opened| match opened {
                Ok(reader) => stream::unfold(reader, Reader::next).boxed(),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            })
            .boxed()
    }
}

/// The consuming end of one read.
struct Reader {
    chunks: UnboundedReceiver<Result<decode::Chunk>>,
    decoder: Decoder,
    /// `None` after the end or an error.
    fetcher: Option<AbortOnDropHandle<()>>,
}

impl Reader {
    fn open(
        source: Arc<KafkaSource>,
        splits: Vec<Split>,
        projection: Option<&[usize]>,
        options: &ReadOptions,
    ) -> Result<Reader> {
        let columns = Columns::new(&source.config.schema(), projection, options)?;
        let committed = source.config.client.isolation == crate::config::Isolation::Committed;
        let decoder = Decoder::new(
            columns,
            committed,
            options.decompressed_bytes_max,
            source.counters.clone(),
        );
        let (sender, chunks) = tokio::sync::mpsc::unbounded_channel();
        let fetcher = Fetcher::new(source, sender, options.prefetch_bytes);
        let task = tokio::spawn(fetcher.run(splits));
        Ok(Reader { chunks, decoder, fetcher: Some(AbortOnDropHandle::new(task)) })
    }

    async fn next(mut self) -> Option<(Result<RecordBatch>, Reader)> {
        self.fetcher.as_ref()?;
        match self.next_batch().await {
            Ok(Some(batch)) => Some((Ok(batch), self)),
            Ok(None) => None,
            Err(error) => {
                self.fetcher = None;
                Some((Err(error), self))
            }
        }
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.decoder.pop() {
                return Ok(Some(batch));
            }
            if self.decoder.step()? {
                continue;
            }
            match self.chunks.recv().await {
                Some(chunk) => self.decoder.feed(chunk?),
                None => return self.decoder.finish(),
            }
        }
    }
}
