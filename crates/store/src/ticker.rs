//! The thread that commits about each second, and is joined when its owner goes.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// Calls a function at a regular pace until it is dropped; the drop waits for a call that is running.
pub(crate) struct Ticker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Errors: the thread cannot be started.
    pub(crate) fn start(
        every: Duration,
        mut tick: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || {
                let (stopped, wake) = &*seen;
                loop {
                    let mut stopped = stopped.lock();
                    if !*stopped {
                        wake.wait_for(&mut stopped, every);
                    }
                    if *stopped {
                        return;
                    }
                    drop(stopped);
                    tick();
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let (stopped, wake) = &*self.stop;
        *stopped.lock() = true;
        wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread of the store panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_ticks_and_ends_with_its_owner() {
        let (send, receive) = mpsc::sync_channel(0);
        let ticker = Ticker::start(Duration::from_millis(1), move || {
            let _ = send.send(());
        })
        .expect("a thread");
        receive.recv().expect("a tick");
        let rest = thread::spawn(move || receive.iter().count());
        drop(ticker);
        rest.join().expect("the sender is gone with the thread");
    }
}
