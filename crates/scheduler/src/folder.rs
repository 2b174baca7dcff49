//! The authority's folder, watched: a host that `pantala host revoke` throws out there is out at once, whether the
//! scheduler was asked or not. And what a restart must not forget of seeds, kept beside the scheduler's own key.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::{net::unix::pipe, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::office::Office;

/// The folder is looked at this often even if nothing was noticed: a network file system tells nobody of changes.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The same where the system has no more watches to give.
const LOOK_EVERY_BLIND: Duration = Duration::from_secs(5);

/// A folder of which changes are noticed. Tokio reads what the kernel tells as it reads a pipe: both are a descriptor that
/// becomes readable.
struct Watch(pipe::Receiver);

impl Watch {
    fn new(dir: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // Our files are written beside their place and moved there.
        inotify::add_watch(&fd, dir, WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE)?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(fd)?))
    }

    /// Waits for a change. Cancel-safe: what was not taken is noticed the next time.
    async fn changed(&self) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 4096]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

/// Takes in what is revoked in `dir` by whomever, until `stop`.
pub(crate) async fn watch(office: Office, dir: PathBuf, stop: CancellationToken) {
    let watch = Watch::new(&dir);
    if let Err(error) = &watch {
        tracing::warn!(%error, "the authority's folder cannot be watched: it is looked at now and then");
    }
    loop {
        // The first time too: something may have changed between the start and the watch.
        look(&office).await;
        let changed = async {
            match &watch {
                Ok(watch) => {
                    if let Err(error) = watch.changed().await {
                        tracing::warn!(%error, "watching the authority's folder failed");
                        sleep(LOOK_EVERY_BLIND).await;
                    }
                }
                Err(_) => sleep(LOOK_EVERY_BLIND).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// Puts who is a seed into `dir` whenever that changes, until `stop`. A scheduler that forgot that a role ended would tell of
/// an older certificate of that host again.
pub(crate) async fn keep_seeds(office: Office, dir: PathBuf, stop: CancellationToken) {
    let mut seeds = office.links.seeds();
    loop {
        tokio::select! {
            biased;
            Ok(()) = seeds.changed() => {}
            () = stop.cancelled() => return,
        }
        let (known, dir) = (seeds.borrow_and_update().clone(), dir.clone());
        match spawn_blocking(move || known.save(&dir)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "who is a seed was not saved");
            }
            Err(_) => return,
        }
    }
}

async fn look(office: &Office) {
    let ca = office.ca.clone();
    let list = match spawn_blocking(move || ca.revocations()).await {
        Ok(Ok(list)) => list,
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            return tracing::error!(error, "the revocations cannot be read");
        }
        Err(_) => return,
    };
    match office.links.learn_revocations(list.as_bytes()) {
        Ok(true) => tracing::warn!(list = list.number(), "hosts were revoked"),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "the authority's own list of revocations is unfit"),
    }
}
