//! Tasks that live as long as the daemon: one that ends by itself ends the process, which whoever started it then sees.

use std::{collections::BTreeMap, future::Future, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::timeout,
};

/// What a daemon cannot be without has ended, although nobody told it to.
#[derive(Debug, thiserror::Error)]
pub enum EndedEarly {
    /// It returned.
    #[error("{0} ended by itself")]
    Returned(&'static str),
    /// It panicked, or was aborted.
    #[error("{part} broke off")]
    Broke {
        /// Which part.
        part: &'static str,
        /// How.
        #[source]
        cause: JoinError,
    },
}

/// Tasks by name.
#[derive(Default)]
pub(crate) struct Watched {
    tasks: JoinSet<()>,
    names: BTreeMap<Id, &'static str>,
}

impl Watched {
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.tasks.spawn(work).id();
        self.names.insert(id, name);
    }

    /// Waits until one of them ends; for ever if there is none. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> EndedEarly {
        let name = |id: Id, names: &BTreeMap<Id, &'static str>| {
            names.get(&id).copied().unwrap_or("a part of the daemon")
        };
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, ()))) => EndedEarly::Returned(name(id, &self.names)),
            Some(Err(cause)) => {
                let part = name(cause.id(), &self.names);
                EndedEarly::Broke { part, cause }
            }
        }
    }

    /// Waits for all of them, at most so long; then ends them. False if some had to be ended.
    pub(crate) async fn finish(&mut self, within: Duration) -> bool {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(within, all).await.is_ok() {
            return true;
        }
        self.tasks.shutdown().await;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_ends_by_itself_is_named() {
        let mut watched = Watched::default();
        watched.spawn("what stays", std::future::pending());
        watched.spawn("what panics", async { panic!("a fault") });
        let ended = watched.ended().await;
        assert!(matches!(
            ended,
            EndedEarly::Broke {
                part: "what panics",
                ..
            }
        ));
        watched.spawn("what returns", async {});
        let ended = watched.ended().await;
        assert!(matches!(ended, EndedEarly::Returned("what returns")));
        assert!(!watched.finish(Duration::ZERO).await, "one had to be ended");
        assert!(watched.finish(Duration::ZERO).await, "nothing is left");
    }
}
