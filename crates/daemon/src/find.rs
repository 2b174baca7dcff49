//! Finding hosts of the cluster while no scheduler introduces them: configured peers, and those that a scheduler told of
//! last.
//!
//! Whoever answers must prove to be a host of the cluster; which one it is follows from its certificate. While a
//! scheduler is connected nobody is dialled here, and what it tells of is kept on disk.

mod book;
mod remembered;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{net::lookup_host, sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use types::{Chance, ClusterId, HostId, Moment};

use self::book::Book;
pub(crate) use self::remembered::Remembered;
use crate::{clock::Clock, dial::Dialler};

/// How often names are looked up: addresses behind a name come and go.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);
/// How long one name may take.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// Names and addresses that are configured, at most; further ones are not used.
const NAMES_MAX: usize = 64;
/// Between two writes of what is remembered.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// What the core knows of others, for whoever looks for more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlook {
    /// A scheduler is connected.
    pub(crate) is_scheduled: bool,
    /// Hosts with a link.
    pub(crate) linked: BTreeSet<HostId>,
    /// Hosts that the scheduler told of.
    pub(crate) told: Remembered,
}

/// Looks for hosts until stopped.
pub(crate) struct Finder {
    /// Configured peers as `host:port`.
    pub(crate) peers: Vec<String>,
    pub(crate) me: HostId,
    pub(crate) cluster: ClusterId,
    /// Where the last good membership is kept.
    pub(crate) path: PathBuf,
    pub(crate) dialler: Dialler,
    pub(crate) outlook: watch::Receiver<Outlook>,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
}

impl Finder {
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut book, mut chance) = (Book::new(self.me), Chance::seeded(self.seed));
        let mut remembered = self.load();
        let mut saved = remembered.clone();
        let (mut resolve_at, mut save_at) = (Moment::ZERO, Moment::ZERO);
        let mut dials = JoinSet::new();
        loop {
            let now = self.clock.now();
            let outlook = self.outlook.borrow_and_update().clone();
            if outlook.told != Remembered::default() {
                remembered = outlook.told;
            }
            if remembered != saved && now >= save_at {
                (saved, save_at) = (remembered.clone(), now + SAVE_EVERY);
                self.save(&saved);
            }
            if !outlook.is_scheduled {
                if now >= resolve_at {
                    resolve_at = now + RESOLVE_EVERY;
                    let found = tokio::select! {
                        () = stop.cancelled() => break,
                        found = self.resolve(&remembered) => found,
                    };
                    book.resolved(&found);
                }
                for address in book.due(now, &outlook.linked) {
                    dials.spawn(self.dialler.clone().find(address));
                }
            }
            let save = (remembered != saved).then_some(save_at);
            let dial = (!outlook.is_scheduled).then(|| {
                book.deadline(&outlook.linked)
                    .unwrap_or(resolve_at)
                    .min(resolve_at)
            });
            let deadline = [save, dial].into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.outlook.changed() => if changed.is_err() { break },
                Some(found) = dials.join_next() => if let Ok((address, host)) = found {
                    book.ended((self.clock.now(), &mut chance), address, host);
                },
                () = self.clock.until(deadline) => {}
            }
        }
        if remembered != saved {
            self.save(&remembered);
        }
    }

    fn load(&self) -> Remembered {
        let loaded = tokio::task::block_in_place(|| Remembered::load(&self.path, &self.cluster));
        loaded.unwrap_or_else(|cause| {
            warn!(path = %self.path.display(), error = &cause as &dyn std::error::Error, "the hosts that were known are not used");
            Remembered::default()
        })
    }

    fn save(&self, remembered: &Remembered) {
        let saved = tokio::task::block_in_place(|| remembered.save(&self.path, &self.cluster));
        if let Err(cause) = saved {
            warn!(path = %self.path.display(), error = &cause as &dyn std::error::Error, "the hosts that are known were not saved");
        }
    }

    /// The addresses of all configured names, and those that are remembered. A name that has none now is left out.
    async fn resolve(&self, remembered: &Remembered) -> BTreeSet<SocketAddr> {
        let mut names = JoinSet::new();
        for name in self.peers.iter().take(NAMES_MAX) {
            let name = name.clone();
            names.spawn(async move {
                let found = lookup_host(name.as_str());
                match timeout(RESOLVE_WITHIN, found).await {
                    Ok(Ok(found)) => found.take(Book::ENTRIES_MAX).collect(),
                    Ok(Err(cause)) => {
                        debug!(%name, error = &cause as &dyn std::error::Error, "a peer's name has no address");
                        Vec::new()
                    }
                    Err(_) => Vec::new(),
                }
            });
        }
        let mut addresses = remembered.addresses();
        while let Some(found) = names.join_next().await {
            addresses.extend(found.unwrap_or_default());
        }
        addresses
    }
}
