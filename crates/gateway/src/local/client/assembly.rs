//! An output that is put together of several contents, in order: an archive.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::{io::AsyncWriteExt, net::UnixStream};
use types::ByteRange;

use super::{Client, ClientError, Output, Progress, Sink, blocking};
use crate::{SourceBytes, local::message::GetRequest};

/// A content that is whole and checked. The daemon keeps its bytes as long as this lives.
#[derive(Debug)]
pub struct Held {
    content: Arc<OwnedFd>,
    range: ByteRange,
    /// Where the bytes came from.
    pub sources: SourceBytes,
    _connection: UnixStream,
}

impl Held {
    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.range.length().0
    }
}

impl Client {
    /// Brings content into the daemon's store, and keeps it from being evicted. Dropped early, the demand is withdrawn.
    pub async fn hold(
        &self,
        request: GetRequest,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Held, ClientError> {
        let (_, mut copying, mut stream) = self.open(request, progress).await?;
        let sources = copying.run(&mut stream, &mut Sink::None).await?.sources;
        Ok(Held {
            content: copying.content,
            range: copying.whole,
            sources,
            _connection: stream,
        })
    }
}

/// An output under way. Dropped, no file appears; a stream is cut.
pub struct Assembly<'a> {
    sink: Sink<'a>,
    at: u64,
}

impl<'a> Assembly<'a> {
    /// An empty output. A file gets its name by [`Assembly::publish`].
    pub async fn begin(output: Output<'a>) -> Result<Self, ClientError> {
        Ok(Self {
            sink: Sink::begin(output).await?,
            at: 0,
        })
    }

    /// Adds `bytes`.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ClientError> {
        let length = bytes.len() as u64;
        let written = match &mut self.sink {
            Sink::File(target) => {
                use std::os::unix::fs::FileExt;
                let (file, at) = (target.file(), self.at);
                blocking(move || file.write_all_at(&bytes, at)).await
            }
            Sink::Stream(writer) => writer.write_all(&bytes).await,
            Sink::None => Ok(()),
        };
        self.at += length;
        written.map_err(ClientError::Copy)
    }

    /// Adds all of `held`.
    pub async fn append(&mut self, held: &Held) -> Result<(), ClientError> {
        let mut at = held.range.start();
        while at < held.range.end() {
            let stop = held.range.end().min(at.saturating_add(self.sink.step()));
            let part = ByteRange::new(at, stop).expect("at is below stop");
            self.sink.put(&held.content, part, self.at).await?;
            self.at += part.length().0;
            at = stop;
        }
        Ok(())
    }

    /// Makes it durable and gives a file its name.
    pub async fn publish(self) -> Result<(), ClientError> {
        self.sink.publish(self.at).await
    }
}
