//! Telling systemd that this process lives (`WatchdogSec=` of its unit): one that is stopped or hangs keeps its ports, and
//! engines wait for it without an end, where a port that nobody has sends them on at once.
//!
//! What is asked each time is the loop that every answer of the mirror goes through.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    sync::{Arc, OnceLock},
    time::Duration,
};

use daemon::Handle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// The loop to ask, once there is one. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Pulse(Arc<OnceLock<Handle>>);

impl Pulse {
    /// From now on it is `handle` that has to answer.
    pub(crate) fn is_of(&self, handle: Handle) {
        // A process is one daemon.
        let _is_first = self.0.set(handle);
    }

    /// Whether it answers. Before there is a loop, whoever gets to ask lives.
    async fn beats(&self) -> bool {
        match self.0.get() {
            Some(handle) => handle.answers().await,
            None => true,
        }
    }
}

/// Who watches this process, and how often it wants to hear.
pub(crate) struct Watchdog {
    socket: UnixDatagram,
    every: Duration,
}

impl Watchdog {
    /// That of the service manager, if it set one for this process.
    pub(crate) fn of_process() -> Option<Self> {
        let watchdog = Self::of(|name| env::var_os(name));
        watchdog.unwrap_or_else(|error| {
            warn!(%error, "the service manager's watchdog cannot be told anything, and will end this process");
            None
        })
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Option<Self>> {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let (Some(limit), Some(path)) = (number("WATCHDOG_USEC"), variable("NOTIFY_SOCKET")) else {
            return Ok(None);
        };
        if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(process::id())) {
            return Ok(None);
        }
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&path)?)?;
        socket.set_nonblocking(true)?;
        // Half of it, as systemd asks, less what a busy machine takes.
        let every = Duration::from_micros(limit) / 3;
        let every = every.max(Duration::from_millis(1));
        Ok(Some(Self { socket, every }))
    }

    /// Tells it again and again that `pulse` beats. Never ends; dropped, it falls silent.
    pub(crate) async fn run(self, pulse: Pulse) {
        info!(every = ?self.every, "the service manager is told that this process lives");
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if timeout(self.every, pulse.beats()).await != Ok(true) {
                warn!("the daemon does not answer; the service manager is not told that it lives");
            } else if let Err(error) = self.socket.send(b"WATCHDOG=1") {
                warn!(%error, "the service manager takes no word that this process lives");
            }
        }
    }
}

fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use tokio::task::JoinSet;

    use super::*;

    fn of(path: &[u8], limit: &str, pid: u32) -> Option<Watchdog> {
        let found = Watchdog::of(|name| match name {
            "NOTIFY_SOCKET" => Some(OsString::from_vec(path.to_vec())),
            "WATCHDOG_USEC" => Some(limit.into()),
            _ => Some(pid.to_string().into()),
        });
        found.expect("a socket")
    }

    #[tokio::test]
    async fn a_service_manager_hears_of_a_process_that_lives_wherever_it_listens() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let abstract_name = format!("@pantala-watchdog-{}", process::id());
        for path in [path.as_os_str().as_bytes(), abstract_name.as_bytes()] {
            let at = address(OsStr::from_bytes(path)).expect("an address");
            let manager = UnixDatagram::bind_addr(&at).expect("a socket");
            manager.set_nonblocking(true).expect("a socket");
            let manager = tokio::net::UnixDatagram::from_std(manager).expect("a socket");
            let watchdog = of(path, "3000", process::id()).expect("it is watched");
            assert_eq!(watchdog.every, Duration::from_millis(1));
            let mut running = JoinSet::new();
            running.spawn(watchdog.run(Pulse::default()));
            for _ in 0..3 {
                let mut word = [0; 32];
                let length = manager.recv(&mut word).await.expect("a word");
                assert_eq!(&word[..length], b"WATCHDOG=1");
            }
        }
    }

    #[test]
    fn who_is_not_watched_or_is_anothers_child_tells_nobody() {
        assert!(Watchdog::of(|_| None).expect("nothing").is_none());
        assert!(of(b"/nowhere", "", process::id()).is_none());
        assert!(of(b"/nowhere", "3000", process::id() + 1).is_none());
    }
}
