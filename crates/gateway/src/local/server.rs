//! The daemon's end of the local socket: who may ask what, and one task per connection.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use listen::{Listening, Untaken};
use tokio::{net::UnixStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use types::TaskId;

use super::{
    LocalSocket,
    frame::{self, FrameError},
    get, manifest,
    message::{
        BypassChange, BypassState, ExplainReport, Failure, FailureCode, Freed, Hello, HelloVersion,
        Reply, Request, SettingReport, StatusReport, StoreEntry, TaskReport, VERSION,
    },
};
use crate::{Caller, ContentReader, HeldManifest, ManifestAsk, OpenError};

/// What the local socket needs from the daemon.
pub trait LocalService: Send + Sync + 'static {
    /// Where content is read.
    fn content(&self) -> &dyn ContentReader;

    /// An image's manifest, or the index of its platforms: held here, or the registry's.
    fn manifest<'a>(
        &'a self,
        ask: &'a ManifestAsk,
    ) -> BoxFuture<'a, Result<HeldManifest, OpenError>>;

    /// The running tasks.
    fn tasks(&self, listed: Listed) -> BoxFuture<'_, Result<Vec<TaskReport>, Failure>>;

    /// What tasks cost this host: those that run, and some that ended, the latest last.
    fn explained(&self, listed: Listed) -> BoxFuture<'_, Result<Vec<ExplainReport>, Failure>>;

    /// What the store holds.
    fn store_list(&self, listed: Listed) -> BoxFuture<'_, Result<Vec<StoreEntry>, Failure>>;

    /// Removes one content from the store.
    fn store_remove(&self, task: TaskId) -> BoxFuture<'_, Result<Freed, Failure>>;

    /// Removes from the store what nobody needs.
    fn store_gc(&self) -> BoxFuture<'_, Result<Freed, Failure>>;

    /// Changes or shows the bypass.
    fn bypass(&self, change: BypassChange) -> BoxFuture<'_, Result<BypassState, Failure>>;

    /// How the daemon is.
    fn status(&self) -> BoxFuture<'_, Result<StatusReport, Failure>>;

    /// What it was started with.
    fn settings(&self) -> Vec<SettingReport>;

    /// The last lines of its log, as many as it keeps.
    fn log(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a list tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Public content: that there is private content, and what it is called, is not for everybody.
    Public,
    /// All content, for who manages this host.
    Everything,
}

/// Which users may do something, beyond what the socket's mode allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Whoever can connect.
    Everyone,
    /// These users.
    Users(BTreeSet<u32>),
}

impl Allowed {
    fn includes(&self, uid: u32) -> bool {
        match self {
            Self::Everyone => true,
            Self::Users(uids) => uids.contains(&uid),
        }
    }
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who may read content and look at state.
    pub read: Allowed,
    /// Who may remove content and change the bypass.
    pub manage: Allowed,
}

impl Default for Access {
    /// Whoever can connect may read; root and the daemon's own user may manage.
    fn default() -> Self {
        Self {
            read: Allowed::Everyone,
            manage: Allowed::Users(BTreeSet::from([0, rustix::process::geteuid().as_raw()])),
        }
    }
}

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;

/// Time for a request to arrive: it is one small write of a local process.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The daemon's end of the local socket.
pub struct LocalDoor<S> {
    service: Arc<S>,
    access: Access,
    untaken: Untaken,
}

impl<S: LocalService> LocalDoor<S> {
    /// A door to `service` for whom `access` allows.
    pub fn new(service: Arc<S>, access: Access) -> Self {
        Self {
            service,
            access,
            untaken: Untaken::default(),
        }
    }

    /// Counts connections that cannot be taken with `untaken`.
    #[must_use]
    pub fn counting(self, untaken: Untaken) -> Self {
        Self { untaken, ..self }
    }

    /// Answers requests until `stop`; running ones then end with their connections.
    pub async fn serve(self, socket: LocalSocket, stop: CancellationToken) {
        let listening = Listening::new("local socket", socket, &self.untaken);
        let door = Arc::new(self);
        let serve = |stream, _| {
            let (door, stop) = (Arc::clone(&door), stop.clone());
            async move {
                if let Err(error) = door.serve_one(stream, stop).await {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "local connection broke"
                    );
                }
            }
        };
        let mut connections = listening.each(CONNECTIONS_MAX, &stop, serve).await;
        while connections.join_next().await.is_some() {}
    }

    async fn serve_one(
        &self,
        mut stream: UnixStream,
        stop: CancellationToken,
    ) -> Result<(), FrameError> {
        let peer = stream.peer_cred()?;
        let caller = Caller::Unix {
            uid: peer.uid(),
            gid: peer.gid(),
            pid: peer.pid(),
        };
        let late = |_| FrameError::Io(io::ErrorKind::TimedOut.into());
        let bytes = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            bytes = timeout(REQUEST_TIMEOUT, frame::read_bytes(&mut stream)) => bytes.map_err(late)?,
        };
        let request = match bytes {
            Ok(None) => return Ok(()),
            Ok(Some(bytes)) => parse(&bytes),
            Err(error @ FrameError::TooLong { .. }) => {
                Err(Failure::of(FailureCode::BadRequest, &error))
            }
            Err(error) => return Err(error),
        };
        let outcome = match request.and_then(|request| self.admit(request, peer.uid())) {
            Err(failure) => Err(failure.into()),
            Ok(request) => tokio::select! {
                outcome = self.answer(&mut stream, request, caller) => outcome,
                // A frame may be half written: only the end of the connection is clear.
                () = stop.cancelled() => return Ok(()),
            },
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(AnswerError::Socket(error)) => Err(error),
            Err(AnswerError::Tell(failure)) => {
                frame::write(&mut stream, &Reply::Failed(failure)).await
            }
        }
    }

    fn admit(&self, request: Request, uid: u32) -> Result<Request, Failure> {
        let allowed = if request.is_management() {
            &self.access.manage
        } else {
            &self.access.read
        };
        if allowed.includes(uid) {
            Ok(request)
        } else {
            let message = format!("user {uid} may not do this");
            Err(Failure::new(FailureCode::Forbidden, message))
        }
    }

    async fn answer(
        &self,
        stream: &mut UnixStream,
        request: Request,
        caller: Caller,
    ) -> Result<(), AnswerError> {
        let service = &*self.service;
        let listed = match &caller {
            Caller::Unix { uid, .. } if self.access.manage.includes(*uid) => Listed::Everything,
            _ => Listed::Public,
        };
        let replies = match request {
            Request::Get(request) => {
                return get::answer(service.content(), stream, (request, caller)).await;
            }
            Request::Manifest(request) => {
                return manifest::answer(service, stream, (request, caller)).await;
            }
            Request::Tasks => list(service.tasks(listed).await?, Reply::Task),
            Request::Explain => {
                let rows = service.explained(listed).await?;
                list(rows, |row| Reply::Explained(Box::new(row)))
            }
            Request::StoreList => list(service.store_list(listed).await?, Reply::Entry),
            Request::StoreRemove { task } => {
                let task = task.parse::<TaskId>();
                let task = task.map_err(|error| Failure::of(FailureCode::BadRequest, &error))?;
                vec![Reply::Freed(service.store_remove(task).await?)]
            }
            Request::StoreGc => vec![Reply::Freed(service.store_gc().await?)],
            Request::Bypass(change) => vec![Reply::Bypass(service.bypass(change).await?)],
            Request::Status => vec![Reply::Status(service.status().await?)],
            Request::Settings => list(service.settings(), Reply::Setting),
            Request::Log => list(service.log(), Reply::Line),
        };
        for reply in &replies {
            frame::write(stream, reply).await?;
        }
        Ok(())
    }
}

/// Why an answer ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// The client is still to be told.
    #[error("a local request failed")]
    Tell(#[from] Failure),
    /// There is nobody to tell.
    #[error(transparent)]
    Socket(#[from] FrameError),
}

fn list<T>(rows: Vec<T>, row: fn(T) -> Reply) -> Vec<Reply> {
    rows.into_iter().map(row).chain([Reply::End]).collect()
}

fn parse(bytes: &[u8]) -> Result<Request, Failure> {
    let bad = |error: serde_json::Error| Failure::of(FailureCode::BadRequest, &error);
    let version = serde_json::from_slice::<HelloVersion>(bytes)
        .map_err(bad)?
        .version;
    if version != VERSION {
        let message = format!("the daemon speaks version {VERSION}, the command {version}");
        return Err(Failure::new(FailureCode::Version, message));
    }
    Ok(serde_json::from_slice::<Hello>(bytes).map_err(bad)?.request)
}
