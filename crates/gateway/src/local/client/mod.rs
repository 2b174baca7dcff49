//! The commands' end of the local socket.
//!
//! What a `get` writes appears under its name complete, checked and synced, or not at all: verified ranges are copied
//! from the passed descriptor into a file without a name (`target`), by the kernel where it can (`copy`). Several
//! contents are put into one file, or stream, by an `assembly`.

mod assembly;
mod copy;
mod manifest;
mod target;

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    task::spawn_blocking,
};
use types::ByteRange;

use self::target::Target;
pub use self::{
    assembly::{Assembly, Held},
    target::TargetError,
};
use super::{
    descriptor,
    frame::{self, FrameError},
    message::{
        BypassChange, BypassState, ExplainReport, Failure, FailureCode, Freed, GetRequest, Hello,
        OpenedReply, Reply, Request, SettingReport, StatusReport, StoreEntry, TaskReport, VERSION,
    },
};
use crate::{Efficiency, SourceBytes};

/// Asks the daemon of this host. Each call is one connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon, or no permission to speak with it.
    #[error("connecting to the daemon at {socket}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// The daemon said why not.
    #[error("the daemon refused or failed")]
    Failed(#[source] Failure),
    /// The daemon went away, or speaks another language.
    #[error("speaking with the daemon")]
    Protocol(#[from] FrameError),
    /// The daemon went away before the end.
    #[error("the daemon went away")]
    Ended,
    /// The target file.
    #[error("writing the target")]
    Target(#[from] TargetError),
    /// Copying, or the writer.
    #[error("copying content")]
    Copy(#[source] io::Error),
}

/// Where content goes.
pub enum Output<'a> {
    /// A file that appears complete or not at all.
    File {
        /// Its name.
        path: &'a Path,
        /// Whether an existing file may be replaced.
        overwrite: bool,
    },
    /// A stream, in order. Its last bytes come after the check of the whole: an error before means that it is cut.
    Stream(&'a mut (dyn AsyncWrite + Send + Unpin)),
}

/// How far a `get` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes copied.
    pub copied: u64,
    /// Bytes asked for.
    pub total: u64,
    /// Where what the daemon has of it came from.
    pub sources: SourceBytes,
}

/// What a `get` ended with.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The task that brought it.
    pub task: String,
    /// Bytes of the whole content.
    pub length: u64,
    /// The bytes that were asked for.
    pub range: ByteRange,
    /// The media type the origin gave.
    pub content_type: Option<String>,
    /// The digest of the whole, if the whole was asked for and it is known.
    pub digest: Option<String>,
    /// Where the bytes came from.
    pub sources: SourceBytes,
    /// How near the task came to what is possible, if that is known.
    pub efficiency: Option<Efficiency>,
    /// Whether other hosts must read what came from the origin there again: no digest names it, and no seed vouches for it.
    pub unshared: bool,
}

impl Client {
    /// A client of the daemon behind `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Brings content to `output`. Dropped early, no file appears, unless the last step had begun: then a complete one.
    pub async fn get(
        &self,
        request: GetRequest,
        output: Output<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Finished, ClientError> {
        let mut sink = Sink::begin(output).await?;
        let (opened, mut copying, mut stream) = self.open(request, progress).await?;
        let End {
            digest,
            sources,
            efficiency,
            unshared,
        } = copying.run(&mut stream, &mut sink).await?;
        sink.publish(copying.whole.length().0).await?;
        let OpenedReply {
            task,
            length,
            content_type,
            ..
        } = opened;
        Ok(Finished {
            task,
            length,
            range: copying.whole,
            content_type,
            digest,
            sources,
            efficiency,
            unshared,
        })
    }

    /// Asks for content, and gets the way to its bytes.
    async fn open<'p>(
        &self,
        request: GetRequest,
        progress: &'p mut (dyn FnMut(Progress) + Send),
    ) -> Result<(OpenedReply, Copying<'p>, UnixStream), ClientError> {
        let mut stream = self.ask(Request::Get(request)).await?;
        let opened = match next(&mut stream).await? {
            Reply::Opened(opened) => opened,
            _ => return Err(FrameError::Unexpected("no answer to get").into()),
        };
        let whole = ByteRange::new(opened.start, opened.end)
            .filter(|range| range.end() <= opened.length)
            .ok_or(FrameError::Unexpected("a range beyond the content"))?;
        let content = descriptor::receive(&stream).await.map_err(FrameError::Io)?;
        let copying = Copying {
            sources: SourceBytes::default(),
            content: Arc::new(content),
            whole,
            copied: 0,
            progress,
        };
        Ok((opened, copying, stream))
    }

    /// The running tasks.
    pub async fn tasks(&self) -> Result<Vec<TaskReport>, ClientError> {
        self.list(Request::Tasks, |reply| match reply {
            Reply::Task(row) => Some(row),
            _ => None,
        })
        .await
    }

    /// What tasks cost this host: those that run, and some that ended, the latest last.
    pub async fn explained(&self) -> Result<Vec<ExplainReport>, ClientError> {
        self.list(Request::Explain, |reply| match reply {
            Reply::Explained(row) => Some(*row),
            _ => None,
        })
        .await
    }

    /// What the store holds.
    pub async fn store_list(&self) -> Result<Vec<StoreEntry>, ClientError> {
        self.list(Request::StoreList, |reply| match reply {
            Reply::Entry(row) => Some(row),
            _ => None,
        })
        .await
    }

    /// Removes one content from the store.
    pub async fn store_remove(&self, task: &str) -> Result<Freed, ClientError> {
        let task = task.to_owned();
        match self.one(Request::StoreRemove { task }).await? {
            Reply::Freed(freed) => Ok(freed),
            _ => Err(FrameError::Unexpected("no answer to a removal").into()),
        }
    }

    /// Removes from the store what nobody needs.
    pub async fn store_gc(&self) -> Result<Freed, ClientError> {
        match self.one(Request::StoreGc).await? {
            Reply::Freed(freed) => Ok(freed),
            _ => Err(FrameError::Unexpected("no answer to a removal").into()),
        }
    }

    /// Changes or shows the bypass.
    pub async fn bypass(&self, change: BypassChange) -> Result<BypassState, ClientError> {
        match self.one(Request::Bypass(change)).await? {
            Reply::Bypass(state) => Ok(state),
            _ => Err(FrameError::Unexpected("no answer to bypass").into()),
        }
    }

    /// How the daemon is.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        match self.one(Request::Status).await? {
            Reply::Status(report) => Ok(report),
            _ => Err(FrameError::Unexpected("no answer to status").into()),
        }
    }

    /// What the daemon was started with, beyond the defaults.
    pub async fn settings(&self) -> Result<Vec<SettingReport>, ClientError> {
        self.list(Request::Settings, |reply| match reply {
            Reply::Setting(row) => Some(row),
            _ => None,
        })
        .await
    }

    /// The last lines of the daemon's log, for who may manage it.
    pub async fn log(&self) -> Result<Vec<String>, ClientError> {
        self.list(Request::Log, |reply| match reply {
            Reply::Line(line) => Some(line),
            _ => None,
        })
        .await
    }

    async fn ask(&self, request: Request) -> Result<UnixStream, ClientError> {
        let mut stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|cause| ClientError::Connect {
                    socket: self.socket.clone(),
                    cause,
                })?;
        let version = VERSION;
        frame::write(&mut stream, &Hello { version, request }).await?;
        Ok(stream)
    }

    async fn one(&self, request: Request) -> Result<Reply, ClientError> {
        next(&mut self.ask(request).await?).await
    }

    async fn list<T>(
        &self,
        request: Request,
        row: fn(Reply) -> Option<T>,
    ) -> Result<Vec<T>, ClientError> {
        let mut stream = self.ask(request).await?;
        let mut rows = Vec::new();
        loop {
            match next(&mut stream).await? {
                Reply::End => return Ok(rows),
                reply => rows.push(row(reply).ok_or(FrameError::Unexpected("another list"))?),
            }
        }
    }
}

async fn next(stream: &mut UnixStream) -> Result<Reply, ClientError> {
    match frame::read(stream).await? {
        Some(Reply::Failed(failure)) => Err(ClientError::Failed(failure)),
        Some(reply) => Ok(reply),
        None => Err(ClientError::Ended),
    }
}

/// File work off the runtime's workers. Dropped early, the work still ends and its result is dropped.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work)
        .await
        .expect("file work does not panic")
}

enum Sink<'a> {
    File(Target),
    Stream(&'a mut (dyn AsyncWrite + Send + Unpin)),
    /// The daemon's own file.
    None,
}

impl<'a> Sink<'a> {
    async fn begin(output: Output<'a>) -> Result<Self, ClientError> {
        match output {
            Output::File { path, overwrite } => {
                let path = path.to_owned();
                let target = blocking(move || Target::begin(&path, overwrite)).await?;
                Ok(Self::File(target))
            }
            Output::Stream(writer) => Ok(Self::Stream(writer)),
        }
    }

    /// Writes `range` of `content` at `to`, which is where a stream stands.
    async fn put(
        &mut self,
        content: &Arc<OwnedFd>,
        range: ByteRange,
        to: u64,
    ) -> Result<(), ClientError> {
        let content = Arc::clone(content);
        match self {
            Self::File(target) => {
                let file = target.file();
                let copied = blocking(move || copy::range(&content, range, (&file, to))).await;
                copied.map_err(ClientError::Copy)
            }
            Self::Stream(writer) => {
                let bytes = blocking(move || copy::read(&content, range)).await;
                let bytes = bytes.map_err(ClientError::Copy)?;
                writer.write_all(&bytes).await.map_err(ClientError::Copy)
            }
            Self::None => Ok(()),
        }
    }

    /// So many bytes are put at once.
    fn step(&self) -> u64 {
        match self {
            Self::File(_) | Self::None => STEP,
            Self::Stream(_) => STREAM_STEP,
        }
    }

    async fn publish(self, length: u64) -> Result<(), ClientError> {
        match self {
            Self::File(target) => {
                // What takes long comes first: whoever drops this meanwhile leaves nothing behind.
                let file = target.file();
                blocking(move || file.sync_all())
                    .await
                    .map_err(ClientError::Copy)?;
                Ok(blocking(move || target.publish(length)).await?)
            }
            Self::Stream(writer) => writer.flush().await.map_err(ClientError::Copy),
            Self::None => Ok(()),
        }
    }
}

/// Bytes between two reports of progress.
const STEP: u64 = 32 << 20;
/// Bytes of one read for a stream.
const STREAM_STEP: u64 = 1 << 20;

/// What the daemon says last.
struct End {
    digest: Option<String>,
    sources: SourceBytes,
    efficiency: Option<Efficiency>,
    unshared: bool,
}

struct Copying<'a> {
    content: Arc<OwnedFd>,
    whole: ByteRange,
    copied: u64,
    sources: SourceBytes,
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl Copying<'_> {
    /// Copies what the daemon says is verified, until it says that all is.
    async fn run(
        &mut self,
        stream: &mut UnixStream,
        sink: &mut Sink<'_>,
    ) -> Result<End, ClientError> {
        let mut verified = self.whole.start();
        loop {
            match next(stream).await? {
                Reply::Verified {
                    start,
                    end,
                    sources,
                } => {
                    if start != verified || end <= start || end > self.whole.end() {
                        return Err(FrameError::Unexpected("bytes out of order").into());
                    }
                    verified = end;
                    self.sources = sources;
                    // A stream's reader cannot take bytes back: the last ones wait for the check of the whole.
                    if !matches!(sink, Sink::Stream(_)) || end < self.whole.end() {
                        self.copy_to(verified, sink).await?;
                    }
                }
                Reply::Voided => {
                    if self.copied > 0 && matches!(sink, Sink::Stream(_)) {
                        let message =
                            "bytes that were passed on already do not belong to the content";
                        let failure = Failure::new(FailureCode::Corrupt, message);
                        return Err(ClientError::Failed(failure));
                    }
                    (verified, self.copied) = (self.whole.start(), 0);
                }
                Reply::Done {
                    digest,
                    sources,
                    efficiency,
                    unshared,
                } if verified == self.whole.end() => {
                    self.sources = sources;
                    self.copy_to(verified, sink).await?;
                    return Ok(End {
                        digest,
                        sources,
                        efficiency,
                        unshared,
                    });
                }
                _ => return Err(FrameError::Unexpected("an end before the end").into()),
            }
        }
    }

    async fn copy_to(&mut self, end: u64, sink: &mut Sink<'_>) -> Result<(), ClientError> {
        loop {
            let at = self.whole.start() + self.copied;
            let stop = end.min(at.saturating_add(sink.step()));
            let Some(range) = ByteRange::new(at, stop).filter(|range| !range.is_empty()) else {
                return Ok(());
            };
            sink.put(&self.content, range, self.copied).await?;
            self.copied += range.length().0;
            (self.progress)(Progress {
                copied: self.copied,
                total: self.whole.length().0,
                sources: self.sources,
            });
        }
    }
}
