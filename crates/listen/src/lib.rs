//! Taking connections from a listener that may have none to give.
//!
//! Out of file descriptors, a listener fails at once and again and again, while the connection stays in the kernel's queue.
//! Every door of this program rests a moment then, counts that, and says so now and then.

mod untaken;

use std::{error::Error, future::Future, io, os::fd::AsFd, time::Duration};

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::{net::Listener, sync::CancellationToken};
use tracing::warn;
use types::Moment;

pub use crate::untaken::Untaken;
use crate::untaken::Untold;

/// How long a listener rests after a failure: no event tells when a descriptor is free.
const REST: Duration = Duration::from_millis(100);

/// Has the kernel notice within two minutes that nobody is left at the other end of a TCP connection, however long nobody
/// sends: the system's own default is two hours.
pub fn keep_alive(stream: impl AsFd) -> io::Result<()> {
    let stream = stream.as_fd();
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, Duration::from_secs(60))?;
    set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    set_tcp_keepcnt(stream, 4)?;
    Ok(())
}

/// A listener, and its patience with the system.
pub struct Listening<L> {
    door: &'static str,
    listener: L,
    untaken: Untaken,
    untold: Untold,
    began: Instant,
    rests_until: Instant,
}

impl<L: Listener> Listening<L> {
    /// Takes connections of `door` from `listener`, and counts those that cannot be taken with `untaken`.
    pub fn new(door: &'static str, listener: L, untaken: &Untaken) -> Self {
        let began = Instant::now();
        Self {
            door,
            listener,
            untaken: untaken.clone(),
            untold: Untold::default(),
            began,
            rests_until: began,
        }
    }

    /// The next connection, and whose it is. Dropped early, none is lost, and a rest goes on.
    pub async fn accept(&mut self) -> (L::Io, L::Addr) {
        loop {
            if Instant::now() < self.rests_until {
                sleep_until(self.rests_until).await;
            }
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(cause) => self.failed(&cause),
            }
        }
    }

    /// Takes connections until `stop`, `most` of them at once, and has each served by a task of its own; more wait in the
    /// kernel's queue. Gives those that still run then, with the listener closed. Dropped early, all end.
    pub async fn each<F>(
        mut self,
        most: usize,
        stop: &CancellationToken,
        mut serve: impl FnMut(L::Io, L::Addr) -> F,
    ) -> JoinSet<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut served = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return served,
                Some(_) = served.join_next() => {}
                (io, from) = self.accept(), if served.len() < most => {
                    served.spawn(serve(io, from));
                }
            }
        }
    }

    /// The client left at once, or the process is out of descriptors.
    fn failed(&mut self, cause: &io::Error) {
        self.untaken.add();
        let now = Instant::now();
        self.rests_until = now + REST;
        if let Some(count) = self.untold.failed(Moment::ZERO + (now - self.began)) {
            warn!(
                door = self.door,
                count,
                error = cause as &dyn Error,
                "connections could not be taken"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::pin,
        sync::Arc,
        task::{Context, Poll},
    };

    use tokio::{io::DuplexStream, sync::Semaphore};

    use super::*;

    /// Out of descriptors so many times, then full of clients.
    struct Poor(u32);

    impl Listener for Poor {
        type Io = DuplexStream;
        type Addr = ();

        fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<(DuplexStream, ())>> {
            const EMFILE: i32 = 24;
            Poll::Ready(match self.0.checked_sub(1) {
                None => Ok((tokio::io::duplex(1).0, ())),
                Some(left) => {
                    self.0 = left;
                    Err(io::Error::from_raw_os_error(EMFILE))
                }
            })
        }

        fn local_addr(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_listener_without_descriptors_rests_although_it_is_asked_anew_and_then_goes_on() {
        let untaken = Untaken::default();
        let mut listening = Listening::new("test", Poor(3), &untaken);
        let ask = async |listening: &mut Listening<Poor>| {
            let mut accepting = pin!(listening.accept());
            poll_fn(|context| Poll::Ready(accepting.as_mut().poll(context).is_pending())).await
        };
        assert!(ask(&mut listening).await && listening.rests_until > Instant::now());
        // As long as no machine takes for a few steps.
        listening.rests_until += Duration::from_secs(600);
        for _ in 0..5 {
            assert!(ask(&mut listening).await);
        }
        assert_eq!(untaken.count(), 1);
        listening.rests_until = Instant::now();
        listening.accept().await;
        assert_eq!(untaken.count(), 3);
        let mut other = Listening::new("other", Poor(1), &untaken);
        other.accept().await;
        assert_eq!(untaken.count(), 4, "they count together");
    }

    #[tokio::test]
    async fn no_more_are_served_at_once_than_may_be_and_the_rest_come_when_those_end() {
        let listening = Listening::new("test", Poor(0), &Untaken::default());
        let stop = CancellationToken::new();
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let places = Arc::new(Semaphore::new(0));
        let serve = |_, ()| {
            let (began, places) = (began.clone(), Arc::clone(&places));
            async move {
                began.send(()).expect("heard");
                places.acquire().await.expect("open").forget();
            }
        };
        let mut each = pin!(listening.each(2, &stop, serve));
        let counted = async {
            for _ in 0..2 {
                begun.recv().await;
            }
            // Whoever is ready runs, many times over.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(begun.try_recv().is_err(), "a third is served");
            places.add_permits(1);
            begun.recv().await;
            stop.cancel();
        };
        let (served, ()) = tokio::join!(each.as_mut(), counted);
        assert_eq!(served.len(), 2);
    }
}
