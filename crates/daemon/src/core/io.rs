//! What runs beside the core, and what the core hears when a part of it panics.

use std::{collections::HashMap, future::Future};

use tokio::task::{Id, JoinError, JoinSet};

use super::Event;

/// The links, imports, proofs and dials of one core.
#[derive(Default)]
pub(super) struct Io {
    running: JoinSet<()>,
    /// What each would have said at its end, said for it if it panics: nobody must wait for a word that can't come.
    last_words: HashMap<Id, Event>,
}

impl Io {
    /// Runs `work`, for whose end nobody waits.
    pub(super) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(work);
    }

    /// Runs `work`, for which `last_word` is said if it panics.
    pub(super) fn spawn_with(
        &mut self,
        last_word: Event,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.running.spawn(work).id();
        self.last_words.insert(id, last_word);
    }

    /// Waits for the next end: why it panicked, if it did, and what is to be said for it. None when nothing runs.
    pub(super) async fn next_end(&mut self) -> Option<Result<(), (JoinError, Option<Event>)>> {
        let ended = self.running.join_next_with_id().await?;
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(cause) => cause.id(),
        };
        let last_word = self.last_words.remove(&id);
        Some(match ended {
            Err(cause) if cause.is_panic() => Err((cause, last_word)),
            _ => Ok(()),
        })
    }

    /// Ends everything.
    pub(super) async fn shutdown(&mut self) {
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use types::HostId;

    use super::*;

    fn word() -> Event {
        let host = HostId::from_bytes([7; 32]);
        Event::DialFailed { host }
    }

    #[tokio::test]
    async fn who_panics_has_a_last_word() {
        let mut io = Io::default();
        io.spawn_with(word(), async { panic!("a fault") });
        let (cause, last_word) = io
            .next_end()
            .await
            .expect("it runs")
            .expect_err("it panics");
        assert!(cause.is_panic());
        assert!(matches!(last_word, Some(Event::DialFailed { .. })));
        assert!(io.next_end().await.is_none() && io.last_words.is_empty());
    }

    #[tokio::test]
    async fn who_ends_has_said_it_all() {
        let mut io = Io::default();
        io.spawn_with(word(), async {});
        io.spawn(async {});
        assert!(matches!(io.next_end().await, Some(Ok(()))));
        assert!(matches!(io.next_end().await, Some(Ok(()))));
        assert!(io.next_end().await.is_none() && io.last_words.is_empty());
    }
}
